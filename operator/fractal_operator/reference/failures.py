"""docs/failures.md: what goes wrong in plain words, from the tables that the operator speaks by."""

from fractal_operator.core import failures, rest
from fractal_operator.core.failures import Explanation, Nature
from fractal_operator.core.words.placements import PASSING, PLACEMENT, UNPLACED
from fractal_operator.core.words.refusals import REJECTED, REJECTIONS
from fractal_operator.core.words.stop_codes import EXIT_CODES, STOP_CODES
from fractal_operator.core.words.stop_texts import CODELESS, STOP_TEXTS
from fractal_operator.reference.markdown import code, page, table

_INTRO = """
Whatever goes wrong gets a reason (one word), a sentence and a hint. They stand in the condition
`Ready` (and in `Stalled`, where a person is needed), in an Event, and in the object's history in
PostgreSQL, together with AWS's own text. AWS's texts are not a closed list: what is not known here
is shown as AWS says it. The texts below are examples; other words for the same are known too.
"""

_CODES = """
`status.lastTerminations[].stopCode` is ECS's own stop code, or one of the operator's where ECS has
none. *Counts* says whether the end counts against `spec.backoffLimit`; *Followed* whether another
launch follows: `always`, `never`, or `restartPolicy`, which is then asked.
"""

_CODELESS = """
Where ECS gives no stop code, these texts stand for one. Of a Spot task's end they do in any case,
because ECS has reported it as a TerminationNotice too; and a TaskFailedToStart for want of
capacity (see *Launches without a task*) is `CapacityUnavailable`.
"""

_TEXTS = """
With the stop codes `TaskFailedToStart`, `EssentialContainerExited`, `ServiceSchedulerInitiated`,
`StartTimeout` and unknown ones, ECS's text says more than the code. The first row that fits counts.
"""

_EXITS = f"""
Of `EssentialContainerExited`, some exit codes of the main container say more. From the
{failures.CRASHES}rd failure in a row on (each within 10 minutes of its start) the sentence adds
that it goes on *again and again*.
"""

_REFUSED = """
ECS answered RunTask or RegisterTaskDefinition with an error. Nothing was launched; Stalled is True,
and it is tried again every 10 minutes (`AccessDenied` after a minute, then ever more rarely), on
`fractal.co/reconcile-requested-at`, or when the spec changes. The first row that fits counts.
Without a code any code fits, and without a text any text.
"""

_UNPLACED = """
RunTask answered with `failures[]`, or with a full quota. For want of *capacity* the next rung of
`spec.placement` is tried, and after the last one a pause follows; what is about the *spec* is
treated like a refusal; of an *unknown* answer it is first made sure that it left no task behind.
None of these counts against `spec.backoffLimit`.
"""

_PASSING = """
Trouble with a launch that passes by itself: no Event tells of it, only the condition.
"""

_NATURES = {Nature.CAPACITY: "capacity", Nature.SPEC: "spec", Nature.UNKNOWN: "unknown"}


def failures_page() -> str:
    """Return docs/failures.md."""
    words = ("Reason", "What it means", "What to do")
    return page(
        "Failures",
        _INTRO,
        f"## Ends\n{_CODES}",
        table(
            ("stopCode", *words, "Counts", "Followed"),
            (
                (code(stop), *_words(each), counted(stop), followed(stop))
                for stop, each in STOP_CODES.items()
            ),
        ),
        f"### Without a stop code\n{_CODELESS}",
        table(("ECS says", "stopCode"), ((code(text), code(stop)) for _, stop, text in CODELESS)),
        f"### By what ECS says\n{_TEXTS}",
        table(
            ("ECS says, for example", *words),
            ((code(row.example), *_words(row.words)) for row in STOP_TEXTS),
        ),
        f"### By exit code\n{_EXITS}",
        table(
            ("Exit code", *words[1:]),
            ((str(number), *_words(each)[1:]) for number, each in EXIT_CODES.items()),
        ),
        f"## Refused launches\n{_REFUSED}",
        table(
            ("Code", "AWS says, for example", *words),
            [(*_example(row.code, row.text, row.example), *_words(row.words)) for row in REJECTIONS]
            + [("any other", "", *_words(REJECTED))],
        ),
        f"## Launches without a task\n{_UNPLACED}",
        table(
            ("AWS says, for example", "About", *words),
            [(code(row.example), _NATURES[row.nature], *_words(row.words)) for row in PLACEMENT]
            + [("anything else", _NATURES[Nature.UNKNOWN], *_words(UNPLACED))],
        ),
        f"## Waiting\n{_PASSING}",
        table(words, (_words(each) for each in PASSING.values())),
    )


def counted(stop_code: str) -> str:
    """Whether an end with that code counts against backoffLimit, as a cell."""
    return "no" if stop_code in failures.UNCOUNTED_STOPS else "yes"


def followed(stop_code: str) -> str:
    """Whether another launch follows an end with that code, as a cell."""
    if stop_code in rest.RETRIED_ENDS:
        return "always"
    match stop_code:
        case "Deleted" | "Expired" | "Finished" | "Superseded":
            return "never"
        case "Suspended":
            return "when resumed"
        case _ if stop_code in failures.OUR_STOPS:
            return "always"
        case _:
            return code("restartPolicy")


def _words(words: Explanation) -> tuple[str, str, str]:
    return code(words.reason), f"{words.meaning}.", words.hint


def _example(code_pattern: str, text_pattern: str, example: tuple[str, str]) -> tuple[str, str]:
    return code(example[0]) if code_pattern else "", code(example[1]) if text_pattern else ""
