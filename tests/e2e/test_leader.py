"""Two operators of one installation, as processes: one acts, and the other takes over.

The terms are shorter than the defaults, so that nobody waits; the chart's test runs with those.
"""

import signal
from datetime import UTC, datetime, timedelta

import pytest
from tests.e2e.stack import Obj, Operator, World, until, until_is
from tests.e2e.test_crash import assert_one_task_each

LEASE, RENEW, RETRY = 24, 18, 0.5
"""Seconds. A lead lost ends the process, and a machine that is busy with other tests may stall; but
a first leader waits for the second of them, and a rival for the first."""
LEASES = ("coordination.k8s.io", "v1")
NAME = "fractal-operator-leader"


def start(world: World, *, ready: bool = True) -> Operator:
    """An operator that has to be elected."""
    return world.start(
        ready=ready,
        leader_election="true",
        lease_seconds=str(LEASE),
        lease_renew_seconds=str(RENEW),
        lease_retry_seconds=str(RETRY),
    )


def lease(world: World) -> Obj:
    """The Lease's spec."""
    found: Obj = world.objects.get_namespaced_custom_object(  # type: ignore[assignment]
        *LEASES, world.namespace, "leases", NAME
    )
    return dict(found["spec"])


def leads(operator: Operator) -> bool:
    """Whether it says so in its metrics; not, while it has none."""
    name = f'leader_election_master_status{{name="{NAME}"}} '
    lines = operator.get("/metrics")[1].splitlines()
    return [float(each.removeprefix(name)) for each in lines if each.startswith(name)] == [1]


def swept(operator: Operator) -> bool:
    """Whether it leads and has looked at ECS."""
    return leads(operator) and operator.get("/readyz")[0] == 200


def pair(world: World) -> tuple[Operator, Operator]:
    """A leader and a standby, both ready."""
    one = start(world)
    until(lambda: swept(one), "the first leads")
    two = start(world)
    assert not leads(two)
    return one, two


def send(operator: Operator, number: signal.Signals) -> None:
    process = operator._process
    assert process is not None
    process.send_signal(number)


def test_one_leads_and_the_other_is_ready(world: World) -> None:
    one, two = pair(world)
    world.create("led")
    world.until_condition("led", "Ready", "True")
    until(lambda: leads(one), "the first leads still")
    assert not leads(two)
    assert two.get("/readyz")[0] == two.get("/healthz")[0] == 200
    assert 'fractal_launches_total{result="launched"} 0.0' in two.get("/metrics")[1]
    assert (
        'fractal_aws_requests_total{code="OK",operation="ListTasks",service="ecs"} 0.0'
        in (two.get("/metrics")[1])
    )
    assert 'verb="patch"' not in two.get("/metrics")[1]
    held = lease(world)
    assert held["leaseDurationSeconds"] == LEASE
    assert held["leaseTransitions"] == 0
    output = "jsonpath={range .items[*]}{.message}{'\\n'}{end}"
    became = f"{held['holderIdentity']} became leader"
    told = ("get", "events", "-o", output)
    until(lambda: became in world.kubectl(*told).splitlines(), "an Event")
    assert_one_task_each(world, ["led"])


def test_after_kill_9_the_other_takes_over(world: World) -> None:
    one, two = pair(world)
    world.create("before")
    world.until_condition("before", "Ready", "True")
    first = lease(world)["holderIdentity"]
    one.kill()
    world.create("after")
    until(lambda: leads(two), "the standby leads")
    world.until_condition("after", "Ready", "True")
    now = lease(world)
    assert now["holderIdentity"] != first
    assert now["leaseTransitions"] == 1
    world.sweeps(1)
    assert_one_task_each(world, ["before", "after"])


def test_a_new_leader_launches_nothing_before_its_first_sweep(world: World) -> None:
    one, two = pair(world)
    one.kill()
    # Of the first one a call may be under way still; and one that takes too long is made again.
    world.ecs.hold("ListTasks", "before", times=100)
    world.create("early")
    until(lambda: leads(two), "the standby leads")
    until(world.ecs.held, "its first sweep")
    until(lambda: "the first sweep of ECS tasks" in two.get("/readyz")[1], "it says so")
    until(lambda: world.get("early"), "it is there")
    assert world.tasks() == []
    assert world.ecs.calls().get("RunTask", 0) == 0
    world.ecs.release()
    world.until_condition("early", "Ready", "True")
    assert_one_task_each(world, ["early"])


def test_times_in_the_lease_are_utc_wherever_the_process_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = world.environ
    monkeypatch.setattr(world, "environ", lambda **given: environ(**given) | {"TZ": "Asia/Tokyo"})
    one = start(world)
    until(lambda: swept(one), "it leads")
    for name in ("acquireTime", "renewTime"):
        written = datetime.fromisoformat(lease(world)[name])
        assert abs(datetime.now(UTC) - written) < timedelta(minutes=30)  # Tokyo is 9 hours off


def test_kill_9_with_an_unanswered_launch(world: World) -> None:
    """The task exists; only ECS knows. The next leader finds it before it would launch."""
    one, two = pair(world)
    world.ecs.hold("RunTask", "after", match=f"fc/{world.name}/")
    world.create("caught")
    until(world.ecs.held, "RunTask is called")
    one.kill()
    until(lambda: leads(two), "the standby leads")
    world.until_condition("caught", "Ready", "True")
    world.sweeps(1)
    assert len(world.tasks()) == 1
    assert_one_task_each(world, ["caught"])


def test_after_sigterm_the_lease_is_free_and_the_other_leads(world: World) -> None:
    one, two = pair(world)
    first = lease(world)["holderIdentity"]
    mark = world.mark()
    assert one.stop() == 0
    until(lambda: swept(two), "the standby leads")
    writes = [
        each
        for each in world.proxy.requests[mark:]
        if each.method == "PUT" and f"/{world.namespace}/leases/" in each.path and each.code == 200
    ]
    assert len(writes) >= 2  # it was released, and then taken
    assert lease(world)["holderIdentity"] != first
    assert lease(world)["leaseTransitions"] == 1
    world.create("after")
    world.until_condition("after", "Ready", "True")
    assert_one_task_each(world, ["after"])


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_leader_that_was_stopped_past_its_lease_does_nothing_more(
    world: World, phase: str
) -> None:
    """SIGSTOP in the middle of a launch; SIGCONT once the other has led and gone on."""
    one, two = pair(world)
    world.create("running")
    world.until_condition("running", "Ready", "True")
    world.ecs.hold("RunTask", phase, match=f"fc/{world.name}/", late=True)  # type: ignore[arg-type]
    world.create("caught")
    until(world.ecs.held, "RunTask is called")
    send(one, signal.SIGSTOP)
    until(lambda: swept(two), "the standby leads")
    world.until_condition("caught", "Ready", "True")
    world.patch("running", spec={"dpi": 200})
    until(lambda: len(world.tasks(world.uid("running"))) == 2, "the edit is seen")
    world.until_condition("running", "Ready", "True")
    mark, tasks = world.mark(), len(world.tasks())
    world.ecs.release()
    send(one, signal.SIGCONT)
    until(lambda: one.ended is not None, "the former leader ends")
    assert one.ended == 1
    assert "leads no more" in one.log()
    world.sweeps(1)
    assert world.writes(since=mark) == []
    assert len(world.tasks()) == tasks
    until(lambda: leads(two), "the other leads still")
    assert_one_task_each(world, ["running", "caught"])


def test_of_three_that_start_at_once_one_leads(world: World) -> None:
    made = [start(world, ready=False) for _ in range(3)]
    for each in made:
        each.wait_ready()
    until(lambda: any(swept(each) for each in made), "one leads")
    world.create("contested")
    world.until_condition("contested", "Ready", "True")
    until_is(lambda: sorted(leads(each) for each in made), [False, False, True])
    assert_one_task_each(world, ["contested"])


def test_a_restart_of_the_only_one_waits_for_no_lease_after_a_clean_stop(world: World) -> None:
    """With the terms that are the defaults: it would take 15 s otherwise."""
    one = world.start(leader_election="true")
    until(lambda: swept(one), "it leads")
    assert one.stop() == 0
    assert "holderIdentity" not in lease(world)
    one.start()
    until(lambda: one.port() and swept(one), "it leads again")
    assert lease(world)["leaseTransitions"] == 1
    assert lease(world)["leaseDurationSeconds"] == 15


def test_without_a_place_for_its_lease_it_is_not_ready_and_says_why(world: World) -> None:
    operator = world.start(
        ready=False, leader_election="true", release_namespace="no-such-namespace"
    )
    until(lambda: "FRACTAL_RELEASE_NAMESPACE" in operator.log(), "it says what is wrong")
    until(lambda: operator.get("/readyz")[0] == 503, "it is not ready")
    until(lambda: "leader election" in operator.get("/readyz")[1], "it says for what it waits")
    assert operator.get("/healthz")[0] == 200
    world.create("unled")
    assert world.tasks() == []
