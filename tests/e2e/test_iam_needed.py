"""Each action of the IAM policy is needed: denied it is missed and told of, allowed all goes on."""

import pytest
from tests.e2e.api import DEADLINE
from tests.e2e.stack import World, until
from tests.e2e.test_iam import CALLS, actions, policy

ROLE = "arn:aws:iam::123456789012:role/apps-"
FARGATE = {
    "cpuUnits": 256,
    "memoryMiB": 512,
    "requiresCompatibilities": ["FARGATE"],
    "executionRoleArn": f"{ROLE}execution",
    "taskRoleArn": f"{ROLE}task",
}
HOST = {
    "cpuUnits": 128,
    "memoryMiB": 128,
    "networkMode": "bridge",
    "requiresCompatibilities": ["EC2"],
    "ports": [{"name": "http", "containerPort": 8080}],
}
NAMES = ("kept", "on-host", "theirs")


def deny(world: World, action: str) -> str:
    """Deny the action until ``world.ecs.reset``; what counts the calls that meet it."""
    asked = "ecs:RunTask" if action == "iam:PassRole" else action
    operation = {action: call for call, action in CALLS.items()}.get(
        asked, asked.removeprefix("ecs:")
    )
    world.ecs.fail_next(
        operation,
        code="UnauthorizedOperation" if action.startswith("ec2:") else "AccessDeniedException",
        message="User: arn:aws:sts::123456789012:assumed-role/fractal/session is not authorized "
        f"to perform: {action} because no identity-based policy allows the {action} action",
        status=403 if action.startswith("ec2:") else 400,
        times=10**6,
    )
    return operation


def told(world: World, action: str) -> list[str]:
    """Where the people who run this read which action is missing: objects, Events, or the log."""
    said = {f"{name}'s status": str(world.status(name)) for name in NAMES}
    said["an Event"] = world.kubectl("get", "events", "-o", "json")
    said["the log"] = world.operators[0].log()
    return [where for where, text in said.items() if action in text]


@pytest.mark.parametrize("action", actions(policy()))
def test_an_action_that_is_denied_is_missed_and_told_of_and_once_allowed_all_goes_on(
    world: World, action: str
) -> None:
    world.ecs.ensure_cluster(world.name, world.aws_ecs.meta.region_name, instances=1)
    family = f"theirs-{world.name}"
    world.register(family)
    operation = deny(world, action)
    world.ecs.calls(clear=True)
    queue = {"sqs_queue_url": world.events()} if action.startswith("sqs:") else {}
    world.start(ready=False, **queue)
    image = {"image": f"registry.example.com/{world.name}:1"}  # not registered by another test
    world.create("kept", {"template": FARGATE | image, "deletionPolicy": "Retain"})
    on_host = {"template": HOST | image, "placement": [{"launchType": "EC2"}]}
    world.create("on-host", on_host)
    world.create("theirs", {"taskDefinition": family, "placement": [{"launchType": "FARGATE"}]})

    def live_on() -> bool:
        """Ready objects are deleted; whether nothing is left."""
        left = [name for name in NAMES if world.get(name)]
        for name in left:
            ready = world.condition(name, "Ready").get("status") == "True"
            if ready and (world.status(name).get("endpoint") or name == "theirs"):
                # It may have been deleted already, and be gone any time.
                world.kubectl("delete", "fc", name, "--wait=false", "--ignore-not-found")
        return not left

    until(
        lambda: live_on() or (world.ecs.calls().get(operation) and told(world, action)),
        f"{action} is missed, and somebody told so",
    )
    assert told(world, action), f"nobody is told that {action} is missing"
    world.ecs.reset()
    for name in NAMES:
        world.ask_again(name)
    until(live_on, "all has lived and gone", 2 * DEADLINE)  # a refused launch bars others for 60 s
    tasks = world.tasks()
    assert len(tasks) == len(NAMES)
    (kept,) = (each for each in tasks if each["live"])
    assert {"key": "fractal.co/name", "value": "kept"} in kept["tags"]
    assert "fractal.co/retained" in {each["key"] for each in kept["tags"]}
