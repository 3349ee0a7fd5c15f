"""The ends of tasks in words: by the texts that ECS gives with them.

The first row that matches wins; without one, the stop code speaks (stop_codes.py). Sources: the ECS
developer guide ("Stopped tasks error messages", "API failure reasons", "Checking stopped tasks for
errors") and the reports named in the tests. ``example`` is such a text.
"""

from dataclasses import dataclass

from fractal_operator.core.words.explanation import Explanation
from fractal_operator.core.words.stop_codes import HOST, RETIRED, SPOT


@dataclass(frozen=True, slots=True)
class StopText:
    """A text in a stopped task's reasons; ``pattern`` is searched, case-insensitive."""

    pattern: str
    example: str
    words: Explanation


STOP_TEXTS: tuple[StopText, ...] = (
    StopText(
        r"Spot Task was interrupted|SpotInterruption", "Your Spot Task was interrupted.", SPOT
    ),
    StopText(
        r"toomanyrequests|pull rate limit",
        "CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref "
        '"docker.io/library/nginx:1": 429 Too Many Requests - toomanyrequests: You have reached '
        "your pull rate limit",
        Explanation(
            "ImagePullRateLimited",
            "The image's registry refuses more pulls for now",
            "Pull with an account of the registry, or copy the image to Amazon ECR (a pull-through "
            "cache does it by itself).",
        ),
    ),
    StopText(
        r"no space left on device",
        "CannotPullContainerError: failed to register layer: write /data: no space left on device",
        Explanation(
            "DiskFull",
            "The task's disk is full",
            "Raise template.ephemeralStorageGiB (EC2: the instance's disk), or make the image "
            "smaller.",
        ),
    ),
    StopText(
        r"descriptor matching platform|exec format error",
        "CannotPullContainerError: image Manifest does not contain descriptor matching platform "
        "'linux/amd64'",
        Explanation(
            "WrongPlatform",
            "The image is built for another processor or operating system",
            "Build the image for the task's platform, or set template.runtimePlatform to the "
            "image's.",
        ),
    ),
    StopText(
        r"(unable to (retrieve|fetch|get)|failed to fetch) secrets? (from|arn)"
        r"|from secrets manager",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve secret from asm: service call has been retried 1 "
        "time(s): failed to fetch secret",
        Explanation(
            "SecretsUnavailable",
            "ECS could not read a secret of the container",
            "Check the secrets' valueFrom, that the execution role may read (and decrypt) them, "
            "and that the subnets reach Secrets Manager and Parameter Store.",
        ),
    ),
    StopText(
        r"(ecr|get|retrieve) registry auth|GetAuthorizationToken",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 "
        "time(s): RequestError: send request failed",
        Explanation(
            "RegistryUnreachable",
            "ECS could not sign in to the image's registry",
            "Check that the subnets reach Amazon ECR (a public address, a NAT gateway or VPC "
            "endpoints) and that the execution role may ecr:GetAuthorizationToken.",
        ),
    ),
    StopText(
        r"validate logger args|log stream|log group|logging driver",
        "ResourceInitializationError: failed to validate logger args: create stream has been "
        "retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The "
        "specified log group does not exist.",
        Explanation(
            "LogsUnavailable",
            "The container's logs cannot be written",
            "Create the log group of template.logs, let the execution role write to it, and check "
            "that the subnets reach CloudWatch Logs.",
        ),
    ),
    StopText(
        r"EFS utils|CannotCreateVolumeError|failed to mount|mount\.nfs",
        "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
        "stderr: mount.nfs4: Connection reset by peer",
        Explanation(
            "VolumeFailed",
            "A volume of the task could not be made or mounted",
            "Check the task definition's volumes, and that the security groups let the task reach "
            "their file system.",
        ),
    ),
    StopText(
        r"unable to assume the role",
        "ECS was unable to assume the role 'arn:aws:iam::111122223333:role/app' that was provided "
        "for this task. Please verify that the role being passed has the proper trust relationship "
        "and permissions.",
        Explanation(
            "InvalidRole",
            "ECS may not take the task's role",
            "Let ecs-tasks.amazonaws.com assume the task and execution roles (trust policy).",
        ),
    ),
    StopText(
        r"CannotPull|ImagePull|pull image|repository does not exist",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
        "resolve ref docker.io/library/nginx:nope: not found",
        Explanation(
            "ImagePullFailed",
            "The image could not be pulled",
            "Check the image's name and tag, and that the execution role and the network can "
            "reach its registry.",
        ),
    ),
    StopText(
        r"network interface|free addresses|AddressesInSubnet|\bENI\b",
        "Timeout waiting for network interface provisioning to complete.",
        Explanation(
            "NetworkInterfaceFailed",
            "The task got no network interface",
            "Check the subnets' free addresses and the account's quota of network interfaces.",
        ),
    ),
    StopText(
        r"ResourceInitializationError",
        "ResourceInitializationError: unable to pull secrets or registry auth: pull command failed:"
        " signal: killed",
        Explanation(
            "ResourceInitializationFailed",
            "ECS could not prepare the task's resources",
            "Check the secrets' ARNs, the execution role's permissions, the log group, and that "
            "the subnets can reach them.",
        ),
    ),
    StopText(
        r"OutOfMemory|\bOOM",
        "OutOfMemoryError: Container killed due to memory usage",
        Explanation(
            "OutOfMemory",
            "The container used more memory than it has, and was killed",
            "Raise template.memoryMiB, or make the application use less.",
        ),
    ),
    StopText(
        r"failed (container|ELB) health checks",
        "Task failed container health checks",
        Explanation(
            "HealthCheckFailed",
            "ECS stopped the task because its health checks failed",
            "See the application's log, and give it time with healthCheck.startPeriodSeconds.",
        ),
    ),
    StopText(
        r"Cannot(Start|Create|Inspect|Stop)Container|ContainerRuntime|DockerTimeout|"
        r"DockerStateError",
        "CannotStartContainerError: failed to get container status",
        Explanation(
            "ContainerStartFailed",
            "The container runtime could not run the container",
            "Check the command, the image and the host.",
        ),
    ),
    StopText(r"Host EC2|instance deregistration", "Host EC2 (instance i-1234) terminated.", HOST),
    StopText(
        r"maintenance on the underlying infrastructure|task retirement",
        "ECS is performing maintenance on the underlying infrastructure hosting the task.",
        RETIRED,
    ),
    StopText(
        r"\bATTRIBUTE\b|placement constraint",
        "MemberOf placement constraint unsatisfied.",
        Explanation(
            "PlacementImpossible",
            "No container instance has the attributes or zone that the task definition needs",
            "Correct the task definition's constraints, or add such instances to the cluster.",
        ),
    ),
    StopText(
        r"InternalError",
        "InternalError: the task could not be launched",
        Explanation(
            "EcsInternalError",
            "ECS failed by itself",
            "See the AWS Health Dashboard if this goes on.",
        ),
    ),
)

CODELESS: tuple[tuple[str, str, str], ...] = (
    (
        r"Spot Task was interrupted|SpotInterruption",
        "SpotInterruption",
        "Your Spot Task was interrupted.",
    ),
    (
        r"Host EC2|instance deregistration",
        "TerminationNotice",
        "Host EC2 (instance i-1234) stopped.",
    ),
    (
        r"maintenance on the underlying infrastructure|task retirement",
        "TerminationNotice",
        "ECS is performing maintenance on the underlying infrastructure hosting the task.",
    ),
    (
        r"Scaling activity initiated by",
        "ServiceSchedulerInitiated",
        "Scaling activity initiated by (deployment ecs-svc/1234567890)",
    ),
    (r"stopped by user", "UserInitiated", "Task stopped by user"),
    (
        r"Essential container in task exited",
        "EssentialContainerExited",
        "Essential container in task exited",
    ),
)
"""(pattern, code, example): the stop code that a text stands for where ECS gives no code."""
