"""The operator that most people would write with kopf, to compare with: ``kopf run`` this file.

It runs an ECS task for each FractalContainer: handlers for create, update and delete, a timer for
each object that asks ECS how its task is, boto3 called from sync handlers, progress kept by kopf's
defaults. It is kept in good order for what it is: one boto3 client with explicit retries, enough
threads, no write when nothing has changed, no task launched twice by a repeated create handler that
finds its task in the status. What it lacks is the point of the comparison.
"""

import os
from collections.abc import Mapping
from typing import Any

import boto3
import kopf
from botocore.config import Config
from botocore.exceptions import ClientError

GROUP, VERSION, PLURAL = "fractal.co", "v1alpha1", "fractalcontainers"
POLL_SECONDS = 10.0
REGION = os.environ["AWS_REGION"]
CLUSTER = os.environ["FRACTAL_CLUSTER"]
SUBNETS = os.environ["FRACTAL_SUBNETS"].split(",")

_PHASES: Mapping[str, str] = {"RUNNING": "Running", "STOPPED": "Failed", "": "Failed"}
_make: Any = boto3.client
_config = Config(retries={"mode": "standard"}, max_pool_connections=50)
ecs: Any = _make("ecs", region_name=REGION, config=_config)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """As many handlers at a time as there are connections to AWS."""
    settings.execution.max_workers = 50


@kopf.on.create(GROUP, VERSION, PLURAL)
def create(
    spec: kopf.Spec, status: kopf.Status, meta: kopf.Meta, patch: kopf.Patch, **_: Any
) -> None:
    """Launch the object's task."""
    if not status.get("tasks"):
        _launch(spec, meta, patch, 1)


@kopf.on.update(GROUP, VERSION, PLURAL, field="spec")
def update(
    spec: kopf.Spec, status: kopf.Status, meta: kopf.Meta, patch: kopf.Patch, **_: Any
) -> None:
    """Replace the task by one of the new spec."""
    number = 0
    for task in status.get("tasks", ()):
        number = task["attempt"]
        _stop(task["arn"], "replaced")
    _launch(spec, meta, patch, number + 1)


@kopf.on.delete(GROUP, VERSION, PLURAL)
def delete(status: kopf.Status, **_: Any) -> None:
    """Stop the task."""
    for task in status.get("tasks", ()):
        _stop(task["arn"], "deleted")


@kopf.timer(GROUP, VERSION, PLURAL, interval=POLL_SECONDS)
def poll(
    spec: kopf.Spec, status: kopf.Status, meta: kopf.Meta, patch: kopf.Patch, **_: Any
) -> None:
    """Ask how the task is, tell it in the status, and launch another one when it has stopped."""
    for task in status.get("tasks", ()):
        answer = ecs.describe_tasks(cluster=CLUSTER, tasks=[task["arn"]])
        seen = answer["tasks"][0] if answer["tasks"] else {"lastStatus": "STOPPED"}
        if seen["lastStatus"] == "STOPPED":
            _launch(spec, meta, patch, task["attempt"] + 1)
        elif seen["lastStatus"] != task.get("lastStatus"):
            patch.status["tasks"] = [{**task, "lastStatus": seen["lastStatus"]}]
            patch.status["phase"] = _PHASES.get(seen["lastStatus"], "Provisioning")


def _launch(spec: kopf.Spec, meta: kopf.Meta, patch: kopf.Patch, number: int) -> None:
    template = spec["template"]
    container = {
        "name": "main",
        "image": template["image"],
        "portMappings": [{"containerPort": p["containerPort"]} for p in template.get("ports", ())],
    }
    definition = ecs.register_task_definition(
        family=f"{meta['namespace']}-{meta['name']}",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu=str(template["cpuUnits"]),
        memory=str(template["memoryMiB"]),
        containerDefinitions=[container],
    )["taskDefinition"]["taskDefinitionArn"]
    answer = ecs.run_task(
        cluster=CLUSTER,
        taskDefinition=definition,
        launchType="FARGATE",
        startedBy=meta["uid"],
        networkConfiguration={"awsvpcConfiguration": {"subnets": SUBNETS}},
    )
    if not answer["tasks"]:
        raise kopf.TemporaryError(f"no task: {answer['failures']}", delay=30)
    seen = answer["tasks"][0]
    patch.status["tasks"] = [
        {
            "attempt": number,
            "role": "Current",
            "arn": seen["taskArn"],
            "definitionArn": definition,
            "lastStatus": seen["lastStatus"],
        }
    ]
    patch.status["phase"] = "Provisioning"


def _stop(arn: str, reason: str) -> None:
    try:
        ecs.stop_task(cluster=CLUSTER, task=arn, reason=reason)
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidParameterException":  # it is gone
            raise
