"""Generated manifests: schema, model and core agree on each, and what is refused harms nothing.

tests/e2e/test_generated_manifests.py asks real API servers the same.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from tests.generated import cases, refusal, taken_without_cel
from tests.manifests import KINDS, NO_CEL_ROOT, ROOT, stored
from tests.unit.core import loop, world

from fractal_dev.kube.validation import validate
from fractal_models.container import InvalidSpec, Status, parse_spec
from fractal_models.patterns import WORDS
from fractal_models.records import HistoryRecord
from fractal_operator.core import rows, tokens
from fractal_operator.core.plan import (
    AddFinalizer,
    Ensure,
    Plan,
    RemoveFinalizer,
    RunTask,
    StopTask,
    TagTask,
    WriteStatus,
)

PARTS = 10
CASES = 500
"""For each part: 5,000 in all. Every part is a test, so that workers share them."""
EXCUSES = {"InvalidSpec", "OverridesTooLong"}
"""Why a spec that is fine by itself may not be launched: the rest is for ECS to judge."""


@cache
def part(number: int) -> tuple[Any, ...]:
    return tuple(cases(CASES, number))


@pytest.mark.parametrize("number", range(PARTS))
def test_schema_model_and_core_agree(number: int) -> None:
    taken = 0
    for spec in part(number):
        kept = stored(spec)
        assert well_formed(spec, NO_CEL_ROOT) == taken_without_cel(kept), spec
        refused = refusal(kept)
        if refused is None:
            assert well_formed(spec, ROOT), spec
            parsed = parse_spec(kept)
            assert parsed == parse_spec(stored(kept)), spec
            assert tokens.spec_hash(kept) == tokens.spec_hash(stored(kept))
            launch(kept)
            taken += 1
        else:
            leave_alone(kept)
        survive(spec)
    assert 0.3 < taken / CASES < 0.8  # else the cases say little


def well_formed(spec: Any, root: Mapping[str, Any]) -> bool:
    """Whether the schema takes a spec, its CEL rules apart."""
    return not validate({"spec": stored(spec, root)}, dict(root))


def survive(spec: Any) -> None:
    """Nothing but InvalidSpec comes of any JSON, as it was before a server read it."""
    with suppress(InvalidSpec):
        parse_spec(spec)


def launch(spec: Mapping[str, Any]) -> None:
    """A spec that is taken leads to one launch, or to a condition that says why it does not."""
    one = loop.World(spec)
    plans = [*until_settled(one)]
    status = Status.from_json(one.status)
    (told,) = (each for each in status.conditions if each.type == "Stalled")
    excuse = told.reason if told.status == "True" else ""
    launched = [action for plan in plans for action in plan.actions if isinstance(action, RunTask)]
    if spec.get("operatingMode") == "Suspended":
        assert (launched, excuse) == ([], ""), spec
    else:
        assert (len(launched), excuse) in [(1, ""), *((0, each) for each in EXCUSES)], spec
    for plan in plans:
        well_written(plan)


def until_settled(one: loop.World) -> Any:
    for _ in range(20):
        one.sweep()
        plan = one.step()
        yield plan
        if not plan.actions:
            return
    raise AssertionError(f"does not come to rest: {plan}")


def well_written(plan: Plan) -> None:
    """What is sent to ECS has its form, and what is written to status has the schema's."""
    for action in plan.actions:
        match action:
            case RunTask(request=body):
                assert form_errors("RunTask", body) == ""
            case Ensure(registration=body):
                assert form_errors("RegisterTaskDefinition", body) == ""
            case WriteStatus(status=status):
                written = {"spec": {"taskDefinition": "web"}, "status": status.to_json()}
                assert not validate(written, dict(ROOT))
            case _:
                pass


@cache
def service() -> Any:
    client = boto3.client(
        "ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return client.meta.service_model


def form_errors(operation: str, body: Mapping[str, Any]) -> str:
    shape = service().operation_model(operation).input_shape
    report = ParamValidator().validate(dict(body), shape)
    return str(report.generate_report())


def leave_alone(spec: Any) -> None:
    """A spec that is refused is told so; nothing is launched or stopped, and it can be deleted."""
    fresh = replace(world.observation(spec), spec_json=spec if isinstance(spec, dict) else {})
    settled, plan = world.settled(replace(fresh, finalizers=()))
    assert plan.actions == (AddFinalizer(),)
    settled, plan = world.settled(fresh)
    assert plan.actions == ()
    told(settled.status)

    runs = replace(world.running(), generation=2, spec=None, spec_errors=fresh.spec_errors)
    runs = replace(runs, spec_json=fresh.spec_json)
    settled, plan = world.settled(runs)
    assert plan.actions == ()
    told(settled.status, ready="True")

    body = {"metadata": {"uid": "u", "namespace": "n", "name": "x"}, "spec": spec}
    for row in rows.current(body, settled, world.POLICY, gone=True):
        assert isinstance(row, HistoryRecord) or isinstance(row.user_id, str | None)

    _, plan = world.settled(replace(fresh, deleting_since=world.NOW))
    assert plan.actions == (RemoveFinalizer(),)
    _, plan = world.settled(replace(runs, deleting_since=world.NOW))
    kept = isinstance(spec, dict) and spec.get("deletionPolicy") == "Retain"
    assert [type(action) for action in plan.actions] == [TagTask if kept else StopTask]


def told(status: Status, ready: str = "False") -> None:
    conditions = {each.type: (each.status, each.reason) for each in status.conditions}
    assert conditions["Stalled"] == ("True", "InvalidSpec")
    assert conditions["Ready"][0] == ready
    written = {"spec": {"taskDefinition": "web"}, "status": status.to_json()}
    assert not validate(written, dict(ROOT))


@pytest.mark.parametrize("pattern", WORDS)
def test_the_examples_of_a_pattern_match_it(pattern: str) -> None:
    kind = KINDS[pattern]
    for text in (*kind.good, kind.long(64)):
        assert not validate({"text": text}, {"properties": {"text": {"pattern": pattern}}}), text
    assert len(kind.long(64)) == 64
