"""What many objects warn of at once is a few lines, and nothing else is left out."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fractal_helpers import log
from fractal_helpers.log_repeats import FEW, PERIOD, Repeats

LOUD = "product.loud"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    target = io.StringIO()
    handler = log._Handler(target)
    handler.setFormatter(log._JsonFormatter())
    handler.addFilter(Repeats((LOUD,)))
    logger = logging.getLogger("product")
    logger.addHandler(handler)
    logger.propagate = False
    yield target
    logger.removeHandler(handler)
    logger.propagate = True


def tell(
    text: str,
    *values: object,
    at: float = 1.0,
    name: str = LOUD,
    level: int = logging.WARNING,
    **more: Any,
) -> None:
    record = logging.LogRecord(name, level, "file", 1, text, values, more.pop("exc_info", None))
    record.created = at
    vars(record).update(more)
    logging.getLogger(name).handle(record)


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_few_of_a_kind_are_written_and_the_next_period_says_how_many_were_not(
    stream: io.StringIO,
) -> None:
    for number in range(1000):
        tell("StopTask of %s failed", number, at=1.0 + number / 10)
    assert [each["message"] for each in told(stream)] == [
        f"StopTask of {number} failed" for number in range(FEW)
    ]
    tell("StopTask of %s failed", "late", at=1.0 + PERIOD, fields={"uid": "u"})
    tell("StopTask of %s failed", "later", at=2.0 + PERIOD)
    late, later = told(stream)[FEW:]
    assert (late["message"], late["left_out"], late["uid"]) == (
        "StopTask of late failed",
        1000 - FEW,
        "u",
    )
    assert "left_out" not in later


def test_a_clock_that_is_set_back_silences_nothing_for_longer(stream: io.StringIO) -> None:
    for _ in range(2 * FEW):
        tell("again", at=100 * PERIOD)
    tell("again", at=1.0)
    assert len(told(stream)) == FEW + 1
    assert told(stream)[-1]["left_out"] == FEW


def test_what_came_seldom_is_never_left_out(stream: io.StringIO) -> None:
    for number in range(100):
        tell("sweep of %s failed", number, at=number * PERIOD / (FEW - 1))
    assert len(told(stream)) == 100
    assert not any("left_out" in each for each in told(stream))


def test_kinds_do_not_hide_each_other(stream: io.StringIO) -> None:
    for number in range(100):
        tell("one %s", number)
        tell("two %s", number)
    assert len(told(stream)) == 2 * FEW


@pytest.mark.parametrize(
    "other",
    [
        {"level": logging.ERROR},
        {"level": logging.INFO},
        {"name": "product.quiet"},
        {"exc_info": (ValueError, ValueError("x"), None)},
    ],
    ids=["errors", "news", "other loggers", "tracebacks"],
)
def test_what_is_never_left_out(stream: io.StringIO, other: dict[str, Any]) -> None:
    logging.getLogger("product").setLevel(logging.DEBUG)
    for _ in range(2 * FEW):
        tell("again", **other)
    assert len(told(stream)) == 2 * FEW
