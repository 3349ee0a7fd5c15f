output "queue_url" {
  description = "For settings.sqsQueueUrl of the chart."
  value       = aws_sqs_queue.events.id
}

output "role_arn" {
  description = "For the annotation eks.amazonaws.com/role-arn of the service account; empty without a role."
  value       = try(aws_iam_role.operator[0].arn, "")
}

output "policy_arn" {
  description = "The operator's policy, to attach it to a role of one's own."
  value       = aws_iam_policy.operator.arn
}

output "rule_arn" {
  description = "The rule, the only one that may write to the queue."
  value       = aws_cloudwatch_event_rule.tasks.arn
}

output "dead_letter_queue_urls" {
  description = "Events that the operator could not read, and that EventBridge could not deliver."
  value = {
    unreadable  = aws_sqs_queue.unreadable.id
    undelivered = aws_sqs_queue.undelivered.id
  }
}
