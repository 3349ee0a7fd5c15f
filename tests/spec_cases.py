"""FractalContainer specs, good and bad, for the model and for API servers alike."""

from dataclasses import dataclass
from typing import Any, Literal

Spec = dict[str, Any]

ARN = "arn:aws:ecs:us-east-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/app/reader"
DIGEST = "a" * 64


@dataclass(frozen=True)
class Bad:
    """A spec to refuse. ``says`` stands in the operator's message, and in the API server's where
    ``by`` is rule. ``by``: schema (every server), one-of (a rule, and every server by oneOf), rule
    (servers with CEL).
    """

    says: str
    spec: Any
    by: Literal["schema", "one-of", "rule"] = "schema"


def template(**changes: Any) -> Spec:
    """A spec with the smallest template, changed: ``None`` removes a field."""
    fields = {"image": "nginx:1", "cpuUnits": 256, "memoryMiB": 512} | changes
    return {"template": {key: value for key, value in fields.items() if value is not None}}


def definition(**changes: Any) -> Spec:
    """A spec with a task definition, changed."""
    return {"taskDefinition": "web:1"} | changes


def fargate(cpu: int, memory: int, **changes: Any) -> Spec:
    return template(cpuUnits=cpu, memoryMiB=memory, requiresCompatibilities=["FARGATE"], **changes)


def env(*names: str) -> list[Spec]:
    return [{"name": name, "value": "1"} for name in names]


GOOD: dict[str, Spec] = {
    "family": definition(taskDefinition="web"),
    "definition-arn": definition(taskDefinition=f"{ARN}:task-definition/web:7"),
    "template": template(),
    "suspended": definition(operatingMode="Suspended"),
    "empty-strings": definition(
        user="", region="", webserverUrl="", containerName="", command=[""]
    ),
    "nulls": definition(
        region=None, restartPolicy=None, timeouts=None, placement=None, tags={"a": None}
    ),
    "empty-lists": definition(placement=[], environment=[], command=[], tags={}, network={}),
    "container-name": definition(containerName="fractal-container"),
    "user-of-other-scripts": definition(user="Ünal Işık <unal@例え.jp>"),
    "user-of-250": definition(user="ü" * 250),
    "regions": definition(region="us-gov-west-1"),
    "cluster-arn": definition(cluster=f"{ARN}:cluster/main_1"),
    "image-by-digest": template(image=f"123.dkr.ecr.us-east-1.amazonaws.com/App@sha256:{DIGEST}"),
    "seed-ports": template(
        ports=[
            {"name": "control", "containerPort": 32262},
            {"name": "video", "containerPort": 32263, "protocol": "udp"},
            {"name": "input", "containerPort": 32273, "protocol": "tcp"},
        ]
    ),
    "one-port-two-protocols": template(
        ports=[
            {"name": "dns-tcp", "containerPort": 53, "protocol": "tcp"},
            {"name": "dns-udp", "containerPort": 53, "protocol": "udp"},
        ]
    ),
    "environment": definition(
        environment=[
            {"name": "AWS_REGION", "value": "us-east-1"},
            {"name": "discovery.type", "value": "two\nlines\tand a tab"},
            {"name": "EMPTY"},
        ]
    ),
    "secrets": template(
        secrets=[
            {
                "name": "TOKEN",
                "valueFrom": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a/b-Ab12:key::",
            },
            {"name": "PASSWORD", "valueFrom": "/prod/password"},
        ],
        executionRoleArn=ROLE,
        taskRoleArn=ROLE,
    ),
    "health-check": template(
        healthCheck={
            "command": ["CMD-SHELL", "curl -f localhost || exit 1"],
            "intervalSeconds": 5,
            "timeoutSeconds": 60,
            "retries": 10,
            "startPeriodSeconds": 0,
        }
    ),
    "fargate-ladder": {
        **template(
            networkMode="awsvpc",
            stopTimeoutSeconds=120,
            ephemeralStorageGiB=200,
            runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
            logs={"group": "/ecs/app", "region": "us-east-1", "streamPrefix": "app"},
        ),
        "placement": [
            {"capacityProvider": "FARGATE_SPOT", "waitSeconds": 60},
            {"launchType": "FARGATE"},
        ],
        "network": {
            "subnets": ["subnet-0a1b2c3d4e5f60718", "subnet-12345678"],
            "securityGroups": ["sg-12345678"],
            "assignPublicIp": "Enabled",
        },
    },
    "fargate-smallest": fargate(256, 2048),
    "fargate-largest": fargate(16384, 122880),
    "fargate-4-vcpu": fargate(4096, 30720),
    "ec2-any-size": template(cpuUnits=300, memoryMiB=777, networkMode="bridge"),
    "ec2-definition": definition(placement=[{"launchType": "EC2"}]),
    "external": {
        **template(networkMode="host", requiresCompatibilities=["EXTERNAL", "EC2"]),
        "placement": [{"launchType": "EXTERNAL"}],
    },
    "managed-instances": {
        **template(requiresCompatibilities=["MANAGED_INSTANCES"]),
        "placement": [{"capacityProvider": "my-managed_instances"}],
    },
    "host-of-webserver": definition(dpi=96, webserverUrl="dev-server.fractal.co"),
    "url-of-webserver": definition(dpi=1, webserverUrl="https://[2001:db8::1]:8443/a?b=c"),
    "tags": definition(tags={"team": "streaming", "Größe": "M 1", "a/b:c=d+e-f@g": ""}),
    "forty-tags": definition(tags={f"t{i}": "x" for i in range(40)}),
    "policies": definition(
        restartPolicy="OnFailure",
        backoffLimit=0,
        updateStrategy="Recreate",
        deletionPolicy="Retain",
        enableExecuteCommand=True,
        timeouts={"lifetimeSeconds": 3600, "ttlSecondsAfterFinished": 0},
    ),
}

_ONE_SOURCE = "exactly one of taskDefinition and template must be set"
_ONE_PLACE = "exactly one of capacityProvider and launchType must be set"
_RESERVED = "names that start with FRACTAL_ and the name WEBSERVER_URL are reserved"
_CHECK = "healthCheck.command must start with CMD or CMD-SHELL and go on with what to run"
_EXTERNAL = "EXTERNAL instances know no awsvpc"
_FARGATE_MODE = "on Fargate, template.networkMode is awsvpc"
_TAG_PREFIX = "tags: keys must not start with aws: or fractal.co/"
_TAG_KEY = "tags: keys have 1 to 128 letters, digits, spaces and _.:/=+@-"

BAD: dict[str, Bad] = {
    "nothing": Bad(_ONE_SOURCE, {}, "one-of"),
    "both-sources": Bad(_ONE_SOURCE, {**definition(), **template()}, "one-of"),
    "definition-empty": Bad("spec.taskDefinition", definition(taskDefinition="")),
    "definition-with-space": Bad("spec.taskDefinition", definition(taskDefinition="a b")),
    "definition-newline": Bad("spec.taskDefinition", definition(taskDefinition="web:1\n")),
    "definition-revision": Bad("spec.taskDefinition", definition(taskDefinition="web:latest")),
    "definition-number": Bad("spec.taskDefinition", definition(taskDefinition=7)),
    "template-name": Bad(
        "containerName goes with taskDefinition", template() | {"containerName": "app"}, "rule"
    ),
    "no-image": Bad("spec.template.image", template(image=None)),
    "no-cpu": Bad("spec.template.cpuUnits", template(cpuUnits=None)),
    "cpu-text": Bad("spec.template.cpuUnits", template(cpuUnits="256")),
    "cpu-negative": Bad("spec.template.cpuUnits", template(cpuUnits=-1)),
    "memory-float": Bad("spec.template.memoryMiB", template(memoryMiB=512.5)),
    "memory-2**63": Bad("spec.template.memoryMiB", template(memoryMiB=2**63)),
    "image-space": Bad("spec.template.image", template(image="a b")),
    "image-bad-digest": Bad("spec.template.image", template(image="a@sha256:12")),
    "image-64k": Bad("spec.template.image", template(image="a" * 65536)),
    "user-nul": Bad("spec.user", definition(user="a\0b")),
    "user-newline": Bad("spec.user", definition(user="a\nb")),
    "user-right-to-left": Bad("spec.user", definition(user="a\u202egpj.exe")),
    "user-251": Bad("spec.user", definition(user="u" * 251)),
    "region-words": Bad("spec.region", definition(region="us-east-1.evil.example")),
    "cluster-slash": Bad("spec.cluster", definition(cluster="a/b")),
    "environment-duplicate": Bad("spec.environment", definition(environment=env("A", "B", "A"))),
    "environment-name": Bad("spec.environment[0].name", definition(environment=env("1A"))),
    "environment-empty-name": Bad("spec.environment[0].name", definition(environment=env(""))),
    "environment-number": Bad(
        "spec.environment[0].value", definition(environment=[{"name": "A", "value": 1}])
    ),
    "environment-nul": Bad(
        "spec.environment[0].value", definition(environment=[{"name": "A", "value": "\0"}])
    ),
    "environment-null-item": Bad("spec.environment[0]", definition(environment=[None])),
    "environment-101": Bad(
        "spec.environment", definition(environment=env(*(f"A{i}" for i in range(101))))
    ),
    "environment-reserved": Bad(_RESERVED, definition(environment=env("FRACTAL_DPI")), "rule"),
    "environment-webserver": Bad(_RESERVED, definition(environment=env("WEBSERVER_URL")), "rule"),
    "template-reserved": Bad(_RESERVED, template(environment=env("FRACTAL_SPEC_HASH")), "rule"),
    "secret-reserved": Bad(
        _RESERVED, template(secrets=[{"name": "FRACTAL_X", "valueFrom": "x"}]), "rule"
    ),
    "secret-in-plain-text": Bad(
        "spec.template.secrets[0].valueFrom",
        template(secrets=[{"name": "A", "valueFrom": "correct horse"}]),
    ),
    "secret-and-environment": Bad(
        "a name stands in both environment and secrets",
        template(environment=env("A"), secrets=[{"name": "A", "valueFrom": "x"}]),
        "rule",
    ),
    "port-0": Bad(
        "spec.template.ports[0].containerPort", template(ports=[{"name": "a", "containerPort": 0}])
    ),
    "port-without-name": Bad("spec.template.ports[0].name", template(ports=[{"containerPort": 1}])),
    "port-twice": Bad(
        "spec.template.ports",
        template(ports=[{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1}]),
    ),
    "port-name-twice": Bad(
        "ports: a name stands twice",
        template(ports=[{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
        "rule",
    ),
    "port-sctp": Bad(
        "spec.template.ports[0].protocol",
        template(ports=[{"name": "a", "containerPort": 1, "protocol": "sctp"}]),
    ),
    "ports-without-network": Bad(
        "networkMode none publishes no ports",
        template(networkMode="none", ports=[{"name": "a", "containerPort": 1}]),
        "rule",
    ),
    "check-empty": Bad("spec.template.healthCheck.command", template(healthCheck={"command": []})),
    "check-none": Bad(_CHECK, template(healthCheck={"command": ["NONE", "x"]}), "rule"),
    "check-nothing-to-run": Bad(_CHECK, template(healthCheck={"command": ["CMD"]}), "rule"),
    "check-interval": Bad(
        "spec.template.healthCheck.intervalSeconds",
        template(healthCheck={"command": ["CMD", "x"], "intervalSeconds": 4}),
    ),
    "rung-empty": Bad(_ONE_PLACE, definition(placement=[{}]), "one-of"),
    "rung-both": Bad(
        _ONE_PLACE,
        definition(placement=[{"capacityProvider": "a", "launchType": "EC2"}]),
        "one-of",
    ),
    "rung-managed-instances": Bad(
        "spec.placement[0].launchType", definition(placement=[{"launchType": "MANAGED_INSTANCES"}])
    ),
    "rung-wait": Bad(
        "spec.placement[0].waitSeconds",
        definition(placement=[{"launchType": "EC2", "waitSeconds": 0}]),
    ),
    "rungs-11": Bad("spec.placement", definition(placement=[{"launchType": "EC2"}] * 11)),
    "fargate-cpu": Bad(
        "on Fargate, template.cpuUnits is one of 256, 512", fargate(300, 512), "rule"
    ),
    "fargate-memory": Bad(
        "on Fargate, template.cpuUnits 256 goes with memoryMiB 512, 1024 or 2048",
        fargate(256, 1536),
        "rule",
    ),
    "fargate-step": Bad(
        "on Fargate, template.cpuUnits 8192 goes with memoryMiB 16384 to 61440 in steps of 4096",
        fargate(8192, 17408),
        "rule",
    ),
    "fargate-by-provider": Bad(
        "on Fargate, template.cpuUnits 256",
        template(memoryMiB=4096) | {"placement": [{"capacityProvider": "FARGATE_SPOT"}]},
        "rule",
    ),
    "fargate-by-launch-type": Bad(
        _FARGATE_MODE,
        template(networkMode="bridge") | {"placement": [{"launchType": "FARGATE"}]},
        "rule",
    ),
    "fargate-host-network": Bad(_FARGATE_MODE, fargate(256, 512, networkMode="host"), "rule"),
    "fargate-stop-timeout": Bad(
        "on Fargate, template.stopTimeoutSeconds is at most 120",
        fargate(256, 512, stopTimeoutSeconds=121),
        "rule",
    ),
    "incompatible-rung": Bad(
        "a launchType of placement is missing in template.requiresCompatibilities",
        fargate(256, 512) | {"placement": [{"launchType": "EC2"}]},
        "rule",
    ),
    "external-network": Bad(
        _EXTERNAL,
        definition(placement=[{"launchType": "EXTERNAL"}], network={"subnets": ["subnet-1"]}),
        "rule",
    ),
    "external-awsvpc": Bad(
        _EXTERNAL,
        template(networkMode="awsvpc", requiresCompatibilities=["EXTERNAL"]),
        "rule",
    ),
    "subnet-twice": Bad(
        "spec.network.subnets", definition(network={"subnets": ["subnet-1", "subnet-1"]})
    ),
    "subnet-name": Bad("spec.network.subnets[0]", definition(network={"subnets": ["mine"]})),
    "groups-6": Bad(
        "spec.network.securityGroups",
        definition(network={"securityGroups": [f"sg-{i}" for i in range(6)]}),
    ),
    "command-of-numbers": Bad("spec.command[0]", definition(command=[1])),
    "dpi-text": Bad("spec.dpi", definition(dpi="96")),
    "dpi-true": Bad("spec.dpi", definition(dpi=True)),
    "dpi-0": Bad("spec.dpi", definition(dpi=0)),
    "webserver-credentials": Bad(
        "spec.webserverUrl", definition(webserverUrl="https://user:secret@example.org/")
    ),
    "webserver-file": Bad("spec.webserverUrl", definition(webserverUrl="file:///etc/passwd")),
    "tag-of-aws": Bad(_TAG_PREFIX, definition(tags={"AWS:x": "1"}), "rule"),
    "tag-of-ours": Bad(_TAG_PREFIX, definition(tags={"fractal.co/uid": "1"}), "rule"),
    "tag-key-charset": Bad(_TAG_KEY, definition(tags={"a$": "1"}), "rule"),
    "tag-key-empty": Bad(_TAG_KEY, definition(tags={"": "1"}), "rule"),
    "tag-key-129": Bad(_TAG_KEY, definition(tags={"k" * 129: "1"}), "rule"),
    "tag-value-257": Bad("spec.tags", definition(tags={"k": "v" * 257})),
    "tag-value-charset": Bad("spec.tags", definition(tags={"k": "a\0"})),
    "tags-41": Bad("spec.tags", definition(tags={f"t{i}": "x" for i in range(41)})),
    "tags-list": Bad("spec.tags", definition(tags=["a"])),
    "mode-case": Bad("spec.operatingMode", definition(operatingMode="running")),
    "strategy": Bad("spec.updateStrategy", definition(updateStrategy="RollingUpdate")),
    "backoff-negative": Bad("spec.backoffLimit", definition(backoffLimit=-1)),
    "backoff-2**63": Bad("spec.backoffLimit", definition(backoffLimit=2**63)),
    "timeout-0": Bad("spec.timeouts.startSeconds", definition(timeouts={"startSeconds": 0})),
    "execute-text": Bad("spec.enableExecuteCommand", definition(enableExecuteCommand="yes")),
    "spec-list": Bad("spec", []),
}
