"""What an explanation of a failure is made of: a word, a sentence, and what to do about it."""

import re
from dataclasses import dataclass
from enum import Enum, auto

from fractal_models.container import clip

MOST_SAID = 560
"""Characters of AWS's own text in a message of at most 1024: what to do always fits in behind."""

_MOVING = re.compile(
    r"\s*\(?(aws )?request ?id:? [0-9a-f-]{8,}\)?"  # one for each call
    r"|\b\d{8}T\d{6}Z\b|\b\d{4}-\d\d-\d\dT[\d:.]+Z?",  # signatures name the time
    re.IGNORECASE,
)


def stable(text: str) -> str:
    """The text without what differs from call to call: else every call would be a status write."""
    return _MOVING.sub("", text)


class Nature(Enum):
    """What an unlaunched attempt's failure is about; decides how the next try goes."""

    CAPACITY = auto()  # no room now: one lookup, then the next attempt
    SPEC = auto()  # will fail until somebody changes something: one lookup, then Stalled
    UNKNOWN = auto()  # a task may exist all the same: drain first


@dataclass(frozen=True, slots=True)
class Explanation:
    """Plain words for one kind of failure.

    ``reason`` is one CamelCase word, for conditions and Events; ``meaning`` says what happened,
    without a full stop; ``hint`` says what a person should do, in whole sentences.
    """

    reason: str
    meaning: str
    hint: str

    def message(self, text: str) -> str:
        """For people: what happened, what AWS said of it, what to do."""
        said = stable(text).strip().rstrip(".")
        return self.after(f"{self.meaning}: {clip(said, MOST_SAID)}" if said else self.meaning)

    def after(self, sentence: str) -> str:
        """What to do, behind a sentence that says by itself what happened."""
        return f"{sentence}. {self.hint}"
