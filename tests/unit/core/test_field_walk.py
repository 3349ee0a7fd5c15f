"""Every field of the spec does something: it reaches ECS, or changes what the operator does.

The fields are read from the model, so that a new one without an entry here fails.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import botocore.session
import pytest
from annotated_types import Ge, Le
from botocore.validate import ParamValidator
from tests.unit.core.spec_fields import SENT, Spec, definition, found, leaves, template
from tests.unit.core.world import (
    ACCOUNT,
    NOW,
    REGION,
    ago,
    attempt,
    entry,
    observation,
    running,
    settled,
    task,
)
from tests.unit.shell.process import KEY, Process, World

from fractal_models.container import Spec as SpecModel
from fractal_models.container import Status, Termination
from fractal_models.observed import DefinitionContainer, TaskDefinition
from fractal_operator.core import rows
from fractal_operator.core.plan import DefinitionView, Ensure, Resolve, RunTask
from fractal_operator.shell.objects import Known

FIELDS = dict(leaves(SpecModel))


# --- what goes to ECS ---


def requests(spec: Spec) -> dict[str, Any]:
    """What ECS is asked for an object of that spec: ``resolve`` or ``register``, and ``run``."""
    seen = observation(spec, definition=None)
    (ask,) = settled(seen)[1].actions
    asked: dict[str, Any] = {}
    match ask:
        case Resolve(reference=reference):
            asked["resolve"], family, mode = reference, "web", "awsvpc"
            containers = [DefinitionContainer("app"), DefinitionContainer("side", essential=False)]
        case Ensure(registration=registration):
            asked["register"] = dict(registration)
            family = reference = registration["family"]
            mode = registration.get("networkMode", "bridge")
            containers = [DefinitionContainer("main")]
        case _:
            raise AssertionError(f"no task definition is asked for: {ask}")
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:1"
    view = DefinitionView(reference, NOW, TaskDefinition(arn, "ACTIVE", mode, (*containers,)))
    (call,) = settled(replace(seen, definition=view))[1].actions
    assert isinstance(call, RunTask)
    asked["run"] = dict(call.request)
    return asked


@pytest.mark.parametrize("path", sorted(SENT))
def test_a_field_comes_out_at_ecs(path: str) -> None:
    sent = SENT[path]
    shown = sent.shown(sent.value)
    assert shown in found(requests(sent.make(sent.value)), sent.path)
    for other in (definition(), template()):
        assert shown not in found(requests(other), sent.path), "it is there without the field"


def bounds(path: str) -> list[Any]:
    """The least and the greatest value of a number."""
    return [
        each.ge if isinstance(each, Ge) else each.le
        for each in FIELDS[path].metadata
        if isinstance(each, Ge | Le)
    ]


NUMBERS = sorted(path for path in SENT if bounds(path))


@pytest.mark.parametrize("path", NUMBERS)
def test_the_least_and_the_greatest_number_come_out_too(path: str) -> None:
    sent = SENT[path]
    least, greatest = bounds(path)
    for value in (least, greatest):
        asked = requests(sent.make(value))
        assert sent.shown(value) in found(asked, sent.path)
        assert faults_of(asked) == []


# --- the requests are what AWS's own model of ECS takes ---


@cache
def shapes() -> Any:
    return botocore.session.get_session().get_service_model("ecs")


def faults_of(asked: dict[str, Any]) -> list[str]:
    """What botocore's model of ECS has against the requests."""
    faults: list[str] = []
    for name, operation in (("register", "RegisterTaskDefinition"), ("run", "RunTask")):
        if name in asked:
            shape = shapes().operation_model(operation).input_shape
            report = ParamValidator().validate(asked[name], shape)
            faults += [report.generate_report()] if report.has_errors() else []
            faults += unlisted(asked[name], shape, operation)
    return faults


def unlisted(value: Any, shape: Any, path: str) -> list[str]:
    """Values that an enumeration of the model does not have; botocore lets them through."""
    match shape.type_name:
        case "structure":
            return [
                fault
                for key, each in value.items()
                if key in shape.members
                for fault in unlisted(each, shape.members[key], f"{path}.{key}")
            ]
        case "list":
            return [fault for each in value for fault in unlisted(each, shape.member, f"{path}[]")]
        case "string" if shape.enum and value not in shape.enum:
            return [f"{path}: {value!r} is none of {shape.enum}"]
        case _:
            return []


def test_the_checks_of_requests_can_fail() -> None:
    assert "Unknown parameter" in faults_of({"run": {"taskDefinition": "x", "nonsense": 1}})[0]
    assert "Missing required" in faults_of({"register": {"family": "x"}})[0]
    (fault,) = faults_of({"run": {"taskDefinition": "x", "launchType": "MOON"}})
    assert fault.startswith("RunTask.launchType: 'MOON' is none of")


@pytest.mark.parametrize("path", sorted(SENT))
def test_a_request_with_the_field_is_one_that_aws_knows(path: str) -> None:
    sent = SENT[path]
    assert faults_of(requests(sent.make(sent.value))) == []


MOST_OF_A_DEFINITION = definition(
    network={
        "subnets": [f"subnet-{number}" for number in range(16)],
        "securityGroups": [f"sg-{number}" for number in range(5)],
    },
    environment=[{"name": f"E{number}"} for number in range(100)],
    command=["x"] * 100,
    tags={f"t{number}": "ü" * 256 for number in range(40)},
)
MOST_OF_A_TEMPLATE = template(
    image="i" * 330,
    ports=[{"name": f"p{number}", "containerPort": number} for number in range(1, 21)],
    environment=[{"name": f"E{number}", "value": ""} for number in range(100)],
    secrets=[{"name": f"S{number}", "valueFrom": "v" * 2048} for number in range(100)],
    command=["x"] * 100,
    healthCheck={"command": ["CMD"] + ["x" * 4096] * 49},
    requiresCompatibilities=["EC2", "EXTERNAL", "MANAGED_INSTANCES"],
    logs={"group": "g" * 512, "streamPrefix": "s" * 256},
)


@pytest.mark.parametrize(
    "spec", [MOST_OF_A_DEFINITION, MOST_OF_A_TEMPLATE], ids=["run", "register"]
)
def test_as_much_as_the_schema_allows_is_sent_whole_and_known_to_aws(spec: Spec) -> None:
    asked = requests(spec)
    assert faults_of(asked) == []
    (override,) = asked["run"]["overrides"]["containerOverrides"]
    if "template" in spec:
        (container,) = asked["register"]["containerDefinitions"]
        lists = ("portMappings", "environment", "secrets", "command")
        assert [len(container[name]) for name in lists] == [20, 100, 100, 100]
        assert len(container["healthCheck"]["command"]) == 50
        assert {"name": "E7", "value": ""} in container["environment"]
    else:
        vpc = asked["run"]["networkConfiguration"]["awsvpcConfiguration"]
        assert (len(vpc["subnets"]), len(vpc["securityGroups"])) == (16, 5)
        assert len(override["environment"]) == 101  # and FRACTAL_SPEC_HASH
        assert len(override["command"]) == 100
        assert 40 < len(asked["run"]["tags"]) <= 50


def everything() -> list[Spec]:
    """Two specs that hold all fields that can stand together, with their distinctive values."""
    specs: list[Spec] = [template(), definition()]
    for sent in SENT.values():
        made = sent.make(sent.value)
        small = specs["template" not in made]
        _merge(small, _less(made, definition() | template()))
    specs[1]["placement"] = [{"launchType": "FARGATE"}]  # EXTERNAL has no network
    return specs


def _less(spec: Spec, base: Spec) -> Spec:
    """What a spec has that the smallest has not."""
    return {
        key: _less(each, base[key]) if isinstance(each, dict) and key in base else each
        for key, each in spec.items()
        if base.get(key) != each
    }


def _merge(into: Spec, part: Spec) -> None:
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and key in into:
            for old, new in zip(into[key], value, strict=True):
                _merge(old, new)
        else:
            into[key] = value


REWRITTEN = {
    "placement[].launchType",
    "placement[].capacityProvider",
    "environment[].name",
    "template.environment[].name",
    "template.secrets[].name",
}
"""What another field's entry sets too: here the last one counts."""


@pytest.mark.parametrize("spec", everything(), ids=["template", "definition"])
def test_fields_do_not_stand_in_each_others_way(spec: Spec) -> None:
    asked = requests(spec)
    assert faults_of(asked) == []
    for path, sent in SENT.items():
        if ("template" in spec) is path.startswith("template.") and path not in REWRITTEN:
            assert sent.shown(sent.value) in found(asked, sent.path), path


# --- what acts inside the operator ---


def last_act(spec: Spec, **changes: Any) -> str:
    """What is done to the running task of an object: the last action's name, "" for none."""
    plan = settled(running(spec, **changes))[1]
    return type(plan.actions[-1]).__name__ if plan.actions else ""


def phase_after_an_end(spec: Spec, exit_code: int = 1, failures: int = 1) -> str:
    end = Termination(
        attempt=1,
        stop_code="EssentialContainerExited",
        exit_code=exit_code,
        finished_at=ago(100),
    )
    status = Status(attempt=attempt(failures=failures), last_terminations=(end,))
    seen = observation(spec, status=status, definition=None)
    final = settled(seen)
    return "Deleted" if "DeleteObject" in str(final[1]) else str(final[0].status.phase)


def retired_for(spec: Spec, last_status: str, since: float) -> str:
    """The reason for which a task that has been in a state for a while is stopped, "" if not."""
    status = Status(
        attempt=attempt(first_issued_at=ago(since)),
        tasks=(entry(last_status=last_status, since=ago(since)),),
    )
    seen = observation(spec, status=status, tasks=(task(last_status=last_status),))
    after = settled(seen)[0].status.tasks
    return after[0].reason if after else "gone"


def role_after_an_edit(spec: Spec) -> str:
    """What becomes of the running task when the spec that it was made from is edited."""
    seen = running(spec, tasks=(task(spec_hash="v1:before"),))
    return str(settled(seen)[0].status.tasks[0].role)


def where(spec: Spec) -> tuple[str, str]:
    world = World()
    body = world.kube.create(KEY, spec)
    return Process(world).reconciler.clusters(Known.of(body))[0]


def port_names(spec: Spec) -> list[str]:
    endpoint = running(spec).status.endpoint
    return [port.name for port in endpoint.ports] if endpoint else []


def user_in_postgres(spec: Spec) -> str:
    body = {"metadata": {"uid": "u", "namespace": "n", "name": "o"}, "spec": spec}
    return rows.app_state(body, Status(), "ins", NOW, gone=False).user_id or ""


@dataclass(frozen=True)
class Acts:
    """A field that ECS never sees: ``look`` shows ``effect`` with it, and not without it."""

    reason: str
    spec: Spec
    look: Callable[[Spec], Any]
    effect: Any


ACTS = {
    "user": Acts(
        "whom the container is for is known to Postgres, not to ECS",
        definition(user="walked@example.org"),
        user_in_postgres,
        "walked@example.org",
    ),
    "region": Acts(
        "which of the operator's clients is used",
        definition(region="eu-north-1"),
        where,
        ("eu-north-1", "main"),
    ),
    "cluster": Acts(
        "which cluster is watched; its ARN, once known, is the request's",
        definition(cluster="walked"),
        where,
        (REGION, "walked"),
    ),
    "template.ports[].name": Acts(
        "what status.endpoint calls the port",
        template(ports=[{"name": "walked", "containerPort": 80}]),
        port_names,
        ["walked"],
    ),
    "placement[].waitSeconds": Acts(
        "how long the operator waits on a rung",
        definition(placement=[{"launchType": "FARGATE", "waitSeconds": 60}]),
        lambda spec: retired_for(spec, "PROVISIONING", 90),
        "RungTimeout",
    ),
    "timeouts.provisioningSeconds": Acts(
        "how long the operator waits for capacity",
        definition(timeouts={"provisioningSeconds": 60}),
        lambda spec: retired_for(spec, "PROVISIONING", 90),
        "ProvisioningTimeout",
    ),
    "timeouts.startSeconds": Acts(
        "how long the operator waits for RUNNING",
        definition(timeouts={"startSeconds": 60}),
        lambda spec: retired_for(spec, "PENDING", 90),
        "StartTimeout",
    ),
    "timeouts.lifetimeSeconds": Acts(
        "when the operator ends the task",
        definition(timeouts={"lifetimeSeconds": 30}),
        lambda spec: retired_for(spec, "RUNNING", 60),
        "Expired",
    ),
    "timeouts.ttlSecondsAfterFinished": Acts(
        "when the operator deletes the object",
        definition(restartPolicy="Never", timeouts={"ttlSecondsAfterFinished": 60}),
        phase_after_an_end,
        "Deleted",
    ),
    "operatingMode": Acts(
        "whether there is a task", definition(operatingMode="Suspended"), last_act, "StopTask"
    ),
    "restartPolicy": Acts(
        "whether another task follows",
        definition(restartPolicy="Never"),
        phase_after_an_end,
        "Failed",
    ),
    "backoffLimit": Acts(
        "how many tasks follow", definition(backoffLimit=0), phase_after_an_end, "Failed"
    ),
    "updateStrategy": Acts(
        "whether the old task stops before the new one is launched",
        definition(updateStrategy="Surge"),
        role_after_an_edit,
        "Current",
    ),
    "deletionPolicy": Acts(
        "what a deletion does to the task",
        definition(deletionPolicy="Retain"),
        lambda spec: last_act(spec, deleting_since=NOW),
        "TagTask",
    ),
}


@pytest.mark.parametrize("path", sorted(ACTS))
def test_a_field_that_ecs_never_sees_changes_what_the_operator_does(path: str) -> None:
    acts = ACTS[path]
    without = template() if "template" in acts.spec else definition()
    assert acts.look(acts.spec) == acts.effect
    assert acts.look(without) != acts.effect
    if path not in ("region", "cluster"):  # these choose where, not what
        assert requests(acts.spec | {"operatingMode": "Running"})["run"].keys() >= {"tags"}


def test_every_field_of_the_spec_is_walked() -> None:
    known = {*SENT, *ACTS}
    assert set(FIELDS) - known == set(), "a field without an entry: where does it come out?"
    assert known - set(FIELDS) == set(), "an entry without a field"
    assert len(known) == len(SENT) + len(ACTS)
