"""What the documents show must be true: their manifests, commands, files and settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from fractal_models.container import parse_spec
from fractal_models.crd import crd
from fractal_operator.metrics import Metrics
from fractal_operator.reference import PAGES as GENERATED
from fractal_operator.settings import describe

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
PACKAGES = {"fractal_dev", "fractal_helpers", "fractal_models", "fractal_operator"}
OTHER_WORDS = {"HelmRelease", "ConfigMap", "HistoryGap"}
"""Kinds of other tools, and a reason that stands in the history alone."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for kind, text in FENCE.findall(page.read_text()):
            if kind == language:
                yield page, text


def test_every_manifest_in_the_documents_is_a_valid_container() -> None:
    specs = [
        (page, each["spec"])
        for page, text in _blocks("yaml")
        for each in yaml.safe_load_all(text)
        if each.get("kind") == "FractalContainer"
    ]
    assert specs
    for _, spec in specs:
        parse_spec(spec)


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}
    named |= {name for _, text in _blocks("console") for name in re.findall(r"make ([\w-]+)", text)}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_log_or_port_is_that_of_every_replica_or_of_a_named_pod(page: Path) -> None:
    """kubectl takes any one pod of a Deployment, and ten lines of each that a selector finds."""
    for command in re.findall(r"kubectl [^\n`]*", page.read_text()):
        assert not re.search(r"(logs|port-forward|exec) deploy", command), command
        if " logs " in command:
            assert re.search(r" -l \S+ --prefix --tail=-?\d+ ", command), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_in_the_documents_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


TASK_VARIABLES = {"FRACTAL_DPI", "FRACTAL_SPEC_HASH"}
"""What the operator gives to a task."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_document_names_exists(page: Path) -> None:
    text = page.read_text()
    settings = set(re.findall(r"\bFRACTAL_[A-Z_]+[A-Z]\b", text))
    assert settings <= {row.variable for row in describe()} | TASK_VARIABLES
    metrics = {row.name for row in Metrics(CollectorRegistry()).rows}
    assert set(re.findall(r"`(fractal_[a-z_]+[a-z])[`{]", text)) <= metrics | PACKAGES
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path in re.findall(r"`((?:spec|status)(?:\.[A-Za-z]+(?:\[\d*\])?)+)", text):
        at = schema
        for name in re.sub(r"\[\d*\]", "", path).split("."):
            assert name in at.get("properties", {}), path
            at = at["properties"][name]
            at = at.get("items", at)


def test_the_words_for_troubles_are_those_that_the_operator_says() -> None:
    generated = "".join(GENERATED[page]() for page in ("conditions.md", "failures.md", "api.md"))
    known = set(re.findall(r"`([A-Za-z]+)`", generated)) | OTHER_WORDS
    for page in ("troubleshooting.md", "gitops.md"):
        text = (ROOT / "docs" / page).read_text()
        assert set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)) <= known


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_every_generated_page_is_as_the_code_makes_it(name: str) -> None:
    written = (ROOT / "docs" / name).read_text()
    assert written == GENERATED[name](), "stale: run `make docs`"


def test_no_code_folder_shadows_the_standard_library() -> None:
    # operator/__init__.py would break every `python -m …` at the root of the repository.
    assert not (ROOT / "operator" / "__init__.py").exists()
