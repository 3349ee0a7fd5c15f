"""Whether a watch that says nothing has nothing to say."""

import pytest
from tests.unit.shell.fakes import FakeKube
from tests.unit.shell.kube_world import Body, KubeWorld
from tests.unit.shell.wire import FakeClock, Wire, run

from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.shell.hearing import LOOK_SECONDS, SILENT_SECONDS, Hearing
from fractal_operator.shell.objects import Objects

ONE, TWO = ObjectKey("a", "one"), ObjectKey("b", "two")
SPEC = {"taskDefinition": "web"}


class Bench:
    """What a process knows, and what its watch has told."""

    def __init__(self, *, by_namespace: bool = False) -> None:
        self.clock, self.wire = FakeClock(), Wire()
        self.world = KubeWorld(self.clock)
        self.objects = Objects()
        self.hearing = Hearing(
            kube=FakeKube(self.world, self.wire),
            clock=self.clock,
            objects=self.objects,
            by_namespace=by_namespace,
        )

    def listed(self) -> None:
        bodies = list(self.world.objects.values())
        self.hearing.listed(bodies)
        for body in bodies:
            self.objects.read(body)

    def told(self, body: Body, kind: str = "MODIFIED") -> None:
        self.hearing.heard(kind, body)

    def edit(self, key: ObjectKey, dpi: int) -> Body:
        """A change that this process knows of, be it by an answer or by a list."""
        body = self.world.edit(key, dpi=dpi)
        self.objects.read(body)
        return body

    def passing(self, seconds: float) -> float:
        """The loop for so long; for how long something is owed then."""
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.clock.advance(LOOK_SECONDS)
            self.hearing.look()
            if self.hearing.standing()[0] > SILENT_SECONDS / 2:
                run(self.hearing._prove())
        return self.hearing.standing()[0]


@pytest.fixture
def bench() -> Bench:
    """Two objects, listed and told of."""
    made = Bench()
    both = [made.world.create(key, SPEC) for key in (ONE, TWO)]
    made.listed()
    for body in both:
        made.told(body, "")
    return made


def test_a_watch_of_an_idle_cluster_may_be_silent_for_ever(bench: Bench) -> None:
    assert bench.passing(100_000) == 0
    assert bench.wire.calls == []


def test_an_empty_cluster_owes_nothing() -> None:
    made = Bench()
    made.listed()
    assert made.passing(1000) == 0


def test_a_change_that_is_not_told_is_owed_and_named(bench: Bench) -> None:
    body = bench.edit(ONE, 96)
    version = body["metadata"]["resourceVersion"]
    assert bench.passing(SILENT_SECONDS + 20) > SILENT_SECONDS
    what = f"the watch has not told of version {version} of a/one"
    assert bench.hearing.standing()[1] == what
    assert bench.wire.counts()["get"] > 0, "no proof without a fresh read"
    bench.told(body)
    assert bench.passing(1000) == 0


def test_a_change_that_the_watch_told_first_is_not_owed(bench: Bench) -> None:
    known = bench.world.edit(ONE, dpi=96)
    bench.told(bench.world.edit(ONE, dpi=97))
    bench.objects.read(known)  # the answer to the write comes late
    assert bench.passing(1000) == 0


def test_a_new_object_that_only_a_list_shows_is_owed(bench: Bench) -> None:
    bench.world.create(ObjectKey("a", "new"), SPEC)
    bench.listed()
    assert bench.passing(SILENT_SECONDS + 20) > SILENT_SECONDS


def test_while_the_api_server_does_not_answer_nothing_is_owed(bench: Bench) -> None:
    bench.edit(ONE, 96)
    bench.wire.fail("get", Unavailable("down"), times=10)
    while bench.wire.counts()["get"] < 10:
        assert bench.passing(LOOK_SECONDS) <= SILENT_SECONDS / 2 + LOOK_SECONDS
    assert bench.passing(SILENT_SECONDS + 20) > SILENT_SECONDS


def test_a_watch_that_goes_on_telling_is_not_silent(bench: Bench) -> None:
    """It may be slow: at its start it tells of thousands."""
    bench.edit(ONE, 96)
    for dpi in range(100, 200):
        assert bench.passing(SILENT_SECONDS / 2) <= SILENT_SECONDS
        bench.told(bench.edit(TWO, dpi))


def test_with_a_watch_for_each_namespace_one_may_be_silent_by_itself() -> None:
    made = Bench(by_namespace=True)
    bodies = [made.world.create(key, SPEC) for key in (ONE, TWO)]
    made.listed()
    for body in bodies:
        made.told(body, "")
    made.edit(ONE, 96)
    for dpi in range(100, 104):
        made.passing(SILENT_SECONDS / 3)
        made.told(made.edit(TWO, dpi))
    seconds, what = made.hearing.standing()
    assert seconds > SILENT_SECONDS
    assert "a/one" in what


def test_a_namespace_that_is_refused_owes_nothing_and_hides_no_other() -> None:
    made = Bench(by_namespace=True)
    bodies = [made.world.create(key, SPEC) for key in (ONE, TWO)]
    made.listed()
    for body in bodies:
        made.told(body, "")
    made.edit(ONE, 96)
    made.world.refused = {ONE.namespace}
    assert made.passing(1000) <= SILENT_SECONDS / 2 + LOOK_SECONDS
    made.edit(TWO, 96)
    assert made.passing(SILENT_SECONDS + 20) > SILENT_SECONDS
    assert str(TWO) in made.hearing.standing()[1]


def test_a_watch_that_never_said_a_word_is_silent() -> None:
    made = Bench()
    made.world.create(ONE, SPEC)
    made.listed()
    assert made.passing(SILENT_SECONDS + 20) > SILENT_SECONDS


def test_what_the_first_list_shows_and_the_watch_passes_over_ends_no_process() -> None:
    """Else one object that kopf chokes on would end each process that starts."""
    made = Bench()
    made.world.create(ONE, SPEC)
    other = made.world.create(TWO, SPEC)
    made.listed()
    made.told(other, "")
    made.edit(ONE, 96)
    assert made.passing(10_000) == 0


def test_what_is_gone_or_another_one_is_no_proof(bench: Bench) -> None:
    """kopf tells of no deletion that happened while it was not connected; the next list does."""
    bench.edit(ONE, 96)
    bench.world.force_delete(ONE)
    for _ in range(100):
        assert bench.passing(LOOK_SECONDS) <= SILENT_SECONDS / 2 + LOOK_SECONDS
    bench.world.create(ONE, SPEC)
    for _ in range(100):
        assert bench.passing(LOOK_SECONDS) <= SILENT_SECONDS / 2 + LOOK_SECONDS


def test_a_deletion_that_was_told_of_is_settled(bench: Bench) -> None:
    body = bench.edit(ONE, 96)
    bench.world.force_delete(ONE)
    bench.objects.gone(ONE, body["metadata"]["uid"])
    bench.told(body, "DELETED")
    assert bench.passing(1000) == 0


def test_after_a_restore_of_etcd_smaller_versions_are_not_owed(bench: Bench) -> None:
    """Versions begin again below those that the watch has told of."""
    old = dict(bench.world.objects[ONE])
    bench.told({**old, "metadata": {**old["metadata"], "resourceVersion": "900000"}})
    bench.objects.read(old)
    assert bench.passing(1000) == 0
