"""Keys in lanes that take turns: one of each lane, then the next of each. A data structure only.

Theory of operation. Within a lane keys come out in the order in which they came; the lanes rotate,
so that a key is preceded by at most as many of another lane as of its own, and a lane of a thousand
keys delays a lane of one by a single key. A lane that had no key begins at the end of the round.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Turns(Generic[Key]):
    """Keys with a number each (a time, say); ``lane`` tells in which lane a key is, for ever.

    All operations but ``heads`` take a time that does not grow with the number of keys or lanes.
    """

    def __init__(self, lane: Callable[[Key], Hashable]) -> None:
        self._lane = lane
        self._lanes: OrderedDict[Hashable, OrderedDict[Key, float]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: Key) -> bool:
        return key in self._lanes.get(self._lane(key), ())

    def get(self, key: Key) -> float | None:
        """The number of a key, None if it is not here."""
        lane = self._lanes.get(self._lane(key))
        return None if lane is None else lane.get(key)

    def add(self, key: Key, number: float) -> None:
        """Put a key at the end of its lane, unless it is in there already."""
        lane = self._lanes.setdefault(self._lane(key), OrderedDict())
        if key not in lane:
            lane[key] = number
            self._size += 1

    def first(self, key: Key) -> None:
        """Put a key at the front of its lane, if it is here."""
        if key in self:
            self._lanes[self._lane(key)].move_to_end(key, last=False)

    def peek(self) -> tuple[Key, float] | None:
        """The key whose turn it is, with its number; None when there is none."""
        return next(self.heads(), None)

    def take(self) -> tuple[Key, float] | None:
        """Take out the key whose turn it is, with its number; None when there is none."""
        if not self._lanes:
            return None
        name, lane = next(iter(self._lanes.items()))
        key, number = lane.popitem(last=False)
        self._size -= 1
        self._lanes.move_to_end(name)
        if not lane:
            del self._lanes[name]
        return key, number

    def discard(self, key: Key) -> bool:
        """Take out a key whose turn it may not be; whether it was here."""
        name = self._lane(key)
        lane = self._lanes.get(name)
        if lane is None or key not in lane:
            return False
        del lane[key]
        self._size -= 1
        if not lane:
            del self._lanes[name]
        return True

    def heads(self) -> Iterator[tuple[Key, float]]:
        """The first key of each lane, with its number, in the order of the lanes' turns."""
        for lane in self._lanes.values():
            yield next(iter(lane.items()))
