"""Plays the story of the demo, promise by promise, and tells which of them held."""

from fractal_dev.kubectl import Refused
from fractal_dev.show import Show
from fractal_dev.stack import Stack
from fractal_dev.story import Broken, Story
from fractal_models.errors import FractalError

_LOG_LINES = 25


def play(stack: Stack, show: Show) -> bool:
    """Play the whole story and show it. Returns whether every promise held.

    The first broken one ends the story: what follows builds on it.
    """
    story = Story(stack, show)
    verdicts: list[tuple[str, str]] = []
    for promise, chapter in story.chapters():
        if verdicts and verdicts[-1][0] != "PASS":
            verdicts.append(("--", f"{promise} (not reached)"))
            continue
        show.heading(f"{promise}?")
        try:
            chapter()
            verdicts.append(("PASS", promise))
        except (Broken, Refused, FractalError, OSError) as error:
            show.step(f"broken: {error}")
            verdicts.append(("FAIL", f"{promise}: {error}"))
            _show_log(stack, show)
    held = sum(word == "PASS" for word, _ in verdicts)
    show.heading(f"{held} of {len(verdicts)} promises held, in {show.elapsed():.0f} s")
    for word, text in verdicts:
        show.verdict(word, text, {"PASS": "green", "FAIL": "bold red"}.get(word, "dim"))
    return held == len(verdicts)


def _show_log(stack: Stack, show: Show) -> None:
    show.heading(f"The last lines of the operator's log ({stack.log.name}):")
    show.lines(f"  {line}" for line in stack.operator.tail(_LOG_LINES))
