"""DescribeTasks as bare JSON says the same as what botocore reads, at a part of the cost."""

import json
import sys
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.unit.aws_wire import CLUSTER, REGION, answer, clients, on_send, session, task_arn
from tests.unit.shell.wire import START

from fractal_helpers.aws import decode
from fractal_helpers.aws.quick import read_quickly
from fractal_models.observed import ObservedTask

COUNT = 20


def payload(number: int) -> dict[str, Any]:
    """One task as ECS writes it: times are seconds since 1970."""
    arn = task_arn(number)
    return {
        "taskArn": arn,
        "clusterArn": CLUSTER,
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "createdAt": 1_777_890_000.123,
        "startedAt": 1_777_890_030,
        "startedBy": f"fc/ins/4a1f0c7e-0000-4000-8000-{number:012}/1",
        "version": 4,
        "containers": [{"name": "app", "lastStatus": "RUNNING", "taskArn": arn, "cpu": "0"}],
        "attachments": [
            {
                "type": "ElasticNetworkInterface",
                "details": [{"name": "privateIPv4Address", "value": "10.0.0.1"}],
            }
        ],
        "overrides": {
            "containerOverrides": [
                {"name": "app", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:x"}]}
            ]
        },
        "tags": [{"key": "fractal.co/uid", "value": f"uid-{number}"}],
        "somethingNew": {"nobody": ["knows"]},
    }


def plain() -> Any:
    """A client that reads by botocore's model."""
    made: boto3.Session = session()
    make: Any = made.client
    return make("ecs", region_name=REGION, config=Config(retries={"total_max_attempts": 1}))


def quick() -> Any:
    client = plain()
    read_quickly(client)
    return client


def described(client: Any, content: bytes, status: int = 200) -> Any:
    on_send(client, "DescribeTasks", lambda request: answer(content, status))
    return client.describe_tasks(cluster="main", tasks=[task_arn(1)])


def tasks(response: Any) -> list[ObservedTask]:
    return [decode.task(each, START) for each in response["tasks"]]


def test_both_read_the_same_tasks() -> None:
    missing = [{"arn": task_arn(99), "reason": "MISSING"}]
    written = {"tasks": [payload(number) for number in range(COUNT)], "failures": missing}
    content = json.dumps(written).encode()
    ours, theirs = described(quick(), content), described(plain(), content)
    assert tasks(ours) == tasks(theirs)
    assert [task.spec_hash for task in tasks(ours)] == ["v1:x"] * COUNT
    assert ours["failures"] == theirs["failures"] == missing
    assert ours["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_the_operators_client_reads_so() -> None:
    content = json.dumps({"tasks": [payload(1)], "failures": []}).encode()
    assert described(clients().ecs, content)["tasks"] == [payload(1)]


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'"text"', b"\xff"])
def test_what_is_no_json_object_is_read_by_botocore(content: bytes) -> None:
    outcomes = []
    for client in (quick(), plain()):
        try:
            outcomes.append(described(client, content).get("tasks"))
        except Exception as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_an_error_stays_one() -> None:
    client = quick()
    content = b'{"__type": "ClusterNotFoundException", "message": "Not found.", "tasks": []}'
    with pytest.raises(client.exceptions.ClusterNotFoundException):
        described(client, content, 400)


def test_it_takes_less_than_half_of_the_calls() -> None:
    def calls(client: Any) -> int:
        content = json.dumps({"tasks": [payload(number) for number in range(COUNT)]}).encode()
        counted = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal counted
            counted += event == "call"

        described(client, content)  # what is done once
        sys.setprofile(count)
        try:
            client.describe_tasks(cluster="main", tasks=[task_arn(1)])
        finally:
            sys.setprofile(None)
        return counted

    assert 2 * calls(quick()) < calls(plain())
