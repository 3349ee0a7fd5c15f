"""What tools that wait make of an object's status: kstatus (helm --wait, Flux) and Argo CD.

Every situation of core/phases.py is brought about through decide(), stored as the API server stores
it, and judged by both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lupa.lua51
import pytest
from tests.unit.core import world

from fractal_models.container import Phase, Status, Termination
from fractal_models.crd import crd
from fractal_models.kube import GROUP, KIND
from fractal_models.observed import Address, ObservedContainer
from fractal_operator.core import annotations, tokens
from fractal_operator.core.plan import Observation
from fractal_operator.reference import words
from fractal_operator.reference.conditions import example, situations

DOCS = Path(__file__).parents[2] / "docs"
HEALTH = (DOCS / "argocd" / "health.lua").read_text()

Obj = dict[str, Any]


def kstatus(obj: Mapping[str, Any]) -> str:
    """kubernetes-sigs/cli-utils, pkg/kstatus/status: Compute, for a kind that it has no rules for.

    generic.go, checkGenericProperties: deletionTimestamp; then observedGeneration, if there is one;
    then the first true one of Reconciling and Stalled. status.go and generic.go,
    checkReadyCondition: then Ready; without it the object is current.
    """
    status = obj.get("status", {})
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if (
        status.get("observedGeneration", obj["metadata"]["generation"])
        != (obj["metadata"]["generation"])
    ):
        return "InProgress"
    conditions = status.get("conditions", ())
    for each in conditions:
        if each["status"] == "True" and each["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if each["type"] == "Reconciling" else "Failed"
    ready = [each["status"] for each in conditions if each["type"] == "Ready"]
    return "Current" if ready in ([], ["True"]) else "InProgress"


def argo(obj: Mapping[str, Any]) -> str:
    """Argo CD's health by docs/argocd/health.lua, run as Argo CD runs it: Lua 5.1, global obj."""
    lua = lupa.lua51.LuaRuntime()
    lua.globals().obj = lua.table_from(dict(obj), recursive=True)
    health = lua.execute(HEALTH)
    assert health.message, "nothing to read in Argo CD"
    return str(health.status)


@dataclass(frozen=True)
class Case:
    """A situation, and what the tools shall make of it; ``kind`` is a function of phases.py."""

    kind: str
    seen: Observation
    kstatus: str
    argo: str
    name: str = ""


def ended(spec: Mapping[str, Any], stop_code: str, exit_code: int | None) -> Observation:
    """An object whose only attempt is over."""
    end = Termination(
        attempt=1, stop_code=stop_code, reason="The end", exit_code=exit_code, finished_at=world.NOW
    )
    attempt = world.attempt(spec_hash=tokens.spec_hash(spec), failures=1, used_seconds=100)
    return world.observation(spec, status=Status(attempt=attempt, last_terminations=(end,)))


def noted(seen: Observation, *names: str) -> Observation:
    return replace(seen, annotations=dict.fromkeys(names, "true"))


def deleted(seen: Observation, seconds: float = 1) -> Observation:
    return replace(seen, deleting_since=world.ago(seconds))


def edited(seen: Observation, **changes: Any) -> Observation:
    made = world.observation({**seen.spec_json, **changes})
    return replace(
        seen,
        generation=seen.generation + 1,
        spec=made.spec,
        spec_json=made.spec_json,
        spec_errors=made.spec_errors,
    )


def task_in(last_status: str, health: str = "UNKNOWN") -> Observation:
    """An object whose task has got that far, with an address and nothing more in its status."""
    main = ObservedContainer("app", last_status, health=health)
    return world.observation(
        status=Status(attempt=world.attempt(), tasks=(world.entry(last_status=last_status),)),
        tasks=(world.task(last_status=last_status, health=health, containers=(main,)),),
        addresses={world.arn(): Address("203.0.113.7", "10.0.0.7")},
    )


SUSPENDED = {**world.SPEC, "operatingMode": "Suspended"}
BRIEF = {**world.SPEC, "timeouts": {"lifetimeSeconds": 100}}
ONCE = {**world.SPEC, "restartPolicy": "Never"}
SURGE = {**world.SPEC, "updateStrategy": "Surge"}
OUT_OF_TIME = ended(BRIEF, "Expired", 0)
UNSWEPT = world.observation(target=world.cluster(swept_since=None))

CASES = (
    Case("waiting", UNSWEPT, "InProgress", "Progressing"),
    Case(
        "retrying",
        ended(world.SPEC, "EssentialContainerExited", 1),
        "InProgress",
        "Progressing",
    ),
    Case("launching", world.observation(), "InProgress", "Progressing"),
    Case("starting", task_in("PROVISIONING"), "InProgress", "Progressing"),
    Case(
        "settling",
        replace(task_in("RUNNING"), addresses={}),
        "InProgress",
        "Progressing",
    ),
    Case("running", world.running(), "Current", "Healthy"),
    Case(
        "expiring",
        world.running({**world.SPEC, "timeouts": {"lifetimeSeconds": 65}}),
        "Current",
        "Healthy",
    ),
    Case("unhealthy", task_in("RUNNING", "UNHEALTHY"), "InProgress", "Degraded"),
    Case(
        "replacing",
        edited(world.running(), command=["other"]),
        "InProgress",
        "Progressing",
    ),
    Case(
        "stopping",
        edited(world.running(), operatingMode="Suspended"),
        "InProgress",
        "Progressing",
    ),
    Case("refused", world.observation(target=None), "Failed", "Degraded"),
    Case(
        "refused",
        ended(ONCE, "EssentialContainerExited", 1),
        "Failed",
        "Degraded",
        "ended badly, never started again",
    ),
    Case("suspended", world.observation(SUSPENDED), "Current", "Suspended"),
    Case("succeeded", ended(ONCE, "EssentialContainerExited", 0), "Current", "Healthy"),
    Case("expired", OUT_OF_TIME, "Current", "Healthy"),
    Case("deleting", deleted(world.running()), "Terminating", "Progressing"),
    Case("stuck", deleted(world.running(), 400), "Terminating", "Progressing"),
    Case(
        "held",
        noted(deleted(world.running()), annotations.READ_ONLY),
        "Terminating",
        "Progressing",
    ),
)

BESIDE = (
    # Situations that core/phases.py makes of one of those above.
    Case(
        "",
        edited(world.running(), command=["\0"]),
        "Failed",
        "Degraded",
        "runs on, with a spec that cannot be used",
    ),
    Case(
        "",
        edited(world.running(SURGE), command=["other"]),
        "InProgress",
        "Progressing",
        "runs on until another task is ready",
    ),
    Case(
        "",
        edited(world.running(SURGE), containerName="none"),
        "Failed",
        "Degraded",
        "runs on, since the edited spec cannot be launched",
    ),
    Case(
        "",
        noted(world.running(), annotations.PAUSED),
        "Current",
        "Healthy",
        "paused, with nothing left to do",
    ),
    Case(
        "",
        noted(world.observation(SUSPENDED), annotations.PAUSED),
        "Current",
        "Suspended",
        "paused, suspended",
    ),
    Case(
        "",
        noted(edited(world.running(), command=["other"]), annotations.PAUSED),
        "InProgress",
        "Suspended",
        "paused, with an edit left to carry out",
    ),
    Case(
        "",
        noted(world.observation(), annotations.READ_ONLY),
        "InProgress",
        "Suspended",
        "read-only, nothing launched yet",
    ),
)


def stored(seen: Observation) -> Obj:
    """The object as the API server holds it once the operator has written its status."""
    after, _ = world.settled(seen)
    metadata: Obj = {"name": seen.name, "generation": seen.generation}
    if seen.deleting_since is not None:
        metadata["deletionTimestamp"] = "2026-05-04T12:00:00Z"
    return {"metadata": metadata, "spec": dict(seen.spec_json), "status": after.status.to_json()}


def named(case: Case) -> str:
    return case.name or case.kind


@pytest.mark.parametrize("case", [*CASES, *BESIDE], ids=named)
def test_what_tools_make_of_a_situation(case: Case) -> None:
    obj = stored(case.seen)
    assert (kstatus(obj), argo(obj)) == (case.kstatus, case.argo), obj["status"]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_case_is_the_situation_that_it_says(case: Case) -> None:
    shown, wanted = stored(case.seen)["status"], example(situations()[case.kind])
    states = {each["type"]: each["status"] for each in shown["conditions"]}
    assert shown["phase"] == wanted.phase.value
    assert states.get("Ready") == (None if wanted.at_rest else str(wanted.ready))
    assert states["Reconciling"] == str(bool(wanted.reconciling))
    assert states["Stalled"] == str(bool(wanted.stalled))
    if wanted.reason != "Words":  # a reason of its own
        [reason] = [
            each["reason"]
            for each in shown["conditions"]
            if each["type"] == ("Reconciling" if wanted.at_rest else "Ready")
        ]
        assert reason == wanted.reason


@pytest.mark.parametrize("case", [*CASES, *BESIDE], ids=named)
def test_every_word_of_a_situation_is_explained(case: Case) -> None:
    shown = stored(case.seen)["status"]
    assert Phase(shown["phase"]) in words.PHASES
    for each in shown["conditions"]:
        assert each["type"] in words.CONDITIONS
        if each["reason"] != "EssentialContainerExited":  # a failure's word
            assert each["reason"] in words.REASONS


def test_there_is_a_case_of_every_situation() -> None:
    assert {case.kind for case in CASES} == set(situations())


def test_an_object_that_nobody_has_looked_at_is_in_progress() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fresh = {"metadata": {"generation": 1}, "status": schema["properties"]["status"]["default"]}
    assert (kstatus(fresh), argo(fresh)) == ("InProgress", "Progressing")


@pytest.mark.parametrize("case", [*CASES, *BESIDE], ids=named)
def test_an_edit_is_in_progress_until_the_operator_has_seen_it(case: Case) -> None:
    obj = stored(case.seen)
    obj["metadata"]["generation"] += 1
    busy = "Terminating" if case.seen.deleting_since else "InProgress"
    assert (kstatus(obj), argo(obj)) == (busy, "Progressing")


def test_before_its_first_status_argo_cd_waits_too() -> None:
    assert argo({"metadata": {"generation": 1}}) == "Progressing"


def test_the_page_says_what_the_tools_do() -> None:
    page = (DOCS / "gitops.md").read_text()
    assert f"resource.customizations.health.{GROUP}_{KIND}`" in page
    rows = re.findall(r"^\|.*\| (\w+) \| (\w+) \|$", page, re.MULTILINE)
    assert set(rows) == {(case.kstatus, case.argo) for case in (*CASES, *BESIDE)}
