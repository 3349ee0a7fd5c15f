"""What each action of a plan does, and what is remembered of how it went."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.shell.ecs_world import MAIN, REGION, WEB, task_arn
from tests.unit.shell.process import INSTALL, KEY, POLICY, Process, World
from tests.unit.shell.wire import run

from fractal_models.container import Attempt, Phase, Status
from fractal_models.errors import (
    AccessDenied,
    Conflict,
    FractalError,
    Gone,
    OutcomeUnknown,
    QuotaReached,
    Rejected,
    Throttled,
    TokenConflict,
    Unavailable,
)
from fractal_models.observed import ClusterArn, LaunchFailure, TaskArn
from fractal_models.records import AppStateRecord
from fractal_operator.core.plan import (
    FINALIZER,
    Action,
    AddFinalizer,
    ClusterView,
    DeleteObject,
    Ensure,
    Find,
    Launch,
    Plan,
    RemoveFinalizer,
    Resolve,
    RunTask,
    StopTask,
    TagTask,
    WriteStatus,
)
from fractal_operator.core.tokens import client_token, started_by
from fractal_operator.shell.launches import BREAKER, DENIED_DEFINITIONS
from fractal_operator.shell.memory import Memory
from fractal_operator.shell.objects import Body
from fractal_operator.shell.permits import NoPermit

SPEC = {"taskDefinition": "web"}


class Bench(Process):
    """A process that knows one object and the cluster, and acts on plans made by hand."""

    def __init__(self, **meta: Any) -> None:
        super().__init__(World())
        self.uid = self.world.kube.create(KEY, SPEC, **meta)["metadata"]["uid"]
        run(self.start())
        run(self.observer.sweep(self.main()))
        self.wire.calls.clear()

    def act(self, *actions: Action) -> Body | None:
        body = self.objects.get(KEY)
        assert body is not None
        seen = self.reconciler.observe(body)
        return run(self.actor.act(KEY, body, seen, Plan(actions)))

    @property
    def memory(self) -> Memory:
        return self.memories.of(self.uid)

    def launch(self) -> Launch:
        assert self.memory.launch is not None
        return self.memory.launch

    def stored(self) -> dict[str, Any]:
        return self.world.kube.objects[KEY]

    def run_task(self, **changes: Any) -> RunTask:
        request: dict[str, Any] = {
            "cluster": MAIN,
            "taskDefinition": WEB,
            "count": 1,
            "clientToken": client_token(MAIN, self.uid, 1),
            "startedBy": started_by(INSTALL, self.uid, 1),
            "overrides": {
                "containerOverrides": [
                    {"name": "app", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:x"}]}
                ]
            },
            "tags": [],
        }
        return RunTask(REGION, 1, request | changes)

    def armed(self) -> WriteStatus:
        now = self.clock.now()
        attempt = Attempt(
            number=1,
            cluster_arn=MAIN,
            first_issued_at=now,
            last_issued_at=now,
            issued_by="process-1",
        )
        return WriteStatus(Status(phase=Phase.PENDING, attempt=attempt), REGION, arms=1)

    def target(self) -> ClusterView:
        return self.main().view()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def methods(bench: Bench) -> list[str]:
    return [call.method for call in bench.wire.calls]


# --- Kubernetes ---


def test_the_finalizer_is_put_beside_others_and_alone_in_its_write() -> None:
    bench = Bench(finalizers=["example.com/other"])
    after = bench.act(AddFinalizer())
    assert methods(bench) == ["set_finalizers"]
    assert bench.stored()["metadata"]["finalizers"] == ["example.com/other", FINALIZER]
    assert "status" not in bench.stored()
    assert bench.objects.get(KEY) == after == bench.stored()
    assert bench.memory.finalized


def test_an_object_with_an_attempt_is_not_taken_for_new_by_its_finalizer(bench: Bench) -> None:
    bench.act(bench.armed())
    bench.act(AddFinalizer())
    assert not bench.memory.finalized


def test_only_our_finalizer_goes_and_the_last_rows_wait_before_it_does() -> None:
    bench = Bench(finalizers=["example.com/other", FINALIZER])
    bench.world.kube.delete(KEY)
    bench.objects.seen(bench.stored())
    bench.wire.fail("set_finalizers", Unavailable("down"))
    with pytest.raises(Unavailable):
        bench.act(RemoveFinalizer())
    run(bench.recorder.flush())
    assert bench.world.ledger.apps[bench.uid].deleted, "queued although the write failed"
    bench.act(RemoveFinalizer())
    assert bench.stored()["metadata"]["finalizers"] == ["example.com/other"]


def test_a_status_write_tells_its_transitions_as_events_and_history(bench: Bench) -> None:
    bench.act(bench.armed())
    assert methods(bench) == ["write_status", "post_event"]
    ((_, event),) = bench.world.kube.events.values()
    assert (event.type, event.reason) == ("Normal", "Launching")
    run(bench.recorder.flush())
    assert [row.key for row in bench.world.ledger.history.values()] == [event.name_suffix]
    assert bench.objects.get(KEY) == bench.stored()


def test_lost_events_stop_nothing(bench: Bench) -> None:
    bench.wire.fail("post_event", AccessDenied("no"))
    assert bench.act(bench.armed(), bench.run_task()) is not None
    assert methods(bench) == ["write_status", "post_event", "run_task"]
    run(bench.recorder.flush())
    assert len(bench.world.ledger.history) == 1


def test_a_status_write_that_fails_tells_nothing(bench: Bench) -> None:
    bench.wire.fail("write_status", Unavailable("down"))
    with pytest.raises(Unavailable):
        bench.act(bench.armed(), bench.run_task())
    assert methods(bench) == ["write_status"]
    assert bench.memory.launch is None
    assert bench.recorder.depth() == 0


def test_without_a_permit_no_intent_is_written(bench: Bench) -> None:
    bench.world.ecs.permits["RunTask"] = 0
    with pytest.raises(NoPermit):
        bench.act(bench.armed())
    assert methods(bench) == []
    assert bench.world.ecs.launches == []


def test_only_an_intent_takes_a_permit(bench: Bench) -> None:
    bench.world.ecs.permits["RunTask"] = 0
    bench.act(WriteStatus(Status(phase=Phase.PENDING)))
    assert bench.stored()["status"] == {"phase": "Pending"}


@pytest.mark.parametrize("error", [Conflict("moved on"), Gone("gone")])
def test_a_lost_race_ends_in_a_fresh_read_and_nothing_else(
    bench: Bench, error: FractalError
) -> None:
    edited = bench.world.kube.edit(KEY, dpi=96)
    bench.wire.fail("write_status", error)
    assert bench.act(bench.armed(), bench.run_task()) == edited
    assert methods(bench) == ["write_status", "get"]
    assert bench.objects.get(KEY) == edited


def test_the_fence_keeps_a_stale_write_out(bench: Bench) -> None:
    bench.world.kube.edit(KEY, dpi=96)
    writes = bench.world.kube.writes
    bench.act(bench.armed(), bench.run_task())
    assert bench.world.kube.writes == writes
    assert bench.world.ecs.launches == []


def app_row(bench: Bench, uid: str) -> AppStateRecord:
    bench.clock.advance(60)
    run(bench.recorder.flush())
    return bench.world.ledger.apps[uid]


def test_an_object_that_is_gone_is_forgotten_and_recorded(bench: Bench) -> None:
    bench.tasks.claim(bench.uid, [task_arn("claimed")])
    bench.memory.finalized = True
    bench.world.kube.force_delete(KEY)
    assert bench.act(bench.armed()) is None
    assert bench.objects.get(KEY) is None
    assert not bench.memory.finalized
    assert bench.tasks.expected(MAIN) == []
    assert app_row(bench, bench.uid).deleted


def test_a_namesake_in_its_place_is_another_object(bench: Bench) -> None:
    bench.memory.finalized = True
    bench.world.kube.force_delete(KEY)
    namesake = bench.world.kube.create(KEY, SPEC)
    assert bench.act(bench.armed()) == namesake
    assert "status" not in bench.stored()
    assert bench.objects.get(KEY) == namesake
    assert not bench.memory.finalized, "nothing is remembered of the one that went"
    assert app_row(bench, bench.uid).deleted


def test_an_expired_object_is_deleted_itself_but_not_its_namesake(bench: Bench) -> None:
    assert bench.act(DeleteObject()) is None
    assert not bench.world.kube.objects
    assert app_row(bench, bench.uid).deleted
    other = Bench()
    other.world.kube.force_delete(KEY)
    namesake = other.world.kube.create(KEY, SPEC)
    assert other.act(DeleteObject()) == namesake


# --- RunTask ---


def test_arming_makes_certain_only_who_armed_first(bench: Bench) -> None:
    bench.act(bench.armed())
    assert bench.launch() == Launch(1, certain=True)
    bench.act(bench.run_task(cluster="nowhere"))
    bench.act(bench.armed())
    assert bench.launch().certain
    assert bench.launch().calls == 1, "arming again forgets no call"
    bench.memories.forget(bench.uid)  # another process
    bench.act(bench.armed())
    assert bench.launch() == Launch(1, certain=False)


def test_a_launch_is_seen_at_once_and_never_taken_for_unsent(bench: Bench) -> None:
    bench.act(bench.armed(), bench.run_task())
    (task,) = bench.tasks.of(bench.uid)
    assert task.last_status == "PROVISIONING"
    now = bench.clock.now()
    assert bench.launch() == Launch(1, certain=False, calls=1, at=now)
    assert bench.value("fractal_launches_total", result="launched") == 1


def test_failures_instead_of_a_task_are_remembered(bench: Bench) -> None:
    failures = (LaunchFailure("RESOURCE:MEMORY"),)
    bench.world.ecs.unplaced.append(failures)
    bench.act(bench.armed(), bench.run_task())
    now = bench.clock.now()
    assert bench.launch() == Launch(1, certain=True, calls=1, at=now, failures=failures)
    assert bench.value("fractal_launches_total", result="failed") == 1


@pytest.mark.parametrize(
    ("error", "certain", "result"),
    [
        (Throttled("Rate exceeded"), True, "throttled"),
        (QuotaReached("full"), True, "throttled"),
        (Rejected("bad", code="InvalidParameterException"), True, "rejected"),
        (AccessDenied("no", code="AccessDeniedException"), True, "rejected"),
        (Unavailable("refused"), True, "unknown"),
        (OutcomeUnknown("timeout"), False, "unknown"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_an_unknown_outcome_costs_certainty(
    bench: Bench, error: FractalError, certain: bool, result: str
) -> None:
    bench.wire.fail("run_task", error)
    bench.act(bench.armed(), bench.run_task())
    known = bench.launch()
    assert (known.certain, known.calls, known.at) == (certain, 1, bench.clock.now())
    assert known.problem is not None
    assert known.problem.kind == type(error).__name__
    assert known.problem.code == getattr(error, "code", "")
    assert bench.value("fractal_launches_total", result=result) == 1
    forgotten = [WEB] if isinstance(error, Rejected) else []
    assert bench.ecs.forgotten == forgotten


def test_certainty_that_is_lost_does_not_come_back(bench: Bench) -> None:
    bench.wire.fail("run_task", OutcomeUnknown("timeout"))
    bench.wire.fail("run_task", Throttled("Rate exceeded"), nth=2)
    bench.act(bench.armed(), bench.run_task())
    bench.act(bench.run_task())
    assert not bench.launch().certain
    assert bench.launch().calls == 2


def test_a_call_for_an_attempt_that_another_process_armed_is_never_certain(bench: Bench) -> None:
    bench.wire.fail("run_task", Throttled("Rate exceeded"))
    bench.act(bench.run_task())
    assert not bench.launch().certain


def test_a_stopped_task_that_is_replayed_is_still_known_as_ours(bench: Bench) -> None:
    bench.act(bench.run_task())
    bench.world.ecs.end(bench.world.ecs.live()[0])
    bench.tasks.forget(bench.uid)
    bench.act(bench.run_task())
    (task,) = bench.tasks.of(bench.uid)
    assert task.stopped
    assert task.started_by == started_by(INSTALL, bench.uid, 1)


def test_a_bound_token_adopts_what_it_is_bound_to(bench: Bench) -> None:
    bench.act(bench.armed(), bench.run_task())
    (launched,) = bench.world.ecs.live()
    bench.tasks.forget(bench.uid)
    again = bench.run_task(enableExecuteCommand=True)
    fresh = Process(bench.world)
    run(fresh.start())
    body = fresh.objects.get(KEY)
    assert body is not None
    run(fresh.actor.act(KEY, body, fresh.reconciler.observe(body), Plan((again,))))
    assert [task.arn for task in fresh.tasks.of(bench.uid)] == [launched]
    known = fresh.memories.of(bench.uid).launch
    assert known is not None
    assert known.problem is not None
    assert (known.certain, known.problem.kind) == (False, "TokenConflict")
    assert fresh.value("fractal_launches_total", result="adopted") == 1
    assert len(bench.world.ecs.launches) == 1


@pytest.mark.parametrize("ids", [(), ("arn:gone",)])
def test_a_bound_token_without_a_task_to_see_stays_unresolved(
    bench: Bench, ids: tuple[str, ...]
) -> None:
    bench.wire.fail("run_task", TokenConflict("bound", resource_ids=ids))
    bench.wire.fail("describe_tasks", Unavailable("down"))
    bench.act(bench.armed(), bench.run_task())
    assert bench.tasks.of(bench.uid) == ()
    assert not bench.launch().certain
    assert bench.wire.counts()["describe_tasks"] == len(ids)


NOT_AUTHORIZED = "RunTask: AccessDeniedException: not authorized to perform: ecs:RunTask"


def test_a_refused_permission_bars_the_definition_for_a_minute(bench: Bench) -> None:
    """Another's definition may be allowed: one object's choice must not hold up its neighbours."""
    action = bench.run_task()
    definition = str(action.request["taskDefinition"])
    assert bench.actor.breaker(bench.target(), definition) is None
    bench.wire.fail("run_task", AccessDenied(NOT_AUTHORIZED, code="AccessDeniedException"))
    bench.act(action)
    problem = bench.actor.breaker(bench.target(), definition)
    assert problem is not None
    assert problem.at == bench.clock.now() + BREAKER
    assert bench.actor.breaker(bench.target(), f"{definition}0") is None
    assert bench.actor.breaker(bench.target(), "") is None
    bench.clock.advance(BREAKER.total_seconds())
    assert bench.actor.breaker(bench.target(), definition) is None


def test_many_refused_definitions_close_the_cluster(bench: Bench) -> None:
    action = bench.run_task()
    for number in range(DENIED_DEFINITIONS):
        assert bench.actor.breaker(bench.target(), "another") is None
        bench.wire.fail("run_task", AccessDenied(NOT_AUTHORIZED, code="AccessDeniedException"))
        request = {**action.request, "taskDefinition": f"arn:d:{number}"}
        bench.act(replace(action, request=request))
    assert bench.actor.breaker(bench.target(), "another") is not None
    bench.clock.advance(BREAKER.total_seconds())
    assert bench.actor.breaker(bench.target(), "another") is None


def test_refused_credentials_close_the_cluster_for_a_minute(bench: Bench) -> None:
    bench.wire.fail("run_task", AccessDenied("expired", code="ExpiredTokenException"))
    bench.act(bench.run_task())
    for definition in ("", "any"):
        problem = bench.actor.breaker(bench.target(), definition)
        assert problem is not None
        assert problem.at == bench.clock.now() + BREAKER
    assert bench.actor.breaker(None, "") is None
    assert bench.actor.breaker(ClusterView(REGION, "unknown"), "") is None
    other = bench.clusters.of(REGION, "other")
    run(bench.observer.sweep(other))
    assert bench.actor.breaker(other.view(), "") is None
    bench.clock.advance(BREAKER.total_seconds())
    assert bench.actor.breaker(bench.target(), "") is None


# --- StopTask, tags, lookups, definitions ---


def stop(arn: TaskArn) -> StopTask:
    return StopTask(REGION, ClusterArn(MAIN), arn, "FractalContainer deleted")


def test_a_stop_is_seen_at_once(bench: Bench) -> None:
    bench.act(bench.run_task())
    (arn,) = bench.world.ecs.live()
    bench.act(stop(arn))
    assert bench.tasks.of(bench.uid)[0].desired_status == "STOPPED"
    assert bench.memory.stops[arn].problem is None
    assert bench.wire.of("stop_task") == [(arn, "FractalContainer deleted")]


def test_a_stop_that_fails_is_remembered_and_does_not_hold_up_the_next(bench: Bench) -> None:
    arns = [bench.world.ecs.put(n, started_by(INSTALL, bench.uid, 1)) for n in ("one", "two")]
    bench.wire.fail("stop_task", AccessDenied("no", code="AccessDeniedException"))
    bench.act(*map(stop, arns))
    problem = bench.memory.stops[arns[0]].problem
    assert problem is not None
    assert (problem.kind, problem.code) == ("AccessDenied", "AccessDeniedException")
    assert bench.memory.stops[arns[1]].problem is None
    assert bench.value("fractal_stops_total", reason="Deleted") == 1


def test_a_stop_of_a_task_that_ecs_does_not_know_counts_as_a_first_miss(bench: Bench) -> None:
    arn = bench.world.ecs.put("one", started_by(INSTALL, bench.uid, 1))
    run(bench.observer.sweep(bench.main()))
    del bench.world.ecs.tasks[arn]
    bench.act(stop(arn))
    assert bench.tasks.missing_of(bench.uid)[arn].count == 1


def test_stops_of_tasks_that_are_no_more_are_forgotten(bench: Bench) -> None:
    arn = task_arn("unknown")
    bench.act(stop(arn))
    assert arn in bench.memory.stops
    bench.reconciler.observe(bench.stored())
    assert bench.memory.stops == {}


def test_tags_are_put_on_and_their_failure_is_remembered(bench: Bench) -> None:
    arn = bench.world.ecs.put("one", started_by(INSTALL, bench.uid, 1))
    tag = TagTask(REGION, arn, {"fractal.co/retained": "true"})
    bench.wire.fail("tag_task", Throttled("Rate exceeded"))
    bench.act(tag)
    assert bench.memory.retained[arn].problem is not None
    bench.act(tag)
    assert bench.memory.retained[arn].problem is None
    assert bench.world.ecs.tags[arn] == {"fractal.co/retained": "true"}


def find(bench: Bench) -> Find:
    return Find(REGION, ClusterArn(MAIN), 1, started_by(INSTALL, bench.uid, 1))


def test_a_lookup_tells_what_it_found_and_when_it_began(bench: Bench) -> None:
    bench.act(find(bench))
    began = bench.clock.now()
    assert bench.memory.lookup is not None
    assert (bench.memory.lookup.began, bench.memory.lookup.found) == (began, ())
    assert methods(bench) == ["list_tasks"]
    arn = bench.world.ecs.put("one", started_by(INSTALL, bench.uid, 1))
    bench.act(find(bench))
    assert bench.memory.lookup.found == (arn,)
    assert [task.arn for task in bench.tasks.of(bench.uid)] == [arn]


@pytest.mark.parametrize("method", ["list_tasks", "describe_tasks"])
def test_a_lookup_that_fails_proves_nothing(bench: Bench, method: str) -> None:
    bench.world.ecs.put("one", started_by(INSTALL, bench.uid, 1))
    bench.wire.fail(method, Unavailable("down"))
    bench.act(find(bench))
    assert bench.memory.lookup is not None
    assert bench.memory.lookup.problem is not None


def test_definitions_are_resolved_registered_and_their_problems_remembered(bench: Bench) -> None:
    bench.act(Resolve(REGION, "web"))
    assert bench.memory.definition is not None
    assert bench.memory.definition.result == bench.world.ecs.definitions[WEB]
    bench.act(Resolve(REGION, "unknown"))
    assert bench.memory.definition.reference == "unknown"
    assert bench.memory.definition.result is None
    assert bench.memory.definition.problem is None
    registration = {"family": "fc-1", "containerDefinitions": [{"name": "app"}]}
    bench.act(Ensure(REGION, registration))
    assert bench.memory.definition.reference == "fc-1"
    assert bench.memory.definition.result is not None
    bench.wire.fail("ensure_definition", Throttled("Rate exceeded"))
    bench.act(Ensure(REGION, registration))
    assert bench.memory.definition.problem is not None
    assert bench.memory.definition.problem.kind == "Throttled"


def test_the_policy_names_the_installation_of_every_row(bench: Bench) -> None:
    bench.actor.vanished(bench.stored())
    assert app_row(bench, bench.uid).install == POLICY.install
