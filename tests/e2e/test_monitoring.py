"""The dashboard, the alerts and the runbooks on a real Prometheus that scrapes a running operator.

Collected only where Prometheus is installed (Debian's package), and on the stand-in only.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text
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
}
"""Queries that show nothing, or 0, until something goes wrong."""


def queries() -> Iterator[tuple[tuple[str, str], str]]:
    """(panel, legend) and PromQL of every target."""
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield (panel["title"], target["legendFormat"]), target["expr"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every other PromQL expression: the alerts' conditions and the runbooks' queries."""
    for alert in ALERTS:
        yield alert.name, alert.expr
    for page in RUNBOOKS.glob("*.md"):
        shown = re.findall(r"^```promql\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for expr in shown:
            yield page.stem, expr


def names(expr: str) -> set[str]:
    """The operator's metrics in an expression."""
    bare = re.sub(r"\{.*?\}|\b(by|on) \(.*?\)", "", expr)
    return set(re.findall(r"\b(?:fractal|controller|workqueue|leader|process)_\w+", bare))


def lives(world: World) -> None:
    """What a good day brings: launches, an edit, an end, deletions."""
    world.apply("ada")
    world.apply("edited")
    world.apply("ended")
    world.wait_ready("ada", "edited", "ended")
    world.patch("edited", spec={"dpi": 200})
    until(lambda: world.status("edited")["attempt"]["number"] == 2, "the replacement")
    world.ecs.stop_task(world.status("ended")["tasks"][0]["arn"], how="spot")
    world.wait_ready("edited")
    world.kubectl("delete", "fc", "ada", "--timeout=60s")


def troubles(world: World, postgres: Postgres, prometheus: Prometheus) -> None:
    """Each thing that can go wrong outside. A code's first error is no increase to Prometheus, as
    its series begins with it; so those come more than once."""
    mine = f"fc/{world.name}/"
    world.proxy.broken = f"/namespaces/{world.namespace}/fractalcontainers/unwritten"
    world.create("unwritten")
    world.ecs.fail_next_launch("RESOURCE:MEMORY", match=mine)
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
    operator = world.start(leader_election="true")
    port = operator.port()
    assert port is not None
    board = dict(queries())
    assert board.keys() >= PROVOKED

    def without_data() -> list[tuple[str, str]]:
        return [query for query, expr in board.items() if not prometheus.values(expr)]

    with scraping(port, FILES / "rules.yaml", tmp_path) as prometheus:
        lives(world)
        until(lambda: set(without_data()) <= PROVOKED, f"data: {without_data()}")
        assert {query for query in PROVOKED if any(prometheus.values(board[query]))} <= {RACES}

        troubles(world, postgres, prometheus)
        ever = {query: f"max_over_time(({board[query]})[10m:1s])" for query in PROVOKED}
        for query in sorted(PROVOKED):
            seen(prometheus, f"{ever[query]} > 0")
        assert without_data() == []

        for where, expr in expressions():
            prometheus.values(expr)  # AssertionError unless it can be evaluated
            scraped = {name: prometheus.values(f"count({name})") for name in names(expr)}
            assert all(scraped.values()), (where, scraped)

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
