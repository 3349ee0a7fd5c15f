"""docs/allow-lists.md: its example is a list, and what the page says of it is so."""

import json
import re
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from fractal_models.container import parse_spec
from fractal_operator.core import permits
from fractal_operator.core.allow import Allow, matches
from fractal_operator.core.plan import Policy
from fractal_operator.settings import load_settings
from fractal_operator.settings_allow import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "allow-lists.md").read_text()
TEMPLATE = {"image": "public.ecr.aws/nginx/nginx:1", "cpuUnits": 256, "memoryMiB": 512}


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def table(heading: str) -> list[tuple[str, str, str]]:
    """The rows of the table with this first heading, without backquotes."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) ?\|$", PAGE, re.MULTILINE)
    heads = [row[0] for row in rows]
    start = heads.index(heading) + 1
    found = []
    for row in rows[start:]:
        if not row[0].startswith("`"):
            break
        found.append(row)
    return [(a.strip("`"), b.strip("`"), c.strip("`")) for a, b, c in found]


def example() -> Policy:
    """The example as the operator gets it: rendered by the chart, read from the environment."""
    values = yaml.safe_load(block("yaml"))
    with helm.Chart.load(ROOT / "charts" / "fractal-operator") as chart:
        files = chart.render(values, name="fractal-operator", namespace="fractal-system")
    (text,) = (text for path, text in files.items() if path.endswith("/deployment.yaml"))
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    settings = load_settings({each["name"]: each.get("value", "") for each in container["env"]})
    assert settings.region is not None
    assert settings.cluster is not None
    return Policy(
        install="ins",
        region=settings.region,
        cluster=settings.cluster,
        subnets=settings.subnets,
        allow=Allow(settings.allow),
    )


def spec(words: str) -> dict[str, Any]:
    """A spec that names one thing: ``field: value``."""
    field, _, value = words.partition(": ")
    if field in ("cluster", "region"):
        return {"taskDefinition": "web", field: value}
    return {"template": {**TEMPLATE, field: value}}


VERDICTS = table("namespace")
PATTERNS = table("pattern")


def test_the_page_holds_what_is_tested_here() -> None:
    assert len(VERDICTS) > 8
    assert {verdict for _, _, verdict in VERDICTS} == {"allowed", "refused"}
    assert len(PATTERNS) > 5


@pytest.mark.parametrize(("namespace", "words", "verdict"), VERDICTS)
def test_what_the_page_says_of_its_example_is_so(namespace: str, words: str, verdict: str) -> None:
    told = permits.asked(example(), namespace, parse_spec(spec(words)))
    if verdict == "allowed":
        assert told == ""
    else:
        assert words.partition(": ")[2] in told


@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS)
def test_what_the_page_says_of_patterns_is_so(pattern: str, good: str, bad: str) -> None:
    assert matches((pattern,), good)
    assert not matches((pattern,), bad)


def test_the_json_on_the_page_is_a_list_of_rules() -> None:
    assert load_settings({"FRACTAL_ALLOW": block("json")}).allow
    assert json.loads(block("json"))


def test_the_page_names_every_list() -> None:
    assert all(f"`{name}`" in PAGE for name in KINDS)
