"""Two installations beside each other, told apart by labels: nobody touches what is the other's.

Each has a way of its own to the API server and to ECS, where what it asks for is noted.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.e2e.api import PATIENCE
from tests.e2e.proxy import Proxy, Relay, proxy, serving
from tests.e2e.stack import (
    OPERATOR,
    Obj,
    Operator,
    Servers,
    World,
    assert_one_at_a_time,
    container,
    new_world,
    until,
    until_is,
)

from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION
from fractal_operator.core import tokens

HASTY = (sys.executable, str(Path(__file__).parent / "hasty.py"), "run")
METRIC = "fractal_objects_elsewhere"


@dataclass
class Eye:
    """Notes the calls to ECS, with their bodies."""

    calls: list[tuple[str, Obj]] = field(default_factory=list)

    async def before(self, request: web.Request) -> web.Response | None:
        target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if target:
            self.calls.append((target, json.loads(await request.read())))
        return None

    async def after(self, request: web.Request) -> None:
        return None

    def watch(self, request: web.Request, lines: Any) -> Any:
        return lines


@dataclass
class Installation:
    """One of the two."""

    world: World
    name: str
    kube: Proxy
    ecs: Relay
    eye: Eye
    operator: Operator

    def select(self, selector: str) -> "Installation":
        """Start, or start again, with another selector."""
        environ = {**self.operator.environ, "FRACTAL_LABEL_SELECTOR": selector}
        self.operator.environ = environ
        self.operator.start().wait_ready()
        return self

    def metric(self, name: str) -> float:
        lines = self.operator.get("/metrics")[1].splitlines()
        return next((float(x.rpartition(" ")[2]) for x in lines if x.startswith(name)), -1.0)

    def touched(self, *, since: int = 0) -> set[str]:
        """The objects that it has written, or read one by one."""
        path = f"/namespaces/{self.world.namespace}/{PLURAL}/"
        return {
            each.path.partition(path)[2].partition("/")[0].partition("?")[0]
            for each in self.kube.requests[since:]
            if path in each.path and (each.written or each.method == "GET")
        }

    def writes(self, name: str, *, since: int = 0) -> int:
        path = f"/namespaces/{self.world.namespace}/{PLURAL}/{name}"
        return sum(
            each.written and each.path.partition("?")[0].startswith(path)
            for each in self.kube.requests[since:]
        )

    def ran(self) -> list[str]:
        """startedBy of the tasks that it has asked for."""
        return [str(body["startedBy"]) for call, body in self.eye.calls if call == "RunTask"]

    def stopped(self) -> set[str]:
        return {str(body["task"]) for call, body in self.eye.calls if call == "StopTask"}


@dataclass
class Two:
    world: World
    a: Installation
    b: Installation

    def every_task(self, uid: str, *, live: bool | None = None) -> list[Obj]:
        """The tasks there ever were of an object, of whichever installation, oldest first."""
        every = self.world.ecs.tasks(live=live)
        return [each for each in every if f"/{uid}/" in str(each.get("startedBy"))]

    def replaced(self, uid: str) -> bool:
        return len(self.every_task(uid)) == 2

    def claimed(self, name: str, by: Installation | None) -> None:
        wanted = by.name if by is not None else ""
        until(
            lambda: self.world.status(name).get("installation", "") == wanted,
            f"{name} is of {wanted!r}: {self.world.status(name)}",
        )


def create(world: World, name: str, team: str = "", spec: Obj | None = None) -> str:
    """An object with a label; its uid."""
    meta: Obj = {"name": name, "labels": {"team": team} if team else {}}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta}
    made: Any = world.objects.create_namespaced_custom_object(
        GROUP,
        VERSION,
        world.namespace,
        PLURAL,
        {**body, "spec": spec or container()},
        _headers={"Content-Type": "application/json"},
    )
    return str(made["metadata"]["uid"])


def label(world: World, name: str, team: str) -> None:
    world.patch(name, metadata={"labels": {"team": team}})


def recorded(world: World, uid: str, values: Obj) -> bool:
    """Whether the object's row has these values."""
    return values.items() <= world.app_state(uid).items()


def ended(world: World, arn: str) -> bool:
    return not world.task(arn)["live"]


@pytest.fixture
def two(servers: Servers, tmp_path: Path) -> Iterator[Two]:
    """A selects team=a, B everything else; neither runs yet."""
    with ExitStack() as stack:
        world = stack.enter_context(new_world(servers, tmp_path))

        def make(name: str, selector: str, logfile: str) -> Installation:
            eye = Eye()
            kube = stack.enter_context(proxy(servers.api.kubeconfig))
            ecs = stack.enter_context(serving(Relay(servers.ecs_url, eye)))
            folder = tmp_path / name
            folder.mkdir()
            environ = {
                **world.environ(install_id=name, label_selector=selector),
                "KUBECONFIG": str(kube.kubeconfig(folder / "kubeconfig")),
                "AWS_ENDPOINT_URL": ecs.url,
            }
            operator = Operator(environ, tmp_path / logfile, tuple(OPERATOR))
            world.operators.append(operator)
            return Installation(world, name, kube, ecs, eye, operator)

        a = make(f"{world.name}-a", "team=a", "a.log")
        b = make(f"{world.name}-b", "team!=a", "b.log")
        yield Two(world, a, b)
        for each in (a, b):
            each.operator.kill()
        mine = [x for x in world.ecs.tasks() if x["clusterArn"] == world.cluster_arn]
        assert_one_at_a_time(mine)


@pytest.fixture
def running(two: Two) -> Two:
    """Both run."""
    for each in (two.a, two.b):
        each.operator.start()
    for each in (two.a, two.b):
        each.operator.wait_ready()
    return two


def test_neither_touches_the_others_objects_tasks_or_rows(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    names = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "b3": ""}
    uids = {name: create(world, name, team) for name, team in names.items()}
    world.wait_ready(*names)
    for name in ("a1", "b1"):
        world.patch(name, spec={"environment": [{"name": "X", "value": "1"}]})
    for name in ("a2", "b2"):
        world.patch(name, spec={"operatingMode": "Suspended"})
    for name in ("a1", "b1"):
        until(partial(running.replaced, uids[name]), f"{name} is replaced")
    world.wait_ready("a1", "b1")
    for name in ("a2", "b2"):
        world.until_phase(name, "Suspended")
        world.kubectl("delete", "fc", name, "--wait=false")
    world.until_gone("a2", "b2")
    for mine, its in ((a, "a"), (b, "b")):
        own = {name for name in names if name.startswith(its)}
        assert mine.touched() == own
        assert {x.split("/")[1] for x in mine.ran()} == {mine.name}
        assert {x.split("/")[2] for x in mine.ran()} == {uids[name] for name in own}
        tasks = {x["taskArn"] for x in world.ecs.tasks(f"fc/{mine.name}/")}
        assert mine.stopped()
        assert mine.stopped() <= tasks
        lists = [x for x in mine.kube.requests if x.path.partition("?")[0].endswith(f"/{PLURAL}")]
        # One that fails is repeated.
        unselected = [x for x in lists if "labelSelector=" not in x.path and x.code == 200]
        assert len(unselected) == 1, unselected  # at its start: what left the selector meanwhile
        for name in own:
            row = {"install": mine.name, "deleted": name.endswith("2")}
            until(partial(recorded, world, uids[name], row), f"the row of {name}: {row}")
        until_is(partial(mine.metric, METRIC), 0.0)


def test_a_relabelled_object_changes_hands_with_its_task(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    uid = create(world, "one", "a")
    create(world, "other", "b")
    world.wait_ready("one", "other")
    (task,) = running.every_task(uid)
    label(world, "one", "b")
    running.claimed("one", b)

    def tags() -> dict[str, str]:
        return {x["key"]: x["value"] for x in world.task(task["taskArn"])["tags"]}

    wanted = {"fractal.co/install": b.name, "fractal.co/retained": "false", "fractal.co/uid": uid}
    until(lambda: wanted.items() <= tags().items(), "B has tagged the task as its own")
    world.until_condition("one", "Ready", "True")
    assert [x["taskArn"] for x in running.every_task(uid)] == [task["taskArn"]]
    assert [x["arn"] for x in world.status("one")["tasks"]] == [task["taskArn"]]
    until(lambda: world.app_state(uid).get("install") == b.name, "the row is B's")
    mark = len(a.kube.requests)
    a.operator.kill()
    a.operator.start().wait_ready()  # whose auditor has looked at the rows by then
    world.sweeps(2)
    world.patch("one", spec={"environment": [{"name": "X", "value": "1"}]})
    until(lambda: len(running.every_task(uid)) == 2, "B replaces the task")
    world.until_condition("one", "Ready", "True")
    old, new = running.every_task(uid)
    assert (old["live"], new["live"]) == (False, True)
    assert tokens.parse_started_by(new["startedBy"]) == tokens.StartedBy(b.name, uid, 2)
    assert world.app_state(uid)["deleted"] is False
    assert "one" not in a.touched(since=mark)
    world.kubectl("delete", "fc", "one", PATIENCE)
    assert running.every_task(uid, live=True) == []
    assert old["taskArn"] not in a.stopped()


def test_back_again_it_is_still_the_same_task(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    uid = create(world, "one", "a")
    world.wait_ready("one")
    for team, owner in (("b", b), ("a", a), ("b", b), ("a", a)):
        label(world, "one", team)
        running.claimed("one", owner)
        world.until_condition("one", "Ready", "True")
    assert len(running.every_task(uid)) == 1
    world.kubectl("delete", "fc", "one", PATIENCE)
    assert running.every_task(uid, live=True) == []


def test_what_was_relabelled_while_its_installation_was_down_waits_for_it(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    uid, idle = create(world, "one", "a"), create(world, "idle", "a")
    world.wait_ready("one", "idle")
    world.patch("idle", spec={"operatingMode": "Suspended"})
    world.until_phase("idle", "Suspended")
    a.operator.kill()
    for name in ("one", "idle"):
        label(world, name, "b")
    until(lambda: b.metric(METRIC) == 2, "B sees that they are another's")
    mark = len(b.kube.requests)
    world.sweeps(2)
    assert b.touched(since=mark) == set()
    a.operator.start().wait_ready()
    for name in ("one", "idle"):
        running.claimed(name, b)
    until(lambda: b.metric(METRIC) == 0, "they are B's")
    assert len(running.every_task(uid)) == len(running.every_task(idle)) == 1
    world.patch("idle", spec={"operatingMode": "Running"})
    world.until_condition("idle", "Ready", "True")
    assert [x.split("/")[2] for x in b.ran()] == [idle]


def test_a_launch_that_is_under_way_is_finished_before_the_object_goes(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    world.ecs.hold_run_task("after", match=a.name)
    uid = create(world, "one", "a")
    until(world.ecs.held, "the answer is held")
    label(world, "one", "b")
    until(lambda: b.metric(METRIC) == 1, "B sees it, and leaves it alone")
    world.sweeps(3)
    assert b.ran() == []
    world.ecs.release()
    running.claimed("one", b)
    world.until_condition("one", "Ready", "True")
    assert [x["startedBy"] for x in running.every_task(uid)] == [f"fc/{a.name}/{uid}/1"]
    assert b.ran() == []


def test_of_two_that_select_one_object_only_one_acts(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    for each in (a, b):
        each.operator.kill()
    for each in (a, b):
        each.select("")
    names = [f"c{number}" for number in range(6)]
    uids = {name: create(world, name) for name in names}
    world.wait_ready(*names)
    until(lambda: a.metric(METRIC) + b.metric(METRIC) == len(names), "each is one's alone")
    marks = [len(x.kube.requests) for x in (a, b)]
    world.sweeps(6)
    for name, uid in uids.items():
        assert len(running.every_task(uid)) == 1
        owner, other = (a, b) if world.status(name)["installation"] == a.name else (b, a)
        assert [x.split("/")[1] for x in owner.ran() if uid in x] == [owner.name]
        assert not [x for x in other.ran() if uid in x]
        for each, mark in zip((a, b), marks, strict=True):
            assert each.writes(name, since=mark) == 0  # no tug-of-war over the status
    for name in names:
        world.kubectl("delete", "fc", name, "--wait=false")
    world.until_gone(*names)
    assert not [x for uid in uids.values() for x in running.every_task(uid, live=True)]


def test_each_reaper_stops_its_own_orphans_only(two: Two) -> None:
    world, a, b = two.world, two.a, two.b
    for each in (a, b):
        each.operator.command = HASTY
        each.operator.start().wait_ready()
    uids = {name: create(world, name, name[0]) for name in ("a1", "a2", "b1", "b2", "a3")}
    world.wait_ready(*uids)
    label(world, "a3", "nobodys")
    b.operator.kill()
    b.select("team=b")
    two.claimed("a3", None)
    for each in (a, b):
        each.operator.kill()
    for name in ("a1", "b1"):
        world.kubectl("delete", "fc", name, "--wait=false")
        world.patch(name, metadata={"finalizers": []})
        world.until_gone(name)
    for each in (a, b):
        each.operator.start().wait_ready()
    for name, owner in (("a1", a), ("b1", b)):
        (task,) = two.every_task(uids[name])
        until(partial(ended, world, task["taskArn"]), f"the orphan of {name} is stopped")
        assert owner.stopped() == {task["taskArn"]}
    until(lambda: a.metric('fractal_orphans{kind="task"}') == 0, "no orphan is left")
    for name in ("a2", "b2", "a3"):
        assert len(two.every_task(uids[name], live=True)) == 1


def test_what_nobody_selects_goes_once_somebody_does(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    b.operator.kill()
    b.select("team=b")
    uid = create(world, "one", "a")
    world.wait_ready("one")
    label(world, "one", "nobodys")
    running.claimed("one", None)
    world.kubectl("delete", "fc", "one", "--wait=false")
    listed = world.kubectl("get", "fc", "-l", "team notin (a,b)", "-o", "name")
    assert listed.split() == [f"fractalcontainer.{GROUP}/one"]
    world.sweeps(4)
    assert len(running.every_task(uid, live=True)) == 1
    assert world.get("one") is not None
    label(world, "one", "b")
    world.until_gone("one")
    assert running.every_task(uid, live=True) == []
    assert len(b.stopped()) == 1
    assert a.stopped() == set()


def test_another_selector_after_a_restart_hands_everything_over(running: Two) -> None:
    world, a, b = running.world, running.a, running.b
    uids = [create(world, f"c{number}", "a") for number in range(3)]
    world.wait_ready("c0", "c1", "c2")
    for each in (a, b):
        each.operator.kill()
    a.select("team=x")
    b.select("team!=x")
    for number in range(3):
        running.claimed(f"c{number}", b)
        world.until_condition(f"c{number}", "Ready", "True")
    assert [len(running.every_task(uid)) for uid in uids] == [1, 1, 1]
    assert b.ran() == []
