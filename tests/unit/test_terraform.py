"""deploy/aws against docs/install.md and the operator: read as text; no provider is at hand."""

import json
import re
from pathlib import Path
from typing import Any

from fractal_operator.core import tokens
from fractal_operator.settings_events import QUEUE_URL

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "deploy" / "aws"
CODE = {path.name: path.read_text() for path in MODULE.glob("*.tf")}
EVERYTHING = "\n".join(CODE.values())


def blocks(text: str, head: str) -> list[str]:
    """The bodies of all blocks that begin with ``head``, up to the brace that closes them."""
    found = []
    for begin in re.finditer(rf"^ *{head} *\{{\n", text, re.MULTILINE):
        depth, at = 1, begin.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        found.append(text[begin.end() : at - 1])
    return found


def quoted(text: str, name: str) -> list[str]:
    """The texts in the attribute ``name`` of a block."""
    found = re.search(rf"^ *{name} += (.*)$", text, re.MULTILINE)
    return re.findall(r'"([^"]*)"', found[1]) if found else []


def statements() -> dict[str, tuple[list[str], list[tuple[str, ...]]]]:
    """The actions and the (test, key) of each condition of the operator's policy, by Sid."""
    (policy,) = blocks(CODE["iam.tf"], 'data "aws_iam_policy_document" "operator"')
    found = [*blocks(policy, "statement"), *blocks(policy, "content")]
    return {
        quoted(each, "sid")[0]: (
            quoted(each, "actions"),
            [(*quoted(c, "test"), *quoted(c, "variable")) for c in blocks(each, "condition")],
        )
        for each in found
    }


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_policy_is_the_documented_one() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    (text,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    documented = {
        each["Sid"]: (
            many(each["Action"]),
            [(test, key) for test, keys in each.get("Condition", {}).items() for key in keys],
        )
        for each in json.loads(text)["Statement"]
    }
    assert documented
    assert statements() == documented


def test_no_action_and_no_resource_is_wider_than_its_kind() -> None:
    (policy,) = blocks(CODE["iam.tf"], 'data "aws_iam_policy_document" "operator"')
    wide = [
        quoted(each, "sid")[0]
        for each in blocks(policy, "statement")
        if quoted(each, "resources") == ["*"]
    ]
    assert wide == ["Look", "Definitions", "Addresses"]
    assert "*" not in "".join(action for actions, _ in statements().values() for action in actions)


def test_of_queues_only_that_of_the_events_is_read() -> None:
    (policy,) = blocks(CODE["iam.tf"], 'data "aws_iam_policy_document" "operator"')
    (reading,) = (each for each in blocks(policy, "statement") if "sqs:" in each)
    assert quoted(reading, "actions") == ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    assert re.findall(r"^ *resources += (.*)$", reading, re.MULTILINE) == [
        "[aws_sqs_queue.events.arn]"
    ]


def test_the_rule_takes_what_this_installation_starts_and_leads_to_the_queue() -> None:
    (rule,) = blocks(CODE["events.tf"], 'resource "aws_cloudwatch_event_rule" "tasks"')
    (prefix,) = re.findall(r'prefix = "([^"]*)"', rule)
    started = tokens.started_by("blue", "uid", 1)
    assert started.startswith(prefix.replace("${var.install_id}", "blue"))
    assert 'source        = ["aws.ecs"]' in rule
    assert '["ECS Task State Change"]' in rule
    assert "clusterArn = var.cluster_arns" in rule
    (target,) = blocks(CODE["events.tf"], 'resource "aws_cloudwatch_event_target" "queue"')
    assert re.search(r"^ *arn +=.*aws_sqs_queue.events.arn$", target, re.MULTILINE)
    assert "input" not in target  # the event as it is
    (dead,) = blocks(target, "dead_letter_config")
    assert "aws_sqs_queue.undelivered.arn" in dead


def test_only_the_rule_may_write_to_the_queues() -> None:
    (policy,) = blocks(CODE["events.tf"], 'data "aws_iam_policy_document" "from_rule"')
    allow, deny = blocks(policy, "statement")
    for each, effect, test in ((allow, "Allow", "ArnEquals"), (deny, "Deny", "ArnNotEquals")):
        assert quoted(each, "effect") == [effect]
        assert quoted(each, "actions") == ["sqs:SendMessage"]
        (condition,) = blocks(each, "condition")
        assert quoted(condition, "test") == [test]
        assert quoted(condition, "variable") == ["aws:SourceArn"]
        assert "values   = [aws_cloudwatch_event_rule.tasks.arn]" in condition
    assert quoted(allow, "identifiers") == ["events.amazonaws.com"]
    attached = re.findall(r'from_rule\["(\w+)"\]', CODE["events.tf"])
    assert attached == ["events", "undelivered"]


def test_the_queues_are_encrypted_and_keep_what_they_hold() -> None:
    queues = re.findall(r'^resource "aws_sqs_queue" "(\w+)"', CODE["events.tf"], re.MULTILINE)
    assert queues == ["events", "unreadable", "undelivered"]
    for name in queues:
        (queue,) = blocks(CODE["events.tf"], f'resource "aws_sqs_queue" "{name}"')
        assert re.search(r"sqs_managed_sse_enabled += true", queue)
        assert re.search(r"message_retention_seconds += 1209600", queue)
    (events,) = blocks(CODE["events.tf"], 'resource "aws_sqs_queue" "events"')
    assert "aws_sqs_queue.unreadable.arn" in events
    assert "fifo" not in EVERYTHING
    longest = "fractal-" + "x" * 20 + "-task-events"
    assert re.fullmatch(QUEUE_URL, f"https://sqs.eu-west-1.amazonaws.com/123456789012/{longest}")


def test_each_variable_is_declared_used_and_bounded() -> None:
    declared = set(re.findall(r'^variable "(\w+)"', CODE["variables.tf"], re.MULTILINE))
    assert set(re.findall(r"\bvar\.(\w+)", EVERYTHING)) == declared
    for name in ("install_id", "cluster_arns", "passed_role_arns", "oidc_provider_arn"):
        (variable,) = blocks(CODE["variables.tf"], f'variable "{name}"')
        assert blocks(variable, "validation"), name
    (install,) = blocks(CODE["variables.tf"], 'variable "install_id"')
    assert '"^[a-z0-9-]{1,20}$"' in install


def test_the_readme_uses_what_there_is() -> None:
    page = (MODULE / "README.md").read_text()
    (used,) = re.findall(r"^```hcl\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    given = set(re.findall(r"^  (\w+) +=", used, re.MULTILINE)) - {"source"}
    assert given <= set(re.findall(r'^variable "(\w+)"', CODE["variables.tf"], re.MULTILINE))
    outputs = set(re.findall(r'^output "(\w+)"', CODE["outputs.tf"], re.MULTILINE))
    assert set(re.findall(r"output `?(\w+)", page)) <= outputs
