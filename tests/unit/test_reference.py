"""The generated pages tell of everything that the code has: fields, annotations, words."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.unit.core.world import POLICY, ago, attempt, observation, settled

from fractal_models.container import Status, Termination
from fractal_models.crd import crd
from fractal_operator import core, shell
from fractal_operator.core import annotations, broken, events, failures, holding, plan, tokens
from fractal_operator.core import words as failure_words
from fractal_operator.core.merge import merge
from fractal_operator.core.words.stop_codes import STOP_CODES
from fractal_operator.reference import words
from fractal_operator.reference.api import TAGS, api_page
from fractal_operator.reference.conditions import conditions_page, example, situations
from fractal_operator.reference.failures import counted, failures_page, followed
from fractal_operator.reference.fields import Field, sections

ROOT = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

# Expressions whose value is a reason, and where it is explained.
IN_FAILURES_PAGE = {"words.reason"}
HANDED_ON = {"reason", "said.reason"} | {
    f"situation.{name}" for name in ("reason", "reconciling", "stalled")
}
PHASE_OR_CONDITION = {"new.phase.value", "each.reason", "broken.REASON"}


def fields() -> dict[str, Field]:
    every = [*sections("spec", ROOT["spec"]), *sections("status", ROOT["status"])]
    return {each.path: each for section in every for each in section.fields}


def modules(package: ModuleType) -> Iterator[tuple[str, ast.Module]]:
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            yield path.stem, ast.parse(path.read_text())


def reasons(tree: ast.Module, calls: dict[str, tuple[int, ...]]) -> tuple[set[str], set[str]]:
    """What stands as a reason in ``calls`` (name -> positions): words, and other expressions."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    literal: set[str] = set()
    other: set[str] = set()

    def take(node: ast.expr) -> None:
        match node:
            case ast.Constant(value=str(text)):
                literal.update({text} - {""})
            case ast.BoolOp(values=values):
                for each in values:
                    take(each)
            case ast.IfExp(body=body, orelse=orelse):
                take(body)
                take(orelse)
            case ast.Name(id=name) if name in constants:
                take(constants[name])
            case _:
                other.add(ast.unparse(node))

    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        for place in calls.get(name, ()):
            if place < len(node.args):
                take(node.args[place])
        if name in calls:
            for keyword in node.keywords:
                if keyword.arg in ("reason", "reconciling", "stalled"):
                    take(keyword.value)
    return literal, other


SITUATIONS = {
    "Situation": (1,),
    "waiting": (0,),
    "retrying": (0,),
    "settling": (0,),
    "stopping": (0,),
    "refused": (0,),
    "but_stalled": (0,),
    "_condition": (2,),
    "Condition": (),
}


def test_every_reason_of_a_condition_is_explained() -> None:
    said: set[str] = {*holding.WHY, broken.REASON}
    for name, tree in modules(core):
        literal, other = reasons(tree, SITUATIONS)
        said |= literal
        assert other <= IN_FAILURES_PAGE | HANDED_ON, f"core/{name}.py: a reason from elsewhere"
    assert said == set(words.REASONS)


def test_a_new_reason_is_found_wherever_it_stands() -> None:
    tree = ast.parse(
        "NEW = 'Named'\n"
        "phases.refused(NEW, '')\n"
        "phases.waiting('Plain' if it else words.reason, '')\n"
        "Situation(Phase.RUNNING, 'Made', '', reconciling=it or 'Both')\n"
    )
    found = ({"Named", "Plain", "Made", "Both"}, {"words.reason", "it"})
    assert reasons(tree, SITUATIONS) == found


def test_every_event_is_explained() -> None:
    said: set[str] = set()
    made = [reasons(ast.parse(inspect.getsource(events)), {"_Told": (2,)})]
    made += [reasons(tree, {"KubeEvent": (1,)}) for _, tree in modules(shell)]
    for literal, other in made:
        said |= literal
        assert other <= IN_FAILURES_PAGE | PHASE_OR_CONDITION
    # Phases that are told as they are:
    assert said | {"Suspended", "Succeeded"} == set(words.EVENTS)


def test_every_kind_of_situation_stands_in_the_table() -> None:
    assert set(words.SITUATIONS) == set(situations())
    for make in situations().values():
        assert not (example(make).reconciling and example(make).stalled)


def test_the_page_of_conditions_shows_every_word() -> None:
    page = conditions_page()
    for word in (*words.PHASES, *words.CONDITIONS, *words.REASONS, *words.EVENTS):
        assert f"| `{word}` |" in page


def test_the_fields_marked_r_are_those_that_replace_the_task() -> None:
    top = {path: each for path, each in fields().items() if path.count(".") == 1}
    marked = {path.removeprefix("spec.") for path, each in top.items() if each.change == "R"}
    assert marked == set(tokens.REPLACING_FIELDS)
    unmarked = {path for path, each in fields().items() if not each.change}
    assert {path for path in unmarked if path.startswith("spec.")} == set()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("spec.backoffLimit", ("integer", "`6`", "0 to 1000", "I")),
        ("spec.dpi", ("integer", "", "1 to 1000", "R")),
        ("spec.restartPolicy", ("string", "`Always`", "`Always`, `OnFailure`, `Never`", "I")),
        ("spec.placement", ("list of objects", "", "at most 10 items", "N")),
        ("spec.template.cpuUnits", ("integer", "required", "128 to 196608", "R")),
        ("status.readyAt", ("time", "", "RFC 3339, UTC", "")),
    ],
)
def test_a_row_tells_type_default_bounds_and_change(path: str, told: tuple[str, ...]) -> None:
    row = fields()[path]
    assert (row.type, row.default, row.allowed, row.change) == told


def test_bounds_and_patterns_of_items_and_values_are_told() -> None:
    subnets, tags = fields()["spec.network.subnets"], fields()["spec.tags"]
    assert subnets.allowed.startswith("at most 16 items; each at most 64 characters, must be the")
    assert (tags.type, tags.allowed.partition(";")[0]) == ("map of strings", "at most 40 entries")


def test_every_field_of_the_schema_stands_on_the_page() -> None:
    def paths(path: str, schema: dict[str, object]) -> Iterator[str]:
        inner = schema.get("items", schema)
        assert isinstance(inner, dict)
        for name, each in inner.get("properties", {}).items():
            yield f"{path}.{name}"
            yield from paths(f"{path}.{name}{'[]' if 'items' in each else ''}", each)

    assert set(fields()) == {*paths("spec", ROOT["spec"]), *paths("status", ROOT["status"])}
    page = api_page()
    for path in fields():
        parent, _, name = path.rpartition(".")
        section = page.partition(f"# {parent}\n")[2].partition("\n#")[0]
        assert f"\n| `{name}` |" in section, path


def test_everything_named_after_us_is_told() -> None:
    named = {
        node.value
        for _, tree in modules(core)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("fractal.co/")
        and " " not in node.value
    }
    assert named == {*annotations.MEANING, *TAGS, plan.FINALIZER}
    for name in (*annotations.MEANING, *TAGS):
        assert f"| `{name}` |" in api_page()


def test_each_word_of_a_failure_stands_on_the_page_of_failures_and_only_there() -> None:
    explained: set[str] = set()
    for _, tree in modules(failure_words):
        explained |= reasons(tree, {"Explanation": (0,)})[0]
    assert "ImagePullFailed" in explained
    assert explained & set(words.REASONS) <= {"Suspended", "Expired", "Deleted"}
    for word in explained:
        assert f"`{word}` |" in failures_page()


@pytest.mark.parametrize("code", sorted(STOP_CODES))
def test_the_page_of_failures_says_what_is_done_after_an_end(code: str) -> None:
    def launches(policy: str) -> bool:
        spec = {"taskDefinition": "web", "restartPolicy": policy}
        end = Termination(attempt=1, stop_code=code, exit_code=1, finished_at=ago(3600))
        status = Status(attempt=attempt(), last_terminations=(end,))
        return settled(observation(spec, status=status))[0].status.attempt != status.attempt

    match followed(code):
        case "always":
            assert launches("Never")
        case "`restartPolicy`":
            assert (launches("Never"), launches("Always")) == (False, True)
        case other:
            assert other in ("never", "when resumed")
            assert code in failures.OUR_STOPS
    merged = merge(observation(status=Status(attempt=attempt())), POLICY)
    after = merged.ended(1, code, "").attempt
    assert after is not None
    assert counted(code) == ("yes" if after.failures else "no")
