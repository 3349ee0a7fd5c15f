"""Names and hashes: the golden ones, and what may not change them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.spec_cases import GOOD
from tests.unit.core import world

from fractal_models.container import parse_spec
from fractal_models.observed import TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.tokens import StartedBy

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "spec_hash_v1.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_hash_of_version_1_is_frozen(case: dict[str, Any]) -> None:
    for spec in case["specs"]:
        parse_spec(spec)
        assert tokens.spec_hash(spec) == case["hash"], spec


def test_golden_specs_differ_from_each_other() -> None:
    assert len({case["hash"] for case in GOLDEN}) == len(GOLDEN) >= 12


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_a_field_that_version_1_does_not_know_cannot_change_it(others: dict[str, Any]) -> None:
    spec = {
        **{k: v for k, v in others.items() if k not in tokens.REPLACING_FIELDS},
        "taskDefinition": "web:1",
    }
    assert tokens.spec_hash(spec) == tokens.spec_hash({"taskDefinition": "web:1"})


def test_a_new_default_in_the_schema_cannot_change_it() -> None:
    # What is hashed is the stored JSON, never a parsed model with its defaults filled in.
    for spec in GOOD.values():
        filled = json.loads(parse_spec(spec).model_dump_json(by_alias=True, exclude_none=True))
        assert tokens.spec_hash(spec) == tokens.spec_hash(spec | {"newField": 1})
        assert tokens.spec_hash(filled) == tokens.spec_hash(spec)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"user": "x"}, True),
        ({"tags": {"a": "b"}}, True),
        ({"operatingMode": "Suspended"}, True),
        ({"placement": [{"launchType": "FARGATE"}]}, True),
        ({"timeouts": {"startSeconds": 5}}, True),
        ({"region": "eu-west-1"}, False),
        ({"cluster": "other"}, False),
        ({"taskDefinition": "web:2"}, False),
        ({"containerName": "app"}, False),
        ({"network": {"subnets": ["subnet-2"]}}, False),
        ({"network": {"assignPublicIp": "Disabled"}}, False),
        ({"environment": [{"name": "A", "value": "1"}]}, False),
        ({"environment": [{"name": "A"}]}, False),
        ({"command": ["a"]}, False),
        ({"command": [""]}, False),
        ({"dpi": 96}, False),
        ({"webserverUrl": "h"}, False),
    ],
)
def test_only_replacing_fields_count(change: dict[str, Any], same: bool) -> None:
    changed = tokens.spec_hash({**world.SPEC, **change})
    assert (changed == tokens.spec_hash(world.SPEC)) is same


def test_the_order_of_ordered_lists_counts() -> None:
    one, two = ({"taskDefinition": "web", "command": c} for c in (["a", "b"], ["b", "a"]))
    assert tokens.spec_hash(one) != tokens.spec_hash(two)


def test_an_unknown_version_has_no_hash_and_restarts_nothing() -> None:
    assert tokens.spec_hash(world.SPEC, "v9:abc") is None
    assert tokens.spec_hash(world.SPEC, "") is None
    seen = world.running(tasks=(world.task(spec_hash="v9:abc"),))
    seen, plan = world.settled(seen)
    assert plan.actions == ()
    assert seen.status.attempt is not None
    assert seen.status.attempt.number == 1


def test_a_recorded_hash_selects_its_own_algorithm() -> None:
    assert tokens.spec_hash(world.SPEC, "v1:anything") == tokens.spec_hash(world.SPEC)


def test_a_client_token_is_fixed_and_its_own_for_each_cluster_object_and_attempt() -> None:
    base = (world.CLUSTER, world.UID, 1)
    assert tokens.client_token(*base) == "M7OOYYEZL5KUTMK3MN77ORSV3LE2TFQHUYTDQQXAK2LXIJJMRRWA"
    others = {
        tokens.client_token(*parts)
        for parts in (base, (world.ELSEWHERE, world.UID, 1), (world.CLUSTER, "u", 1))
    } | {tokens.client_token(world.CLUSTER, world.UID, 2)}
    assert len(others) == 4
    assert all(len(each) == 52 and each.isascii() for each in others)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fc/ins/uid/1", StartedBy("ins", "uid", 1)),
        ("fc/ins/uid/999999999", StartedBy("ins", "uid", tokens.MAX_ATTEMPT)),
        ("fc/ins/uid/1000000000", None),
        ("fc/ins/uid/0", None),
        ("fc/ins/uid/01", None),
        ("fc/ins/uid/-1", None),
        ("fc/ins/uid/²", None),
        ("fc/ins/uid/", None),
        ("fc//uid/1", None),
        ("fc/ins//1", None),
        ("fc/ins/uid/1/2", None),
        ("ecs-svc/123", None),
        ("", None),
    ],
)
def test_started_by_is_parsed_only_as_it_is_written(text: str, parts: StartedBy | None) -> None:
    assert tokens.parse_started_by(text) == parts


@given(st.integers(1, tokens.MAX_ATTEMPT))
def test_started_by_comes_back(number: int) -> None:
    text = tokens.started_by("ins-1", world.UID, number)
    assert tokens.parse_started_by(text) == StartedBy("ins-1", world.UID, number)
    assert len(text) <= 128


@pytest.mark.parametrize(
    ("arn", "region"),
    [(world.CLUSTER, "us-east-1"), (world.DEFINITION, "us-east-1"), ("", ""), ("a:b:c:d", "")],
)
def test_the_region_of_an_arn(arn: str, region: str) -> None:
    assert tokens.region_of(arn) == region


def test_the_hash_of_a_request_covers_all_of_it() -> None:
    body = {"count": 1, "tags": [{"key": "a"}]}
    assert tokens.request_hash(body) == tokens.request_hash(dict(reversed(body.items())))
    assert tokens.request_hash(body) != tokens.request_hash(body | {"count": 2})
    assert tokens.request_hash(body) != tokens.request_hash(body | {"tags": []})


def test_the_cluster_of_a_task() -> None:
    cluster = "arn:aws:ecs:us-east-1:123456789012:cluster/main"
    assert tokens.cluster_of(f"{tokens.task_prefix(cluster)}1a2b") == cluster
    for short in ("arn:aws:ecs:us-east-1:123456789012:task/1a2b", "", "task-1"):
        assert tokens.cluster_of(short) == ""


def test_the_tasks_of_a_cluster_are_told_from_those_of_others() -> None:
    cluster = "arn:aws:ecs:eu-central-1:123456789012:cluster/main"
    here, there = (TaskArn(f"{tokens.task_prefix(each)}1a2b") for each in (cluster, cluster + "-2"))
    assert tokens.under(cluster, [there, here]) == [here]
