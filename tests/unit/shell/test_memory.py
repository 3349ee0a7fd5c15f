"""What a process remembers of an object: whether a missing attempt means new, or wiped."""

from datetime import timedelta

from tests.unit.shell.wire import START

from fractal_operator.shell.memory import Memories, Memory

LATER = START + timedelta(minutes=1)


def test_a_finalizer_without_an_attempt_at_first_sight_is_suspicious_since_then() -> None:
    memory = Memory()
    assert memory.look(finalizer=True, attempt=False, now=START) == START
    assert memory.look(finalizer=True, attempt=False, now=LATER) == START


def test_an_object_that_this_process_put_the_finalizer_on_is_new() -> None:
    memory = Memory()
    assert memory.look(finalizer=False, attempt=False, now=START) is None
    memory.finalized = True
    assert memory.look(finalizer=True, attempt=False, now=START) is None
    assert memory.look(finalizer=True, attempt=False, now=LATER) is None


def test_once_there_was_an_attempt_its_absence_is_suspicious() -> None:
    memory = Memory(finalized=True)
    assert memory.look(finalizer=True, attempt=True, now=START) is None
    assert memory.look(finalizer=True, attempt=False, now=LATER) == LATER


def test_suspicion_ends_with_an_attempt_or_without_the_finalizer() -> None:
    memory = Memory()
    memory.look(finalizer=True, attempt=False, now=START)
    assert memory.look(finalizer=True, attempt=True, now=START) is None
    assert memory.look(finalizer=True, attempt=False, now=LATER) == LATER
    assert memory.look(finalizer=False, attempt=False, now=LATER) is None


def test_a_memory_for_each_uid_until_it_is_forgotten() -> None:
    memories = Memories()
    memories.of("uid-1").finalized = True
    assert memories.of("uid-1").finalized
    assert not memories.of("uid-2").finalized
    memories.forget("uid-1")
    memories.forget("uid-3")
    assert not memories.of("uid-1").finalized
