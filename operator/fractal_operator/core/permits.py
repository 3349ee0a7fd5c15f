"""Whether an object may have what it names: held against the allow-list of the settings.

``place`` is asked before a region or cluster is looked at, ``asked`` of the spec before anything is
registered for it; the chart's ValidatingAdmissionPolicy says the same in CEL. ``sent`` looks at
what RunTask is about to be sent, because a task definition brings roles and images of its own, and
because what the status says of an attempt is a claim that users can edit.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fractal_models.container import Spec
from fractal_models.observed import TaskDefinition
from fractal_operator.core.allow import Rule, matches
from fractal_operator.core.plan import Policy
from fractal_operator.core.tokens import region_of

SHOWN = 200
"""How much of a refused value a message holds."""
HINT = "Name what is, or ask whoever runs the operator to add it to the allow-list."

Field = Literal[
    "regions", "clusters", "task_roles", "execution_roles", "subnets", "security_groups", "images"
]


@dataclass(frozen=True, slots=True)
class _Named:
    """A value, the list that it must stand on, and where it was found. "" is no value."""

    where: str
    field: Field
    value: str


def adoptable(policy: Policy, namespace: str, arn: str) -> bool:
    """Whether an object of ``namespace`` may adopt the task ``arn``: only if a rule says so."""
    return any(matches(rule.adoptable, arn) for rule in policy.allow.of(namespace))


def asked(policy: Policy, namespace: str, spec: Spec) -> str:
    """What the spec names that it may not, in words; "" if all is allowed."""
    return _refused(policy, namespace, _of_spec(spec))


def place(policy: Policy, namespace: str, region: str, cluster: str) -> bool:
    """Whether objects of ``namespace`` may name this region and this cluster (name or ARN)."""
    named = (_Named("", "regions", region), _Named("", "clusters", cluster))
    return not _refused(policy, namespace, named)


def sent(
    policy: Policy, namespace: str, request: Mapping[str, Any], definition: TaskDefinition
) -> str:
    """What a RunTask body and its task definition name that they may not, in words; else ""."""
    return _refused(policy, namespace, (*_of_request(request), *_of_definition(definition)))


def _of_spec(spec: Spec) -> Iterator[_Named]:
    yield _Named("spec.region", "regions", spec.region)
    yield _Named("spec.cluster", "clusters", spec.cluster)
    if spec.template is not None:
        yield _Named("spec.template.image", "images", spec.template.image)
        yield _Named("spec.template.taskRoleArn", "task_roles", spec.template.task_role_arn)
        role = spec.template.execution_role_arn
        yield _Named("spec.template.executionRoleArn", "execution_roles", role)
    if spec.network is not None:
        for subnet in spec.network.subnets:
            yield _Named("spec.network.subnets", "subnets", subnet)
        for group in spec.network.security_groups:
            yield _Named("spec.network.securityGroups", "security_groups", group)


def _of_request(request: Mapping[str, Any]) -> Iterator[_Named]:
    cluster = str(request["cluster"])
    yield _Named("The cluster's region", "regions", region_of(cluster))
    yield _Named("The cluster", "clusters", cluster)
    network = request.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    for subnet in network.get("subnets", ()):
        yield _Named("The subnet", "subnets", subnet)
    for group in network.get("securityGroups", ()):
        yield _Named("The security group", "security_groups", group)


def _of_definition(definition: TaskDefinition) -> Iterator[_Named]:
    owner = f"of task definition {definition.arn}"
    yield _Named(f"The task role {owner}", "task_roles", definition.task_role)
    yield _Named(f"The execution role {owner}", "execution_roles", definition.execution_role)
    for container in definition.containers:
        # ECS takes no container without an image: one that was not told must not pass for none.
        image = container.image or "(unknown)"
        yield _Named(f"The image of container {container.name} {owner}", "images", image)


def _refused(policy: Policy, namespace: str, named: Iterable[_Named]) -> str:
    if not policy.allow.rules:
        return ""
    rules = policy.allow.of(namespace)
    sentences = [
        _sentence(each, namespace)
        for each in named
        if each.value and not _listed(policy, rules, each.field, each.value)
    ]
    return " ".join((*sentences, HINT)) if sentences else ""


def _listed(policy: Policy, rules: tuple[Rule, ...], field: Field, value: str) -> bool:
    listed: tuple[str, ...] = tuple(each for rule in rules for each in getattr(rule, field))
    patterns = (*listed, *_own(policy, field))
    return _cluster_listed(patterns, value) if field == "clusters" else matches(patterns, value)


def _own(policy: Policy, field: Field) -> tuple[str, ...]:
    """What the operator itself fills in may be named by everybody; none of it holds wildcards."""
    match field:
        case "regions":
            return policy.region, region_of(policy.cluster)
        case "clusters":
            return (policy.cluster,)
        case "subnets":
            return policy.subnets
        case "security_groups":
            return policy.security_groups
        case _:
            return ()


def _cluster_listed(patterns: tuple[str, ...], cluster: str) -> bool:
    """A cluster is named by name or ARN, and so may a pattern be.

    A pattern without an account matches the name in any; of a name only the pattern's name is
    asked, since ``sent`` sees the ARN.
    """
    name = cluster.rpartition("/")[2]
    if name == cluster:
        return matches(tuple(each.rpartition("/")[2] for each in patterns), name)
    return matches(patterns, cluster) or matches(patterns, name)


def _sentence(named: _Named, namespace: str) -> str:
    shown = named.value if len(named.value) <= SHOWN else f"{named.value[:SHOWN]}…"
    return f"{named.where}: {shown} is not allowed in namespace {namespace}."
