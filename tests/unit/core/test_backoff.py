"""Pauses: capped, growing, spread without chance."""

from hypothesis import given
from hypothesis import strategies as st

from fractal_operator.core.backoff import delay, spread


@given(st.integers(), st.text(), st.integers(0, 2**31))
def test_a_pause_is_in_the_upper_half_of_its_span(failures: int, uid: str, number: int) -> None:
    seconds = delay(failures, uid, number).total_seconds()
    span = min(300.0, 10.0 * 2 ** min(max(failures - 1, 0), 30))
    assert span / 2 <= seconds <= span
    assert delay(failures, uid, number).total_seconds() == seconds


def test_first_and_cap_are_given_where_they_differ() -> None:
    assert 0.5 <= delay(1, "u", first=1, cap=30).total_seconds() <= 1
    assert 15 <= delay(9, "u", first=1, cap=30).total_seconds() <= 30


def test_a_thousand_objects_are_spread_evenly() -> None:
    points = [spread(f"uid-{n}", 1) for n in range(1000)]
    tenths = [sum(tenth <= point * 10 < tenth + 1 for point in points) for tenth in range(10)]
    assert sum(tenths) == 1000
    assert min(tenths) > 60
