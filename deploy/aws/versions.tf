terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  name      = "fractal-${var.install_id}"
  regions   = distinct([for arn in var.cluster_arns : split(":", arn)[3]])
  task_arns = [for arn in var.cluster_arns : "${replace(arn, ":cluster/", ":task/")}/*"]
  tags      = merge({ "fractal.co/install" = var.install_id }, var.tags)
}
