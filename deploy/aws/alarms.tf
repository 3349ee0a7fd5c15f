# The operator's own alerts tell of what it sees; these, of what it does not: it is down, or the rule's
# events do not arrive.

resource "aws_cloudwatch_metric_alarm" "age" {
  alarm_name          = "${local.name}-task-events-age"
  alarm_description   = "Nobody reads the task events of Fractal installation ${var.install_id}: ECS forgets a stopped task after an hour"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.events.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  threshold           = 600
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each = {
    unreadable  = aws_sqs_queue.unreadable.name
    undelivered = aws_sqs_queue.undelivered.name
  }

  alarm_name          = "${local.name}-task-events-${each.key}"
  alarm_description   = "There are ${each.key} task events of Fractal installation ${var.install_id}"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = local.tags
}
