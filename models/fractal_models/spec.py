"""The spec of a FractalContainer, fractal.co/v1alpha1: what a user asks for.

Defaults stand here only where a task's meaning depends on them; what an installation chooses
(region, cluster, network, roles) is settings, applied at each launch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, ValidationError

from fractal_models.api_types import (
    LIST_ATOMIC,
    Rule,
    SpecModel,
    in_place,
    list_map,
    next_launch,
    replaces,
    unique_by,
    without_nulls,
)
from fractal_models.patterns import (
    AWS_NAME,
    CLUSTER,
    HOST_OR_URL,
    NO_CONTROL,
    NO_NUL,
    REGION,
    TAG_TEXT,
    TASK_DEFINITION,
    WORDS,
)
from fractal_models.spec_parts import (
    DeletionPolicy,
    Network,
    OperatingMode,
    Placement,
    RestartPolicy,
    Timeouts,
    UpdateStrategy,
)
from fractal_models.spec_rules import SPEC_RULES, fargate
from fractal_models.template import Template
from fractal_models.template_parts import EnvVar


class Spec(SpecModel):
    """What a user asks for: exactly one ECS task, from taskDefinition or template."""

    RULES: ClassVar[tuple[Rule, ...]] = SPEC_RULES

    user: Annotated[
        str,
        next_launch(
            "whom the container is for, for example an e-mail address, at most 250 characters; "
            "empty: unassigned.",
            max_length=250,
            pattern=NO_CONTROL,
        ),
    ] = ""
    region: Annotated[
        str,
        replaces(
            "AWS region such as us-east-1, at most 32 characters; empty: the operator's setting.",
            max_length=32,
            pattern=REGION,
        ),
    ] = ""
    cluster: Annotated[
        str,
        replaces(
            "name or ARN of the ECS cluster, at most 350 characters; empty: the operator's "
            "setting.",
            max_length=350,
            pattern=CLUSTER,
        ),
    ] = ""
    task_definition: Annotated[
        str,
        replaces(
            "family, family:revision or ARN of a task definition that exists, at most 350 "
            "characters. Without a revision each launch takes the newest. Either this or template.",
            min_length=1,
            max_length=350,
            pattern=TASK_DEFINITION,
        ),
    ] = ""
    template: Annotated[
        Template | None,
        replaces("the container, described in place. Either this or taskDefinition."),
    ] = None
    container_name: Annotated[
        str,
        replaces(
            "the main container of taskDefinition, at most 255 letters, digits, hyphens and "
            "underscores: environment, command, health and exit code are this one's. Empty: the "
            "only essential one.",
            max_length=255,
            pattern=AWS_NAME,
        ),
    ] = ""
    placement: Annotated[
        tuple[Placement, ...],
        next_launch(
            "ladder of at most 10 rungs, tried in order when capacity is lacking. Empty: the "
            "cluster's default strategy (FARGATE, if the template asks for it).",
            max_length=10,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    network: Annotated[
        Network | None,
        replaces(
            "subnets and security groups, for network mode awsvpc. Empty: the operator's setting."
        ),
    ] = None
    environment: Annotated[
        tuple[EnvVar, ...],
        replaces(
            "environment variables of the main container, at most 100, over those of the task "
            "definition; anyone who may describe the task can read them. All overrides together "
            "must fit into 8192 characters of JSON.",
            max_length=100,
            json_schema_extra=list_map("name"),
        ),
        unique_by("name"),
    ] = ()
    command: Annotated[
        tuple[Annotated[str, Field(max_length=8192, pattern=NO_NUL)], ...],
        replaces(
            "arguments that replace those of the task definition, at most 100; anyone who may "
            "describe the task can read them.",
            max_length=100,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    dpi: Annotated[
        StrictInt | None,
        replaces(
            "dots per inch of the user's screen, 1 to 1000, passed as FRACTAL_DPI.", ge=1, le=1000
        ),
    ] = None
    webserver_url: Annotated[
        str,
        replaces(
            "host or URL that the container reports to, at most 2048 characters, without "
            "credentials; passed as WEBSERVER_URL.",
            max_length=2048,
            pattern=HOST_OR_URL,
        ),
    ] = ""
    tags: Annotated[
        Mapping[str, Annotated[str, Field(max_length=256, pattern=TAG_TEXT)]],
        next_launch(
            "AWS tags of the task, at most 40; keys of 1 to 128 and values of at most 256 letters, "
            "digits, spaces and _.:/=+@-; keys must not start with aws: or fractal.co/.",
            max_length=40,
        ),
        BeforeValidator(without_nulls),
    ] = Field(default_factory=dict)
    enable_execute_command: Annotated[
        StrictBool, next_launch("whether `aws ecs execute-command` may enter the task; default no.")
    ] = False
    operating_mode: Annotated[
        OperatingMode, in_place("Running (default), or Suspended: the task is stopped and kept so.")
    ] = OperatingMode.RUNNING
    restart_policy: Annotated[
        RestartPolicy,
        in_place(
            "Always (default): after any end; OnFailure: after a non-zero exit code of the main "
            "container, or when it never started; Never: only failed launches are tried again."
        ),
    ] = RestartPolicy.ALWAYS
    backoff_limit: Annotated[
        StrictInt,
        in_place(
            "restarts in a row before the object is Failed, 0 to 1000; ends for want of capacity "
            "or of infrastructure do not count, and 10 minutes of Running reset the count.",
            ge=0,
            le=1000,
        ),
    ] = 6
    update_strategy: Annotated[
        UpdateStrategy,
        in_place(
            "Recreate (default): the old task has stopped before the new one is launched; Surge: "
            "the old one runs until the new one is Ready, and stays if that fails."
        ),
    ] = UpdateStrategy.RECREATE
    timeouts: Annotated[Timeouts, in_place("how long things may take, in seconds.")] = Timeouts()
    deletion_policy: Annotated[
        DeletionPolicy,
        in_place(
            "Delete (default): the task stops with the object; Retain: it runs on, and is tagged "
            "fractal.co/retained."
        ),
    ] = DeletionPolicy.DELETE

    @property
    def needs_fargate(self) -> bool:
        """Whether the spec itself asks for Fargate: by requiresCompatibilities or by a rung."""
        return fargate(self)


class InvalidSpec(ValueError):
    """A spec that breaks the schema or a rule; ``errors`` say where and why, values left out."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


def parse_spec(obj: Any) -> Spec:
    """The spec from the JSON value under ``spec``.

    Raises InvalidSpec, whose messages look like ``spec.template.cpuUnits: Field required``.
    """
    try:
        return Spec.model_validate(obj, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidSpec(tuple(_readable(dict(e)) for e in error.errors())) from None


def _readable(error: Mapping[str, Any]) -> str:
    path = "spec"
    for step in error["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    match error["type"]:
        case "extra_forbidden":
            return f"{path}: unknown field"
        case "string_pattern_mismatch":
            return f"{path}: {WORDS[error['ctx']['pattern']]}"
        case _:
            return f"{path}: {error['msg'].removeprefix('Value error, ')}"
