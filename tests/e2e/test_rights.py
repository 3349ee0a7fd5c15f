"""Each right that the chart grants is needed: taken away it is missed, given back all goes on.

On a real API server only: the stand-in knows no RBAC.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.e2e.api import DEADLINE
from tests.e2e.rights import RELEASE, Obj, Right, charts_rights, get, granted, used
from tests.e2e.stack import OPERATOR, Operator, World, container, new_namespace, until

from fractal_models.kube import API_VERSION, KIND

TIME = f"--timeout={DEADLINE:.0f}s"
FRACTAL, CRDS, LEASES = "fractal.co", "apiextensions.k8s.io", "coordination.k8s.io"
CONTAINERS, DEFINITIONS = "fractalcontainers", "customresourcedefinitions"
RIGHTS: tuple[Right, ...] = (
    *((FRACTAL, CONTAINERS, verb) for verb in ("get", "list", "watch", "patch", "delete")),
    (FRACTAL, f"{CONTAINERS}/status", "patch"),
    ("", "events", "create"),
    *((CRDS, DEFINITIONS, verb) for verb in ("list", "watch")),
    *(("", "namespaces", verb) for verb in ("get", "list", "watch")),
    *((LEASES, "leases", verb) for verb in ("get", "create", "update")),
)
"""All that an operator of named namespaces is granted."""

LOST_EVENTS_ONLY = ("", "events", "create")


@pytest.fixture
def restricted(world: World) -> Iterator[World]:
    """A world whose way to the API server has the rights that the chart gives, and no other."""
    with charts_rights(world, [world.namespace]):
        yield world


def roles(world: World, tenant: str = "") -> list[Obj]:
    """The release's own roles; of another namespace, those that it has there."""
    named = f"{world.namespace}:{RELEASE}"
    found = [
        get(world.api, "clusterrole", named),
        get(world.api, "-n", world.namespace, "role", named),
        get(world.api, "-n", world.namespace, "role", f"{RELEASE}-leader"),
    ]
    if tenant:
        found = [get(world.api, "-n", tenant, "role", named)]
    return [{key: each[key] for key in ("apiVersion", "kind", "metadata", "rules")}
            for each in found if each is not None]  # fmt: skip


def without(role: Obj, right: Right) -> Obj:
    """A role without one right."""
    group, resource, verb = right
    rules = [
        each | {"verbs": [v for v in each["verbs"] if v != verb]}
        if group in each["apiGroups"] and resource in each["resources"]
        else each
        for each in role["rules"]
    ]
    kept = ("name", "namespace", "labels")
    meta = {key: role["metadata"][key] for key in kept if key in role["metadata"]}
    return role | {"metadata": meta, "rules": [each for each in rules if each["verbs"]]}


def put(world: World, role: Obj) -> None:
    done = world.api.kubectl("replace", "-f", "-", stdin=json.dumps(role))
    assert done.returncode == 0, done.stderr


def test_all_rights_are_named_here(restricted: World) -> None:
    assert set(RIGHTS) == granted(restricted.api, restricted.namespace)


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: "-".join(right).replace(".", "-"))
def test_a_right_that_is_taken_away_is_missed_and_given_back_all_goes_on(
    restricted: World, right: Right
) -> None:
    world = restricted
    before = roles(world)
    for role in before:
        put(world, without(role, right))
    world.create("ada")
    world.create("short", container(restartPolicy="Never", timeouts={"ttlSecondsAfterFinished": 0}))
    operator = world.start(
        ready=False,
        install_id="",
        namespaces=world.namespace,
        leader_election="true",
        release_name=RELEASE,
        release_namespace=world.namespace,
    )

    def missed() -> bool:
        keep_up(operator)
        end_of_short(world)
        return any(each.code == 403 and used(each) == right for each in world.proxy.requests)

    until(missed, f"{right} is missed")
    for role in before:
        put(world, without(role, ("", "", "")))

    def settled() -> bool:
        keep_up(operator)
        end_of_short(world)
        ready = world.condition("ada", "Ready").get("status") == "True"
        return world.get("short") is None and ready

    until(settled, "all is as it should be")
    world.patch("ada", spec={"operatingMode": "Suspended"})
    until(lambda: tasks(world, live=True) == [], "the task is stopped")
    assert len(tasks(world)) == 2


def test_a_namespace_without_its_role_holds_up_no_other(world: World) -> None:
    """As Kubernetes leaves one that is deleted: the Role goes before the objects can go."""
    theirs = {"apiVersion": API_VERSION, "kind": KIND, "spec": container()}
    with new_namespace(world.api) as tenant, charts_rights(world, [tenant, world.namespace]):
        operator = world.start(namespaces=f"{tenant},{world.namespace}")
        theirs["metadata"] = {"name": "ten", "namespace": tenant}
        done = world.api.kubectl("create", "-f", "-", stdin=json.dumps(theirs))
        assert done.returncode == 0, done.stderr
        done = world.api.kubectl("-n", tenant, "wait", "--for=condition=Ready", "fc/ten", TIME)
        assert done.returncode == 0, done.stderr
        (role,) = roles(world, tenant)
        world.api.kubectl("-n", tenant, "delete", "role", role["metadata"]["name"])
        world.create("before")
        world.wait_ready("before")
        operator.kill()
        operator.start().wait_ready()
        world.create("after")
        world.wait_ready("after")
        left_out = f"the watched namespace {tenant} is left out"
        assert operator.log().count(left_out) == 1
        check = subprocess.run(
            [*OPERATOR[:-1], "uninstall-check"],
            env=operator.environ,
            capture_output=True,
            text=True,
        )
        assert check.returncode == 1
        assert tenant in check.stderr
        done = world.api.kubectl("-n", tenant, "delete", "fc", "ten", "--wait=false")
        assert len(world.tasks(live=True)) == 3
        world.api.kubectl("create", "-f", "-", stdin=json.dumps(without(role, ("", "", ""))))
        until(lambda: get(world.api, "-n", tenant, "fc", "ten") is None, "it can be let go again")
        assert len(world.tasks(live=True)) == 2


def tasks(world: World, *, live: bool | None = None) -> list[Obj]:
    """The tasks of this world's cluster: the operator's installation has a name of its own."""
    found = [each for each in world.ecs.tasks() if each["clusterArn"] == world.cluster_arn]
    return [each for each in found if live is None or each["live"] is live]


def keep_up(operator: Operator) -> None:
    """As the kubelet does: start it again when it has ended."""
    if operator.ended is not None:
        assert "Traceback" not in operator.log()
        operator.start()


def end_of_short(world: World) -> None:
    """The task of the object that ends by itself ends as soon as it runs."""
    claimed = {each["arn"] for each in world.status("short").get("tasks") or ()}
    for task in tasks(world, live=True):
        if task["taskArn"] in claimed and task["lastStatus"] == task["desiredStatus"] == "RUNNING":
            world.ecs.stop_task(task["taskArn"])
