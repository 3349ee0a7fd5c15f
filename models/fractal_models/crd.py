"""The CustomResourceDefinition of FractalContainer, generated from the pydantic models.

What pydantic emits is JSON Schema; the API server wants a structural schema: everything inline, one
type each, no titles. ``python -m fractal_models.crd`` prints the YAML.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import yaml

from fractal_models.container import Spec, Status
from fractal_models.kube import GROUP, KIND, PLURAL, VERSION
from fractal_models.patterns import WORDS

JsonSchema = dict[str, Any]

_CEL = "x-kubernetes-validations"
_MATCHES = re.compile(r"self\.matches\(r'(?P<pattern>.*)'\)")
_INT32 = 2**31 - 1
_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    _CEL,
)

UNSEEN: JsonSchema = {"observedGeneration": -1}
"""The status of an object that the operator has not seen yet."""

_HEADER = "# Generated from the models by `fractal-operator crds`; do not edit.\n"

_COLUMNS = (
    ("Ready", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Phase", ".status.phase", 0),
    ("User", ".spec.user", 0),
    ("Endpoint", ".status.endpoint.ip", 0),
    ("Task", '.status.tasks[?(@.role=="Current")].arn', 1),
    ("Placement", ".status.placement.capacityProvider", 1),
    ("Reason", '.status.conditions[?(@.type=="Ready")].reason', 1),
)


def crd() -> dict[str, Any]:
    """The manifest, for API servers that know CEL (Kubernetes >= 1.25)."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["fc", "fcs"],
                "categories": ["fractal"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": _root()},
                }
            ],
        },
    }


def strip_cel(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest for API servers before 1.25: ``oneOf`` and ``pattern`` instead of CEL rules.

    Never both: where they fail the server skips CEL, and shows the poorer message of the two.
    The rules that have no stand-in are still checked by the operator (condition Stalled).

    Such servers take an empty string for null (seen with 1.20.2), so a string that may be empty is
    nullable there; the operator takes null for absent, and refuses it as an item of a list.
    """
    stripped: dict[str, Any] = _without_cel(deepcopy(dict(manifest)))
    for version in stripped["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        _let_be_empty(spec)
        spec["oneOf"] = _exactly_one("taskDefinition", "template")
        rung = spec["properties"]["placement"]["items"]
        rung["oneOf"] = _exactly_one("capacityProvider", "launchType")
    return stripped


def render_yaml(manifest: Mapping[str, Any] | None = None) -> str:
    """``manifest`` (default: :func:`crd`) as the YAML text of crds/."""
    body = yaml.safe_dump(manifest or crd(), sort_keys=False, width=100, allow_unicode=True)
    return _HEADER + body


def _columns() -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = [
        {"name": name, "type": "string", "jsonPath": path, "priority": priority}
        for name, path, priority in _COLUMNS
    ]
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 0}
    return [*columns[:4], age, *columns[4:]]


def _root() -> JsonSchema:
    return {
        "type": "object",
        "description": "Runs exactly one AWS ECS task, and keeps it running.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{KIND}."},
            "metadata": {"type": "object"},
            "spec": _structural(Spec, defaults=True),
            # Else a waiter would take an object that nobody has looked at for done (kstatus).
            "status": {**_structural(Status, defaults=False), "default": UNSEEN},
        },
    }


def _structural(model: type[Spec | Status], *, defaults: bool) -> JsonSchema:
    schema = model.model_json_schema(by_alias=True)
    return _inline(schema, schema.get("$defs", {}), defaults)


def _inline(node: JsonSchema, defs: Mapping[str, JsonSchema], defaults: bool) -> JsonSchema:
    """``node`` without references, unions with null, titles and what only JSON Schema knows."""
    node = _resolved(node, defs)
    # copied: what two places share would become an anchor in the YAML
    out: JsonSchema = {key: deepcopy(node[key]) for key in _KEPT if key in node}
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if "const" in node:
        out["enum"] = [node["const"]]
    if node.get("type") == "integer":
        out["format"] = "int32" if node["maximum"] <= _INT32 else "int64"
    if "pattern" in node:
        out[_CEL] = [_pattern_rule(node["pattern"])]
    if defaults and node.get("default"):  # zero values need no default
        out["default"] = {} if isinstance(node["default"], dict) else node["default"]
    if "properties" in node:
        out["properties"] = {k: _inline(v, defs, defaults) for k, v in node["properties"].items()}
    if "items" in node:
        out["items"] = _inline(node["items"], defs, defaults)
    if node.get("additionalProperties"):
        out["additionalProperties"] = _inline(node["additionalProperties"], defs, defaults)
    return out


def _pattern_rule(pattern: str) -> dict[str, str]:
    """A pattern as a rule: a server's own message would show the expression, not what it means."""
    return {"rule": f"self.matches(r'{pattern}')", "message": WORDS[pattern]}


def _resolved(node: JsonSchema, defs: Mapping[str, JsonSchema]) -> JsonSchema:
    if "$ref" in node:
        target = defs[node["$ref"].removeprefix("#/$defs/")]
        return _resolved({**target, **{k: v for k, v in node.items() if k != "$ref"}}, defs)
    if "anyOf" in node:
        [only] = [option for option in node["anyOf"] if option.get("type") != "null"]
        return _resolved({**only, **{k: v for k, v in node.items() if k != "anyOf"}}, defs)
    return node


def _without_cel(value: Any) -> Any:
    match value:
        case dict():
            kept = {key: _without_cel(item) for key, item in value.items() if key != _CEL}
            for rule in value.get(_CEL, ()):
                if matched := _MATCHES.fullmatch(rule["rule"]):
                    kept["pattern"] = matched["pattern"]
            return kept
        case list():
            return [_without_cel(item) for item in value]
        case _:
            return value


def _let_be_empty(node: JsonSchema) -> None:
    if node["type"] == "string" and "enum" not in node and not node.get("minLength"):
        node["nullable"] = True
    inner = [*node.get("properties", {}).values(), node.get("additionalProperties")]
    if node.get("x-kubernetes-list-type") != "set":  # whose items must not be nullable
        inner.append(node.get("items"))
    for each in inner:
        if each is not None:
            _let_be_empty(each)


def _exactly_one(*names: str) -> list[JsonSchema]:
    return [{"required": [name]} for name in names]


if __name__ == "__main__":
    print(render_yaml(), end="")
