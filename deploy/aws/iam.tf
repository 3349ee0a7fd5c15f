# The policy of docs/install.md, which explains it; a test compares the two.

data "aws_iam_policy_document" "operator" {
  statement {
    sid       = "Launch"
    actions   = ["ecs:RunTask"]
    resources = [for region in local.regions : "arn:${local.partition}:ecs:${region}:${local.account}:task-definition/*"]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = var.cluster_arns
    }
  }

  statement {
    sid       = "TasksOfTheCluster"
    actions   = ["ecs:StopTask", "ecs:DescribeTasks"]
    resources = local.task_arns
  }

  statement {
    sid       = "Tag"
    actions   = ["ecs:TagResource"]
    resources = local.task_arns
  }

  statement {
    sid       = "Look"
    actions   = ["ecs:ListTasks", "ecs:DescribeContainerInstances"]
    resources = ["*"]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = var.cluster_arns
    }
  }

  statement {
    sid       = "Clusters"
    actions   = ["ecs:DescribeClusters"]
    resources = var.cluster_arns
  }

  statement {
    sid       = "Definitions"
    actions   = ["ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition"]
    resources = ["*"]
  }

  statement {
    sid       = "Addresses"
    actions   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeInstances"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = length(var.passed_role_arns) > 0 ? [true] : []

    content {
      sid       = "PassNamedRoles"
      actions   = ["iam:PassRole"]
      resources = var.passed_role_arns

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["ecs-tasks.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "TaskEvents"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    resources = [aws_sqs_queue.events.arn]
  }
}

resource "aws_iam_policy" "operator" {
  name        = "${local.name}-operator"
  description = "What the Fractal operator ${var.install_id} asks of AWS"
  policy      = data.aws_iam_policy_document.operator.json
  tags        = local.tags
}

locals {
  issuer = try(split(":oidc-provider/", var.oidc_provider_arn)[1], "")
}

data "aws_iam_policy_document" "trust" {
  count = var.create_role ? 1 : 0

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["system:serviceaccount:${replace(var.service_account, "/", ":")}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "operator" {
  count                = var.create_role ? 1 : 0
  name                 = "${local.name}-operator"
  assume_role_policy   = data.aws_iam_policy_document.trust[0].json
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  tags                 = local.tags

  lifecycle {
    precondition {
      condition     = var.oidc_provider_arn != ""
      error_message = "A role needs oidc_provider_arn; set create_role to false to attach the policy elsewhere."
    }
  }
}

resource "aws_iam_role_policy_attachment" "operator" {
  count      = var.create_role ? 1 : 0
  role       = aws_iam_role.operator[0].name
  policy_arn = aws_iam_policy.operator.arn
}
