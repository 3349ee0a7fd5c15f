"""Lanes that take turns: by example, and against a model that keeps plain lists."""

from hypothesis import given
from hypothesis import strategies as st

from fractal_operator.shell.turns import Turns


def lane(key: str) -> str:
    return key[0]


def filled(*keys: str) -> Turns[str]:
    turns = Turns(lane)
    for number, key in enumerate(keys):
        turns.add(key, float(number))
    return turns


def drained(turns: Turns[str]) -> list[str]:
    taken = []
    while (found := turns.take()) is not None:
        taken.append(found[0])
    return taken


def test_lanes_take_turns_and_within_a_lane_the_first_comes_first() -> None:
    assert drained(filled("a1", "a2", "a3", "b1", "c1", "b2")) == [
        "a1", "b1", "c1", "a2", "b2", "a3",
    ]  # fmt: skip


def test_a_thousand_of_one_lane_delay_another_by_one() -> None:
    turns = filled(*(f"a{number}" for number in range(1000)))
    assert turns.take() == ("a0", 0.0)
    turns.add("b1", 1000.0)
    assert turns.take() == ("a1", 1.0)
    assert turns.take() == ("b1", 1000.0)


def test_a_key_is_in_once_and_keeps_its_place_and_number() -> None:
    turns = filled("a1", "a2", "a1")
    assert len(turns) == 2
    assert turns.get("a1") == 0.0
    assert turns.get("a3") is None
    assert turns.get("b1") is None
    assert "a2" in turns
    assert "b1" not in turns
    assert drained(turns) == ["a1", "a2"]


def test_who_leaves_is_not_missed() -> None:
    turns = filled("a1", "b1", "a2")
    assert turns.discard("a1")
    assert not turns.discard("a1")
    assert not turns.discard("c1")
    assert list(turns.heads()) == [("a2", 2.0), ("b1", 1.0)]
    assert turns.discard("b1")
    assert turns.peek() == ("a2", 2.0)
    assert drained(turns) == ["a2"]
    assert turns.peek() is None
    assert not turns


STEPS = st.lists(
    st.one_of(
        st.just("take"),
        st.tuples(st.sampled_from(["add", "discard"]), st.sampled_from("abc"), st.integers(0, 4)),
    ),
    max_size=150,
)


@given(STEPS)
def test_it_does_as_plain_lists_do(steps: list[str | tuple[str, str, int]]) -> None:
    turns, lanes = Turns(lane), dict[str, list[str]]()
    for step in steps:
        if isinstance(step, str):
            first = next(iter(lanes), None)
            expected = lanes[first][0] if first is not None else None
            found = turns.take()
            assert (found[0] if found else None) == expected
            if first is not None:
                rest = lanes.pop(first)[1:]
                if rest:
                    lanes[first] = rest
            continue
        what, name, number = step
        key = f"{name}{number}"
        if what == "add":
            turns.add(key, 0.0)
            if key not in lanes.get(name, []):
                lanes.setdefault(name, []).append(key)
        else:
            assert turns.discard(key) == (key in lanes.get(name, []))
            if key in lanes.get(name, []):
                lanes[name].remove(key)
                if not lanes[name]:
                    del lanes[name]
        assert len(turns) == sum(map(len, lanes.values()))
        assert [head for head, _ in turns.heads()] == [keys[0] for keys in lanes.values()]


@given(st.lists(st.sampled_from("aaaaabc"), min_size=1, max_size=120))
def test_nobody_is_overtaken_more_often_than_once_by_each_lane_for_each_of_its_own(
    names: list[str],
) -> None:
    keys = [f"{name}{place}" for place, name in enumerate(names)]
    order = drained(filled(*keys))
    assert sorted(order) == sorted(keys)
    for key in keys:
        own = [each for each in keys if lane(each) == lane(key)]
        before = own.index(key)
        for other in set(names) - {lane(key)}:
            ahead = [each for each in order[: order.index(key)] if lane(each) == other]
            assert len(ahead) <= before + 1
