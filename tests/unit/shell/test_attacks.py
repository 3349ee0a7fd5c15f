"""Nobody with rights on FractalContainers only gets past the allow-list; and the test would see it.

GENERATED_SEED=n makes other attacks.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.unit.shell.attacks import ADMIN, ATTACKS, EVES, GOOD_IMAGE, Attack, Step, damage, plain
from tests.unit.shell.ecs_world import ARN

from fractal_operator.core import adoption, claims, permits

SEED = int(os.environ.get("GENERATED_SEED", "1"))
PARTS = 4
ATTEMPTS = 100
"""For each part, besides the plain ones."""


@cache
def attacks(number: int) -> list[list[Step]]:
    """Generated attacks, the same ones for the same number."""
    made: list[list[Step]] = []

    @seed(number)
    @settings(
        max_examples=ATTEMPTS,
        phases=[Phase.generate],
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(ATTACKS)
    def collect(steps: list[Step]) -> None:
        made.append(steps)

    collect()
    return made


@pytest.mark.parametrize("part", range(PARTS))
def test_no_combined_attack_gets_anywhere(part: int) -> None:
    for steps in attacks(SEED * PARTS + part):
        assert damage(steps) == [], steps


def test_no_plain_attack_gets_anywhere_and_what_is_listed_is_launched() -> None:
    launched = 0
    for steps in plain():
        attack = Attack()
        for step in steps:
            attack.take(step)
        assert (attack.ecs.broken, attack.truth()) == ([], attack.before), steps
        launched += attack.ecs.sent > 0
    assert launched > 20


_LISTED = permits._listed
FIELDS = (
    *("regions", "clusters", "task_roles", "execution_roles", "subnets", "security_groups"),
    "images",
)


def _hole(field: str) -> Callable[..., bool]:
    return lambda policy, rules, each, value: each == field or _LISTED(policy, rules, each, value)


HOLES: dict[str, tuple[Any, str, Any]] = {
    **{field: (permits, "_listed", _hole(field)) for field in FIELDS},
    "asked": (permits, "asked", lambda *_: ""),
    "sent": (permits, "sent", lambda *_: ""),
    "adoptable": (permits, "adoptable", lambda *_: True),
    "whose task it is": (adoption, "_taken", lambda *_: ""),
    "claims": (
        claims,
        "adopted",
        lambda task, seen, _: next(
            (e.attempt for e in seen.status.tasks if e.arn == task.arn), None
        ),
    ),
}


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*HOLES[name])
    assert any(damage(steps) for steps in plain())


def test_another_installations_task_is_not_ours_though_listed_and_claimed() -> None:
    """Found by generation: the status' claim on an untagged task that the list let be adopted."""
    attack = Attack()
    attack.take(("create", EVES[0], {"taskDefinition": "plain", "cluster": "apps"}, ""))
    claim = {"attempt": 9, "arn": "@foreign", "role": "Current", "lastStatus": "RUNNING"}
    cluster = f"{ARN}:cluster/apps"
    status = {"attempt": {"number": 9, "clusterArn": cluster}, "tasks": [claim]}
    attack.take(("forge", EVES[0], status, False))
    assert (attack.ecs.broken, attack.truth()) == ([], attack.before)


def test_the_template_of_an_object_that_adopted_its_task_is_not_registered() -> None:
    """Found by generation: to learn of its health check, with a role that is not listed."""
    template = {
        "image": GOOD_IMAGE,
        "cpuUnits": 256,
        "memoryMiB": 512,
        "executionRoleArn": ADMIN,
    }
    assert damage([("create", EVES[0], {"cluster": "apps", "template": template}, "@free")]) == []
