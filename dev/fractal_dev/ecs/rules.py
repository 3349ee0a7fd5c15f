"""What ECS refuses in a request about tasks (ECS API reference, RunTask and ListTasks)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fractal_dev.ecs.account import FARGATE_PROVIDERS
from fractal_dev.ecs.errors import AwsError, invalid_parameter

_STARTED_BY = re.compile(r"[A-Za-z0-9\-_/]{0,128}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,64}")
_OVERRIDES = 8192
_TAGS, _TAG_KEY, _TAG_VALUE = 50, 128, 256
_TASK_IDS = (32, 36)
_SUBNETS, _SECURITY_GROUPS = 16, 5


def check_run_task(request: Mapping[str, Any]) -> None:
    """Check what can be judged without looking anything up.

    Raises:
        AwsError: InvalidParameterException, or UnsupportedFeatureException where only AWS can.
    """
    if not 1 <= request.get("count", 1) <= 10:
        raise invalid_parameter("Count must be between 1 and 10.")
    if not _STARTED_BY.fullmatch(request.get("startedBy", "")):
        raise invalid_parameter(
            "startedBy must be at most 128 letters, digits, hyphens, underscores and slashes."
        )
    if "clientToken" in request and not _TOKEN.fullmatch(request["clientToken"]):
        raise invalid_parameter("clientToken must be 1 to 64 printable ASCII characters.")
    overrides = json.dumps(request.get("overrides") or {}, separators=(",", ":"))
    if len(overrides) > _OVERRIDES:
        raise invalid_parameter(f"Container Overrides length must be at most {_OVERRIDES}")
    if request.get("launchType") and request.get("capacityProviderStrategy"):
        raise invalid_parameter(
            "Specify either Launch Type or Capacity Provider Strategy, but not both."
        )
    if request.get("launchType", "EC2") not in ("EC2", "FARGATE"):
        raise AwsError("UnsupportedFeatureException", "The stand-in knows EC2 and FARGATE only.")
    if request.get("propagateTags") == "SERVICE":
        raise invalid_parameter("propagateTags: SERVICE is not valid for a task.")
    check_tags(request.get("tags") or [])


def check_task_id(reference: str) -> None:
    """Check the id that DescribeTasks or StopTask is given, alone or at the end of an ARN.

    Raises:
        AwsError: InvalidParameterException, which fails the whole request.
    """
    if len(reference.rsplit("/", 1)[-1]) not in _TASK_IDS:
        raise invalid_parameter("taskId length should be one of [32,36]")


def check_tags(tags: list[Mapping[str, str]]) -> None:
    """Check tags as given to RunTask or TagResource.

    Raises:
        AwsError: InvalidParameterException.
    """
    if len(tags) > _TAGS:
        raise invalid_parameter(f"The number of tags exceeds the limit of {_TAGS}.")
    keys = [tag.get("key", "") for tag in tags]
    if len(set(keys)) != len(keys):
        raise invalid_parameter("Duplicate tag keys found.")
    for tag in tags:
        key, value = tag.get("key", ""), tag.get("value", "")
        if not 1 <= len(key) <= _TAG_KEY or len(value) > _TAG_VALUE:
            raise invalid_parameter(
                f"Tag keys have 1 to {_TAG_KEY} characters, values at most {_TAG_VALUE}."
            )
        if key.lower().startswith("aws:"):
            raise invalid_parameter("Tag keys must not start with aws:.")


def check_network(definition: Any, launch_type: str, configuration: Mapping[str, Any]) -> None:
    """Check that the request's network fits the task definition's network mode.

    Raises:
        AwsError: InvalidParameterException.
    """
    vpc = configuration.get("awsvpcConfiguration") or {}
    if definition.network_mode != "awsvpc":
        if launch_type == "FARGATE":
            raise invalid_parameter("Fargate only supports network mode 'awsvpc'.")
        if vpc:
            raise invalid_parameter(
                "Network Configuration is not valid for the given networkMode of this task"
                " definition."
            )
        return
    if not vpc.get("subnets"):
        raise invalid_parameter(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    if len(vpc["subnets"]) > _SUBNETS or len(vpc.get("securityGroups", ())) > _SECURITY_GROUPS:
        raise invalid_parameter(
            f"At most {_SUBNETS} subnets and {_SECURITY_GROUPS} security groups can be specified."
        )
    if vpc.get("assignPublicIp") == "ENABLED" and launch_type != "FARGATE":
        raise invalid_parameter("Assign public IP is not supported for this launch type.")


def check_overrides(definition: Any, overrides: Mapping[str, Any]) -> None:
    """Check that container overrides name containers of the definition.

    Raises:
        AwsError: InvalidParameterException.
    """
    known = {each["name"] for each in definition.container_definitions}
    for override in overrides.get("containerOverrides") or ():
        if override.get("name") not in known:
            raise invalid_parameter(
                f"Override for container named {override.get('name')} is not a container in the"
                " TaskDefinition."
            )


def resolve_launch(cluster: Any, definition: Any, request: Mapping[str, Any]) -> tuple[str, str]:
    """Return (launch type, capacity provider or "") that the request comes to.

    Raises:
        AwsError: InvalidParameterException.
    """
    strategy = request.get("capacityProviderStrategy")
    if not strategy and not request.get("launchType"):
        strategy = cluster.default_capacity_provider_strategy
    provider = str(strategy[0]["capacityProvider"]) if strategy else ""
    if provider and provider not in (cluster.capacity_providers or ()):
        raise invalid_parameter(
            "The specified capacity provider strategy cannot contain a capacity provider that is"
            " not associated with the cluster. Associate the capacity provider with the cluster"
            " and try again."
        )
    by_provider = "FARGATE" if provider in FARGATE_PROVIDERS else "EC2"
    launch_type = by_provider if provider else str(request.get("launchType", "EC2"))
    if launch_type == "FARGATE" and "FARGATE" not in definition.compatibilities:
        raise invalid_parameter("Task definition does not support launch_type FARGATE.")
    return launch_type, provider


def check_list_tasks(request: Mapping[str, Any]) -> None:
    """Check ListTasks: a page is 1 to 100, and startedBy "must be the only filter that you use".

    Raises:
        AwsError: InvalidParameterException.
    """
    if not 1 <= request.get("maxResults", 100) <= 100:
        raise invalid_parameter("maxResults must be between 1 and 100.")
    filters = ("containerInstance", "desiredStatus", "family", "launchType", "serviceName")
    if "startedBy" in request and any(each in request for each in filters):
        raise invalid_parameter("startedBy cannot be combined with another filter.")
    if request.get("desiredStatus", "RUNNING") not in ("RUNNING", "PENDING", "STOPPED"):
        raise invalid_parameter("desiredStatus should be one of [RUNNING,PENDING,STOPPED]")
