"""The cache of objects, under late and repeated news, and with namesakes."""

from typing import Any

import pytest

from fractal_models.kube import ObjectKey
from fractal_operator.shell.objects import Objects, key_of, uid_of

KEY = ObjectKey("default", "one")


def body(version: str | None, uid: str = "uid-1", name: str = "one") -> dict[str, Any]:
    meta = {"namespace": "default", "name": name, "uid": uid}
    return {"metadata": meta if version is None else {**meta, "resourceVersion": version}}


@pytest.fixture
def objects() -> Objects:
    return Objects()


def test_what_is_seen_is_found_by_key_and_by_uid(objects: Objects) -> None:
    one, two = body("1"), body("2", "uid-2", "two")
    assert objects.seen(one)
    assert key_of(one) == KEY
    objects.seen(two)
    assert objects.get(KEY) == one
    assert objects.key(uid_of(two)) == ObjectKey("default", "two")
    assert [known.body() for known in objects.all()] == [one, two]
    assert len(objects) == 2
    assert objects.get(ObjectKey("elsewhere", "one")) is None
    assert objects.key("uid-3") is None


def test_late_news_is_ignored(objects: Objects) -> None:
    newest = body("100")
    assert objects.seen(newest)
    assert not objects.seen(body("99"))  # as text, 99 would be newer
    assert objects.get(KEY) == newest
    again = body("100")
    assert objects.seen(again)
    assert objects.get(KEY) == again


@pytest.mark.parametrize(("old", "new"), [("x9", "x1"), (None, "1"), ("5", None), ("5", "opaque")])
def test_without_numbers_the_later_arrival_counts(
    objects: Objects, old: str | None, new: str | None
) -> None:
    objects.seen(body(old))
    later = body(new)
    objects.seen(later)
    assert objects.get(KEY) == later


def test_a_fresh_read_is_believed_even_if_it_looks_older(objects: Objects) -> None:
    objects.seen(body("100"))
    restored = body("7")  # the API server's store was restored from a backup
    objects.read(restored)
    assert objects.get(KEY) == restored


def test_a_namesake_takes_the_place_and_its_predecessor_is_gone(objects: Objects) -> None:
    objects.seen(body("1"))
    namesake = body("2", "uid-2")
    objects.seen(namesake)
    assert objects.get(KEY) == namesake
    assert objects.key("uid-1") is None
    assert objects.key("uid-2") == KEY


def test_the_end_of_a_predecessor_does_not_take_its_namesake(objects: Objects) -> None:
    namesake = body("2", "uid-2")
    objects.seen(namesake)
    assert objects.gone(KEY, "uid-1") is None
    assert objects.get(KEY) == namesake


def test_what_is_gone_is_gone_once(objects: Objects) -> None:
    last = body("1")
    objects.seen(last)
    assert objects.gone(KEY, "uid-1") == last
    assert objects.gone(KEY, "uid-1") is None
    assert (objects.get(KEY), objects.key("uid-1"), len(objects)) == (None, None, 0)
