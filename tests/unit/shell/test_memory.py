"""What a process remembers of an object: whether a missing attempt means new, or wiped."""

from datetime import datetime, timedelta

from tests.unit.shell.wire import START

from fractal_operator.shell.memory import Memories, Memory

LATER = START + timedelta(minutes=1)


def look(memory: Memory, attempt: int, now: datetime, **changes: bool) -> datetime | None:
    return memory.look(attempt=attempt, now=now, **{"finalizer": True, "alive": False} | changes)


def test_a_finalizer_without_an_attempt_at_first_sight_is_doubted_since_then() -> None:
    memory = Memory()
    assert look(memory, 0, START) == START
    assert look(memory, 0, LATER) == START


def test_an_object_that_this_process_put_the_finalizer_on_is_new() -> None:
    memory = Memory()
    assert look(memory, 0, START, finalizer=False) is None
    memory.finalized = True
    assert look(memory, 0, START) is None
    assert look(memory, 0, LATER) is None


def test_once_there_was_an_attempt_its_absence_is_doubted() -> None:
    memory = Memory(finalized=True)
    assert look(memory, 1, START) is None
    assert look(memory, 0, LATER) == LATER


def test_an_attempt_that_is_lower_than_before_is_doubted() -> None:
    memory = Memory()
    assert look(memory, 2, START) is None
    assert look(memory, 1, LATER) == LATER


def test_doubt_outlasts_an_attempt_but_not_a_live_task_or_the_finalizer() -> None:
    memory = Memory()
    look(memory, 0, START)
    assert look(memory, 1, LATER) == START
    assert look(memory, 1, LATER, alive=True) is None
    assert look(memory, 1, LATER) is None
    assert look(memory, 0, LATER) == LATER
    assert look(memory, 0, LATER, finalizer=False) is None


def test_a_memory_for_each_uid_until_it_is_forgotten() -> None:
    memories = Memories()
    memories.of("uid-1").finalized = True
    assert memories.of("uid-1").finalized
    assert not memories.of("uid-2").finalized
    memories.forget("uid-1")
    memories.forget("uid-3")
    assert not memories.of("uid-1").finalized
