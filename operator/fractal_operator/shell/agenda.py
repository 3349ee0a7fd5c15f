"""What is to be looked at next, once this process leads.

Until then nothing is put on the work queue: a standby knows the objects, and looks at each of them
as soon as it leads.
"""

import asyncio
from collections.abc import Iterable

from fractal_operator.ports import ObjectKey
from fractal_operator.shell.objects import Objects
from fractal_operator.shell.workqueue import WorkQueue

SLICE, SLICE_SECONDS = 100, 0.1
"""So many objects are looked at again at a time, and how long until the next ones: 10,000 at once
held up what happened meanwhile for six seconds."""


def namespace_of(key: ObjectKey) -> str:
    """The lane of a key: namespaces take turns."""
    return key.namespace


class Agenda:
    """The known objects and the queue of their keys. ``led`` is set when this process leads,
    ``news`` whenever there may be something to take from the queue."""

    def __init__(self, objects: Objects, queue: WorkQueue[ObjectKey]) -> None:
        self.objects = objects
        self.queue = queue
        self.led = asyncio.Event()
        self.news = asyncio.Event()

    def wake(self, uid: str) -> None:
        """ECS has news of the object with this uid, or it holds what others wait for: it comes
        before those of its namespace. In a launch of thousands at once a task that runs would
        be told of as the last of them."""
        key = self.objects.key(uid)
        if key is not None and self.led.is_set():
            self.queue.hurry(key)
            self.news.set()

    def look(self, key: ObjectKey) -> None:
        """Have an object looked at."""
        if self.led.is_set():
            self.queue.add(key)
            self.news.set()

    def look_again(self, keys: Iterable[ObjectKey]) -> None:
        """Have objects looked at that have been before, a few at a time: nothing is known to have
        happened to them, and what does happen meanwhile would wait for all of them."""
        if self.led.is_set():
            for number, key in enumerate(keys):
                self.queue.add_after(key, number // SLICE * SLICE_SECONDS)
            self.news.set()

    def lead(self) -> None:
        """This process leads from now on: look at every object, at once. Any of them may be in
        need of it, and only what is made meanwhile waits for them."""
        self.led.set()
        for known in self.objects.all():
            self.queue.add(known.key)
