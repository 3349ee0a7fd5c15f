"""Leader election on fakes: a simulator drives each candidate, on a clock of its own.

Each candidate's monotonic clock begins elsewhere and its wall clock is off; true time is the
simulator's, and only it says who leads at once.
"""

import heapq
import random
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.shell.kube_world import KubeWorld
from tests.unit.shell.wire import FakeClock, run

from fractal_models.errors import AccessDenied, Conflict, Gone, OutcomeUnknown, Unavailable
from fractal_models.kube import KubeEvent, ObjectKey
from fractal_operator.settings import Settings
from fractal_operator.shell.leader import Leader, LeadLost, Terms

KEY = ObjectKey("system", "release-leader")
TERMS = Terms()
STEP = 0.1
TICK = 0.001
"""No wait is shorter: time goes on while a processor thinks."""

Body = Mapping[str, Any]
Fault = Callable[[], Exception | None]


class Pause:
    """What a candidate waits for: so many seconds of true time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator["Pause", None, None]:
        yield self


@dataclass
class Time:
    """True time."""

    now: float = 0.0


@dataclass
class OwnClock:
    """A candidate's clocks: ``began`` and ``skew`` are its own, and none of anybody's business."""

    time: Time
    began: float
    skew: float

    def now(self) -> datetime:
        return datetime(2026, 5, 4, tzinfo=UTC) + timedelta(seconds=self.time.now + self.skew)

    def monotonic(self) -> float:
        return self.began + self.time.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        await Pause(seconds)


@dataclass
class Line:
    """How a candidate reaches the API: each call takes ``travel`` there and as long back.

    ``fault`` may name an error for a call, which then has no effect; with ``lost``, the answer is
    lost after the effect. With ``hangs``, nothing is answered: a call ends when its time is over.
    """

    travel: float = 0.0
    fault: Fault = lambda: None
    lost: bool = False
    hangs: bool = False


@dataclass
class Candidate:
    """One process that may lead."""

    name: str
    world: KubeWorld
    time: Time
    began: float = 0.0
    skew: float = 0.0
    terms: Terms = TERMS
    line: Line = field(default_factory=Line)
    told: list[str] = field(default_factory=list)
    ended: Exception | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        self.clock = OwnClock(self.time, self.began, self.skew)
        self.leader = Leader(self, self.clock, KEY, self.name, self.terms)  # type: ignore[arg-type]

    # --- the port's part ---

    async def _call(self, do: Callable[[], Any], within: float) -> Any:
        assert 0 < within <= self.terms.renew / 2
        if self.line.hangs:
            await Pause(within)
            raise OutcomeUnknown("no answer in time")
        if self.line.travel:
            await Pause(min(self.line.travel, within))
            if self.line.travel >= within:
                raise OutcomeUnknown("no answer in time")
        error = self.line.fault()
        if error is not None:
            raise error
        answer = do()
        if self.line.lost:
            raise OutcomeUnknown("the answer is lost")
        if self.line.travel:
            await Pause(self.line.travel)
        return answer

    async def get_lease(self, key: ObjectKey, within: float) -> Any:
        return await self._call(lambda: self.world.get_lease(key), within)

    async def create_lease(self, key: ObjectKey, spec: Body, within: float) -> Any:
        return await self._call(lambda: self.world.create_lease(key, spec), within)

    async def update_lease(self, lease: Body, spec: Body, within: float) -> Any:
        return await self._call(lambda: self.world.update_lease(lease, spec), within)

    async def post_event(self, body: Body, event: KubeEvent) -> None:
        await self._call(lambda: self.world.post_event(body, event), self.terms.renew / 2)

    async def campaign(self) -> None:
        try:
            await self.leader.campaign(
                lambda: self.told.append("leads"), lambda: self.told.append("follows")
            )
        except Exception as error:
            self.ended = error


class Election:
    """Candidates, one API, and true time. Never may two lead at once."""

    def __init__(self) -> None:
        self.time = Time()
        self.world = KubeWorld(FakeClock())
        self.candidates: list[Candidate] = []
        self._due: list[tuple[float, int, Coroutine[Any, Any, None], Candidate]] = []
        self._order = 0

    def enter(self, name: str, **options: Any) -> Candidate:
        made = Candidate(name, self.world, self.time, **options)
        self.candidates.append(made)
        self._at(self.time.now, made.campaign(), made)
        return made

    def kill(self, candidate: Candidate) -> None:
        """kill -9."""
        self.candidates.remove(candidate)
        for each in self._due:
            if each[3] is candidate:
                each[2].close()
        self._due = [each for each in self._due if each[3] is not candidate]
        heapq.heapify(self._due)

    def freeze(self, candidate: Candidate) -> None:
        """SIGSTOP: it does nothing, whatever is due; what it would answer, nobody can ask."""
        candidate.frozen = True

    def thaw(self, candidate: Candidate) -> None:
        """SIGCONT: what was due meanwhile is done now."""
        candidate.frozen = False

    def run(self, seconds: float) -> None:
        """Let true time pass."""
        end = self.time.now + seconds
        while self.time.now < end - 1e-9:
            self._do_what_is_due()
            leading = self.leading()
            assert len(leading) < 2, [each.name for each in leading]
            self.time.now = min(end, round(self.time.now + STEP, 6))
        self._do_what_is_due()

    def leading(self) -> list[Candidate]:
        """Who would act now, if asked."""
        return [each for each in self.candidates if not each.frozen and each.leader.leads()]

    def until(self, done: Callable[[], bool], within: float) -> float:
        """Let time pass until ``done``; how long that took."""
        began = self.time.now
        while not done():
            assert self.time.now - began < within, f"not done in {within} s"
            self.run(STEP)
        return self.time.now - began

    def spec(self) -> dict[str, Any]:
        return dict(self.world.leases[KEY]["spec"])

    def _at(self, when: float, work: Coroutine[Any, Any, None], who: Candidate) -> None:
        self._order += 1
        heapq.heappush(self._due, (when, self._order, work, who))

    def _do_what_is_due(self) -> None:
        frozen = []
        while self._due and self._due[0][0] <= self.time.now:
            entry = heapq.heappop(self._due)
            if entry[3].frozen:
                frozen.append(entry)
                continue
            try:
                pause = entry[2].send(None)
            except StopIteration:
                continue
            self._at(self.time.now + max(pause.seconds, TICK), entry[2], entry[3])
        for entry in frozen:
            heapq.heappush(self._due, entry)


@pytest.fixture
def election() -> Iterator[Election]:
    made = Election()
    yield made
    for each in tuple(made.candidates):
        made.kill(each)


# --- one ---


def test_the_first_candidate_makes_the_lease_waits_once_and_goes_on(election: Election) -> None:
    one = election.enter("one")
    election.run(STEP)
    first = election.spec()
    assert first == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-05-04T00:00:00.000000Z",
        "renewTime": "2026-05-04T00:00:00.000000Z",
        "leaseTransitions": 0,
    }
    assert election.until(lambda: election.leading() == [one], 11) >= TERMS.renew - 2 * STEP
    for _ in range(100):
        election.run(1)
        assert election.leading() == [one]
    assert one.told == ["leads"]
    last = election.spec()
    assert last.pop("renewTime") > "2026-05-04T00:01:37"
    first.pop("renewTime")
    assert last == first


@pytest.mark.parametrize(
    "error",
    [Unavailable("refused"), AccessDenied("no"), Conflict("a race"), KeyError("a bug"), Gone("x")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_it_leads_until_its_deadline_and_no_longer(
    election: Election, error: Exception
) -> None:
    one = election.enter("one")
    election.run(5)  # the last renewal was sent at 4 s
    one.line.fault = lambda: error
    election.run(8.9)
    assert election.leading() == [one]
    election.run(0.2)
    assert election.leading() == []
    assert isinstance(one.ended, LeadLost)


def test_a_hanging_api_ends_the_lead_in_time_and_calls_end_by_then(election: Election) -> None:
    one = election.enter("one")
    election.run(5)
    one.line.hangs = True
    election.run(8.9)
    assert election.leading() == [one]
    assert one.ended is None
    election.run(0.2)
    assert isinstance(one.ended, LeadLost)


def test_failures_between_renewals_cost_nothing(election: Election) -> None:
    one = election.enter("one")
    election.run(1)
    one.line.fault = lambda: Unavailable("down") if election.time.now % 8 < 6 else None
    election.run(100)
    assert election.leading() == [one]


def test_a_lost_answer_is_found_again(election: Election) -> None:
    """The write was done: the version that it remembers is not the present one."""
    one = election.enter("one")
    election.run(1)
    one.line.lost = True
    election.run(3)
    one.line.lost = False
    election.run(60)
    assert election.leading() == [one]
    assert election.spec()["leaseTransitions"] == 0


def test_a_slow_api_counts_from_before_the_call(election: Election) -> None:
    one = election.enter("one", line=Line(travel=1.5))
    election.until(lambda: election.leading() == [one], 20)
    election.until(lambda: not _in_flight(election, one), 10)
    election.until(lambda: len(_in_flight(election, one)) == 1, 10)  # it begins now, and takes 3 s
    one.line.hangs = True  # what follows is lost
    gone = election.until(lambda: not election.leading(), 30)
    assert gone <= 10 + STEP


def test_a_renewal_that_comes_at_the_deadline_is_none(election: Election) -> None:
    terms = Terms(lease=15, renew=10, retry=5)
    one = election.enter("one", terms=terms)
    election.until(lambda: election.leading() == [one], 11)
    election.run(1)
    written = election.spec()["renewTime"]
    deadline = seconds(written) + terms.renew - 0.01
    one.line.fault = lambda: Unavailable("down") if election.time.now < deadline else None
    election.run(20)
    assert isinstance(one.ended, LeadLost)
    assert election.spec()["renewTime"] == written


def seconds(at: str) -> float:
    """The true time at which a candidate without skew wrote this."""
    return datetime.fromisoformat(at).timestamp() - datetime(2026, 5, 4, tzinfo=UTC).timestamp()


# --- two ---


def test_one_of_two_leads_and_the_other_follows(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two", began=1e6)
    election.run(100)
    assert election.leading() == [one]
    assert two.told == ["follows"] * len(two.told)
    assert len(two.told) >= 45
    assert election.spec()["leaseTransitions"] == 0


@pytest.mark.parametrize("moment", [10.0, 10.5, 11.0, 11.5, 12.0])
def test_after_a_kill_the_other_takes_over_within_20_s_and_not_before_15(
    election: Election, moment: float
) -> None:
    one, two = election.enter("one"), election.enter("two", began=1e6)
    election.run(moment)
    written = election.spec()["renewTime"]
    election.kill(one)
    took = election.until(lambda: election.leading() == [two], 20)
    assert moment + took >= seconds(written) + 15
    assert took <= 17 + 2 * STEP
    assert election.spec()["holderIdentity"] == "two"
    assert election.spec()["leaseTransitions"] == 1
    assert election.spec()["acquireTime"] == election.spec()["renewTime"]


def test_whoever_labels_a_dead_leaders_lease_keeps_nobody_out(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two")
    election.run(11.9)
    election.kill(one)

    def leads_though_labelled() -> bool:
        lease = election.world.leases[KEY]
        if election.spec()["holderIdentity"] == "one":
            election.world.update_lease(lease, lease["spec"])  # a new version, which says the same
        return election.leading() == [two]

    assert election.until(leads_though_labelled, 20) <= 17 + 2 * STEP


def test_after_a_clean_stop_the_other_leads_within_two_seconds(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two")
    election.run(11.9)
    assert election.leading() == [one]
    election.kill(one)
    run(one.leader.release())
    assert not one.leader.leads()
    assert "holderIdentity" not in election.spec()
    assert election.until(lambda: election.leading() == [two], 20) <= 2
    assert election.spec()["leaseTransitions"] == 1


@pytest.mark.parametrize("skew", [-3600.0, -20.0, 20.0, 3600.0])
def test_wall_clocks_do_not_matter(election: Election, skew: float) -> None:
    one, two = election.enter("one"), election.enter("two", skew=skew)
    election.run(60)
    assert election.leading() == [one]
    election.kill(one)
    assert election.until(lambda: election.leading() == [two], 20) > 13
    three = election.enter("three", skew=-skew)
    election.run(60)
    assert election.leading() == [two]
    assert "leads" not in three.told


def test_a_frozen_leader_leads_no_more_when_it_wakes(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two")
    election.run(13)
    election.freeze(one)
    election.until(lambda: election.leading() == [two], 20)
    election.thaw(one)
    assert not one.leader.leads()
    election.run(30)
    assert isinstance(one.ended, LeadLost)
    assert election.leading() == [two]


def test_frozen_in_a_call_it_leads_no_more_when_it_wakes(election: Election) -> None:
    """Its write was on its way: it arrives with a version that is no longer the present one."""
    one = election.enter("one", line=Line(travel=0.5))
    election.run(13)
    two = election.enter("two")
    election.run(2)
    assert election.leading() == [one]
    election.until(lambda: len(_in_flight(election, one)) == 1, 10)
    election.freeze(one)
    election.until(lambda: election.leading() == [two], 30)
    election.thaw(one)
    election.run(30)
    assert isinstance(one.ended, LeadLost)
    assert election.leading() == [two]
    assert election.spec()["holderIdentity"] == "two"


def _in_flight(election: Election, who: Candidate) -> list[float]:
    """When calls of a candidate will arrive, or be answered, within their travel time."""
    soon = election.time.now + who.line.travel
    return [when for when, _, _, each in election._due if each is who and when <= soon]


def test_cut_off_from_the_api_it_stops_before_the_other_begins(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two")
    election.run(13)
    one.line.hangs = True
    idle = election.until(lambda: not election.leading(), 11)
    assert election.until(lambda: election.leading() == [two], 20) >= 5 - STEP
    assert idle <= 10


def test_of_many_that_see_a_lease_run_out_one_takes_it(election: Election) -> None:
    one = election.enter("one")
    others = [election.enter(f"other-{number}") for number in range(5)]
    election.run(10)
    election.kill(one)
    election.until(lambda: bool(election.leading()), 20)
    election.run(60)
    assert len(election.leading()) == 1
    assert [each.ended for each in others] == [None] * 5
    assert election.spec()["leaseTransitions"] == 1


def test_a_deleted_lease_is_made_again_by_its_holder(election: Election) -> None:
    """Who has seen another lead waits as long as if the Lease were there."""
    one = election.enter("one")
    two = election.enter("two")
    for _ in range(10):
        election.run(1.3)
        election.world.leases.clear()
    election.run(20)
    assert election.leading() == [one]
    assert "leads" not in two.told


@pytest.mark.parametrize("since", [0.0, 0.5, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("cut", [False, True], ids=["connected", "cut off"])
def test_a_lease_deleted_while_another_starts_lets_no_two_lead(
    election: Election, since: float, cut: bool
) -> None:
    """``run`` looks every tenth of a second. The new one knows nothing of the holder."""
    one = election.enter("one", line=Line(travel=0.05))
    election.run(20 + since)
    assert election.leading() == [one]
    one.line.hangs = cut  # then it leads for as long as it may
    election.world.leases.clear()
    fresh = election.enter("fresh", line=Line(travel=0.05))
    election.until(lambda: KEY in election.world.leases, 2)
    by_name = {"one": one, "fresh": fresh}
    taker = by_name[election.spec()["holderIdentity"]]
    assert taker is fresh or not cut
    election.until(lambda: election.leading() == [taker], 11)
    election.run(20)
    assert election.leading() == [taker]


def test_who_stops_before_it_has_led_gives_its_lease_up(election: Election) -> None:
    one = election.enter("one")
    election.run(5)
    assert election.leading() == []
    election.kill(one)
    run(one.leader.release())
    two = election.enter("two")
    election.run(STEP)
    assert election.leading() == [two]


def test_a_lease_that_somebody_else_writes_ends_the_lead_at_once(election: Election) -> None:
    one = election.enter("one")
    election.run(11)
    lease = election.world.leases[KEY]
    election.world.update_lease(lease, {**lease["spec"], "holderIdentity": "an administrator"})
    election.run(5)
    assert isinstance(one.ended, LeadLost)
    assert election.spec()["holderIdentity"] == "an administrator"


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": ""}, {"leaseTransitions": 7}])
def test_a_lease_without_a_holder_is_free(election: Election, spec: Body) -> None:
    election.world.create_lease(KEY, spec)
    one = election.enter("one")
    election.run(STEP)
    assert election.leading() == [one]
    assert election.spec()["leaseTransitions"] == spec.get("leaseTransitions", 0) + 1


def test_a_lease_of_other_terms_is_waited_for_as_it_says(election: Election) -> None:
    election.world.create_lease(KEY, {"holderIdentity": "x", "leaseDurationSeconds": 40})
    one = election.enter("one")
    assert 40 <= election.until(lambda: election.leading() == [one], 60) <= 40 + 2 * STEP


def test_a_lease_is_believed_for_as_long_as_settings_allow_and_no_longer(
    election: Election,
) -> None:
    """Somebody edits the Lease of a leader: that one ends, and nobody is kept out for a day."""
    one = election.enter("one")
    election.run(11)
    edited = {"holderIdentity": "nobody", "leaseDurationSeconds": 100_000}
    election.world.update_lease(election.world.leases[KEY], edited)
    election.run(5)
    assert isinstance(one.ended, LeadLost)
    election.kill(one)
    two = election.enter("two")
    longest = Settings.model_json_schema()["properties"]["lease_seconds"]["maximum"]
    took = election.until(lambda: election.leading() == [two], longest + 10)
    assert longest <= took <= longest + TERMS.retry
    assert election.spec()["leaseDurationSeconds"] == TERMS.lease


def test_whoever_takes_the_holder_out_lets_one_lead_at_once(election: Election) -> None:
    """As the page of FractalNoLeader says; the merge patch removes the field."""
    edited = {"holderIdentity": "nobody", "leaseDurationSeconds": 100_000}
    election.world.create_lease(KEY, edited)
    one = election.enter("one")
    election.run(10)
    assert election.leading() == []
    election.world.update_lease(election.world.leases[KEY], {"leaseDurationSeconds": 100_000})
    assert election.until(lambda: election.leading() == [one], 10) <= TERMS.retry + STEP


def test_two_who_create_the_lease_at_once(election: Election) -> None:
    """Both have seen none; the second to write is refused, and looks again."""
    one = election.enter("one", line=Line(travel=0.3))
    two = election.enter("two", line=Line(travel=0.3))
    election.run(30)
    assert election.leading() == [one]
    assert two.told == ["follows"] * len(two.told)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_two_never_lead_at_once(election: Election, seed: int) -> None:
    """``run`` looks every tenth of a second. In the end, when all is well, one leads."""
    chance = random.Random(seed)
    for number in range(150):
        while len(election.candidates) < 3:
            line = Line(travel=chance.choice((0.0, 0.05, 1.0)))
            election.enter(f"{number}-{len(election.candidates)}", line=line, began=1e5 * number)
        who = chance.choice(election.candidates)
        match chance.randrange(5):
            case 0:
                election.kill(who)
            case 1:
                who.frozen = not who.frozen
            case 2:
                who.line.hangs = not who.line.hangs
            case 3:
                who.line.lost = not who.line.lost
            case _:
                error = chance.choice((None, Unavailable("down"), Conflict("a race")))
                who.line.fault = lambda error=error: error  # type: ignore[misc]
        election.run(chance.choice((0.2, 1.0, 5.0, 20.0)))
        for each in [each for each in election.candidates if each.ended is not None]:
            election.kill(each)
    for each in election.candidates:
        each.frozen, each.line = False, Line()
    election.enter("the last")
    election.until(lambda: len(election.leading()) == 1, 40)


# --- what it says ---


def test_why_it_cannot_lead_is_said_once_with_what_to_do(
    election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    one = election.enter("one")
    one.line.fault = lambda: AccessDenied("leases is forbidden")
    election.run(20)
    one.line.fault = lambda: Gone('namespaces "system" not found')
    election.run(20)
    [denied, gone] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "leases is forbidden" in denied
    assert "rights to get, create and update leases" in denied
    assert "FRACTAL_RELEASE_NAMESPACE" in gone
    assert one.told == []
    one.line.fault = lambda: None
    election.run(12)
    assert one.told == ["leads"]


def test_who_stands_by_says_so_once_and_for_whom(
    election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    election.enter("one")
    election.run(20)
    election.enter("two")
    election.run(60)
    told = [each.getMessage() for each in caplog.records if "stands by" in each.getMessage()]
    assert told == [f"two stands by: one leads by lease {KEY}"]


def test_who_leads_is_told_by_an_event_on_the_lease(election: Election) -> None:
    one = election.enter("one")
    election.run(STEP)
    run(one.leader.announce())
    [(uid, event)] = election.world.events.values()
    assert uid == election.world.leases[KEY]["metadata"]["uid"]
    assert (event.type, event.reason, event.message) == (
        "Normal",
        "LeaderElection",
        "one became leader",
    )
    one.line.fault = lambda: Unavailable("down")
    run(one.leader.announce())  # lost, and that is all


# --- release ---


def test_release_leaves_what_is_not_its_own(election: Election) -> None:
    one = election.enter("one")
    two = election.enter("two")
    election.run(11)
    before = election.spec()
    run(two.leader.release())
    assert election.spec() == before
    lease = election.world.leases[KEY]
    election.world.update_lease(lease, {**lease["spec"], "holderIdentity": "three"})
    run(one.leader.release())
    assert election.spec()["holderIdentity"] == "three"
    assert not one.leader.leads()


def test_a_release_that_fails_leaves_the_lease_to_run_out(election: Election) -> None:
    one, two = election.enter("one"), election.enter("two")
    election.run(11)
    one.line.fault = lambda: Unavailable("down")
    election.kill(one)
    run(one.leader.release())
    assert not one.leader.leads()
    assert election.until(lambda: election.leading() == [two], 20) > 10
