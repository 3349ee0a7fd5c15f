"""Launches that got no task, in words: RunTask's failures[], full quotas, and passing trouble.

The first row that matches wins. Sources: the developer guide ("API failure reasons"), AWS re:Post
("Capacity is unavailable"), the ECS service quotas. ``example`` is such a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fractal_operator.core.words.explanation import Explanation, Nature
from fractal_operator.core.words.stop_codes import CAPACITY, STOP_CODES


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An entry of RunTask's failures[], or a stopped task's reason that says the same."""

    pattern: str
    nature: Nature
    example: str
    words: Explanation


QUOTA = Explanation(
    "QuotaExceeded",
    "The account or cluster holds as many tasks as it may",
    "It is tried again; ask AWS for a higher quota, or stop other tasks.",
)

PLACEMENT: tuple[Unplaced, ...] = (
    Unplaced(
        r"(^|[;:] )(?-i:RESOURCE|AGENT|INACTIVE)\b|capacity is unavailable|EMPTY CAPACITY PROVIDER"
        r"|NO ACTIVE INSTANCES|insufficient (\w+ )?(capacity|cpu|memory|resources)",
        Nature.CAPACITY,
        "RESOURCE:MEMORY",
        CAPACITY,
    ),
    Unplaced(
        r"\b(?-i:PROVISIONING)\b",
        Nature.CAPACITY,
        "You've reached the limit on the number of tasks that can be in the PROVISIONING state",
        Explanation(
            "QuotaExceeded",
            "As many tasks of the cluster wait for capacity as may",
            "It is tried again; add capacity to the cluster, or stop other tasks.",
        ),
    ),
    Unplaced(
        r"limit on the number of|concurrently|LimitExceeded",
        Nature.CAPACITY,
        "You've reached the limit on the number of vCPUs you can run concurrently",
        QUOTA,
    ),
    Unplaced(
        r"(^|[;:] )(?-i:ATTRIBUTE|LOCATION)\b|MemberOf placement constraint",
        Nature.SPEC,
        "ATTRIBUTE",
        Explanation(
            "PlacementImpossible",
            "No container instance has the attributes or zone that the task definition needs",
            "Correct the task definition's constraints or spec.network, or add such instances to "
            "the cluster.",
        ),
    ),
)
UNPLACED = STOP_CODES["LaunchFailed"]

PASSING: Mapping[str, Explanation] = {
    "Throttled": Explanation("Throttled", "AWS limits the rate of calls", "It is tried again."),
    "Unavailable": Explanation("EcsUnavailable", "ECS cannot be reached", "It is tried again."),
    "OutcomeUnknown": Explanation(
        "OutcomeUnknown",
        "The answer to the launch was lost",
        "The same launch is asked for again, which cannot make a second task.",
    ),
    "TokenConflict": Explanation(
        "TokenConflict",
        "The client token of this attempt is bound to a launch not visible yet",
        "It is looked for before anything else is launched.",
    ),
}
"""Trouble of a launch that passes by itself, by the name of its error: nothing is to be done."""
