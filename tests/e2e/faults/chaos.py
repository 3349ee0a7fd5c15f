"""``make chaos``: minutes of random users and random faults on real parts, and then the count.

The seed repeats the choices, not the moments: the parts are real, and so is time.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from kubernetes.client.exceptions import ApiException
from tests.e2e.faults import disturb, leading
from tests.e2e.faults.parts import Stage, parts, postgres_server, stage
from tests.e2e.faults.truth import Truth, look
from tests.e2e.faults.wire import Kind, Wire, send
from tests.e2e.stack import Operator, container

from fractal_dev.postgres import Postgres

OBJECTS = [f"fc-{number:02}" for number in range(20)]
CHANCES: tuple[tuple[Kind, float], ...] = (
    ("kill-before", 0.006),
    ("kill-after", 0.006),
    ("answer-lost", 0.02),
    ("cut-before", 0.02),
    ("never-answered", 0.002),
)
"""What befalls a call that changes anything, and how often."""
AUDIT_SECONDS = "60"
"""Between two full looks while task events are relied on: what none told of is found so late."""
HEAL_MINUTES = 12.0
"""An attempt whose call is lost is drained for 420 s; what was unhealthy may wait as long again."""
LEADS = "became leader by lease"
"""What an operator logs when it begins to lead."""
REAP_MINUTES = 20.0
"""The reaper looks every 300 s, and stops in the second look what is 10 min old."""


class Users:
    """People who want things, and change their minds."""

    def __init__(self, world: Stage, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.acts: Counter[str] = Counter()
        self.forced: set[str] = set()
        self.retained: set[str] = set()

    def act(self) -> None:
        """Do one thing to one object."""
        name = self.dice.choice(OBJECTS)
        choices: list[tuple[Callable[[str], object], int]] = [
            (self.edit, 6), (self.relabel, 2), (self.suspend, 3), (self.resume, 4),
            (self.restart, 2), (self.delete, 5), (self.force_delete, 1), (self.recreate, 3),
            (self.end_task, 4),
        ]  # fmt: skip
        does = self.dice.choices([c for c, _ in choices], [w for _, w in choices])[0]
        if self.world.get(name) is None:
            does = self.create
        self.acts[does.__name__] += 1
        with suppress(ApiException):  # somebody else was faster, or it is gone
            does(name)

    def create(self, name: str) -> None:
        policy = self.dice.choices(["Always", "OnFailure", "Never"], [8, 2, 1])[0]
        keep = self.dice.choices(["Delete", "Retain"], [12, 1])[0]
        spec = container(restartPolicy=policy, deletionPolicy=keep, dpi=self.dice.randrange(72, 99))
        made = self.world.create(name, spec)
        if keep == "Retain":
            self.retained.add(made["metadata"]["uid"])

    def edit(self, name: str) -> None:
        self.world.patch(name, spec={"dpi": self.dice.randrange(72, 300)})

    def relabel(self, name: str) -> None:
        self.world.patch(name, spec={"user": f"user-{self.dice.randrange(9)}@example.org"})

    def suspend(self, name: str) -> None:
        self.world.patch(name, spec={"operatingMode": "Suspended"})

    def resume(self, name: str) -> None:
        self.world.patch(name, spec={"operatingMode": "Running"})

    def restart(self, name: str) -> None:
        at = f"{time.time():.3f}"
        self.world.patch(name, metadata={"annotations": {"fractal.co/restart-requested-at": at}})

    def delete(self, name: str) -> None:
        self.world.objects.delete_namespaced_custom_object(
            "fractal.co", "v1alpha1", self.world.namespace, "fractalcontainers", name
        )

    def recreate(self, name: str) -> None:
        """Delete, and create as soon as the name is free, or give up."""
        self.delete(name)
        end = time.monotonic() + self.dice.uniform(0, 6)
        while self.world.get(name) is not None:
            if time.monotonic() > end:
                return
            time.sleep(0.1)  # between two looks whether the name is free
        self.create(name)

    def force_delete(self, name: str) -> None:
        """Delete and take the finalizer off; the operator may put it on again in between."""
        found = self.world.get(name)
        if found is None:
            return
        uid = found["metadata"]["uid"]
        self.delete(name)
        while (found := self.world.get(name)) is not None and found["metadata"]["uid"] == uid:
            self.forced.add(uid)
            self.world.patch(name, metadata={"finalizers": None, "uid": uid})

    def end_task(self, name: str) -> None:
        live = self.world.tasks(self.world.uid(name), live=True)
        if live:
            how = self.dice.choice(["exit", "exit", "spot", "infrastructure", "termination"])
            code = self.dice.randrange(2)
            self.world.ecs.stop_task(live[-1]["taskArn"], how=how, exit_code=code)  # type: ignore[arg-type]


def queue(world: Stage) -> str:
    """The URL of the queue that task events come by: some twice, all late, in any order."""
    return world.events(double=0.1, delay=0.2, jitter=2.0)


class Nemesis:
    """What goes wrong with the parts."""

    def __init__(self, world: Stage, postgres: Postgres, dice: random.Random) -> None:
        self.world = world
        self.postgres = postgres
        self.dice = dice
        self.done: Counter[str] = Counter()
        assert world.wire is not None
        self.wire: Wire = world.wire
        self.deeds: list[tuple[Callable[[], object], int]] = [
            (self.kill, 2), (self.terminate, 2), (self.freeze, 2), (self.postgres_stopped, 2),
            (self.kubernetes_unreachable, 2), (self.ecs_unreachable, 1), (self.throttle, 2),
            (self.watch_gone, 1), (self.watches_cut, 1), (self.watches_held, 2),
            (self.watch_dropped, 1), (self.watches_doubled, 1), (self.ecs_slow, 3),
            (self.no_capacity, 2), (self.cannot_start, 1), (self.rule_gone, 2),
        ]  # fmt: skip
        if disturb.api_server_pid() is not None:
            self.deeds.append((self.api_server_restarted, 1))

    def act(self) -> None:
        """One deed, to its end."""
        deed = self.dice.choices([d for d, _ in self.deeds], [w for _, w in self.deeds])[0]
        self.done[deed.__name__] += 1
        deed()

    def fate(self, call: str) -> Kind | None:
        """What becomes of a call."""
        rest = self.dice.random() * (20 if "lease" in call else 1)  # one every half second
        for kind, chance in CHANCES:
            rest -= chance
            if rest < 0:
                return kind
        return None

    def _for(self, least: float, most: float) -> None:
        time.sleep(self.dice.uniform(least, most))  # for so long the fault lasts

    def _one(self) -> Operator:
        return self.dice.choice(self.world.operators)

    def kill(self) -> None:
        self._one().kill()

    def terminate(self) -> None:
        send(self._one(), signal.SIGTERM)

    def freeze(self) -> None:
        operator = self._one()
        send(operator, signal.SIGSTOP)
        self._for(1, 25)
        send(operator, signal.SIGCONT)

    def postgres_stopped(self) -> None:
        self.world.engine.dispose()
        self.postgres.stop()
        self._for(1, 20)
        self.postgres.start()

    def rule_gone(self) -> None:
        """Events of tasks go nowhere, which nobody tells."""
        self.world.ecs.delete_rule(self.world.name)
        self._for(1, 30)
        queue(self.world)

    def kubernetes_unreachable(self) -> None:
        self.wire.down.add("kubernetes")
        self._for(1, 20)
        self.wire.down.discard("kubernetes")

    def api_server_restarted(self) -> None:
        disturb.restart_api_server(self.dice.uniform(0, 8))

    def ecs_unreachable(self) -> None:
        self.wire.down.add("ecs")
        self._for(1, 15)
        self.wire.down.discard("ecs")

    def throttle(self) -> None:
        self.wire.throttled = True
        self._for(1, 15)
        self.wire.throttled = False

    def watch_gone(self) -> None:
        self.wire.gone = 1
        self.wire.cut_watches()

    def watches_cut(self) -> None:
        self.wire.cut_watches()

    def watches_held(self) -> None:
        self.wire.held = True
        self._for(1, 10)
        self.wire.held = False

    def watch_dropped(self) -> None:
        self.wire.dropped = 2
        self._for(1, 5)
        self.wire.dropped = 0
        self.watch_gone()

    def watches_doubled(self) -> None:
        self.wire.doubled = True
        self._for(1, 10)
        self.wire.doubled = False

    def ecs_slow(self) -> None:
        """Tasks start slowly, and are not to be seen for a while."""
        slow, blind = self.dice.uniform(0.3, 6), self.dice.uniform(0, 20)
        self.world.ecs.set_plan(start_seconds=slow, visibility_lag=blind)
        self._for(3, 15)
        self.world.ecs.set_plan(start_seconds=0.6, visibility_lag=0.0)

    def no_capacity(self) -> None:
        reason = self.dice.choice(["RESOURCE:CPU", "Capacity is unavailable at this time."])
        self.world.ecs.fail_next_launch(reason, times=self.dice.randrange(1, 4))

    def cannot_start(self) -> None:
        self.world.ecs.set_plan(match="fc/", times=1, fail_to_start="CannotPullContainerError")

    def heal(self) -> None:
        """All parts work, and nothing is held back."""
        self.wire.chance = lambda call: None
        self.wire.resume()
        self.world.ecs.reset()
        for operator in self.world.operators:
            send(operator, signal.SIGCONT)


class Guard:
    """Starts operators again when they have ended, as a Deployment does, and knows who leads."""

    def __init__(self, world: Stage) -> None:
        self.world = world
        self.starts = 0
        self.leader: Operator | None = None
        self._over = threading.Event()
        self._thread = Repeat(self._over, self._act, lambda: 0.3)

    def end(self) -> None:
        """Start nothing any more."""
        self._over.set()
        self._thread.finish()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _act(self) -> None:
        for operator in self.world.operators:
            if operator.ended is not None:
                operator.start()
                self.starts += 1
                if operator is self.leader:
                    self.leader = None
            elif operator is not self.leader and LEADS in operator.log():
                self.leader = operator

    def victim(self) -> Operator | None:
        """Who makes the calls."""
        return self.leader


def run(
    world: Stage, postgres: Postgres, minutes: float, seed: int
) -> tuple[Users, Nemesis, Guard]:
    """Users and faults for so many minutes; then everything works, and an operator is there."""
    users = Users(world, random.Random(f"{seed}/users"))
    nemesis = Nemesis(world, postgres, random.Random(f"{seed}/nemesis"))
    for _ in range(2):
        world.start(
            ready=False, sqs_queue_url=queue(world), audit_seconds=AUDIT_SECONDS, **leading.TERMS
        )
    guard, pace, stop = Guard(world), random.Random(f"{seed}/pace"), threading.Event()
    nemesis.wire.chance, nemesis.wire.victim = nemesis.fate, guard.victim
    nemesis.wire.open()
    threads = [
        Repeat(stop, users.act, lambda: pace.uniform(0.2, 1.2)),
        Repeat(stop, nemesis.act, lambda: pace.uniform(1, 10)),
    ]
    end, told = time.monotonic() + minutes * 60, time.monotonic()
    while time.monotonic() < end and guard.is_alive() and all(x.is_alive() for x in threads):
        time.sleep(1)  # between two looks whether all are alive
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{(end - told) / 60:.0f} min to go: {len(world.tasks())} launches", flush=True)
    stop.set()
    for each in threads:
        each.finish()
    nemesis.heal()
    return users, nemesis, guard


class Repeat(threading.Thread):
    """Does something again and again until ``stop`` is set, or it raises."""

    def __init__(
        self, stop: threading.Event, act: Callable[[], object], pause: Callable[[], float]
    ) -> None:
        super().__init__(daemon=True)
        self._stop_now, self._act, self._pause = stop, act, pause
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._stop_now.wait(self._pause()):
                self._act()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait for its end; raises what it raised: the run would prove nothing."""
        self.join()
        if self._error is not None:
            raise self._error


def converge(world: Stage, users: Users, minutes: float) -> Truth:
    """Wait until nothing is wrong, twice in a row, or the time is over."""
    end, quiet = time.monotonic() + minutes * 60, 0
    while True:
        found = look(world, users.forced, users.retained)
        quiet = 0 if found.wrong or found.leaked else quiet + 1
        if quiet == 2 or time.monotonic() > end:
            return found
        time.sleep(2)  # between two looks at everything


def reaped(world: Stage, users: Users, minutes: float) -> Truth:
    """Wait until the reaper has stopped what users left behind."""
    end = time.monotonic() + minutes * 60
    while True:
        found = look(world, users.forced, users.retained)
        if not found.owed or time.monotonic() > end:
            return found
        time.sleep(5)  # between two looks at everything


def main() -> int:
    """0 if there were no duplicates, nothing leaked, and the three tell the same in the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--heal-minutes", type=float, default=HEAL_MINUTES)
    parser.add_argument("--reap-minutes", type=float, default=REAP_MINUTES)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fractal-chaos-")))
        given = stack.enter_context(parts(home))
        print(f"{given.api.name}: {args.minutes:g} minutes, SEED={args.seed}", flush=True)
        postgres = stack.enter_context(postgres_server())
        made = stage(given, home / "world", postgres=postgres, nursed=False)
        world = stack.enter_context(made)
        users, nemesis, guard = run(world, postgres, args.minutes, args.seed)
        began = time.monotonic()
        found = converge(world, users, args.heal_minutes)
        healed = time.monotonic() - began
        if not found.wrong and not found.leaked:
            found = reaped(world, users, args.reap_minutes)
        _tell(found, users, nemesis, guard, healed)
        guard.end()
        bad = logged(world)
        print(f"unexpected in the logs: {len(bad)}")
        for line in bad[:5]:
            print(f"  {line[:2000]}")
        print(f"SEED={args.seed}")
        return int(bool(found.wrong or found.leaked or found.duplicates or found.owed or bad))


def _tell(found: Truth, users: Users, nemesis: Nemesis, guard: Guard, healed: float) -> None:
    print(f"users: {dict(users.acts)}")
    print(f"faults: {dict(nemesis.done)}; calls struck: {dict(nemesis.wire.fates)}")
    print(f"operators started again: {guard.starts}; calls that change anything:", end=" ")
    print(nemesis.wire.changes)
    print(f"launches {found.launches}, stops {found.stops}, live in the end {found.live}")
    print(f"duplicates {len(found.duplicates)}, leaked {len(found.leaked)}")
    print(
        f"left by force-deletes and not reaped {len(found.owed)} (of {len(users.forced)} objects)"
    )
    print(
        f"{'not ' * bool(found.wrong)}converged within {healed:.0f} s; {found.rows} rows compared"
    )
    print(f"wrong in the end: {len(found.wrong)}")
    for each in (*found.duplicates, *found.leaked, *found.wrong):
        print(f"  {each}")


def logged(world: Stage) -> list[str]:
    """Lines of the logs that must not be there, whatever happens."""
    bad = ("Traceback", "failed unexpectedly", "did not come to rest")
    return [
        line
        for operator in world.operators
        for line in operator.logfile.read_text().splitlines()
        if any(each in line for each in bad)
    ]


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
