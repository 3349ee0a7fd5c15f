"""Objects that a server without our schema has stored, or whose status it refuses: no other's."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from tests.e2e.api import PATIENCE, Api, install_crd, retried
from tests.e2e.stack import Obj, World, container, until

from fractal_models.crd import crd, render_yaml, strip_cel
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

pytestmark = pytest.mark.alone  # each changes the CRD for a while

ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}


def manifest(api: Api) -> Obj:
    """The CRD as other tests install it, and the schema of its version."""
    return copy.deepcopy(dict(crd() if api.cel else strip_cel(crd())))


def schema(definition: Obj) -> Obj:
    found: Obj = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def install(api: Api, definition: Obj) -> None:
    applied = retried(api, "apply", "-f", "-", stdin=render_yaml(definition))
    assert applied.returncode == 0, applied.stderr


@pytest.fixture
def tidy(world: World) -> Iterator[World]:
    """The world; afterwards its objects are removed before the server knows our schema again."""
    yield world
    for operator in world.operators:
        operator.kill()
    world.tear_down()
    install_crd(world.api)


@pytest.fixture
def loosened(tidy: World) -> World:
    """The server stores anything as spec and status, as if under a release without a schema."""
    definition = manifest(tidy.api)
    whole = schema(definition)
    whole["properties"] = {"spec": ANYTHING, "status": ANYTHING}
    whole.pop("x-kubernetes-validations", None)
    whole.pop("required", None)
    install(tidy.api, definition)
    return tidy


def put(world: World, name: str, spec: Any, status: Any = None) -> None:
    body: Obj = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    text = json.dumps(body)

    def stored() -> bool:
        """The server takes a moment to take to its new schema."""
        world.api.kubectl(
            "-n", world.namespace, "create", "--validate=false", "-f", "-", stdin=text
        )
        found = world.get(name)
        return found is not None and found.get("spec") == spec

    until(stored, f"{name} is stored as it is")
    if status is not None:
        patch = json.dumps({"status": status})
        world.kubectl("patch", "fc", name, "--subresource=status", "--type=merge", "-p", patch)


def takes(world: World, name: str, status: Obj) -> bool:
    """Whether the server would store that in an object's status."""
    try:
        world.objects.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            world.namespace,
            PLURAL,
            name,
            {"status": status},
            dry_run="All",
            _headers={"Content-Type": "application/merge-patch+json"},
        )
    except ApiException as error:
        if error.status != 422:
            raise
        return False
    return True


def until_recorded(world: World, uid: str) -> None:
    until(lambda: world.app_state(uid).get("state") == "READY", "PostgreSQL hears of the others")


SPECS: dict[str, Any] = {
    "spec-list": [1, None],
    "spec-text": "text",
    "spec-number": 7,
    "spec-empty": {},
    "user-map": container(user={"a": 1}),
    "user-nul": container(user="a\0b"),
    "dpi-text": container(dpi="many"),
    "dpi-huge": container(dpi=10**15),
    "template-text": {"template": "text"},
    "placement-map": container(placement={"launchType": "FARGATE"}),
    "unknown": container(tmeplate={}),
}
STATUSES: dict[str, Any] = {
    "status-text": "text",
    "status-list": [{"a": 1}],
    "conditions-text": {"conditions": "text"},
    "conditions-texts": {"conditions": ["text", None, {"type": 7}]},
    "attempt-text": {"attempt": "text"},
    "attempt-junk": {"attempt": {"number": 10**30, "clusterArn": 7, "lastIssuedAt": "then"}},
    "tasks-junk": {"tasks": [{"arn": 7}, "text", {"attempt": {}}], "phase": 9},
}


def test_junk_is_told_and_deleted_and_disturbs_nobody(loosened: World) -> None:
    world = loosened
    for name, spec in SPECS.items():
        put(world, name, spec)
    for name, status in STATUSES.items():
        put(world, name, container(), status)
    operator = world.start()
    world.create("neighbour", container())
    world.wait_ready("neighbour", *STATUSES)
    for name in SPECS:
        world.until_condition(name, "Stalled", "True", "InvalidSpec")
    assert len(world.tasks(live=True)) == 1 + len(STATUSES)
    until_recorded(world, world.uid("neighbour"))
    until(lambda: operator.get("/metrics")[0] == 200, "it answers")
    panics = 'controller_runtime_reconcile_panics_total{controller="fractalcontainer"} 0.0'
    assert panics in operator.get("/metrics")[1]
    assert operator.ended is None

    names = ["neighbour", *SPECS, *STATUSES]
    world.kubectl("delete", "fc", *names, PATIENCE)
    assert world.tasks(live=True) == []


def test_a_row_that_postgres_refuses_is_told_to_its_owner_and_holds_up_no_other(
    world: World,
) -> None:
    """As a database that somebody has given a constraint of his own."""
    with world.engine.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE hardware.user_app_state ADD CHECK (user_id <> 'eve@example.org')"
        )
    operator = world.start()
    names = ["ada", "eve", "bob"]
    for name in names:
        world.create(name, container(user=f"{name}@example.org"))
    world.wait_ready(*names)
    uids = {name: world.uid(name) for name in names}
    for name in ("ada", "bob"):
        until_recorded(world, uids[name])
    of_it = "--field-selector=involvedObject.name=eve,reason=RecordRefused"
    until(lambda: "user_app_state" in world.kubectl("get", "events", of_it, "-o=yaml"), "an Event")
    assert world.app_state(uids["eve"]) == {}
    until(lambda: world.containers(uids["eve"]), "its other rows")
    assert "fractal_db_refused_records_total 0.0" not in operator.get("/metrics")[1]


def test_a_status_that_the_server_refuses_is_told_with_the_cause(tidy: World) -> None:
    """The schema of status.attempt.number is tightened: a second attempt cannot be written."""
    world = tidy
    operator = world.start()
    for name in ("ada", "neighbour"):
        world.create(name, container())
    world.wait_ready("ada", "neighbour")
    definition = manifest(world.api)
    attempt = schema(definition)["properties"]["status"]["properties"]["attempt"]
    attempt["properties"]["number"]["maximum"] = 1
    install(world.api, definition)
    second = {"attempt": {"number": 2}}
    until(lambda: not takes(world, "ada", second), "the server takes to its new schema")
    world.patch("ada", spec={"dpi": 200})
    told = world.until_condition("ada", "Stalled", "True", "InternalError")
    assert "status.attempt.number" in told["message"]
    until(
        lambda: (
            "InternalError"
            in world.kubectl("get", "events", "--field-selector=involvedObject.name=ada", "-o=yaml")
        ),
        "a warning",
    )
    assert world.condition("neighbour", "Ready")["status"] == "True"
    assert len(world.tasks(world.uid("ada"))) == 1  # none that no status could tell of
    mark = world.mark()
    world.sweeps(2)
    assert world.writes(since=mark) == []
    assert operator.ended is None

    install_crd(world.api)
    until(lambda: takes(world, "ada", second), "the server takes to its old schema")
    world.kubectl("annotate", "fc", "ada", "fractal.co/reconcile-requested-at=now")
    until(lambda: len(world.tasks(world.uid("ada"))) == 2, "the edit is followed")
    world.wait_ready("ada")
    assert world.condition("ada", "Stalled")["status"] == "False"
