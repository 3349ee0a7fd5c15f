"""What is to be looked at next, once this process leads.

Until then nothing is put on the work queue: a standby knows the objects, and looks at each of them
as soon as it leads.
"""

import asyncio

from fractal_operator.ports import ObjectKey
from fractal_operator.shell.objects import Objects
from fractal_operator.shell.workqueue import WorkQueue


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

    def lead(self) -> None:
        """This process leads from now on: look at every object."""
        self.led.set()
        for known in self.objects.all():
            self.queue.add(known.key)
