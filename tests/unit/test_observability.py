"""The dashboard as a document, and the alerts beside their pages."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name
from prometheus_client import CollectorRegistry

from fractal_operator.metrics import Metrics
from fractal_operator.observability import FILES, write
from fractal_operator.observability.dashboard import ROWS, UID, dashboard_json
from fractal_operator.observability.rules import ALERTS, rules_yaml

ROOT = Path(__file__).parents[2]
IN_CHART = ROOT / "charts" / "fractal-operator" / "files"
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["Meaning", "Impact", "How to look", "What to do"]
BOARD = json.loads(dashboard_json())
ROW_PANELS = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
PRIVATE = {"user", "uid", "name", "object", "task", "arn", "email"}

Panel = dict[str, Any]


def test_the_files_of_the_chart_are_fresh(tmp_path: Path) -> None:
    write(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_text() == (IN_CHART / name).read_text(), "run: make docs"


# --- the dashboard ---


def test_the_dashboard_can_be_imported_anywhere() -> None:
    assert (BOARD["uid"], BOARD.get("id")) == (UID, None)
    variables = {each["name"]: each["type"] for each in BOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "namespace": "query", "job": "query"}
    sources = re.findall(
        r'"datasource": \{\s*"type": "(\w+)",\s*"uid": "([^"]+)"', dashboard_json()
    )
    assert set(sources) == {("prometheus", "${datasource}")}


def test_every_row_and_panel_has_an_id_and_a_place_of_its_own() -> None:
    every = ROW_PANELS + PANELS
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(every, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_every_panel_stands_below_its_row() -> None:
    order = sorted(BOARD["panels"], key=lambda panel: (panel["gridPos"]["y"], panel["id"]))
    assert [panel["title"] for panel in order] == [
        title for row in ROWS for title in (row.title, *(panel.title for panel in row.panels))
    ]
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_a_panel_says_what_it_shows(panel: Panel) -> None:
    assert panel["description"].endswith((".", ")"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    letters = [target["refId"] for target in panel["targets"]]
    assert letters == sorted(set(letters))
    for target in panel["targets"]:
        selectors = re.findall(r"\{(.*?)\}", target["expr"])
        assert selectors
        chosen = 'job=~"$job",namespace=~"$namespace"'
        assert all(selector.startswith(chosen) for selector in selectors)
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = re.search(r"by \(([^)]*)\)", target["expr"])
        by = set(grouped[1].split(", ")) if grouped else {"instance"}
        assert shown <= by, "a legend that the query does not tell"
        assert not by & PRIVATE


def test_every_metric_of_the_operator_is_drawn() -> None:
    drawn = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for row in Metrics(CollectorRegistry()).rows:
        assert re.search(rf"\b{row.name}(_bucket)?\b", drawn), row.name


# --- the alerts ---


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(set(names)) == len(names)
    assert {page.stem for page in RUNBOOKS.glob("*")} == set(names)
    for group in yaml.safe_load(rules_yaml())["groups"]:
        for rule in group["rules"]:
            page = ROOT / rule["annotations"]["runbook_url"]
            assert page.stem == rule["alert"]
            assert page.exists()


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: str(page.stem))
def test_a_page_tells_what_it_is_how_to_look_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(part.strip() for part in parts[2::2])
    look = parts[2 * SECTIONS.index("How to look") + 2]
    commands = re.findall(r"^\$ (\S+)", look, re.MULTILINE)
    assert {"kubectl"} <= set(commands) <= {"kubectl", "aws"}
    assert parts[-1].lstrip().startswith("- ")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert.name))
def test_an_alert_is_named_and_told_in_sentences(alert: Any) -> None:
    assert re.fullmatch(r"Fractal[A-Za-z]+", alert.name)
    assert alert.summary.endswith(".")
    assert alert.description.endswith((".", "policy."))
    assert re.fullmatch(r"(\d+m)?", alert.lasting)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert.name))
def test_an_alert_tells_installations_apart(alert: Any) -> None:
    """Of one release in two namespaces: their Services, and so their jobs, have one name."""
    for labels in re.findall(r"(?:by|on) \(([^)]*)\)", alert.expr):
        assert {"job", "namespace"} <= set(labels.split(", "))


def test_the_runbooks_ask_aws_for_what_it_has() -> None:
    text = "".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    asked = re.findall(r"^\$ aws (\S+) (\S+)(.*)$", text, re.MULTILINE)
    assert len(asked) >= 5
    for service, command, rest in asked:
        model = botocore.session.get_session().get_service_model(service)
        [operation] = [each for each in model.operation_names if xform_name(each, "-") == command]
        shape = model.operation_model(operation).input_shape
        members = shape.members if shape else {}
        given = set(re.findall(r"--([a-z-]+)", rest))
        assert given <= {xform_name(member, "-") for member in members}, command
