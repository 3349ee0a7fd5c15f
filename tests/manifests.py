"""Generated specs of FractalContainers: valid, nearly valid, nasty; and how JSON carries them.

``specs`` walks the CRD's own schema: a field that is added there is generated from then on.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from fractal_dev.kube import schema as structural
from fractal_models import patterns
from fractal_models.crd import crd, strip_cel
from fractal_models.kube import API_VERSION, KIND
from fractal_models.spec_rules import FARGATE_MEMORY_MIB, FARGATE_SMALLEST_MIB

Json = Any
Schema = Mapping[str, Any]
Named = Mapping[str, SearchStrategy[Any]]


def _root(manifest: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


ROOT = _root(crd())
NO_CEL_ROOT = _root(strip_cel(crd()))
"""The schema for API servers that know CEL, and for those that do not."""
SPEC: Schema = ROOT["properties"]["spec"]
_RULES = "x-kubernetes-validations"
_KEYS = "x-kubernetes-list-map-keys"
_HEX = "0a1b2c3d4e5f6071"
_ARN = "arn:aws:ecs:us-east-1:123456789012"
_IAM = "arn:aws:iam::123456789012:role/"


def _all(letter: str) -> Callable[[int], str]:
    return lambda size: letter * size


def _from(prefix: str, letter: str = "a", suffix: str = "") -> Callable[[int], str]:
    return lambda size: prefix + letter * (size - len(prefix) - len(suffix)) + suffix


@dataclass(frozen=True)
class Kind:
    """What strings of a pattern look like: some that match, and one of any greater length."""

    good: tuple[str, ...]
    long: Callable[[int], str]


KINDS: Mapping[str, Kind] = {
    patterns.NO_CONTROL: Kind(
        ("", "ada@example.org", "Ünal Işık <unal@例え.jp>", "'; DROP TABLE x; --", "😀"), _all("ü")
    ),
    patterns.NO_NUL: Kind(
        ("", "x", "two\nlines\tand a tab", "\x1b[31mred", "\u202eright", "$(id)"), _all("\x01")
    ),
    patterns.REGION: Kind(("", "us-east-1", "us-gov-west-1"), _from("us-", "a", "-1")),
    patterns.CLUSTER: Kind(("", "main", "a_B-9", f"{_ARN}:cluster/main"), _all("c")),
    patterns.TASK_DEFINITION: Kind(
        ("web", "web:1", f"{_ARN}:task-definition/web:7"), _from(f"{_ARN}:task-definition/", "w")
    ),
    patterns.AWS_NAME: Kind(("FARGATE", "FARGATE_SPOT", "my-provider", "a_b"), _all("p")),
    patterns.SUBNET: Kind((f"subnet-{_HEX}", "subnet-1", "subnet-2"), _from("subnet-")),
    patterns.SECURITY_GROUP: Kind((f"sg-{_HEX}", "sg-1", "sg-2"), _from("sg-")),
    patterns.HOST_OR_URL: Kind(
        ("", "example.org", "https://[2001:db8::1]:8443/a?b=c", "h:1/ü#x"), _from("http://")
    ),
    patterns.TAG_TEXT: Kind(("", "streaming", "Größe M 1", "a/b:c=d+e-f@g", "\u2003"), _all("ü")),
    patterns.IMAGE: Kind(
        ("nginx:1", "123.dkr.ecr.us-east-1.amazonaws.com/App@sha256:" + "aF" * 32, "UPPER/case"),
        _all("i"),
    ),
    patterns.ENV_NAME: Kind(("A", "AWS_REGION", "discovery.type", "_", "a-b"), _all("E")),
    patterns.VALUE_FROM: Kind(
        ("/prod/password", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a/b-Ab12:key::"),
        _from("arn:aws:ssm:eu-west-1:123456789012:"),
    ),
    patterns.ROLE_ARN: Kind(("", f"{_IAM}app/reader", f"{_IAM}a+=,.@"), _from(_IAM)),
    patterns.PORT_NAME: Kind(("web", "a", "0-0"), _all("p")),
    patterns.OS_FAMILY: Kind(
        ("", "LINUX", "WINDOWS_SERVER_2022_CORE"), _from("WINDOWS_SERVER_", "X")
    ),
    patterns.LOG_NAME: Kind(("/ecs/app", "a_b.c#d", "x"), _all("l")),
}
"""Every pattern of the spec; a new one has to be given examples here."""

NASTY_TEXT = (
    "\0", "a\0b", "\ud800", "x\udfff", "\u202etxt.exe", "\x1b[2J\x1b[31m", "line\nforged", "\r\n",
    "\u2028", "\u00a0", "\u200b", "\ufeff", "\ufffd", "e\u0301", "\U0001f600", "\U0010ffff",
    "\U0001e950", "\x7f", "\x85", "n" * 253, "x" * 65_536, "ü" * 65_536, "AWS_ACCESS_KEY_ID",
    "FRACTAL_DPI", "fractal_dpi", "WEBSERVER_URL", "FRACTAL_SPEC_HASH", "aws:x", "AWS:x", "\ufb03",
    "\u212aey", "fractal.co/uid", "Fractal.co/uid", "a=b", "../../x", "$(id)", "{{7*7}}", "%s%n",
    "' OR 1=1; --", "null", "~", "None", "subnet-", "subnet-A", "arn:aws:iam::1:role/x",
    "us-east-1\n", "web:1\n", "web:0", "web:9999999999", "nginx@sha256:" + "A" * 64,
    "nginx@sha256:" + "A" * 63, "http://u:p@h/", "http://h/\x80", "h:99999", "https://[", "CMD",
    "-", "a-", "1", "\u00b2", "\u2167", "\u0345", "\u0661",
)  # fmt: skip
NASTY_NUMBERS: tuple[Json, ...] = (
    *(-1, 0, -0.0, 1.0, 256.0, 1024.5, 1e3, 1e21, 1e300, math.inf, -math.inf),
    *(2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**40),
)
JUNK: tuple[Json, ...] = (
    *(None, "", "junk", 0, 7, -1, 1.5, True, False, [], {}, [None], [[]], [{}], [""], [0]),
    *({"a": 1}, {"a": None}, {"": ""}, "1", "true", ["x", "x"], [{"name": "A"}, {"name": "A"}]),
)
JUNK_KEYS = ("bogus", "", "name", "tmeplate", "metadata", "a\0b", "\ud800", "k" * 300, "$ref", "0")
FARGATE_SIZES = [
    *((256, size) for size in FARGATE_SMALLEST_MIB),
    *((cpu, sizes[at]) for cpu, sizes in FARGATE_MEMORY_MIB.items() for at in (0, 1, -1)),
]


def pattern_of(schema: Schema) -> str | None:
    """The regular expression that a string's CEL rule holds, if any."""
    for rule in schema.get(_RULES, ()):
        if rule["rule"].startswith("self.matches(r'"):
            return str(rule["rule"][len("self.matches(r'") : -len("')")])
    return None


def _kind(schema: Schema) -> Kind:
    pattern = pattern_of(schema)
    return KINDS[pattern] if pattern else Kind(("", "x"), _all("x"))


# --- valid ---


def _text(schema: Schema) -> SearchStrategy[str]:
    least, most, kind = schema.get("minLength", 0), schema["maxLength"], _kind(schema)
    fitting = [each for each in kind.good if least <= len(each) <= most]
    return st.sampled_from([*fitting, *fitting, *fitting, kind.long(most)])


def _number(schema: Schema) -> SearchStrategy[int]:
    least, most = schema["minimum"], schema["maximum"]
    return st.sampled_from([least, most, min(least + 1, most)]) | st.integers(least, most)


def _list(schema: Schema, named: Named) -> SearchStrategy[list[Json]]:
    items = valid(schema["items"], named)
    keys = schema.get(_KEYS, ())
    unique: Callable[[Json], Json] | None = None
    if keys:
        names = [*keys, *({"name"} & set(schema["items"]["properties"]))]
        unique = lambda item: _key(item, names)  # noqa: E731
        if "protocol" in keys:  # a port's name has to be its own, too: one of a kind is enough
            unique = lambda item: 0  # noqa: E731
    elif schema.get("x-kubernetes-list-type") == "set":
        unique = str
    least = schema.get("minItems", 0)
    return st.lists(items, min_size=least, max_size=min(3, schema["maxItems"]), unique_by=unique)


def _key(item: Json, names: list[str]) -> Json:
    return tuple(item.get(name) for name in names)


def _object(schema: Schema, named: Named) -> SearchStrategy[dict[str, Json]]:
    if "additionalProperties" in schema:
        keys = st.sampled_from(["team", "Größe", "a/b:c=d+e-f@g", "t" * 128, " "])
        return st.dictionaries(keys, valid(schema["additionalProperties"]), max_size=3)
    fields = schema["properties"].items()
    known = {name: named[name] if name in named else valid(each, named) for name, each in fields}
    required = schema.get("required", ())
    return st.fixed_dictionaries(
        {name: known[name] for name in required},
        optional={name: each for name, each in known.items() if name not in required},
    )


def valid(schema: Schema, named: Named = MappingProxyType({})) -> SearchStrategy[Json]:
    """What the schema alone allows: the rules across fields are left to ``_ruled``.

    ``named``: what else is to be made for fields of a name, wherever they stand.
    """
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return _number(schema)
        case "string":
            return _text(schema)
        case "array":
            return _list(schema, named)
        case _:
            return _object(schema, named)


_ANY = valid(SPEC)


@st.composite
def _ruled(draw: DrawFn) -> dict[str, Json]:
    """A spec that mostly keeps the rules across fields, too."""
    spec: dict[str, Json] = deepcopy(draw(_ANY))
    sourced = draw(st.booleans())
    spec.pop("taskDefinition" if sourced else "template", None)
    if sourced:
        _template(draw, spec)
    else:
        spec.setdefault("taskDefinition", "web")
    for rung in spec.get("placement", ()):
        rung.pop(draw(st.sampled_from(["capacityProvider", "launchType"])), None)
        if not {"capacityProvider", "launchType"} & set(rung):
            rung["launchType"] = "EC2"
        if rung.get("launchType") == "EXTERNAL":
            spec.pop("network", None)
    return spec


def _template(draw: DrawFn, spec: dict[str, Json]) -> None:
    template = spec.setdefault("template", {"image": "nginx:1"})
    spec.pop("containerName", None)
    template["cpuUnits"], template["memoryMiB"] = draw(st.sampled_from(FARGATE_SIZES))
    if draw(st.booleans()):
        template.pop("requiresCompatibilities", None)
    template["networkMode"] = draw(st.sampled_from(["awsvpc", "awsvpc", "bridge"]))
    template.pop("secrets" if draw(st.booleans()) else "environment", None)
    if template.get("stopTimeoutSeconds", 0) > 120:
        template["stopTimeoutSeconds"] = 120
    if "healthCheck" in template:
        template["healthCheck"]["command"] = ["CMD-SHELL", draw(st.sampled_from(["true", "\t"]))]


# --- nearly valid, and nasty ---

Slot = tuple[Any, Any, Schema]
"""A place in a value: its holder (dict or list), its key there, the schema of what it holds."""


def _slots(holder: Any, key: Any, schema: Schema) -> Iterator[Slot]:
    yield holder, key, schema
    value = holder[key]
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name in [*value]:
            inner = known.get(name, rest)
            if inner is not None:
                yield from _slots(value, name, inner)
    elif isinstance(value, list) and "items" in schema:
        for index in range(len(value)):
            yield from _slots(value, index, schema["items"])


def _out_of_bounds(value: Json, schema: Schema) -> list[Json]:
    match schema.get("type"):
        case "integer":
            return [schema["minimum"] - 1, schema["maximum"] + 1]
        case "string" if "maxLength" in schema:
            return [_kind(schema).long(schema["maxLength"] + 1), ""]
        case "array":
            return _bad_lists(value, schema)
        case "object" if "maxProperties" in schema:
            most = schema["maxProperties"]
            return [{f"t{n}": "x" for n in range(size)} for size in (most, most + 1)]
        case _:
            return []


def _bad_lists(value: Json, schema: Schema) -> list[Json]:
    """One item too many (all different, as far as names go), a doubled one, doubled keys."""
    if not isinstance(value, list) or not value:
        return [[]]
    first, most = value[0], schema["maxItems"]
    filled = [_told_apart(first, number) for number in range(most + 1)]
    doubled = [*value, deepcopy(first)]
    if schema.get(_KEYS) and isinstance(first, dict):
        other = {**first, "value": "y"} if "value" in first else {**first, "name": "other"}
        return [filled[:most], filled, doubled, [*value, other]]
    return [filled[:most], filled, doubled]


def _told_apart(item: Json, number: int) -> Json:
    """A short copy (a hundred long ones are more than a request may hold) with names of its own."""
    match item:
        case str():
            return f"{item[:40]}{number}"
        case dict():
            short = {
                key: each[:40] if isinstance(each, str) else each for key, each in item.items()
            }
            if isinstance(item.get("name"), str):
                short["name"] = f"{item['name'][:40]}{number}"
            if "containerPort" in item:
                short["containerPort"] = 1 + number
            return deepcopy(short)
        case _:
            return item


def _mutations(slot: Slot) -> list[tuple[str, Json]]:
    """What may be done to a slot: ("set", value), ("delete", None) or ("key", an extra key)."""
    holder, key, schema = slot
    value = holder[key]
    nasty = NASTY_TEXT if schema.get("type") == "string" else NASTY_NUMBERS
    made = [("set", each) for each in _out_of_bounds(value, schema)] * 4
    made += [("set", each) for each in (*JUNK, *nasty)]
    if isinstance(value, dict):
        made += [("key", each) for each in (*JUNK_KEYS, *schema.get("properties", ()))] * 2
        if "additionalProperties" in schema:
            made += [("key", each) for each in NASTY_TEXT]
    return made + [("delete", None)] * 8


@st.composite
def specs(draw: DrawFn) -> Json:
    """A spec: in one case of four untouched, else with one to three things done to it."""
    holder: dict[str, Json] = {"spec": draw(_ruled())}
    for _ in range(draw(st.integers(0, 3))):
        slots = [*_slots(holder, "spec", SPEC)]
        slot = draw(st.sampled_from(slots[1:] if len(slots) > 1 else slots))
        at, key, _ = slot
        match draw(st.sampled_from(_mutations(slot))):
            case "set", value:
                at[key] = deepcopy(value)
            case "key", name:
                inner = slot[2].get("properties", {}).get(name)
                at[key][name] = draw(valid(inner)) if inner else draw(st.sampled_from(JUNK))
            case _:
                if at is not holder:
                    del at[key]
    return holder["spec"]


# --- on the wire ---


def manifest(spec: Json, name: str = "generated") -> dict[str, Json]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def encode(value: Json) -> bytes:
    """JSON as a client may send it: numbers beyond all bounds as 1e999, lone surrogates escaped."""
    return json.dumps(value).replace("Infinity", "1e999").encode()


def is_json(value: Json) -> bool:
    """Whether every number in it is one that a server can read."""
    return "Infinity" not in json.dumps(value)


def read(value: Json) -> Json:
    """What a server reads: no lone surrogates, and whole numbers whole."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case float() if value.is_integer():
            return int(value)
        case list():
            return [read(each) for each in value]
        case dict():
            return {read(name): read(each) for name, each in value.items()}
        case _:
            return value


def stored(spec: Json, root: Schema = ROOT) -> Json:
    """The spec as a server keeps it: read, unknown fields pruned, defaults filled in."""
    body = {"spec": read(spec)}
    structural.prune(body, dict(root))
    structural.default(body, dict(root))
    return body.get("spec")
