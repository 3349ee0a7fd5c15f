"""What AWS really says, with the source of each text, and the reason that it has to get.

The facts page's texts and those of the sources named: AWS's developer guide ("Stopped tasks error
codes", "Checking stopped tasks for errors", "API failure reasons"), AWS re:Post, public trackers.
"""

ENDS: list[tuple[str, str, str]] = [
    # stopCode, stoppedReason and containers' reasons, reason
    # developer guide, "Checking stopped tasks for errors"
    ("EssentialContainerExited", "Essential container in task exited", "EssentialContainerExited"),
    (
        "ServiceSchedulerInitiated",
        "Scaling activity initiated by (deployment ecs-svc/9223370526043414679)",
        "StoppedExternally",
    ),
    (
        "ServiceSchedulerInitiated",
        "Task failed ELB health checks in (elb elb-name)",
        "HealthCheckFailed",
    ),
    ("ServiceSchedulerInitiated", "Task failed container health checks", "HealthCheckFailed"),
    ("", "Host EC2 (instance i-0123456789abcdef0) terminated.", "TerminationNotice"),
    ("", "Host EC2 (instance i-0123456789abcdef0) stopped.", "TerminationNotice"),
    ("", "Container instance deregistration forced by user", "TerminationNotice"),
    ("UserInitiated", "Task stopped by user", "StoppedExternally"),
    ("UserInitiated", "why not, said the OOM killer", "StoppedExternally"),
    # developer guide, "Stopped tasks error codes" (Fargate and EC2)
    (
        "TaskFailedToStart",
        "DockerTimeoutError: Could not transition to created; timed out after waiting 4m0s",
        "ContainerStartFailed",
    ),
    (
        "TaskFailedToStart",
        "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1m",
        "ContainerStartFailed",
    ),
    (
        "TaskFailedToStart",
        "CannotStartContainerError: failed to get container status",
        "ContainerStartFailed",
    ),
    (
        "TaskFailedToStart",
        "CannotStartContainerError: Error response from daemon: OCI runtime create failed: exec: "
        '"serve": executable file not found in $PATH',
        "ContainerStartFailed",
    ),
    (
        "EssentialContainerExited",
        "CannotStopContainerError: failed sending SIGTERM to container",
        "ContainerStartFailed",
    ),
    ("TaskFailedToStart", "CannotInspectContainerError: no such container", "ContainerStartFailed"),
    (
        "TaskFailedToStart",
        "ContainerRuntimeError: failed to create container IO set",
        "ContainerStartFailed",
    ),
    (
        "TaskFailedToStart",
        "CannotCreateVolumeError: could not create the volume data",
        "VolumeFailed",
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: failed to initialize the task's network",
        "ResourceInitializationFailed",
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: pull command "
        "failed: : signal: killed",
        "ResourceInitializationFailed",
    ),
    ("TaskFailedToStart", "InternalError: the task could not be launched", "EcsInternalError"),
    (
        "EssentialContainerExited",
        "Essential container in task exited; OutOfMemoryError: Container killed due to memory "
        "usage",
        "OutOfMemory",
    ),
    ("SpotInterruption", "SpotInterruptionError: Spot capacity is gone", "SpotInterruption"),
    # aws-samples/aws-secret-sidecar-injector, umotif-public/terraform-aws-ecs-fargate#50
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve secrets from ssm: service call has been retried 5 "
        "time(s): RequestCanceled: request context canceled",
        "SecretsUnavailable",
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve "
        "secret from asm: There is a connection issue between the task and AWS Secrets Manager",
        "SecretsUnavailable",
    ),
    # AWS re:Post, "ecs-unable-to-pull-secrets"
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 "
        "time(s): AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/x is not "
        "authorized to perform: ecr:GetAuthorizationToken",
        "RegistryUnreachable",
    ),
    # AWS re:Post, "ecs-resource-initialization-error"
    (
        "TaskFailedToStart",
        "ResourceInitializationError: failed to validate logger args: create stream has been "
        "retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException",
        "LogsUnavailable",
    ),
    # aws/amazon-ecs-cli#752
    (
        "TaskFailedToStart",
        "CannotStartContainerError: Error response from daemon: failed to initialize logging "
        "driver: CredentialsEndpointError: failed to load credentials",
        "LogsUnavailable",
    ),
    # 56kcloud/terraform-grafana#4
    (
        "TaskFailedToStart",
        "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
        "stderr: b'mount.nfs4: mounting fs-1:/grafana failed, reason given by server: No such file "
        "or directory' : unsuccessful EFS utils command execution; code: 32",
        "VolumeFailed",
    ),
    # developer guide, "CannotPullContainer task errors"
    (
        "TaskFailedToStart",
        "CannotPullContainerError: Error response from daemon: pull access denied for app, "
        "repository does not exist or may require 'docker login'",
        "ImagePullFailed",
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: API error (404): repository 111122223333.dkr.ecr.us-east-1"
        ".amazonaws.com/app not found",
        "ImagePullFailed",
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: write /var/lib/docker/tmp/GetImageBlob111111111: no space left "
        "on device",
        "DiskFull",
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: ERROR: toomanyrequests: Too Many Requests or You have reached "
        "your pull rate limit",
        "ImagePullRateLimited",
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest "
        "does not contain descriptor matching platform 'linux/amd64'",
        "WrongPlatform",
    ),
    # ActionIQ/terraform-aws-retool-ecs-fargate#20
    (
        "TaskFailedToStart",
        "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to "
        "resolve ref docker.io/tryretool/backend:2.110.5: failed to do request: Head "
        '"https://registry-1.docker.io/v2/tryretool/backend/manifests/2.110.5": dial tcp '
        "34.205.13.154:443: i/o timeout",
        "ImagePullFailed",
    ),
    # developer guide, "Stopped tasks error messages"
    (
        "TaskFailedToStart",
        "Timeout waiting for network interface provisioning to complete.",
        "NetworkInterfaceFailed",
    ),
    (
        "TaskFailedToStart",
        "Unexpected EC2 error while attempting to Create Network Interface with public IP "
        "assignment enabled in subnet 'subnet-1': InsufficientFreeAddressesInSubnet",
        "NetworkInterfaceFailed",
    ),
    (
        "TaskFailedToStart",
        "ECS was unable to assume the role 'arn:aws:iam::111122223333:role/app' that was provided "
        "for this task. Please verify that the role being passed has the proper trust relationship "
        "and permissions and that your IAM user has permissions to pass this role.",
        "InvalidRole",
    ),
    # developer guide, "API failure reasons" (DescribeTasks)
    ("TaskFailedToStart", "RESOURCE:CPU", "CapacityUnavailable"),
    ("TaskFailedToStart", "TaskFailedToStart: RESOURCE:MEMORY", "CapacityUnavailable"),
    ("TaskFailedToStart", "RESOURCE:ENI", "CapacityUnavailable"),
    ("TaskFailedToStart", "AGENT", "CapacityUnavailable"),
    ("TaskFailedToStart", "TaskFailedToStart: EMPTY CAPACITY PROVIDER", "CapacityUnavailable"),
    ("TaskFailedToStart", "NO ACTIVE INSTANCES", "CapacityUnavailable"),
    ("TaskFailedToStart", "MemberOf placement constraint unsatisfied.", "PlacementImpossible"),
    ("TaskFailedToStart", "ATTRIBUTE", "PlacementImpossible"),
    (
        "TaskFailedToStart",
        "You've reached the limit on the number of vCPUs you can run concurrently",
        "QuotaExceeded",
    ),
    # AWS re:Post, "ecs-fargate-runtask-capacity"
    (
        "TaskFailedToStart",
        "Capacity is unavailable at this time. Please try again later or in a different "
        "availability zone",
        "CapacityUnavailable",
    ),
    # PrefectHQ/prefect#22410: no container, no text
    ("TaskFailedToStart", "", "TaskFailedToStart"),
    # aws/containers-roadmap#1565: Spot under another code, or none
    ("SpotInterruption", "Your Spot Task was interrupted.", "SpotInterruption"),
    ("TerminationNotice", "Your Spot Task was interrupted.", "SpotInterruption"),
    ("", "Your Spot Task was interrupted.", "SpotInterruption"),
    ("SpotInterruption", "OutOfMemoryError: Container killed", "SpotInterruption"),
    # AWS Health, task retirement
    (
        "",
        "ECS is performing maintenance on the underlying infrastructure hosting the task.",
        "TerminationNotice",
    ),
    ("InfrastructureHealth", "the host failed its checks", "InfrastructureHealth"),
    ("", "Essential container in task exited", "EssentialContainerExited"),
    ("", "", "StopReasonUnknown"),
    ("SomethingNew", "nobody knows", "SomethingNew"),
]

REFUSALS: list[tuple[str, str, str]] = [
    # code, message, reason
    # ECS API reference, RunTask, errors
    (
        "AccessDeniedException",
        "User: arn:aws:iam::1:user/x is not authorized to perform: iam:PassRole on resource: "
        "arn:aws:iam::1:role/app",
        "AccessDenied",
    ),
    ("AccessDeniedException", "not authorized to perform: ecs:RunTask", "AccessDenied"),
    ("AccessDeniedException", "not authorized to perform: ecs:TagResource", "AccessDenied"),
    ("ExpiredTokenException", "The security token included is expired", "AccessDenied"),
    ("UnrecognizedClientException", "The security token is invalid", "AccessDenied"),
    ("BlockedException", "Your AWS account was blocked.", "AccountBlocked"),
    ("ClusterNotFoundException", "Cluster not found.", "ClusterNotFound"),
    (
        "PlatformUnknownException",
        "The specified platform version doesn't exist",
        "PlatformUnsupported",
    ),
    (
        "PlatformTaskDefinitionIncompatibilityException",
        "The specified platform version doesn't satisfy the task definition's required "
        "capabilities",
        "PlatformUnsupported",
    ),
    ("UnsupportedFeatureException", "not supported in this Region", "PlatformUnsupported"),
    ("ClientException", "TaskDefinition is inactive", "TaskDefinitionNotFound"),
    ("ClientException", "Unable to describe task definition.", "TaskDefinitionNotFound"),
    ("ClientException", "TaskDefinition not found.", "TaskDefinitionNotFound"),
    ("ClientException", "ECS was unable to assume the role 'arn:aws:iam::1:role/x'", "InvalidRole"),
    ("ClientException", "Role is not valid", "InvalidRole"),
    (
        "ClientException",
        "Fargate requires task definition to have execution role ARN to support log driver "
        "awslogs.",
        "InvalidRole",
    ),
    (
        "InvalidParameterException",
        "a valid taskRoleArn is not being used. Specify a valid task role in your task definition "
        "and try again.",
        "InvalidRole",
    ),
    ("InvalidParameterException", "The subnet ID 'subnet-1' does not exist", "InvalidNetwork"),
    ("InvalidParameterException", "The security group 'sg-1' does not exist", "InvalidNetwork"),
    (
        "InvalidParameterException",
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        "InvalidNetwork",
    ),
    (
        "InvalidParameterException",
        "Network Configuration is not valid for the given networkMode of this task definition.",
        "InvalidNetwork",
    ),
    (
        "InvalidParameterException",
        "Assign public IP is not supported for this launch type.",
        "InvalidNetwork",
    ),
    (
        "InvalidParameterException",
        "The specified capacity provider 'X' was not found",
        "InvalidPlacement",
    ),
    (
        "InvalidParameterException",
        "No Container Instances were found in your cluster.",
        "NoContainerInstances",
    ),
    (
        "InvalidParameterException",
        "Override for container named app is not a container in the TaskDefinition.",
        "InvalidContainerName",
    ),
    (
        "InvalidParameterException",
        "Task definition does not support launch_type FARGATE.",
        "PlatformUnsupported",
    ),
    (
        "InvalidParameterException",
        "The new ARN and resource ID format must be enabled to add tags to the task.",
        "LongArnsRequired",
    ),
    # ECS API reference, RegisterTaskDefinition
    (
        "ClientException",
        "No Fargate configuration exists for given values: 300 CPU, 512 memory.",
        "InvalidSize",
    ),
    ("ClientException", "Invalid 'cpu' setting for task.", "InvalidSize"),
    ("InvalidParameterException", "Tags can not be empty.", "LaunchRejected"),
    ("", "", "LaunchRejected"),
]
"""Answers that refuse a request; throttles, quotas and lost answers are other errors."""

DENIED = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "AuthFailure",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "401",
    "403",
    "NoCredentialsError",
    "PartialCredentialsError",
    "NoAuthTokenError",
    "TokenRetrievalError",
    "InvalidIdentityToken",
    "IDPRejectedClaim",
    "IDPCommunicationError",
]
"""Codes with which AWS or botocore say that the credentials are no good (fractal_helpers.aws)."""

QUOTAS: list[tuple[str, str]] = [
    # Fargate quotas; ECS service quotas ("Tasks in PROVISIONING state per cluster")
    ("You've reached the limit on the number of tasks you can run concurrently", "as many tasks"),
    (
        "RunTask: ClientException: You've reached the limit on the number of tasks that can be in "
        "the PROVISIONING state",
        "wait for capacity",
    ),
    ("RunTask: LimitExceededException: The limit for the resource was exceeded.", "as many tasks"),
]
