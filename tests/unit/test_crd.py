"""The generated CRD: fresh, structural, bounded and described."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fractal_models.container import Spec, parse_spec
from fractal_models.crd import crd, render_yaml, strip_cel
from fractal_models.kube import API_VERSION, KIND
from fractal_models.patterns import WORDS

ROOT = Path(__file__).parents[2]
CEL = "x-kubernetes-validations"

Node = dict[str, Any]


def schema(manifest: dict[str, Any]) -> Node:
    [version] = manifest["spec"]["versions"]
    found: Node = version["schema"]["openAPIV3Schema"]
    return found


def below(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from below(inner, f"{path}.{name}")
    if "items" in node:
        yield from below(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from below(node["additionalProperties"], f"{path}{{}}")


NODES = [
    (path, node)
    for part in ("spec", "status")
    for path, node in below(schema(crd())["properties"][part], part)
]
PLAIN = list(below(schema(strip_cel(crd()))))


def test_the_yaml_in_the_repository_is_fresh() -> None:
    committed = (ROOT / "crds" / "fractal.co_fractalcontainers.yaml").read_text()
    assert committed == render_yaml()
    assert yaml.safe_load(committed) == crd()


def test_every_field_is_described() -> None:
    without = [path for path, node in NODES if path[-1] not in "]}" and not node.get("description")]
    assert without == []


def test_every_field_of_the_spec_says_first_what_a_change_does() -> None:
    starts = ("Replaces the task: ", "Next launch: ", "In place: ")
    fields = [(path, node) for path, node in NODES if path.startswith("spec.") and path[-1] != "]"]
    wrong = [path for path, node in fields if not node.get("description", "").startswith(starts)]
    assert [path for path in wrong if path != "spec.tags{}"] == []


def test_what_a_change_does_is_what_the_design_says() -> None:
    fields = schema(crd())["properties"]["spec"]["properties"]
    by_word: dict[str, set[str]] = {}
    for name, node in fields.items():
        by_word.setdefault(node["description"].partition(":")[0], set()).add(name)
    assert by_word == {
        "Replaces the task": {
            "region", "cluster", "taskDefinition", "template", "containerName", "network",
            "environment", "command", "dpi", "webserverUrl",
        },
        "Next launch": {"user", "placement", "tags", "enableExecuteCommand"},
        "In place": {
            "operatingMode", "restartPolicy", "backoffLimit", "updateStrategy", "timeouts",
            "deletionPolicy",
        },
    }  # fmt: skip


def unbounded(node: Node) -> bool:
    match node["type"]:
        case "string":
            return not ("maxLength" in node or "enum" in node)
        case "array":
            return "maxItems" not in node
        case "integer":
            return not ("minimum" in node and "maximum" in node)
        case "object":
            return "additionalProperties" in node and "maxProperties" not in node
        case _:
            return bool(node["type"] != "boolean")


def test_every_string_list_map_and_number_is_bounded() -> None:
    assert [path for path, node in NODES if unbounded(node)] == []


def test_no_number_is_beyond_what_a_float_can_hold() -> None:
    # API servers keep bounds as floats: 2**63-1 would overflow into a negative maximum
    bounds = [node[key] for _, node in NODES for key in ("minimum", "maximum") if key in node]
    assert all(abs(bound) <= 2**53 for bound in bounds)


@pytest.mark.parametrize("manifest", [crd(), strip_cel(crd())], ids=["cel", "plain"])
def test_the_schema_is_structural(manifest: dict[str, Any]) -> None:
    allowed = {
        "type", "format", "description", "properties", "items", "additionalProperties", "required",
        "enum", "default", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems",
        "maxItems", "minProperties", "maxProperties", "oneOf", CEL, "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys", "nullable",
    }  # fmt: skip
    for path, node in below(schema(manifest)):
        assert isinstance(node["type"], str), path
        assert set(node) <= allowed, path
        for choice in node.get("oneOf", ()):
            assert set(choice) == {"required"}, path
        keys = node.get("x-kubernetes-list-map-keys", [])
        if keys:
            item = node["items"]
            defaulted = {name for name, inner in item["properties"].items() if "default" in inner}
            assert set(keys) <= set(item["required"]) | defaulted, path


def test_every_list_says_how_it_merges() -> None:
    lists = {path: node for path, node in NODES if node["type"] == "array"}
    assert all("x-kubernetes-list-type" in node for node in lists.values())


def test_the_schema_and_the_model_have_the_same_defaults() -> None:
    def defaulted(node: Node) -> Any:
        inner = {
            name: defaulted(child)
            for name, child in node.get("properties", {}).items()
            if "default" in child
        }
        return inner or node.get("default")

    model = Spec(task_definition="web").model_dump(mode="json", by_alias=True, exclude_none=True)
    zero: tuple[Any, ...] = ("", [], {}, False)
    expected = {
        name: value
        for name, value in model.items()
        if value not in zero and name != "taskDefinition"
    }
    assert defaulted(schema(crd())["properties"]["spec"]) == expected


def test_no_default_of_the_settings_stands_in_the_schema() -> None:
    defaults = {path for path, node in NODES if "default" in node}
    assert defaults == {
        "spec.template.ports[].protocol", "spec.operatingMode", "spec.restartPolicy",
        "spec.backoffLimit", "spec.updateStrategy", "spec.timeouts", "spec.deletionPolicy",
        "spec.timeouts.provisioningSeconds", "spec.timeouts.startSeconds",
        "status",  # not seen yet, which no setting is about
    }  # fmt: skip


def test_patterns_are_told_in_words_where_there_is_cel() -> None:
    assert not [path for path, node in NODES if "pattern" in node]
    patterns = {node["pattern"] for _, node in PLAIN if "pattern" in node}
    assert patterns == set(WORDS)


def test_without_cel_nothing_of_it_is_left_and_one_of_stands_in() -> None:
    assert not [path for path, node in PLAIN if CEL in node]
    chosen = {path: node["oneOf"] for path, node in PLAIN if "oneOf" in node}
    assert chosen == {
        ".spec": [{"required": ["taskDefinition"]}, {"required": ["template"]}],
        ".spec.placement[]": [{"required": ["capacityProvider"]}, {"required": ["launchType"]}],
    }
    assert not [path for path, node in NODES if "oneOf" in node]


def test_without_cel_a_string_that_may_be_empty_may_be_null() -> None:
    """Such servers take the one for the other; found by generated manifests on 1.20.2."""
    nullable = {path for path, node in PLAIN if node.get("nullable")}
    assert {
        ".spec.region",
        ".spec.environment[].value",
        ".spec.command[]",
        ".spec.tags{}",
    } < nullable
    assert not {".spec.taskDefinition", ".spec.operatingMode", ".spec.network.subnets[]"} & nullable
    assert not [path for path, node in NODES if "nullable" in node]


def test_stripping_leaves_the_manifest_alone() -> None:
    manifest = crd()
    strip_cel(manifest)
    assert manifest == crd()


EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        assert (manifest["apiVersion"], manifest["kind"]) == (API_VERSION, KIND)
        parse_spec(manifest["spec"])


def test_the_streamed_app_publishes_the_ports_of_the_seed() -> None:
    manifest = yaml.safe_load((ROOT / "examples" / "streamed-app.yaml").read_text())
    template = parse_spec(manifest["spec"]).template
    assert template is not None
    assert {(port.container_port, str(port.protocol)) for port in template.ports} == {
        (32262, "tcp"),
        (32263, "udp"),
        (32273, "tcp"),
    }
