"""What is sent to ECS, rendered from the spec: RegisterTaskDefinition and RunTask bodies.

Pure and repeatable: the same spec, settings and attempt give the same body, because a replay under
the same client token must not differ (ECS answers ConflictException if it does).
"""

from collections.abc import Mapping
from typing import Any

from fractal_models.container import TEMPLATE_CONTAINER, Network, Placement, Spec, Template
from fractal_models.observed import TaskDefinition
from fractal_models.spec_rules import fargate
from fractal_operator.core import tokens
from fractal_operator.core.plan import Policy

MAX_OVERRIDES = 8192
"""ECS's limit on the characters of RunTask's ``overrides``, JSON included (API reference)."""


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value; AWS refuses explicit nulls and some empty lists."""
    return {key: value for key, value in fields.items() if value not in (None, "", (), [], {})}


def registration(spec: Spec, template: Template, region: str) -> dict[str, Any]:
    """The RegisterTaskDefinition body of an inline template.

    Content-addressed: ``family`` is ``fc-`` and a hash of all the rest, so that ten thousand
    objects of one template share one task definition. Per-object values go into overrides.
    """
    body = _given(
        containerDefinitions=[_container(spec, template, region)],
        cpu=str(template.cpu_units) if template.cpu_units else None,
        memory=str(template.memory_mib) if template.memory_mib else None,
        networkMode=template.network_mode or ("awsvpc" if fargate(spec) else None),
        requiresCompatibilities=[*template.requires_compatibilities]
        or (["FARGATE"] if fargate(spec) else []),
        executionRoleArn=template.execution_role_arn,
        taskRoleArn=template.task_role_arn,
        runtimePlatform=_given(
            cpuArchitecture=template.runtime_platform.cpu_architecture,
            operatingSystemFamily=template.runtime_platform.operating_system_family,
        )
        if template.runtime_platform
        else None,
        ephemeralStorage={"sizeInGiB": template.ephemeral_storage_gib}
        if template.ephemeral_storage_gib
        else None,
    )
    return {"family": "fc-" + tokens.digest(tokens.canonical(body), 26), **body}


def _container(spec: Spec, template: Template, region: str) -> dict[str, Any]:
    check, logs = template.health_check, template.logs
    return _given(
        name=spec.container_name or TEMPLATE_CONTAINER,
        image=template.image,
        essential=True,
        portMappings=[
            _given(containerPort=port.container_port, protocol=str(port.protocol))
            for port in template.ports
        ],
        environment=[{"name": each.name, "value": each.value} for each in template.environment],
        secrets=[{"name": each.name, "valueFrom": each.value_from} for each in template.secrets],
        command=list(template.command),
        healthCheck=_given(
            command=list(check.command),
            interval=check.interval_seconds,
            timeout=check.timeout_seconds,
            retries=check.retries,
            startPeriod=check.start_period_seconds,
        )
        if check
        else None,
        stopTimeout=template.stop_timeout_seconds,
        logConfiguration={
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": logs.group,
                "awslogs-region": logs.region or region,
                "awslogs-stream-prefix": logs.stream_prefix or "fractal",
            },
        }
        if logs
        else None,
    )


def main_container(spec: Spec, definition: TaskDefinition) -> str | None:
    """The container that overrides, exit code and health refer to; None: it cannot be told."""
    names = [each.name for each in definition.containers]
    if spec.container_name:
        return spec.container_name if spec.container_name in names else None
    essential = [each.name for each in definition.containers if each.essential]
    return essential[0] if len(essential) == 1 else None


def network(spec: Spec, policy: Policy) -> dict[str, Any] | None:
    """RunTask's networkConfiguration, from the spec or else settings; None: no subnets."""
    chosen = spec.network or Network()
    subnets = chosen.subnets or policy.subnets
    if not subnets:
        return None
    return {
        "awsvpcConfiguration": _given(
            subnets=sorted(subnets),
            securityGroups=sorted(chosen.security_groups or policy.security_groups),
            assignPublicIp=str(chosen.assign_public_ip or policy.assign_public_ip).upper(),
        )
    }


def overrides(spec: Spec, container: str, spec_hash: str) -> dict[str, Any]:
    """RunTask's overrides of the main container: per-object environment and command."""
    environment = {each.name: each.value for each in spec.environment}
    environment["FRACTAL_SPEC_HASH"] = spec_hash
    if spec.dpi is not None:
        environment["FRACTAL_DPI"] = str(spec.dpi)
    if spec.webserver_url:
        environment["WEBSERVER_URL"] = spec.webserver_url
    pairs = [{"name": name, "value": environment[name]} for name in sorted(environment)]
    return {
        "containerOverrides": [
            _given(name=container, environment=pairs, command=list(spec.command))
        ]
    }


def placement(spec: Spec, rung: int) -> dict[str, Any]:
    """RunTask's launchType or capacityProviderStrategy for a rung; {}: the cluster's default."""
    if spec.placement:
        return _rung(spec.placement[min(rung, len(spec.placement) - 1)])
    compatibilities = spec.template.requires_compatibilities if spec.template else ()
    if [str(each) for each in compatibilities] == ["FARGATE"]:
        # A cluster without a default strategy would fall back to EC2 and refuse the task.
        return {"launchType": "FARGATE"}
    return {}


def _rung(rung: Placement) -> dict[str, Any]:
    if rung.capacity_provider:
        strategy = {"capacityProvider": rung.capacity_provider, "weight": 1}
        return {"capacityProviderStrategy": [strategy]}
    return {"launchType": str(rung.launch_type)}


def run_task(
    *,
    spec: Spec,
    policy: Policy,
    namespace: str,
    name: str,
    uid: str,
    attempt: int,
    rung: int,
    cluster_arn: str,
    definition: TaskDefinition,
    container: str,
    spec_hash: str,
) -> dict[str, Any]:
    """The whole RunTask body of an attempt: one task, one token, found by startedBy and tags."""
    ours = tokens.owner_tags(policy.install, namespace, name, uid)
    tags: Mapping[str, str] = {**dict(spec.tags), **ours}
    return {
        "cluster": cluster_arn,
        "taskDefinition": definition.arn,
        "count": 1,
        "clientToken": tokens.client_token(cluster_arn, uid, attempt),
        "startedBy": tokens.started_by(policy.install, uid, attempt),
        "overrides": overrides(spec, container, spec_hash),
        "tags": [{"key": key, "value": tags[key]} for key in sorted(tags)],
        "enableExecuteCommand": spec.enable_execute_command,
        **placement(spec, rung),
        **_network_of(spec, policy, definition),
    }


def _network_of(spec: Spec, policy: Policy, definition: TaskDefinition) -> dict[str, Any]:
    if definition.network_mode == "awsvpc":
        configuration = network(spec, policy)
    else:
        # Not allowed here; sent only if asked for, so that ECS's refusal reaches the user.
        asked = spec.network is not None and spec.network != Network()
        configuration = network(spec, policy) if asked else None
    return {"networkConfiguration": configuration} if configuration else {}
