"""Every field that a user can set is seen at ECS: asked there, not at the operator."""

from typing import Any

from tests.e2e.api import PATIENCE
from tests.e2e.stack import REGION, World, container

TEMPLATE: dict[str, Any] = {
    "image": "registry.example.com/walked@sha256:" + "a" * 64,
    "cpuUnits": 1024,
    "memoryMiB": 4096,
    "ports": [
        {"name": "http", "containerPort": 8080},
        {"name": "video", "containerPort": 9000, "protocol": "udp"},
    ],
    "environment": [{"name": "GREETING", "value": "hello"}, {"name": "EMPTY"}],
    "secrets": [{"name": "TOKEN", "valueFrom": "/walked/token"}],
    "command": ["serve", "--walk"],
    "healthCheck": {
        "command": ["CMD-SHELL", "true || exit 1"],
        "intervalSeconds": 11,
        "timeoutSeconds": 3,
        "retries": 4,
        "startPeriodSeconds": 0,
    },
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
    "ephemeralStorageGiB": 42,
    "stopTimeoutSeconds": 77,
    "logs": {"group": "/walked/logs", "region": "eu-west-1", "streamPrefix": "walked"},
}


def described(world: World, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object's task with its tags, and its task definition, as ECS describes them."""
    (task,) = world.tasks(world.uid(name))
    answer = world.aws_ecs.describe_tasks(
        cluster=world.cluster_arn, tasks=[task["taskArn"]], include=["TAGS"]
    )
    (seen,) = answer["tasks"]
    arn = seen["taskDefinitionArn"]
    return seen, world.aws_ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]


def variables(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pairs}


def test_all_fields_of_a_template_are_seen_at_ecs(world: World) -> None:
    groups = world.boto("ec2").describe_security_groups()["SecurityGroups"]
    group, subnet = str(groups[0]["GroupId"]), world.subnets[-1]
    world.start()
    spec = container(
        template=TEMPLATE,
        placement=[{"launchType": "FARGATE", "waitSeconds": 60}],
        network={"subnets": [subnet], "securityGroups": [group], "assignPublicIp": "Enabled"},
        environment=[{"name": "GREETING", "value": "hello, you"}],
        command=["serve", "--override"],
        dpi=192,
        webserverUrl="https://walked.example.org",
        tags={"team": "walkers"},
        enableExecuteCommand=True,
    )
    world.apply("walked", spec)
    world.wait_ready("walked")
    task, definition = described(world, "walked")

    assert definition["family"].startswith("fc-")
    (defined,) = definition["containerDefinitions"]
    expected = {
        "name": "main",
        "image": TEMPLATE["image"],
        "essential": True,
        "environment": [{"name": "GREETING", "value": "hello"}, {"name": "EMPTY", "value": ""}],
        "secrets": [{"name": "TOKEN", "valueFrom": "/walked/token"}],
        "command": ["serve", "--walk"],
        "healthCheck": {
            "command": ["CMD-SHELL", "true || exit 1"],
            "interval": 11,
            "timeout": 3,
            "retries": 4,
            "startPeriod": 0,
        },
        "stopTimeout": 77,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/walked/logs",
                "awslogs-region": "eu-west-1",
                "awslogs-stream-prefix": "walked",
            },
        },
    }
    assert {name: defined.get(name) for name in expected} == expected
    ports = [(each["containerPort"], each["protocol"]) for each in defined["portMappings"]]
    assert ports == [(8080, "tcp"), (9000, "udp")]
    expected = {
        "cpu": "1024",
        "memory": "4096",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": TEMPLATE["executionRoleArn"],
        "taskRoleArn": TEMPLATE["taskRoleArn"],
        "runtimePlatform": TEMPLATE["runtimePlatform"],
        "ephemeralStorage": {"sizeInGiB": 42},
    }
    assert {name: definition.get(name) for name in expected} == expected

    assert (task["launchType"], task["enableExecuteCommand"]) == ("FARGATE", True)
    (override,) = task["overrides"]["containerOverrides"]
    assert (override["name"], override["command"]) == ("main", ["serve", "--override"])
    given = variables(override["environment"])
    assert given.pop("FRACTAL_SPEC_HASH").startswith("v1:")
    assert given == {
        "GREETING": "hello, you",
        "FRACTAL_DPI": "192",
        "WEBSERVER_URL": "https://walked.example.org",
    }
    tags = {each["key"]: each["value"] for each in task["tags"]}
    assert tags == {
        "team": "walkers",
        "fractal.co/install": world.name,
        "fractal.co/namespace": world.namespace,
        "fractal.co/name": "walked",
        "fractal.co/uid": world.uid("walked"),
    }
    (eni,) = task["attachments"]
    assert {"name": "subnetId", "value": subnet} in eni["details"]
    assert task["healthStatus"] == "HEALTHY"
    assert [
        (port["name"], port["protocol"]) for port in world.status("walked")["endpoint"]["ports"]
    ] == [
        ("http", "tcp"),
        ("video", "udp"),
    ]


def test_a_task_definition_of_ones_own_runs_with_its_main_container_named(world: World) -> None:
    two = [{"name": name, "image": "app:1", "memory": 64} for name in ("app", "side")]
    registered = world.aws_ecs.register_task_definition(
        family=f"{world.name}-two",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=two,
    )["taskDefinition"]
    cluster = f"{world.name}-b"
    world.ecs.ensure_cluster(cluster, REGION)
    world.start()
    spec = container(
        template=None,
        taskDefinition=f"{world.name}-two:1",
        containerName="side",
        cluster=cluster,
        region=REGION,
        placement=[{"capacityProvider": "FARGATE_SPOT"}],
        command=["only", "here"],
    )
    world.apply("named", spec)
    world.wait_ready("named")
    (task,) = world.tasks(world.uid("named"))
    assert task["taskDefinitionArn"] == registered["taskDefinitionArn"]
    assert task["clusterArn"].endswith(f":cluster/{cluster}")
    assert task["capacityProviderName"] == "FARGATE_SPOT"
    overridden = {each["name"]: each for each in task["overrides"]["containerOverrides"]}
    assert overridden["side"]["command"] == ["only", "here"]
    assert "FRACTAL_SPEC_HASH" in variables(overridden["side"]["environment"])
    assert overridden["app"].keys() == {"name"}  # ECS names them all
    world.kubectl("delete", "fc", "named", PATIENCE)
