"""What the spec's strings may look like, and how that is said to people.

The expressions keep to what RE2 (API server) and Rust's regex (pydantic) read alike: anchors and
classes in brackets; no backslash classes such as a digit or a space, no look-ahead. Sources: the
API model of ECS, and the ARN formats of the services named.
"""

from collections.abc import Mapping

NO_CONTROL = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$"
NO_NUL = r"^[^\x00]*$"
REGION = r"^([a-z]{2,8}(-[a-z]+)+-[0-9]+)?$"
CLUSTER = r"^((arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/)?[A-Za-z0-9_-]{1,255})?$"
TASK_DEFINITION = (
    r"^(arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:task-definition/)?"
    r"[A-Za-z0-9_-]{1,255}(:[0-9]{1,9})?$"
)
AWS_NAME = r"^[A-Za-z0-9_-]*$"
SUBNET = r"^subnet-[0-9a-z]+$"
SECURITY_GROUP = r"^sg-[0-9a-z]+$"
HOST_OR_URL = (
    r"^((https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\x00-\x20\x7f]*)?)?$"
)
TAG_TEXT = r"^[\p{L}\p{Z}\p{N}_.:/=+@-]*$"
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/#-]*(@sha256:[A-Fa-f0-9]{64})?$"
ENV_NAME = r"^[A-Za-z_.-][A-Za-z0-9_.-]*$"
VALUE_FROM = (
    r"^(arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9/_+=.@:!-]+"
    r"|[A-Za-z0-9_./-]+)$"
)
ROLE_ARN = r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+)?$"
PORT_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
OS_FAMILY = r"^(LINUX|WINDOWS_SERVER_[A-Z0-9_]+)?$"
LOG_NAME = r"^[A-Za-z0-9_./#-]*$"

WORDS: Mapping[str, str] = {
    NO_CONTROL: "must not hold control, formatting or line-breaking characters",
    NO_NUL: "must not hold NUL characters",
    REGION: "must be an AWS region such as us-east-1",
    CLUSTER: "must be the name of an ECS cluster (letters, digits, - and _), or its ARN",
    TASK_DEFINITION: "must be a task definition: family, family:revision, or ARN",
    AWS_NAME: "must hold only letters, digits, - and _",
    SUBNET: "must be the id of a subnet: subnet-…",
    SECURITY_GROUP: "must be the id of a security group: sg-…",
    HOST_OR_URL: "must be a host, host:port, or http(s) URL without credentials",
    TAG_TEXT: "must hold only letters, digits, spaces and _.:/=+@-",
    IMAGE: "must be an image: repository/image:tag, or …@sha256: and 64 hexadecimal digits",
    ENV_NAME: "must hold only letters, digits, _, . and -, and not start with a digit",
    VALUE_FROM: "must be the ARN of a secret or a parameter, or the name of a parameter",
    ROLE_ARN: "must be the ARN of an IAM role: arn:aws:iam::<account>:role/<name>",
    PORT_NAME: "must hold only lower-case letters, digits and -, and not start or end with -",
    OS_FAMILY: "must be LINUX or one of ECS's WINDOWS_SERVER_… families",
    LOG_NAME: "must hold only letters, digits and _./#-",
}
"""What to say when a string does not match."""
