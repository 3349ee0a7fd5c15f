# ECS tells EventBridge of each change of a task; a rule leads those of this installation to a queue.
# docs/events.md says what the operator makes of them.

resource "aws_cloudwatch_event_rule" "tasks" {
  name        = "${local.name}-task-events"
  description = "Changes of the tasks that the Fractal operator ${var.install_id} has started"
  tags        = local.tags

  event_pattern = jsonencode({
    source        = ["aws.ecs"]
    "detail-type" = ["ECS Task State Change"]
    detail = {
      clusterArn = var.cluster_arns
      startedBy  = [{ prefix = "fc/${var.install_id}/" }]
    }
  })
}

resource "aws_cloudwatch_event_target" "queue" {
  rule      = aws_cloudwatch_event_rule.tasks.name
  target_id = "queue"
  arn       = aws_sqs_queue.events.arn

  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}

# A standard queue: the order of events is told by ECS's version of a task.
resource "aws_sqs_queue" "events" {
  name                       = "${local.name}-task-events"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  tags                       = local.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.unreadable.arn
    maxReceiveCount     = 5
  })
}

# What the operator could not read.
resource "aws_sqs_queue" "unreadable" {
  name                      = "${local.name}-task-events-unreadable"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "unreadable" {
  queue_url = aws_sqs_queue.unreadable.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.events.arn]
  })
}

# What EventBridge could not put into the queue.
resource "aws_sqs_queue" "undelivered" {
  name                      = "${local.name}-task-events-undelivered"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

# Who can write to the queue can have tasks taken for ended: this rule can, and nobody else.
data "aws_iam_policy_document" "from_rule" {
  for_each = {
    events      = aws_sqs_queue.events.arn
    undelivered = aws_sqs_queue.undelivered.arn
  }

  statement {
    sid       = "FromTheRule"
    effect    = "Allow"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.tasks.arn]
    }
  }

  statement {
    sid       = "NobodyElse"
    effect    = "Deny"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "ArnNotEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.tasks.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id
  policy    = data.aws_iam_policy_document.from_rule["events"].json
}

resource "aws_sqs_queue_policy" "undelivered" {
  queue_url = aws_sqs_queue.undelivered.id
  policy    = data.aws_iam_policy_document.from_rule["undelivered"].json
}
