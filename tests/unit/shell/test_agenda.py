"""The agenda: what is looked at next."""

from fractal_operator.shell.agenda import Agenda, namespace_of
from fractal_operator.shell.objects import Objects, key_of
from fractal_operator.shell.workqueue import WorkQueue


def body(namespace: str, name: str) -> dict[str, object]:
    return {"metadata": {"namespace": namespace, "name": name, "uid": f"uid-{namespace}-{name}"}}


def test_news_of_ecs_come_before_what_was_just_applied_in_the_same_namespace() -> None:
    objects = Objects()
    agenda = Agenda(objects, WorkQueue(lambda: 0.0, lane=namespace_of))
    agenda.lead()
    keys = [key_of(body("a", str(number))) for number in range(100)] + [key_of(body("b", "0"))]
    for key in keys:
        objects.seen(body(key.namespace, key.name))
        agenda.look(key)
    agenda.wake("uid-a-99")
    agenda.wake("uid-of-nobody")
    taken = [agenda.queue.take() for _ in range(4)]
    assert taken == [keys[99], keys[100], keys[0], keys[1]]


def test_who_stands_by_puts_nothing_on_the_queue() -> None:
    objects = Objects()
    agenda = Agenda(objects, WorkQueue(lambda: 0.0, lane=namespace_of))
    objects.seen(body("a", "0"))
    agenda.look(key_of(body("a", "0")))
    agenda.wake("uid-a-0")
    assert agenda.queue.take() is None
    agenda.lead()
    assert agenda.queue.take() == key_of(body("a", "0"))
