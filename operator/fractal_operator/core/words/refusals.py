"""Requests that AWS refused, in words.

The first row that matches wins. Sources: the ECS API reference (errors of RunTask and
RegisterTaskDefinition), the developer guide ("Troubleshooting"), and the reports named in the
tests. ``example`` is a code with such a text.
"""

from dataclasses import dataclass

from fractal_operator.core.words.explanation import Explanation
from fractal_operator.core.words.stop_codes import STOP_CODES


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that refuses a request; both patterns are searched, case-insensitive."""

    code: str
    text: str
    example: tuple[str, str]
    words: Explanation


UNKNOWN_DEFINITION = Explanation(
    "TaskDefinitionNotFound",
    "The task definition does not exist, or is inactive",
    "Register the task definition, or correct spec.taskDefinition.",
)
REJECTED = STOP_CODES["LaunchRejected"]

REJECTIONS: tuple[Refusal, ...] = (
    Refusal(
        r"AccessDenied|UnauthorizedOperation",
        r"iam:PassRole",
        (
            "AccessDeniedException",
            "User: arn:aws:sts::111122223333:assumed-role/operator/x is not authorized to perform: "
            "iam:PassRole on resource: arn:aws:iam::111122223333:role/app",
        ),
        Explanation(
            "AccessDenied",
            "The operator may not hand on the container's roles",
            "Allow the operator's role iam:PassRole on the task and execution roles of this "
            "container, or name roles that it may pass.",
        ),
    ),
    Refusal(
        r"AccessDenied|Unauthorized|NotAuthorized|AuthFailure|UnrecognizedClient|OptInRequired"
        r"|ExpiredToken|RequestExpired|(Invalid|Incomplete)Signature|SignatureDoesNotMatch"
        r"|MissingAuthentication|InvalidClientTokenId|Credentials|AuthToken|TokenRetrieval"
        r"|InvalidIdentityToken|\bIDP(Rejected|Communication)|\b40[13]\b",
        r"",
        (
            "AccessDeniedException",
            "User: arn:aws:sts::111122223333:assumed-role/operator/x is not authorized to perform: "
            "ecs:RunTask",
        ),
        Explanation(
            "AccessDenied",
            "AWS does not let the operator do this",
            "Check the operator's AWS credentials and give its role the permissions that the "
            "documentation lists.",
        ),
    ),
    Refusal(
        r"Blocked",
        r"",
        ("BlockedException", "Your AWS account was blocked. Contact AWS Support."),
        Explanation("AccountBlocked", "AWS has blocked this account", "Contact AWS Support."),
    ),
    Refusal(
        r"ClusterNotFound",
        r"",
        ("ClusterNotFoundException", "Cluster not found."),
        Explanation(
            "ClusterNotFound",
            "The ECS cluster does not exist",
            "Create the ECS cluster, or correct spec.cluster and spec.region.",
        ),
    ),
    Refusal(
        r"",
        r"ARN and resource ID format",
        (
            "InvalidParameterException",
            "The new ARN and resource ID format must be enabled to add tags to the task. Opt in to "
            "the new format and try again.",
        ),
        Explanation(
            "LongArnsRequired",
            "The account still uses ECS's old names of tasks, which carry no tags",
            "Turn on ECS's account setting taskLongArnFormat.",
        ),
    ),
    Refusal(
        r"",
        r"subnet|security ?group|network ?configuration|public ip|network mode",
        ("InvalidParameterException", "Error retrieving subnet information for [subnet-1]"),
        Explanation(
            "InvalidNetwork",
            "ECS cannot use the network that is asked for",
            "Correct spec.network: subnets and security groups must exist, in the VPC and region "
            "of the cluster.",
        ),
    ),
    Refusal(
        r"",
        r"task ?definition.*(inactive|not found|unable to describe|does not exist)"
        r"|(inactive|unable to describe).*task ?definition",
        ("ClientException", "TaskDefinition is inactive"),
        UNKNOWN_DEFINITION,
    ),
    Refusal(
        r"",
        r"Override for container|not a container in the",
        (
            "InvalidParameterException",
            "Override for container named app is not a container in the TaskDefinition.",
        ),
        Explanation(
            "InvalidContainerName",
            "The task definition has no such container",
            "Set spec.containerName to one of its containers.",
        ),
    ),
    Refusal(
        r"",
        r"\brole\b",
        ("ClientException", "Role is not valid"),
        Explanation(
            "InvalidRole",
            "ECS cannot use a role of the container",
            "Name task and execution roles that exist and that ecs-tasks.amazonaws.com may assume.",
        ),
    ),
    Refusal(
        r"",
        r"No Fargate configuration exists|Invalid '(cpu|memory)'|'(cpu|memory)' be defined",
        (
            "ClientException",
            "No Fargate configuration exists for given values: 300 CPU, 512 memory.",
        ),
        Explanation(
            "InvalidSize",
            "ECS does not offer this size of task",
            "Correct template.cpuUnits and template.memoryMiB; Fargate has certain pairs only.",
        ),
    ),
    Refusal(
        r"",
        r"capacity ?provider",
        ("InvalidParameterException", "The specified capacity provider 'spot' was not found."),
        Explanation(
            "InvalidPlacement",
            "The cluster has no such capacity provider",
            "Use capacity providers that are associated with the cluster in spec.placement.",
        ),
    ),
    Refusal(
        r"",
        r"No Container Instances were found",
        ("InvalidParameterException", "No Container Instances were found in your cluster."),
        Explanation(
            "NoContainerInstances",
            "The cluster has no container instances",
            "Register container instances in the cluster, or set spec.placement to FARGATE or to "
            "a capacity provider.",
        ),
    ),
    Refusal(
        r"Platform|Unsupported",
        r"",
        ("PlatformUnknownException", "The specified platform version doesn't exist."),
        Explanation(
            "PlatformUnsupported",
            "ECS cannot run this there",
            "Choose a launch type and runtime platform that the region and the task definition "
            "support.",
        ),
    ),
    Refusal(
        r"",
        r"launch_?type|compatibilit|platform version",
        (
            "InvalidParameterException",
            "Task definition does not support launch_type FARGATE.",
        ),
        Explanation(
            "PlatformUnsupported",
            "The task definition does not go with the launch type",
            "Choose a launch type and runtime platform that the region and the task definition "
            "support.",
        ),
    ),
)
