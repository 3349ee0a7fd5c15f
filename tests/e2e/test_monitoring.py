"""The dashboard, the alerts and the runbooks on a real Prometheus that scrapes a running operator.

Collected only where Prometheus is installed (Debian's package), and on the stand-in only.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text
from tests.e2e.api import PATIENCE
from tests.e2e.prometheus import Prometheus, scraping
from tests.e2e.stack import World, until

from fractal_dev.postgres import Postgres
from fractal_operator.observability.rules import ALERTS

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "fractal-operator" / "files"
RUNBOOKS = ROOT / "docs" / "runbooks"
RACES = ("Calls that did not succeed", "{{verb}} {{code}}")
"""Lost races, which belong to a good day, are among them."""
PROVOKED = {
    RACES,
    ("Stalled", "Stalled"),
    ("Share of failed reconciles", "errors"),
    ("Adds and retries", "retries"),
    ("Errors by code", "{{operation}} {{code}}"),
    ("Throttled and refused calls", "throttled"),
    ("Throttled and refused calls", "denied"),
    ("Lag", "lag"),
    ("Records that wait", "waiting"),
    ("Failures", "failed"),
    ("Failures", "refused"),
    ("Objects that wait for their turn", "{{operation}} {{region}}"),
    ("The longest wait", "{{operation}} {{region}}"),
    ("Waits that are over", "{{operation}}"),
    ("Throttles, and the rate that is left", "throttled {{group}} {{region}}"),
}
"""Queries that show nothing, or 0, until something goes wrong."""


def queries() -> Iterator[tuple[tuple[str, str], str]]:
    """(panel, legend) and PromQL of every target."""
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield (panel["title"], target["legendFormat"]), target["expr"]


def runbook_queries() -> Iterator[tuple[str, str]]:
    """(page, PromQL) of each query that a runbook shows."""
    for page in RUNBOOKS.glob("*.md"):
        shown = re.findall(r"^```promql\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for expr in shown:
            yield page.stem, expr


def selectors(expr: str) -> set[str]:
    """The operator's metrics in an expression, with the labels that it asks for."""
    bare = re.sub(r"\b(by|on) \(.*?\)", "", expr)
    prefixes = "fractal|controller|workqueue|leader|process"
    return set(re.findall(rf"\b(?:{prefixes})_\w+(?:\{{.*?\}})?", bare))


def lives(world: World) -> None:
    """What a good day brings: launches, an edit, an end, deletions."""
    world.apply("ada")
    world.apply("edited")
    world.apply("ended")
    world.wait_ready("ada", "edited", "ended")
    world.patch("edited", spec={"dpi": 200})
    until(lambda: world.status("edited").get("attempt", {}).get("number") == 2, "the replacement")
    world.ecs.stop_task(world.status("ended")["tasks"][0]["arn"], how="spot")
    world.wait_ready("edited")
    world.kubectl("delete", "fc", "ada", PATIENCE)


def troubles(world: World, queue: str, postgres: Postgres, prometheus: Prometheus) -> None:
    """Each thing that can go wrong outside. A code's first error is no increase to Prometheus, as
    its series begins with it; so those come more than once."""
    mine = f"fc/{world.name}/"
    world.proxy.broken = f"/namespaces/{world.namespace}/fractalcontainers/unwritten"
    world.create("unwritten")
    world.ecs.fail_next_launch("RESOURCE:MEMORY", match=mine)
    # Each throttle halves a rate of 0.5 a second and drops what was saved: waits of 4 s and more.
    world.ecs.throttle_next("RunTask", match=mine, times=3)
    world.apply("late")
    world.wait_ready("late")

    poison = f"CHECK (task_id <> '{world.uid('late')}') NOT VALID"
    with world.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE hardware.user_app_state ADD CONSTRAINT no {poison}"))
    world.patch("late", spec={"operatingMode": "Suspended"})
    seen(prometheus, "fractal_db_refused_records_total > 0")

    seen(prometheus, 'fractal_kube_requests_total{code="503"} > 1')
    world.proxy.broken = ""

    postgres.stop()
    try:
        world.patch("edited", spec={"operatingMode": "Suspended"})
        seen(prometheus, "fractal_db_errors_total > 0 and fractal_db_lag_seconds > 0")
    finally:
        postgres.start()

    world.boto("sqs").delete_queue(QueueUrl=queue)
    seen(prometheus, "fractal_events_healthy == 0")
    world.ecs.fail_next("ListTasks", times=6)  # botocore tries each call three times
    seen(prometheus, 'increase(fractal_aws_requests_total{operation="ListTasks",code!="OK"}[5m])')

    denied = {"code": "AccessDeniedException", "message": "not authorized"}
    world.ecs.fail_next("RunTask", match=mine, status=400, times=100, **denied)
    world.apply("denied")
    world.until_condition("denied", "Stalled", "True")


def seen(prometheus: Prometheus, expr: str) -> None:
    """Wait until Prometheus has scraped it."""
    until(lambda: prometheus.values(expr), expr)


def test_the_dashboard_and_the_rules_on_a_running_operator(
    world: World, postgres: Postgres, tmp_path: Path
) -> None:
    queue = world.events()
    operator = world.start(
        leader_election="true",
        sqs_queue_url=queue,
        quotas="fargate-launch=20/1",
        audit_seconds="60",
    )
    port = operator.port()
    assert port is not None
    board = dict(queries())
    assert board.keys() >= PROVOKED

    def without_data() -> list[tuple[str, str]]:
        return [query for query, expr in board.items() if not prometheus.values(expr)]

    with scraping(port, FILES / "rules.yaml", tmp_path) as prometheus:
        lives(world)
        for query in sorted(board.keys() - PROVOKED):
            seen(prometheus, board[query])

        def troubled() -> set[tuple[str, str]]:
            return {query for query in PROVOKED if any(prometheus.values(board[query]))}

        # A record waits for half a second before it is written, which a scrape may see.
        until(lambda: troubled() <= {RACES}, "nothing is wrong on a good day")

        troubles(world, queue, postgres, prometheus)
        ever = {query: f"max_over_time(({board[query]})[10m:1s])" for query in PROVOKED}
        for query in sorted(PROVOKED):
            seen(prometheus, f"{ever[query]} > 0")
        assert without_data() == []

        assert [page for page, expr in runbook_queries() if not prometheus.values(expr)] == []
        for alert in ALERTS:
            prometheus.values(alert.expr)  # AssertionError unless it can be evaluated
            scraped = {each: prometheus.values(f"count({each})") for each in selectors(alert.expr)}
            assert all(scraped.values()), (alert.name, scraped)

        def firing() -> set[str]:
            shown = prometheus.ask("alerts")["alerts"]
            return {each["labels"]["alertname"] for each in shown if each["state"] == "firing"}

        at_once = {"FractalAwsAccessDenied", "FractalRecordsRefused"}
        until(lambda: firing() == at_once, f"{at_once} fire, and nothing else: {firing()}")
        [group] = prometheus.ask("rules")["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == {
            alert.name: "ok" for alert in ALERTS
        }
        for alert in prometheus.ask("alerts")["alerts"]:
            assert not re.search("error|<no value>", alert["annotations"]["description"]), alert

    lint = subprocess.run(
        ["promtool", "check", "metrics"],
        input=operator.get("/metrics")[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
