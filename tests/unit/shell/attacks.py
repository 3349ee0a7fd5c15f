"""What somebody can try who may write FractalContainers of one namespace, status and all.

The world is one AWS account that others use, too: Bob, another installation, a deploy tool. Eve's
rule allows little. ``Guarded`` is the ECS of that world, and judges every call by lists of its own:
it shares no code with the product's permits.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.manifests import ROOT, SPEC, valid
from tests.unit.shell.ecs_world import ACCOUNT, ARN, MAIN, REGION, EcsWorld, task_arn
from tests.unit.shell.process import Process, World
from tests.unit.shell.wire import run

from fractal_models.container import InvalidSpec, parse_spec
from fractal_models.kube import ObjectKey
from fractal_models.observed import (
    ClusterArn,
    ClusterInfo,
    DefinitionContainer,
    ObservedTask,
    RunTaskResult,
    TaskArn,
    TaskDefinition,
)
from fractal_operator.core import request, tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.plan import FINALIZER, Policy

Json = dict[str, Any]
Step = tuple[Any, ...]

APPS = ClusterArn(f"{ARN}:cluster/apps")
EVIL = ClusterArn(f"{ARN}:cluster/evil")
FAR = ClusterArn(f"{ARN}:cluster/far".replace(REGION, "eu-west-1"))
ROLES = f"arn:aws:iam::{ACCOUNT}:role/"
APP_ROLE, PULL_ROLE, ADMIN = f"{ROLES}app-web", f"{ROLES}pull", f"{ROLES}admin"
GOOD_IMAGE, EVIL_IMAGE = "registry.example.com/app:1", "evil.org/app:1"
EVES = (ObjectKey("eve", "one"), ObjectKey("eve", "two"))
BOB = ObjectKey("bob", "his")
SECRET_IP = "10.66.6."
"""What the addresses of the others' tasks begin with."""

NARROW = Rule(
    namespaces=("eve",),
    clusters=("apps", "far"),  # the latter is in another region
    task_roles=(f"{ROLES}app-*",),
    execution_roles=(PULL_ROLE,),
    subnets=("subnet-a*",),
    security_groups=("sg-1",),
    images=("registry.example.com/*",),
    adoptable=(task_arn("*", APPS),),
)
NARROWER = replace(NARROW, clusters=(), task_roles=(), subnets=(), adoptable=())
HIS = Rule(
    namespaces=("bob",),
    clusters=("*",),
    regions=("*",),
    task_roles=("*",),
    execution_roles=("*",),
    subnets=("*",),
    security_groups=("*",),
    images=("*",),
    adoptable=("*",),
)


@dataclass(frozen=True)
class Listed:
    """What Eve may have under a rule, all of it spelled out."""

    clusters: frozenset[str] = frozenset({MAIN, APPS})
    task_roles: frozenset[str] = frozenset({"", APP_ROLE})
    execution_roles: frozenset[str] = frozenset({"", PULL_ROLE})
    subnets: frozenset[str] = frozenset({"subnet-own", "subnet-a1"})
    groups: frozenset[str] = frozenset({"sg-own", "sg-1"})
    images: frozenset[str] = frozenset({GOOD_IMAGE})


LISTS: tuple[tuple[Rule, Listed], ...] = (
    (NARROW, Listed()),
    (
        NARROWER,
        Listed(
            clusters=frozenset({MAIN}),
            task_roles=frozenset({""}),
            subnets=frozenset({"subnet-own"}),
        ),
    ),
)


def policy(number: int) -> Policy:
    """The settings of an operator that is started under the rule ``number`` of LISTS."""
    return Policy(
        install="ins",
        region=REGION,
        cluster="main",
        subnets=("subnet-own",),
        security_groups=("sg-own",),
        allow=Allow((LISTS[number][0], HIS)),
    )


def _definition(
    name: str, *images: str, task_role: str = "", execution_role: str = "", region: str = REGION
) -> TaskDefinition:
    containers = tuple(
        DefinitionContainer("app" if not number else f"side-{number}", number == 0, image=image)
        for number, image in enumerate(images)
    )
    return TaskDefinition(
        f"{ARN}:task-definition/{name}".replace(REGION, region),
        "ACTIVE",
        "awsvpc",
        containers,
        task_role=task_role,
        execution_role=execution_role,
    )


DEFINITIONS = (
    _definition("web:1", GOOD_IMAGE, task_role=APP_ROLE, execution_role=PULL_ROLE),
    _definition("plain:1", GOOD_IMAGE),
    _definition("admin:1", GOOD_IMAGE, task_role=ADMIN),
    _definition("puller:1", GOOD_IMAGE, execution_role=ADMIN),
    _definition("sidecar:1", GOOD_IMAGE, EVIL_IMAGE),
    _definition("mixed:1", GOOD_IMAGE),
    _definition("mixed:2", EVIL_IMAGE),
    _definition("bare:1", GOOD_IMAGE, task_role="admin"),
    _definition("remote:1", GOOD_IMAGE, region="eu-west-1"),
)


@dataclass
class Guarded(EcsWorld):
    """ECS, which notes what must not be: ``broken``. ``victims`` are others' tasks."""

    listed: Listed = field(default_factory=Listed)
    victims: set[TaskArn] = field(default_factory=set)
    bobs: str = ""
    broken: list[str] = field(default_factory=list)
    sent: int = 0

    def _demand(self, what: str, value: str, allowed: frozenset[str]) -> None:
        if value not in allowed:
            self.broken.append(f"{what} {value}")

    def run_task(self, request: Mapping[str, Any]) -> RunTaskResult:
        if f"/{self.bobs}/" not in request["startedBy"]:
            self.sent += 1
            self._judge(request)
        return super().run_task(request)

    def _judge(self, request: Mapping[str, Any]) -> None:
        listed, definition = self.listed, self.definitions[request["taskDefinition"]]
        self._demand("cluster", request["cluster"], listed.clusters)
        self._demand("task role", definition.task_role, listed.task_roles)
        self._demand("execution role", definition.execution_role, listed.execution_roles)
        for container in definition.containers:
            self._demand("image", container.image, listed.images)
        network = request.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        for subnet in network.get("subnets", ()):
            self._demand("subnet", subnet, listed.subnets)
        for group in network.get("securityGroups", ()):
            self._demand("security group", group, listed.groups)
        if request["overrides"].keys() != {"containerOverrides"}:
            self.broken.append(f"overrides {request['overrides']}")
        for override in request["overrides"]["containerOverrides"]:
            if not override.keys() <= {"name", "environment", "command"}:
                self.broken.append(f"override {override}")

    def ensure_definition(self, registration: Mapping[str, Any]) -> TaskDefinition:
        roles = {
            "task_role": registration.get("taskRoleArn", ""),
            "execution_role": registration.get("executionRoleArn", ""),
        }
        (container,) = registration["containerDefinitions"]
        self._demand("registered role", roles["task_role"], self.listed.task_roles)
        self._demand("registered role", roles["execution_role"], self.listed.execution_roles)
        self._demand("registered image", container["image"], self.listed.images)
        made = _definition(f"{registration['family']}:1", container["image"], **roles)
        made = replace(made, network_mode=registration.get("networkMode", "bridge"))
        return self.definitions.setdefault(made.arn, made)

    def stop_task(self, cluster: str, arn: TaskArn, reason: str) -> ObservedTask | None:
        if arn in self.victims:
            self.broken.append(f"stop of {arn}: {reason}")
        return super().stop_task(cluster, arn, reason)

    def tag_task(self, arn: TaskArn, tags: Mapping[str, str]) -> None:
        if arn in self.victims:
            self.broken.append(f"tags on {arn}: {tags}")
        super().tag_task(arn, tags)


# --- what can be tried ---

VICTIMS = ("strange", "elsewhere", "foreign", "kept", "taken", "bobs")
TASK_WORDS = (*(f"@{name}" for name in VICTIMS), "@free", "@own", "", "nonsense")
DEFINITION_ARNS = (*(each.arn for each in DEFINITIONS), "@registered", "")
TIMES = ("@now", "@now", "@soon", "@old", "@ancient", "2999-01-01T00:00:00Z")
NUMBERS = (1, 1, 2, 3, 9, 999_999_999, 2**31 - 1)
_pick = st.sampled_from

FORGED: Mapping[str, SearchStrategy[Any]] = {
    **dict.fromkeys(
        (
            "firstIssuedAt",
            "lastIssuedAt",
            "since",
            "startedAt",
            "readyAt",
            "willStopAt",
            "finishedAt",
            "lastTransitionTime",
        ),
        _pick(TIMES),
    ),
    "arn": _pick(TASK_WORDS),
    "adopts": _pick((*TASK_WORDS, "")),
    "clusterArn": _pick((MAIN, APPS, EVIL, FAR, "evil", "")),
    "definitionArn": _pick(DEFINITION_ARNS),
    "containerName": _pick(("app", "side-1", "main", "")),
    "specHash": _pick(("@spec-hash", "@spec-hash", "v1:x", "")),
    "requestHash": _pick(("@request-hash", "@request-hash", "")),
    "issuedBy": _pick(("@process", "@process", "process-1", "")),
    "number": _pick(NUMBERS),
    "attempt": _pick(NUMBERS),
    "lastStatus": _pick(("RUNNING", "PROVISIONING", "STOPPED", "X", "")),
    "stopCode": _pick(("AdoptionFailed", "Lost", "Replaced", "Unresolved", "")),
    "reason": _pick(("Deleted", "Replaced", "Suspended", "Adopting", "")),
}
"""The status' fields that a forger would fill with care; ``attempt`` is also the name of a part."""

STATUS = ROOT["properties"]["status"]
ATTEMPT = valid(STATUS["properties"]["attempt"], FORGED)
STATUSES = st.fixed_dictionaries(
    {},
    optional={
        name: ATTEMPT if name == "attempt" else valid(each, FORGED)
        for name, each in STATUS["properties"].items()
    },
)
FORGERIES = STATUSES | st.fixed_dictionaries(
    {
        "attempt": st.fixed_dictionaries(
            {
                "number": _pick((1, 2, 9)),
                "clusterArn": FORGED["clusterArn"],
                "definitionArn": FORGED["definitionArn"],
                "containerName": st.just("app"),
                "firstIssuedAt": st.just("@now"),
                "lastIssuedAt": st.just("@now"),
                "specHash": st.just("@spec-hash"),
                "requestHash": st.just("@request-hash"),
                "issuedBy": st.just("@process"),
            },
            optional={"adopts": FORGED["adopts"], "rung": st.integers(0, 2)},
        )
    },
    optional={
        "tasks": st.lists(
            st.fixed_dictionaries(
                {
                    "attempt": _pick((1, 2, 9)),
                    "arn": FORGED["arn"],
                    "role": _pick(("Current", "Retiring")),
                    "lastStatus": st.just("RUNNING"),
                },
                optional={"reason": FORGED["reason"], "since": FORGED["since"]},
            ),
            max_size=2,
            unique_by=lambda entry: entry["attempt"],
        )
    },
)

BASED: tuple[Json, ...] = (
    {"taskDefinition": "plain"},
    {"taskDefinition": "web:1", "cluster": "apps"},
    {
        "template": {
            "image": GOOD_IMAGE,
            "cpuUnits": 256,
            "memoryMiB": 512,
            "networkMode": "awsvpc",
            "taskRoleArn": APP_ROLE,
        }
    },
)
"""Specs that Eve may have."""
_REMOTE = {"region": "eu-west-1", "cluster": "far", "taskDefinition": "remote"}
WISHED: tuple[Json, ...] = (
    *({}, _REMOTE, {"region": "eu-west-1"}),
    *({"cluster": cluster} for cluster in ("evil", "far", "apps", EVIL, FAR, APPS)),
    *({"network": {"subnets": each}} for each in (["subnet-evil"], ["subnet-a1", "subnet-x"])),
    *({"network": {"securityGroups": each}} for each in (["sg-evil"], ["sg-1", "sg-evil"])),
    *({"taskDefinition": each.arn} for each in DEFINITIONS),
    *({"taskDefinition": each} for each in ("admin", "mixed", "sidecar", "nothing")),
    *({"image": each} for each in (EVIL_IMAGE, "registry.example.com.evil.org/a:1")),
    *({"taskRoleArn": each} for each in (ADMIN, PULL_ROLE, f"{ROLES}x/app-web")),
    *({"executionRoleArn": each} for each in (ADMIN, APP_ROLE, PULL_ROLE)),
)
"""What she would like to have, most of which she may not."""


def _wished(base: Json, wishes: list[Json]) -> Json:
    spec = dict(base)
    for wish in wishes:
        for name, value in wish.items():
            if name in ("image", "taskRoleArn", "executionRoleArn"):
                spec.pop("taskDefinition", None)
                sizes = {"image": GOOD_IMAGE, "cpuUnits": 256, "memoryMiB": 512}
                spec["template"] = {**sizes, **spec.get("template", {}), name: value}
            else:
                spec[name] = value
        if "taskDefinition" in wish:
            spec.pop("template", None)
    if "template" in spec:
        spec["template"] = {"cpuUnits": 256, "memoryMiB": 512, **spec["template"]}
    return spec


SPECS = st.builds(_wished, _pick(BASED), st.lists(_pick(WISHED), min_size=1, max_size=2))
OTHERS = {
    name: valid(each)
    for name, each in SPEC["properties"].items()
    if name not in {"region", "cluster", "network", "template", "taskDefinition", "containerName"}
}
"""The fields that name nothing which is listed: none of them may open a way."""
ANNOTATIONS = st.dictionaries(
    _pick(("adopt", "abandon", "paused", "read-only", "restart-requested-at", "x")),
    _pick((*TASK_WORDS, "@eve-uid", "@bob-uid", "true", "false", "now")),
    min_size=1,
    max_size=2,
)
WHO = _pick(EVES)
STEPS = st.one_of(
    st.tuples(st.just("create"), WHO, SPECS, _pick(TASK_WORDS)),
    st.tuples(st.just("edit"), WHO, SPECS, st.just({})),
    st.tuples(
        st.just("edit"),
        WHO,
        st.just({}),
        st.dictionaries(_pick([*OTHERS]), st.none(), max_size=2).flatmap(
            lambda names: st.fixed_dictionaries({name: OTHERS[name] for name in names})
        ),
    ),
    st.tuples(st.just("forge"), WHO, FORGERIES, st.booleans()),
    st.tuples(st.just("forge"), WHO, FORGERIES, st.booleans()),
    st.tuples(st.just("annotate"), WHO, ANNOTATIONS),
    st.tuples(st.just("finalizers"), WHO, _pick(([], [FINALIZER], ["x"]))),
    st.tuples(st.just("delete"), WHO, st.booleans()),
    st.tuples(st.just("wait"), _pick((1, 35, 120, 700, 4000))),
    st.tuples(st.just("restart"), _pick((0, 0, 1))),
    st.tuples(st.just("die"), WHO),
)
ATTACKS = st.builds(
    lambda spec, adopt, steps: [("create", EVES[0], spec, adopt), *steps],
    SPECS,
    _pick(("", "", *TASK_WORDS)),
    st.lists(STEPS, max_size=8),
)


class Attack:
    """The world, and Eve's steps in it, one after the other."""

    def __init__(self) -> None:
        self.world = World()
        self.ecs = Guarded(self.world.clock)
        self.world.ecs = self.ecs
        self.words: dict[str, str] = {}
        self._furnish()
        self.before: dict[TaskArn, Any] = {}
        self.process = self._start(0)
        body = self.world.kube.create(BOB, {"taskDefinition": "plain", "cluster": "apps"})
        self.ecs.bobs = body["metadata"]["uid"]
        self.settle()
        (bobs,) = self.ecs.live(self.ecs.bobs)
        self._victim("bobs", bobs)
        self.words["@bob-uid"] = self.ecs.bobs
        self.before = self.truth()

    def _furnish(self) -> None:
        ecs = self.ecs
        arns = (MAIN, APPS, EVIL, FAR)
        ecs.clusters = {arn: ClusterInfo(arn, arn.rpartition("/")[2], "ACTIVE") for arn in arns}
        ecs.definitions = {each.arn: each for each in DEFINITIONS}
        self.words["@free"] = ecs.put("free", "deploy-tool", APPS)
        self._victim("strange", ecs.put("strange", "deploy-tool", MAIN))
        self._victim("elsewhere", ecs.put("elsewhere", "deploy-tool", EVIL))
        uid = "4a1f0c7e-0000-4000-8000-000000000077"
        self._victim("foreign", ecs.put("foreign", f"fc/other/{uid}/1", APPS))
        tags = tokens.owner_tags("ins", "bob", "gone", uid)
        self._victim("kept", ecs.put("kept", f"fc/ins/{uid}/1", MAIN))
        ecs.tags[TaskArn(self.words["@kept"])] = {**tags, tokens.TAG_RETAINED: "true"}
        self._victim("taken", ecs.put("taken", "deploy-tool", APPS))
        ecs.tags[TaskArn(self.words["@taken"])] = {**tags, tokens.TAG_RETAINED: "false"}

    def _victim(self, name: str, arn: TaskArn) -> None:
        self.ecs.victims.add(arn)
        self.words[f"@{name}"] = arn
        address = self.ecs.addresses[arn]
        self.ecs.addresses[arn] = replace(address, private_ip=f"{SECRET_IP}{len(self.words)}")

    def _start(self, number: int) -> Process:
        self.ecs.listed = LISTS[number][1]
        process = Process(self.world, policy=policy(number))
        run(process.start())
        self.words["@process"] = f"process-{self.world.processes}"
        return process

    def truth(self) -> dict[TaskArn, Any]:
        """What becomes of the others' tasks and their tags."""
        return {
            arn: (self.ecs.tasks[arn], dict(self.ecs.tags.get(arn, {}))) for arn in self.ecs.victims
        }

    def settle(self) -> None:
        run(self.process.settle())
        self.ecs.settle()
        run(self.process.settle())
        for key in EVES:
            status = self.world.kube.objects.get(key, {}).get("status") or {}
            if str((status.get("endpoint") or {}).get("privateIp", "")).startswith(SECRET_IP):
                self.ecs.broken.append(f"endpoint of another's task: {status}")

    def take(self, step: Step) -> None:
        """One step, and what the operator makes of it."""
        action, *rest = step
        do: Callable[..., None] = getattr(self, f"_{action}")
        if rest and isinstance(rest[0], ObjectKey):
            exists = rest[0] in self.world.kube.objects
            if exists == (action == "create"):
                return
            self._learn(rest[0])
        do(*rest)
        self.settle()

    def _learn(self, key: ObjectKey) -> None:
        """What Eve can find out or work out, for the words in her next step."""
        now = self.world.clock.now()
        ages = {"@now": 0, "@soon": -30, "@old": 600, "@ancient": 90_000}
        for word, age in ages.items():
            when = now - timedelta(seconds=age)
            self.words[word] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        registered = [arn for arn in self.ecs.definitions if "/fc-" in arn]
        self.words["@registered"] = registered[-1] if registered else ""
        body = self.world.kube.objects.get(key)
        if body is not None:
            uid = body["metadata"]["uid"]
            self.words["@eve-uid"] = uid
            self.words["@own"] = next(iter(self.ecs.live(uid)), "")
            self.words["@spec-hash"] = tokens.spec_hash(body["spec"]) or ""

    def _worded(self, value: Any) -> Any:
        match value:
            case str():
                return self.words.get(value, value)
            case dict():
                return {name: self._worded(each) for name, each in value.items()}
            case list():
                return [self._worded(each) for each in value]
            case _:
                return value

    def _create(self, key: ObjectKey, spec: Json, adopt: str) -> None:
        if self._taken(spec):
            annotations = {ADOPT: self._worded(adopt)} if adopt else {}
            self.world.kube.create(key, spec, annotations=annotations)

    def _edit(self, key: ObjectKey, spec: Json, fields: Json) -> None:
        """Another spec altogether, or other values of some fields."""
        body = self.world.kube.objects[key]
        spec = {**(spec or body["spec"]), **fields}
        if self._taken(spec):
            self.world.kube.objects[key] = {**body, "spec": {}}
            self.world.kube.edit(key, **spec)

    def _taken(self, spec: Json) -> bool:
        """Whether the API server takes it, and the operator reads it."""
        with suppress(InvalidSpec):
            parse_spec(spec)
            return True
        return False

    def _forge(self, key: ObjectKey, status: Json, merged: bool) -> None:
        body = self.world.kube.objects[key]
        forged = self._worded(status)
        if merged:
            forged = {**(body.get("status") or {}), **forged}
        attempt = forged.get("attempt") or {}
        if attempt.get("requestHash") == "@request-hash":
            attempt["requestHash"] = self._request_hash(body, attempt)
        self.world.kube.write_status(body, forged)

    def _request_hash(self, body: Json, attempt: Json) -> str:
        """What the operator would work out itself for the request that the forger wants."""
        definition = self.ecs.definitions.get(attempt.get("definitionArn", ""))
        if definition is None:
            return ""
        meta = body["metadata"]
        rendered = request.run_task(
            spec=parse_spec(body["spec"]),
            policy=policy(0),
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            attempt=attempt["number"],
            rung=attempt.get("rung", 0),
            cluster_arn=attempt.get("clusterArn", ""),
            definition=definition,
            container=attempt.get("containerName", ""),
            spec_hash=self.words["@spec-hash"],
        )
        return tokens.request_hash(rendered)

    def _annotate(self, key: ObjectKey, annotations: Json) -> None:
        named = {name.replace("-", "_"): each for name, each in annotations.items()}
        self.world.kube.annotate(key, **self._worded(named))

    def _finalizers(self, key: ObjectKey, finalizers: list[str]) -> None:
        body = self.world.kube.objects[key]
        if "deletionTimestamp" not in body["metadata"] or not finalizers:
            self.world.kube.set_finalizers(body, finalizers)

    def _delete(self, key: ObjectKey, force: bool) -> None:
        if force:
            self.world.kube.force_delete(key)
        else:
            self.world.kube.delete(key)

    def _wait(self, seconds: float) -> None:
        for _ in range(4):
            self.world.clock.advance(seconds / 4)
            self.settle()

    def _restart(self, number: int) -> None:
        self.process = self._start(number)

    def _die(self, key: ObjectKey) -> None:
        for arn in self.ecs.live(self.words["@eve-uid"]):
            self.ecs.end(arn)


def damage(steps: list[Step]) -> list[str]:
    """What an attack has achieved that it must not: nothing, as is to be hoped."""
    attack = Attack()
    for step in steps:
        attack.take(step)
    harmed = [arn for arn, then in attack.before.items() if attack.truth()[arn] != then]
    return [*attack.ecs.broken, *(f"harm to {arn}" for arn in harmed)]


def plain() -> list[list[Step]]:
    """Each wish by itself, on each base; each task asked for, and each claimed in a status."""
    eve = EVES[0]
    specs = [_wished(base, [wish]) for base in BASED for wish in WISHED]
    found: list[list[Step]] = [[("create", eve, spec, "")] for spec in specs]
    for word in TASK_WORDS:
        for base in BASED:
            found.append([("create", eve, dict(base), word)])
        claim = {"attempt": 9, "arn": word, "role": "Current", "lastStatus": "RUNNING"}
        for cluster in (MAIN, APPS, EVIL):
            attempt = {"number": 9, "clusterArn": cluster, "containerName": "app"}
            for change in ({}, {"role": "Retiring", "reason": "Deleted"}):
                status = {"attempt": attempt, "tasks": [{**claim, **change}]}
                paused = ("annotate", eve, {"paused": "true"})
                forged = ("forge", eve, status, False)
                steps = [("create", eve, {"taskDefinition": "plain"}, ""), paused, forged]
                found.append([*steps, ("annotate", eve, {"paused": "false"}), ("wait", 120)])
    return found
