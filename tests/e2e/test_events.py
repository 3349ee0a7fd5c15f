"""Task events on the whole: ends are told in seconds, and sweeps take over when they have to."""

import re
import time

from tests.e2e.stack import REGION, Obj, World, container, until, until_is

SECONDS = 30.0
"""What an event takes to be seen in a status is some 0.1 s; the next sweep would be in minutes."""
RING_SECONDS = 60
"""Between two looks at what is on its way."""


def healthy(world: World) -> float:
    """fractal_events_healthy of the last operator; -1 without."""
    found = re.search(
        r"^fractal_events_healthy\{[^}]*\} (\S+)$", world.operators[-1].get("/metrics")[1], re.M
    )
    return float(found[1]) if found else -1.0


def counted(world: World, name: str) -> float:
    """A counter of the last operator."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", world.operators[-1].get("/metrics")[1], re.M)
    return float(found[1]) if found else 0.0


def until_attempt(world: World, name: str, number: int, seconds: float = 60.0) -> None:
    """Wait until the object's task of that number is Ready; a back-off may be a part of that."""

    def there() -> bool:
        status = world.status(name)
        shown = {each["type"]: each["status"] for each in status.get("conditions", ())}
        attempt = status.get("attempt", {}).get("number")
        return shown.get("Ready") == "True" and attempt == number

    until(there, f"{name} runs as attempt {number}", seconds)


def terminations(world: World, name: str) -> list[Obj]:
    return list(world.status(name).get("lastTerminations") or ())


def waiting(world: World, url: str) -> str:
    """How many messages are in a queue that nobody has deleted yet."""
    name = "ApproximateNumberOfMessages"
    said = world.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return str(said["Attributes"][name])


def test_an_end_is_told_within_seconds_though_sweeps_are_minutes_apart(world: World) -> None:
    ring = str(RING_SECONDS)
    world.start(sqs_queue_url=world.events(), sweep_seconds="240", fast_sweep_seconds=ring)
    until(lambda: healthy(world) == 1, "events are relied on")
    world.apply("one")
    until_attempt(world, "one", 1)
    before, began = world.ecs.calls(), time.monotonic()
    (task,) = world.tasks(live=True)
    world.ecs.stop_task(task["taskArn"], exit_code=3)
    (ended,) = until(lambda: terminations(world, "one"), "the end is told", SECONDS)
    assert ended["exitCode"] == 3
    until_attempt(world, "one", 2)
    # The end was confirmed, by one look; others are the ring's and the sweeps', as rare as told.
    after = world.ecs.calls()
    rings = 1 + (time.monotonic() - began) // RING_SECONDS
    sweeps = after["ListTasks"] - before["ListTasks"]
    assert after["DescribeTasks"] - before.get("DescribeTasks", 0) <= 1 + rings + sweeps
    world.kubectl("delete", "fc", "one", f"--timeout={SECONDS:.0f}s")
    assert not world.tasks(live=True)
    # What comes in one batch is one piece of news, so how many there are depends on the polls. Of
    # the starts and ends of two tasks a ring may have seen one. All eight of each are taken in.
    news, known = ('fractal_events_total{result="news"}', 'fractal_events_total{result="known"}')
    until(lambda: counted(world, news) + counted(world, known) > 10, "all events are taken in")
    assert counted(world, news) >= 3


def test_sweeps_take_over_from_a_queue_that_is_gone_and_give_back(world: World) -> None:
    url = world.events()
    world.start(sqs_queue_url=url, audit_seconds="600")
    until(lambda: healthy(world) == 1, "events are relied on")
    world.apply("one")
    until_attempt(world, "one", 1)
    # What a look has shown and no event will tell any more would cost minutes of distrust.
    until(lambda: waiting(world, url) == "0", "every event is told")
    world.boto("sqs").delete_queue(QueueUrl=url)
    until(lambda: healthy(world) == 0, "the queue is missed")
    listed = world.ecs.calls()["ListTasks"]
    (task,) = world.tasks(live=True)
    world.ecs.stop_task(task["taskArn"])
    until_attempt(world, "one", 2)
    assert world.ecs.calls()["ListTasks"] > listed
    assert world.operators[-1].log().count("task events are not relied on") == 1
    assert world.events() == url  # made again
    until(lambda: healthy(world) == 1, "events are relied on again")
    (task,) = world.tasks(live=True)
    world.ecs.stop_task(task["taskArn"])
    # The next attempt, after a second failure in a row, may wait for longer than that.
    until(lambda: len(terminations(world, "one")) == 2, "the end is told", SECONDS)


def test_events_may_come_twice_late_in_any_order_or_not_at_all(world: World) -> None:
    url = world.events(drop=0.2, double=0.3, delay=0.2, jitter=2.0)
    world.start(sqs_queue_url=url, audit_seconds="60")  # finds an end of which nothing has come
    names = [f"c-{number}" for number in range(4)]
    for name in names:
        world.apply(name)
    world.wait_ready(*names)
    for task in world.tasks(live=True)[:2]:
        world.ecs.stop_task(task["taskArn"])
    until(lambda: len(world.tasks()) == 6, "two are started again")
    world.wait_ready(*names)
    world.kubectl("delete", "fc", "--all", "--timeout=150s")
    assert not world.tasks(live=True)


def test_what_is_no_event_is_left_in_the_queue_and_holds_up_nothing(world: World) -> None:
    url = world.events()
    world.boto("sqs").send_message(QueueUrl=url, MessageBody="hello")
    world.start(sqs_queue_url=url, sweep_seconds="240", fast_sweep_seconds="60")
    until(lambda: counted(world, 'fractal_events_total{result="unreadable"}') == 1, "it is counted")
    world.apply("one", container())
    until_attempt(world, "one", 1)
    until_is(lambda: waiting(world, url), "1")


def test_two_installations_share_a_cluster_and_tell_their_events_apart(world: World) -> None:
    """Somebody else's rule leads to our queue: what is not ours is deleted, and changes nothing."""
    url = world.events()
    world.ecs.put_rule(f"{world.name}-wide", world.name, REGION)
    world.start(sqs_queue_url=url)
    until(lambda: healthy(world) == 1, "events are relied on")
    for startedby in ("fc/other/0-0-0/1", "somebody-else"):
        world.run_foreign_task(startedby)
    until(lambda: counted(world, 'fractal_events_total{result="foreign"}') >= 8, "all are read")
    world.ecs.delete_rule(f"{world.name}-wide")
    assert counted(world, 'fractal_events_total{result="news"}') == 0
    assert not world.tasks()
