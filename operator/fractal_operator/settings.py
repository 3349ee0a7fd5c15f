"""The operator's settings: environment variables FRACTAL_*, read once; each fault is one line.

AWS credentials and endpoints are boto3's own business (AWS_PROFILE, AWS_ENDPOINT_URL, …), those of
Kubernetes kubectl's (KUBECONFIG) or the pod's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fractal_operator.core.allow import Rule
from fractal_operator.settings_allow import WORDS, read_rules
from fractal_operator.settings_database import DatabaseSettings
from fractal_operator.settings_events import EventSettings
from fractal_operator.settings_faults import fault, split_list, unknown, what_is_allowed
from fractal_operator.settings_quotas import QuotaSettings
from fractal_operator.settings_watch import DNS_LABEL, WatchSettings

PREFIX = "FRACTAL_"
_REGION_FALLBACKS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# What a Service named fractal-… puts into the environment of the pods beside it ("service links").
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$"
)
_CLUSTER = (
    r"^([a-zA-Z0-9_-]{1,255}|arn:[a-z-]+:ecs:[a-z0-9-]+:\d{12}:cluster/[a-zA-Z0-9_-]{1,255})$"
)


def _split(value: Any) -> Any:
    return split_list(value) if isinstance(value, str) else value


def _allowed(text: str) -> dict[str, Any]:
    return {"allowed": text}


Cluster = Annotated[str, Field(pattern=_CLUSTER)]
_Listed = (NoDecode, BeforeValidator(_split))


class Settings(WatchSettings, DatabaseSettings, EventSettings, QuotaSettings):
    """Everything that can be set. Make it with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    cluster: Cluster | None = Field(
        None,
        description="ECS cluster of the objects whose `spec.cluster` is empty.",
        json_schema_extra=_allowed("a cluster name or ARN"),
    )
    region: str | None = Field(
        None,
        description="AWS region of the objects whose `spec.region` is empty. "
        "Unset: `AWS_REGION`, then `AWS_DEFAULT_REGION`.",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        json_schema_extra=_allowed("a region such as eu-central-1"),
    )
    subnets: Annotated[
        tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")], ...], *_Listed
    ] = Field(
        (),
        description="Subnets of the objects whose `spec.network` names none.",
        max_length=16,
        json_schema_extra=_allowed(
            "up to 16 subnet ids (subnet-0123456789abcdef0), comma-separated"
        ),
    )
    security_groups: Annotated[
        tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")], ...], *_Listed
    ] = Field(
        (),
        description="Security groups of the objects whose `spec.network` names none. "
        "Empty: the VPC's default group.",
        max_length=5,
        json_schema_extra=_allowed(
            "up to 5 security group ids (sg-0123456789abcdef0), comma-separated"
        ),
    )
    assign_public_ip: Literal["Enabled", "Disabled"] | None = Field(
        None,
        description="Whether tasks get a public IP address when `spec.network` does not say. "
        "Unset: ECS decides.",
    )
    allow: Annotated[tuple[Rule, ...], NoDecode, PlainValidator(read_rules)] = Field(
        (),
        description="Allow-list: the regions, clusters, roles, subnets, security groups and images "
        "that the objects of a namespace may name, and the tasks that they may adopt. Empty: "
        "everything but adoption. With one rule: only what a rule allows, and what the settings "
        "above fill in.",
        json_schema_extra=_allowed(WORDS),
    )
    install_id: str | None = Field(
        None,
        description="Name of this installation in the `startedBy` of its tasks. Two operators in "
        "one AWS account need different ones; setting an old one adopts its tasks. Unset: derived "
        "from the Kubernetes cluster, release namespace and release name.",
        pattern=r"^[a-z0-9-]{1,20}$",
        json_schema_extra=_allowed("1 to 20 of a-z, 0-9 and -"),
    )
    release_name: str = Field(
        "fractal-operator",
        description="Name of the Helm release; part of the derived installation name.",
        pattern=DNS_LABEL,
        json_schema_extra=_allowed("a release name"),
    )
    release_namespace: str = Field(
        "default",
        description="Namespace of the Helm release; part of the derived installation name.",
        pattern=DNS_LABEL,
        json_schema_extra=_allowed("a namespace name"),
    )
    leader_election: bool = Field(
        True,
        description="Whether one of several processes is elected, by a Lease of the release's "
        "namespace, to act while the others stand by. `false`: there must be one process only.",
        json_schema_extra=_allowed("true or false"),
    )
    lease_seconds: int = Field(
        15,
        description="Seconds after which another process takes over from one that has gone silent.",
        ge=2,
        le=300,
    )
    lease_renew_seconds: float = Field(
        10.0,
        description="Seconds without a renewal of the Lease after which the leader stops acting, "
        "and ends; less than `FRACTAL_LEASE_SECONDS`, by more than a clock may drift.",
        ge=1,
        le=200,
    )
    lease_retry_seconds: float = Field(
        2.0,
        description="Seconds between two tries to renew or to get the Lease.",
        ge=0.1,
        le=60,
    )
    sweep_seconds: float = Field(
        60.0,
        description="Seconds between two sweeps over all tasks while nothing changes; longer where "
        "that would take more than its share of the quota: 4 s for 1,000 tasks by default.",
        ge=5,
        le=240,
    )
    fast_sweep_seconds: float = Field(
        4.0,
        description="Seconds between two sweeps while a task starts or stops.",
        ge=1,
        le=60,
    )
    workers: int = Field(
        16, description="Objects that are reconciled at the same time.", ge=1, le=256
    )
    aws_threads: int = Field(
        32,
        description="AWS calls that run at the same time; at most a quarter of them in one region.",
        ge=1,
        le=256,
    )
    quota_share: float = Field(
        0.5,
        description="Share of the documented AWS API request quotas that this operator uses; the "
        "account's other users draw from the same quotas.",
        gt=0,
        le=1,
    )
    confirm_mass_loss: Annotated[tuple[Cluster, ...], *_Listed] = Field(
        (),
        description="ECS clusters where launches go on although more than max(10, 10 %) of the "
        "tasks vanished at once. Set it for the clusters named by the alert, remove it afterwards.",
        json_schema_extra=_allowed("cluster names or ARNs, comma-separated"),
    )
    reaper: Literal["stop", "report"] = Field(
        "stop",
        description="What becomes of running tasks of this installation whose object is gone "
        "(deleted by force): `stop` stops them after 10 minutes, `report` only shows them in "
        "`fractal_orphans`, for the time in which objects move to another Kubernetes cluster.",
    )
    metrics_host: str = Field(
        "0.0.0.0",  # noqa: S104  # Prometheus and the kubelet come from outside the pod
        description="Address that serves `/metrics`, `/healthz` and `/readyz`; `::` for IPv6.",
        pattern=r"^[0-9A-Za-z.:-]+$",
        json_schema_extra=_allowed("an IP address or host name"),
    )
    metrics_port: int = Field(
        8080, description="TCP port of the same; 0 takes any free one.", ge=0, le=65535
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Format of the log. `auto`: text on a terminal, JSON elsewhere."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fast_sweep_seconds > self.sweep_seconds:
            raise ValueError("FRACTAL_FAST_SWEEP_SECONDS must not be above FRACTAL_SWEEP_SECONDS")
        if self.audit_seconds < self.sweep_seconds:
            raise ValueError("FRACTAL_AUDIT_SECONDS must not be below FRACTAL_SWEEP_SECONDS")
        if self.lease_renew_seconds > 0.9 * self.lease_seconds:
            raise ValueError(
                "FRACTAL_LEASE_RENEW_SECONDS must be at most 0.9 FRACTAL_LEASE_SECONDS"
            )
        if self.lease_retry_seconds > 0.5 * self.lease_renew_seconds:
            raise ValueError(
                "FRACTAL_LEASE_RETRY_SECONDS must be at most half of FRACTAL_LEASE_RENEW_SECONDS"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # load_settings reads the environment that it is given, so nothing else may leak in.
        return (init_settings,)


class BadSettings(Exception):
    """The environment cannot be used; ``lines`` says why, one fault each, without secret values."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Row(NamedTuple):
    """One line of docs/settings.md."""

    variable: str
    default: str
    allowed: str
    description: str


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``; raises ``BadSettings`` with every fault that it has.

    An empty value counts as unset. An unknown FRACTAL_* variable is a fault, so that a typing error
    does not silently mean the default.
    """
    names = {_variable(field): field for field in Settings.model_fields}
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    lines = [unknown(name, names) for name in sorted(given) if _is_unknown(name, names)]
    values = {field: given[name] for name, field in names.items() if name in given}
    variables = {field: name for name, field in names.items()}
    for fallback in _REGION_FALLBACKS:
        if "region" not in values and fallback in given:
            values["region"] = given[fallback]
            variables["region"] = fallback
    source = EnvSettingsSource(Settings)
    source.env_vars = {PREFIX.lower() + field: value for field, value in values.items()}
    settings = None
    try:
        settings = Settings(**source())
    except ValidationError as error:
        fields = Settings.model_fields
        lines += [fault(details, values, variables, fields) for details in error.errors()]
    if settings is None or lines:
        # Not chained: the original holds the values.
        raise BadSettings(tuple(lines)) from None
    return settings


def describe() -> Iterator[Row]:
    """Yield a row for each setting, in the order of the class."""
    for name, field in Settings.model_fields.items():
        default = field.default
        if default in (None, ()):
            text = ""
        else:
            text = f"{default:g}" if isinstance(default, float) else str(default)
        yield Row(_variable(name), text, what_is_allowed(field), field.description or "")


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _is_unknown(name: str, names: Mapping[str, str]) -> bool:
    return name.startswith(PREFIX) and name not in names and not _SERVICE_LINK.search(name)
