"""What a request asks for: filters, pages, tags, and the subnet and group that there are."""

from collections.abc import Mapping
from typing import Any

from benchmarks.ecs_fake.cluster import Cluster
from benchmarks.ecs_fake.task import Task

from fractal_dev.ecs.errors import invalid_parameter

SUBNET, SECURITY_GROUP = "subnet-00000000000000001", "sg-00000000000000001"

Request = Mapping[str, Any]


def fits(task: Task, request: Request) -> bool:
    """Without desiredStatus only tasks that are wanted RUNNING fit (ECS API, ListTasks)."""
    return (
        task.desired_status == request.get("desiredStatus", "RUNNING")
        and task.definition.family == request.get("family", task.definition.family)
        and task.launch_type == request.get("launchType", task.launch_type)
        and not request.get("serviceName")
        and not request.get("containerInstance")
    )


def page(token: str | None) -> int:
    """The number of the task after which the page of a nextToken begins."""
    if token is None:
        return 0
    number = token.removeprefix("after-")
    if not number.isdigit():
        raise invalid_parameter("Invalid token.")
    return int(number)


def check_ids(vpc: Mapping[str, Any]) -> None:
    """Refuse every subnet and security group but the one that there is, in ECS's words."""
    for subnet in vpc.get("subnets", ()):
        if subnet != SUBNET:
            raise invalid_parameter(
                f"Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}'"
                " does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            )
    for group in vpc.get("securityGroups", ()):
        if group != SECURITY_GROUP:
            raise invalid_parameter(
                f"Error retrieving security group information for [{group}]: The security group"
                f" '{group}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            )


def tags_of(request: Request, cluster: Cluster, definition: Request) -> list[dict[str, str]]:
    """The tags of a new task: its own, its definition\'s and ECS\'s if it asks for them."""
    tags = {tag["key"]: tag for tag in request.get("tags") or ()}
    if request.get("propagateTags") == "TASK_DEFINITION":
        tags = {**{tag["key"]: tag for tag in definition.get("tags") or ()}, **tags}
    if request.get("enableECSManagedTags"):
        tags["aws:ecs:clusterName"] = {"key": "aws:ecs:clusterName", "value": cluster.name}
    return list(tags.values())
