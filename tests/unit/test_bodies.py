"""Bodies as they are kept: as text, without what nobody reads."""

from collections.abc import Iterator
from typing import Any

import pytest

from fractal_helpers import bodies
from fractal_helpers.bodies import Packed, pack, unpack

BODY: dict[str, Any] = {
    "metadata": {"namespace": "default", "name": "one", "uid": "u-1", "annotations": {"a": "ü"}},
    "spec": {"user": "ada", "environment": [{"name": "LONE", "value": "\ud83d"}]},
    "status": {"phase": "Running", "readyAt": None},
}


def test_what_is_packed_comes_back_as_it_was() -> None:
    assert unpack(pack(BODY)) == BODY
    bare = {"metadata": {"namespace": "default", "name": "one", "uid": "u-1"}}
    assert unpack(pack(bare)) == bare
    odd = {"metadata": {**bare["metadata"], "annotations": None}}
    assert unpack(pack(odd)) == odd


def test_what_only_the_api_server_and_kubectl_need_is_left_out() -> None:
    noted = {"manager": "kubectl", "fieldsV1": {"f:spec": {".": {}}}}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    meta = {
        **BODY["metadata"],
        "managedFields": [noted],
        "annotations": {**BODY["metadata"]["annotations"], **applied},
    }
    full = {**BODY, "metadata": meta}
    assert unpack(pack(full)) == BODY
    assert full["metadata"]["managedFields"] == [noted]  # the caller's own is not touched


def test_of_many_bodies_one_at_a_time_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(text: bytes) -> dict[str, Any]:
        decoded.append(text)
        return unpack(text)

    monkeypatch.setattr(bodies, "unpack", counted)

    def page(first: int) -> Iterator[dict[str, Any]]:
        return ({**BODY, "spec": {"dpi": number}} for number in range(first, first + 3))

    many = Packed(page(0))
    many.take(Packed(page(3)))
    assert (len(many), len(decoded)) == (6, 0)
    assert next(iter(many))["spec"] == {"dpi": 0}
    assert len(decoded) == 1
    assert [each["spec"]["dpi"] for each in many] == [*range(6)]
    assert len(decoded) == 7
    assert {**BODY, "spec": {"dpi": 5}} in many
    assert BODY not in many
