"""The allow-list on a whole system: what the operator refuses, and what the API server does.

Where the server has ValidatingAdmissionPolicies, the chart's must say what the core says.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from tests.e2e.api import Api
from tests.e2e.stack import REGION, Obj, World, container, until

from fractal_models.container import parse_spec
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION
from fractal_operator.core import permits
from fractal_operator.core.allow import Allow
from fractal_operator.core.plan import Policy
from fractal_operator.settings_allow import read_rules

CHART = Path(__file__).parents[2] / "charts" / "fractal-operator"
ACCOUNT = "123456789012"
ROLES = f"arn:aws:iam::{ACCOUNT}:role/"
CLUSTERS = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/"
JSON = {"Content-Type": "application/json"}
FARGATE = {"placement": [{"launchType": "FARGATE"}]}


def image(name: str, **changes: Any) -> Obj:
    spec = container(**changes)
    spec["template"]["image"] = name
    return spec


# --- the operator, on any server ---

TASK: Obj = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
}
RULES = [{"namespaces": ["e2e-*"], "images": ["app:1", "registry.example.com/*"]}]


def refused(world: World, name: str) -> str:
    """Wait until the object is refused; the message. It has no task then."""
    world.until_condition(name, "Ready", "False", "NotAllowed")
    stalled = world.condition(name, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "NotAllowed")
    return str(stalled["message"])


def test_what_no_rule_allows_is_refused_and_launched_once_it_is_corrected(world: World) -> None:
    operator = world.start(allow=json.dumps(RULES))
    assert "FRACTAL_ALLOW is not set" not in operator.log()
    evil = f"evil.org/{world.name}:1"  # other tests have registered others
    world.create("ada", image(evil))
    assert refused(world, "ada") == (
        f"spec.template.image: {evil} is not allowed in namespace {world.namespace}. Name what is, "
        "or ask whoever runs the operator to add it to the allow-list."
    )
    assert world.status("ada")["phase"] == "Failed"
    assert world.tasks() == []
    assert evil not in json.dumps(definitions(world))

    world.patch("ada", spec={"template": {"image": "registry.example.com/app:1"}})
    world.wait_ready("ada")
    assert len(world.tasks()) == 1


def definitions(world: World) -> list[Obj]:
    """Every task definition that there is."""
    pages = world.aws_ecs.get_paginator("list_task_definitions").paginate()
    arns = [arn for page in pages for arn in page["taskDefinitionArns"]]
    describe = world.aws_ecs.describe_task_definition
    return [describe(taskDefinition=arn)["taskDefinition"] for arn in arns]


def test_a_task_definition_cannot_bring_a_role_or_an_image_that_is_not_listed(
    world: World,
) -> None:
    family = f"borrowed-{world.name}"
    world.register(family)  # image app:1, no role
    main = {"name": "main", "image": "app:1", "essential": True}
    sidecar = {"name": "log", "image": "evil.org/log", "essential": False}
    with_role = world.aws_ecs.register_task_definition(
        family=f"{family}-role", taskRoleArn=ROLES + "admin", containerDefinitions=[main], **TASK
    )
    world.aws_ecs.register_task_definition(
        family=f"{family}-sidecar", containerDefinitions=[main, sidecar], **TASK
    )
    world.start(allow=json.dumps(RULES))
    world.create("role", {**FARGATE, "taskDefinition": f"{family}-role"})
    world.create("sidecar", {**FARGATE, "taskDefinition": f"{family}-sidecar"})
    world.create("fine", {**FARGATE, "taskDefinition": family})
    world.wait_ready("fine")
    arn = with_role["taskDefinition"]["taskDefinitionArn"]
    assert refused(world, "role").startswith(
        f"The task role of task definition {arn}: {ROLES}admin is not allowed in namespace"
    )
    assert "The image of container log of task definition" in refused(world, "sidecar")
    assert [each["startedBy"].split("/")[2] for each in world.tasks()] == [world.uid("fine")]


def test_a_forged_status_launches_nothing_that_is_not_listed(world: World) -> None:
    world.start(allow=json.dumps(RULES))
    family = f"borrowed-{world.name}"
    bad = world.aws_ecs.register_task_definition(
        family=family,
        taskRoleArn=ROLES + "admin",
        containerDefinitions=[{"name": "main", "image": "app:1"}],
        **TASK,
    )
    arn = bad["taskDefinition"]["taskDefinitionArn"]
    world.create("ada", {**FARGATE, "taskDefinition": family})
    refused(world, "ada")
    forged = {
        "number": 1,
        "clusterArn": world.cluster_arn,
        "definitionArn": arn,
        "containerName": "main",
        "firstIssuedAt": "2999-01-01T00:00:00Z",
        "lastIssuedAt": "2999-01-01T00:00:00Z",
    }
    world.objects.patch_namespaced_custom_object_status(
        GROUP,
        VERSION,
        world.namespace,
        PLURAL,
        "ada",
        {"status": {"attempt": forged, "conditions": []}},
        _headers={"Content-Type": "application/merge-patch+json"},
    )
    until(lambda: world.condition("ada", "Stalled"), "the operator has answered to it")
    refused(world, "ada")
    world.sweeps(2)
    assert world.tasks() == []


def test_a_narrower_list_leaves_the_task_that_runs_and_a_wider_one_lets_the_next_begin(
    world: World,
) -> None:
    first = world.start()
    assert "FRACTAL_ALLOW is not set" in first.log()
    world.create("ada", image("old.example.com/app:1"))
    world.wait_ready("ada")
    [task] = world.tasks()
    assert first.stop() == 0
    second = world.start(allow=json.dumps(RULES))
    world.sweeps(2)
    assert world.tasks(live=True) == [task]
    assert world.condition("ada", "Ready")["status"] == "True"
    world.ecs.stop_task(task["taskArn"])
    assert "spec.template.image: old.example.com/app:1" in refused(world, "ada")
    assert len(world.tasks()) == 1

    assert second.stop() == 0
    wider = [{"namespaces": [world.namespace], "images": ["old.example.com/*"]}]
    world.start(allow=json.dumps(wider))
    world.wait_ready("ada")
    assert len(world.tasks(live=True)) == 1


# --- the API server ---


def admits_by_policy(api: Api) -> bool:
    """Whether the server has ValidatingAdmissionPolicies, and knows CEL at all."""
    return api.cel and api.version >= (1, 30)


@contextmanager
def policed(api: Api, namespace: str, values: Obj) -> Iterator[None]:
    """The chart's admission policy for one namespace, in force where the server has the kind."""
    given = {
        "admissionPolicy": {"renderMode": "always"},
        "watch": {"namespaces": [namespace]},
        "crds": {"enabled": False},
        **values,
    }
    with helm.Chart.load(CHART) as chart:
        files = chart.render(given, name="fractal-operator", namespace=namespace)
    (text,) = (text for path, text in files.items() if path.endswith("admission-policy.yaml"))
    if not admits_by_policy(api):
        made = api.kubectl("apply", "-f", "-", stdin=text)
        assert "no matches for kind" in made.stderr or "the server could not find" in made.stderr
        yield
        return
    made = api.kubectl("apply", "-f", "-", stdin=text)
    assert made.returncode == 0, made.stderr
    try:
        bad = manifest(container(), adopt="nothing")
        until(
            lambda: (
                api.kubectl(
                    *("create", "-n", namespace, "--dry-run=server", "-f", "-"),
                    stdin=json.dumps(bad),
                ).returncode
            ),
            "the policy is in force",
        )
        yield
    finally:
        api.kubectl("delete", "-f", "-", stdin=text)


def manifest(spec: Obj, name: str = "ada", adopt: str = "") -> Obj:
    annotations = {"annotations": {"fractal.co/adopt": adopt}} if adopt else {}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, **annotations},
        "spec": spec,
    }


def test_kubectl_apply_says_at_once_what_is_not_allowed(api: Api, namespace: str) -> None:
    with policed(api, namespace, {"allow": RULES}):
        bad = manifest(image("evil.org/app:1", cluster="other"))
        done = api.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(bad))
        if admits_by_policy(api):
            assert done.returncode != 0
            assert (
                f"denied request: spec.cluster: other is not allowed in namespace {namespace}. "
                "spec.template.image: evil.org/app:1 is not allowed in namespace "
                f"{namespace}. Name what is, or ask whoever runs the operator to add it to the "
                "allow-list."
            ) in done.stderr
        else:
            assert done.returncode == 0
        good = manifest(image("registry.example.com/app:1"), name="good")
        done = api.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(good))
        assert done.returncode == 0, done.stderr


def test_an_old_object_can_be_edited_and_deleted_where_the_edit_names_nothing_new(
    api: Api, namespace: str
) -> None:
    def kubectl(verb: str, *words: str, stdin: str = "") -> Any:
        return api.kubectl(verb, "-n", namespace, *words, stdin=stdin)

    old = manifest(image("evil.org/app:1", network={"subnets": ["subnet-0a", "subnet-0b"]}))
    assert kubectl("create", "-f", "-", stdin=json.dumps(old)).returncode == 0

    def patch(body: Obj, *more: str) -> Any:
        return kubectl("patch", "fc/ada", "--type=merge", "-p", json.dumps(body), *more)

    with policed(api, namespace, {"allow": RULES}):
        good: list[Obj] = [
            {"spec": {"user": "grace@example.org"}},
            {"spec": {"operatingMode": "Suspended"}},
            {"spec": {"network": {"subnets": ["subnet-0b"]}}},
            {"spec": {"template": {"image": "registry.example.com/app:2"}}},
            {"metadata": {"finalizers": ["fractal.co/ecs-task"]}},
            {"metadata": {"annotations": {"fractal.co/paused": "true"}}},
        ]
        for body in good:
            done = patch(body)
            assert done.returncode == 0, (body, done.stderr)
        status = patch({"status": {"phase": "Failed"}}, "--subresource=status")
        assert status.returncode == 0, status.stderr
        bad: list[Obj] = [
            {"spec": {"template": {"image": "evil.org/app:1"}}},  # it names another one by now
            {"spec": {"network": {"subnets": ["subnet-0b", "subnet-0c"]}}},
            {"metadata": {"annotations": {"fractal.co/adopt": "arn:x"}}},
        ]
        for body in bad:
            done = patch(body)
            assert (done.returncode != 0) is admits_by_policy(api), (body, done.stderr)
            assert not admits_by_policy(api) or "is not allowed in namespace" in done.stderr
        assert kubectl("delete", "fc/ada", "--wait=false").returncode == 0
        assert patch({"metadata": {"finalizers": None}}).returncode == 0
        until(lambda: kubectl("get", "fc/ada").returncode, "it is gone")


# Rules and values for the comparison: what fits, what nearly fits, what tries to slip by.
RULE_SETS: list[list[Obj]] = [
    [],
    [{"namespaces": ["other"], "images": ["*"], "taskRoles": ["*"], "adoptable": ["*"]}],
    [
        {
            "namespaces": ["e2e-*"],
            "regions": ["eu-*-1"],
            "clusters": ["apps-?", f"{CLUSTERS}exact", "arn:*:ecs:*:1*:cluster/wild-*"],
            "taskRoles": [f"{ROLES}app-*", f"{ROLES}a+b/*"],
            "executionRoles": [f"{ROLES}pull"],
            "subnets": ["subnet-a*"],
            "securityGroups": ["sg-1", "sg-2?"],
            "images": ["registry.example.com/team/*", "nginx:*", "*.example.org/a?/*"],
            "adoptable": [f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/apps-1/*"],
        },
        {"namespaces": ["*"], "images": ["busybox"], "executionRoles": ["*"], "clusters": ["all"]},
        {"namespaces": ["e2e-?"], "images": ["*"]},
    ],
]
CHOICES: dict[str, list[Any]] = {
    "region": ["", "eu-west-1", "eu-west-2", "us-west-2", REGION],
    "cluster": [
        "", "main", "apps-1", "apps-12", "exact", "wild-1", "all", "other",
        f"{CLUSTERS}main", f"{CLUSTERS}exact", f"{CLUSTERS}apps-1", f"{CLUSTERS}other",
        CLUSTERS.replace(REGION, "eu-west-1") + "exact",
        CLUSTERS.replace("1234", "9234") + "wild-1",
    ],
    "image": [
        "registry.example.com/team/app:1", "registry.example.com/team",
        "REGISTRY.example.com/team/a", "registry.example.com:5000/team/app",
        "registry.example.com.evil.org/team/app",
        "nginx:1", "nginx", "nginx:5000/evil", "docker.io/library/nginx:1", "busybox", "busybox:1",
        "x.example.org/ab/c", "evil.org/x.example.org/ab/c", "x.example.org/abc/d",
        "registry.example.com/team/app@sha256:" + "0" * 64,
    ],
    "taskRoleArn": [
        "", f"{ROLES}app-web", f"{ROLES}admin", f"{ROLES}a+b/c", f"{ROLES}aab/c",
        f"{ROLES}x/app-web", ROLES.replace(ACCOUNT, "2" * 12) + "app-web",
        f"{ROLES}app-" + "x" * 250, f"{ROLES}bad-" + "x" * 250,
    ],
    "executionRoleArn": ["", f"{ROLES}pull", f"{ROLES}pull2"],
    "subnets": [None, ["subnet-0a1b2c3d"], ["subnet-a1", "subnet-b1", "subnet-b2"], ["subnet-a"]],
    "securityGroups": [None, ["sg-1"], ["sg-2a", "sg-2ab"], ["sg-0d0d0d0d"]],
    "adopt": [
        "", "", f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/apps-1/0", f"arn:aws:ecs:{REGION}:x", "*",
    ],
}  # fmt: skip
CASES = 80
"""Dry runs for each set of rules."""


def some_spec(chance: random.Random) -> tuple[Obj, str]:
    """A spec and what it asks to adopt; most fields are left out, so that many cases pass."""

    def choose(name: str) -> Any:
        return chance.choice(CHOICES[name]) if chance.random() < 0.4 else CHOICES[name][0]

    template = container()["template"] | {"image": choose("image")}
    roles = {name: choose(name) for name in ("taskRoleArn", "executionRoleArn")}
    template |= {name: arn for name, arn in roles.items() if arn}
    network = {name: choose(name) for name in ("subnets", "securityGroups")}
    named = {"taskDefinition": "web"} if chance.random() < 0.3 else {"template": template}
    spec = {
        "region": choose("region"),
        "cluster": choose("cluster"),
        **named,
        "network": {name: value for name, value in network.items() if value},
    }
    return {name: value for name, value in spec.items() if value}, choose("adopt")


@pytest.mark.parametrize("rules", RULE_SETS, ids=["none", "elsewhere", "some"])
def test_the_api_server_and_the_operator_are_of_one_mind(
    api: Api, namespace: str, rules: list[Obj]
) -> None:
    settings = {
        "region": REGION,
        "cluster": f"{CLUSTERS}main",
        "subnets": ["subnet-0a1b2c3d"],
        "securityGroups": ["sg-0d0d0d0d"],
    }
    policy = Policy(
        install="ins",
        region=REGION,
        cluster=f"{CLUSTERS}main",
        subnets=("subnet-0a1b2c3d",),
        security_groups=("sg-0d0d0d0d",),
        allow=Allow(read_rules(json.dumps(rules))),
    )
    chance = random.Random(len(rules))
    verdicts = set()
    with policed(api, namespace, {"allow": rules, "settings": settings}), api.client() as connect:
        objects = client.CustomObjectsApi(connect)
        for _ in range(CASES):
            spec, adopt = some_spec(chance)
            refusal = permits.asked(policy, namespace, parse_spec(spec)).removesuffix(permits.HINT)
            if adopt and not permits.adoptable(policy, namespace, adopt):
                where = "metadata.annotations[fractal.co/adopt]"
                refusal += f"{where}: {adopt} is not allowed in namespace {namespace}. "
            expected = f"denied request: {refusal}{permits.HINT}" if refusal else ""
            said = answer(objects, namespace, manifest(spec, adopt=adopt))
            if admits_by_policy(api):
                assert said.partition("denied request: ")[2] == expected.partition(": ")[2], spec
            else:
                assert said == "", spec
            verdicts.add(bool(refusal))
    assert verdicts == {True, False}


def answer(objects: client.CustomObjectsApi, namespace: str, body: Obj) -> str:
    """Why the server would not take an object; "" if it would."""
    try:
        objects.create_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, body, dry_run="All", _headers=JSON
        )
    except ApiException as error:
        return str(json.loads(error.body or "{}")["message"])
    return ""


def test_the_operators_own_region_is_unknown_to_the_api_server_unless_the_chart_names_it(
    api: Api, namespace: str
) -> None:
    """The server is never stricter than the operator, which may have its region from AWS_REGION."""
    policy = Policy(install="ins", region=REGION, allow=Allow(read_rules(json.dumps(RULES))))
    spec = image("app:1", region=REGION)
    assert permits.asked(policy, namespace, parse_spec(spec)) == ""
    assert permits.asked(replace(policy, region=""), namespace, parse_spec(spec))
    with policed(api, namespace, {"allow": RULES}), api.client() as connection:
        assert answer(client.CustomObjectsApi(connection), namespace, manifest(spec)) == ""
