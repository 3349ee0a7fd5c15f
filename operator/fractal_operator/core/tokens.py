"""Names and hashes that must come out the same in every process, for ever.

A launch is recognised by them after a crash, so none may depend on a clock, on settings that can
change, or on this release. Golden fixtures in tests/unit/golden pin version 1 of the spec hash.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fractal_models.observed import TaskArn

REPLACING_FIELDS = (
    "region",
    "cluster",
    "taskDefinition",
    "template",
    "containerName",
    "network",
    "environment",
    "command",
    "dpi",
    "webserverUrl",
)
"""The spec fields whose change replaces the task (marked R in the API reference)."""

TAG_INSTALL = "fractal.co/install"
TAG_NAMESPACE = "fractal.co/namespace"
TAG_NAME = "fractal.co/name"
TAG_UID = "fractal.co/uid"
TAG_RETAINED = "fractal.co/retained"
"""Tags of a task: whose it is; "true": kept beyond its object (deletionPolicy Retain)."""

RELEASED = "released"
"""TAG_RETAINED of a task that its installation let go of, for another to go on with: its object
lives. It is not "true", lest who still sees an object that is gone takes its kept task back."""
KEPT = frozenset({"true", RELEASED})
"""TAG_RETAINED of the tasks that no reaper stops."""

MAX_ATTEMPT = 999_999_999
"""No attempt is ever numbered higher; a status that claims so was forged."""

_V1_DEFAULTS: Mapping[tuple[str, ...], Any] = {
    ("template", "ports", "*", "protocol"): "tcp",
}
"""The schema's defaults when v1 was frozen: a default value hashes like its absence."""

_V1_UNORDERED = {
    ("environment",),
    ("network", "subnets"),
    ("network", "securityGroups"),
    ("template", "environment"),
    ("template", "secrets"),
    ("template", "ports"),
    ("template", "requiresCompatibilities"),
}
"""Lists whose order means nothing: keyed lists and sets."""


@dataclass(frozen=True, slots=True)
class StartedBy:
    """The parts of a task's ``startedBy``: which installation, object and attempt launched it."""

    install: str
    uid: str
    attempt: int


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(text: str, length: int) -> str:
    """The first ``length`` (at most 52) characters of base32(sha256(text)), lower case."""
    raw = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(raw).decode("ascii").lower()[:length]


def client_token(cluster_arn: str, uid: str, attempt: int) -> str:
    """RunTask's ``clientToken``: one for each (cluster, object, attempt), at most 64 characters."""
    raw = hashlib.sha256(f"{cluster_arn}|{uid}|{attempt}".encode()).digest()
    return base64.b32encode(raw).decode("ascii")[:52]


def started_by(install: str, uid: str, attempt: int) -> str:
    """RunTask's ``startedBy``, by which ListTasks finds the task (at most 128 characters)."""
    return f"fc/{install}/{uid}/{attempt}"


def owner_tags(install: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    """The tags that say whose a task is."""
    return {TAG_INSTALL: install, TAG_NAMESPACE: namespace, TAG_NAME: name, TAG_UID: uid}


@lru_cache(maxsize=16_384)  # each sight of each task asks
def parse_started_by(text: str) -> StartedBy | None:
    """The parts of a ``startedBy`` that an installation of ours wrote; None for others'."""
    match text.split("/"):
        case ["fc", install, uid, attempt] if install and uid and _is_number(attempt):
            return StartedBy(install, uid, int(attempt))
        case _:
            return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and not text.startswith("0") and len(text) <= 9


def region_of(cluster_arn: str) -> str:
    """The region inside an ECS ARN (``arn:aws:ecs:REGION:ACCOUNT:…``), "" if it has none."""
    parts = cluster_arn.split(":")
    return parts[3] if len(parts) > 5 else ""


def task_prefix(cluster_arn: str) -> str:
    """What the ARNs of a cluster's tasks begin with (long ARN format, all accounts since 2021)."""
    return cluster_arn.replace(":cluster/", ":task/", 1) + "/"


def under(cluster_arn: str, arns: Iterable[TaskArn]) -> list[TaskArn]:
    """Those of the tasks that are in a cluster."""
    prefix = task_prefix(cluster_arn)
    return [arn for arn in arns if arn.startswith(prefix)]


def cluster_of(task_arn: str) -> str:
    """The ARN of the cluster that a task's ARN names, "" if it names none (the short format)."""
    owner, _, rest = task_arn.partition(":task/")
    name, _, task = rest.partition("/")
    return f"{owner}:cluster/{name}" if name and task else ""


def request_hash(request: Mapping[str, Any]) -> str:
    """The hash of a whole RunTask body, to see whether a replay would send the same."""
    return digest(canonical(request), 26)


def spec_hash(spec: Mapping[str, Any], version: str = "v1") -> str | None:
    """``<version>:<hash>`` of a spec's JSON object, over the replacing fields only.

    ``version`` may be any recorded hash or its prefix. None if this release does not know that
    version (an older release after a downgrade): then nobody can tell whether the spec changed.
    """
    algorithm = _ALGORITHMS.get(version.partition(":")[0])
    return algorithm(spec) if algorithm else None


def _spec_hash_v1(spec: Mapping[str, Any]) -> str:
    chosen = {field: spec[field] for field in REPLACING_FIELDS if field in spec}
    return _v1_of(canonical(chosen))


@lru_cache(maxsize=1024)
def _v1_of(text: str) -> str:
    """The hash of fields written as canonical JSON: objects of one template ask for the same, and
    each a dozen times while it starts."""
    return "v1:" + digest(canonical(_v1_normal(json.loads(text), ()) or {}), 26)


def _v1_normal(value: Any, path: tuple[str, ...]) -> Any:
    """``value`` without nulls, empty things and defaults, and with unordered lists sorted."""
    if isinstance(value, Mapping):
        pairs = ((key, _v1_normal(item, (*path, key))) for key, item in value.items())
        return {key: item for key, item in pairs if item is not None} or None
    if isinstance(value, list | tuple):
        if path in _V1_UNORDERED:
            return sorted((_v1_normal(item, (*path, "*")) for item in value), key=canonical) or None
        return list(value) or None
    return None if value == "" or value == _V1_DEFAULTS.get(path) else value


_ALGORITHMS = {"v1": _spec_hash_v1}
