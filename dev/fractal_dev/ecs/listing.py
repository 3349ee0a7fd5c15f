"""ListTasks: which tasks fit the filters, and how pages go on."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from fractal_dev.ecs.errors import invalid_parameter
from fractal_dev.ecs.task import Task


def fits(task: Task, request: Mapping[str, Any]) -> bool:
    """Whether the task fits ListTasks' filters, startedBy aside.

    Without desiredStatus only tasks that are wanted RUNNING fit (ECS API, ListTasks). A
    serviceName fits no task: the stand-in runs no services.
    """
    placement = task.placement
    instance = str(getattr(placement.instance, "container_instance_arn", ""))
    wanted_instance = str(request.get("containerInstance", instance))
    return (
        task.desired_status == request.get("desiredStatus", "RUNNING")
        and task.definition.family == request.get("family", task.definition.family)
        and placement.launch_type == request.get("launchType", placement.launch_type)
        and wanted_instance.rsplit("/", 1)[-1] == instance.rsplit("/", 1)[-1]
        and "serviceName" not in request
    )


def encode_page(seq: int) -> str:
    """Return the nextToken of a page that ended with the task of number ``seq``."""
    return base64.urlsafe_b64encode(f"after {seq}".encode()).decode()


def decode_page(token: str | None) -> int:
    """Return the number of the task that the page of ``token`` begins after.

    Raises:
        AwsError: InvalidParameterException: the token is none of ours.
    """
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("after "))
    except (ValueError, binascii.Error):
        raise invalid_parameter("Invalid token.") from None
