variable "install_id" {
  description = "Name of the installation, as settings.installId of the chart or the operator's first log line says."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]{1,20}$", var.install_id))
    error_message = "The name has 1 to 20 of a-z, 0-9 and -."
  }
}

variable "cluster_arns" {
  description = "The ECS clusters that objects may name, all of the provider's region and account."
  type        = list(string)

  validation {
    condition = length(var.cluster_arns) > 0 && alltrue([
      for arn in var.cluster_arns :
      can(regex("^arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/[a-zA-Z0-9_-]{1,255}$", arn))
    ])
    error_message = "At least one, each the whole ARN of a cluster, without patterns."
  }

  validation {
    condition     = length(distinct([for arn in var.cluster_arns : try(join(":", slice(split(":", arn), 3, 5)), "")])) <= 1
    error_message = "A rule hears of one region and account: use the module once for each."
  }
}

variable "passed_role_arns" {
  description = "The execution and task roles that containers may name, and no others."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([
      for arn in var.passed_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", arn))
    ])
    error_message = "Whole ARNs of roles: a pattern would let users of Kubernetes take any role that fits."
  }
}

variable "create_role" {
  description = "Whether to make the operator's role, for a service account of EKS (IRSA). The policy is made in any case."
  type        = bool
  default     = true
}

variable "oidc_provider_arn" {
  description = "IAM OIDC provider of the EKS cluster that the operator runs in; needed for the role."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "The ARN of an IAM OIDC provider."
  }
}

variable "service_account" {
  description = "The operator's service account, as NAMESPACE/NAME."
  type        = string
  default     = "fractal-system/fractal-operator"

  validation {
    condition     = can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.service_account))
    error_message = "NAMESPACE/NAME, without patterns."
  }
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the role; empty: none."
  type        = string
  default     = ""
}

variable "alarm_actions" {
  description = "ARNs, of SNS topics as a rule, that hear of alarms; empty: they are only shown."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
