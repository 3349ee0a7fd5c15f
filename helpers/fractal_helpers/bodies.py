"""Objects' bodies as they are kept: as text, and without what nobody reads.

Decoded, a body is a few hundred Python objects: 16 KiB and more (CPython 3.11), of which what the
API server notes of field owners, and kubectl of what it last applied, is half. As text it takes 2.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

Body = Mapping[str, Any]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def pack(body: Body) -> bytes:
    """The body as UTF-8 JSON, without managed fields and without kubectl's own annotation."""
    meta = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    annotations = meta.get("annotations")
    if isinstance(annotations, Mapping) and _LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    return _encode({**body, "metadata": meta}).encode("utf-8", "surrogatepass")


def unpack(text: bytes) -> dict[str, Any]:
    """The body that was packed; a new one at each call."""
    body: dict[str, Any] = json.loads(text.decode("utf-8", "surrogatepass"))
    return body


class Packed(Collection[Body]):
    """Many bodies, packed as they come, and decoded one by one when they are read."""

    def __init__(self, bodies: Iterable[Body] = ()) -> None:
        self._texts = [pack(body) for body in bodies]

    def take(self, others: "Packed") -> None:
        """Put others after these."""
        self._texts += others._texts

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Body]:
        return map(unpack, self._texts)

    def __contains__(self, body: object) -> bool:
        return any(body == each for each in self)
