"""Every alert on series that should fire it, and on series that should not, as Prometheus runs it.

Collected only where promtool is installed (Debian's package prometheus).
"""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from fractal_operator.observability.rules import ALERTS, rules_yaml

RULES = Path(__file__).parents[2] / "charts" / "fractal-operator" / "files" / "rules.yaml"
JOB = 'job="fractal-operator",instance="a:8080"'
MINE = f'{{{JOB},controller="fractalcontainer"}}'
QUEUE = f'{{{JOB},name="fractalcontainer"}}'


@dataclass(frozen=True)
class Case:
    """``series``: promtool's notation, a value a minute; the alert is looked for at ``at``."""

    alert: str
    why: str
    fires: bool
    series: dict[str, str] = field(default_factory=dict)
    at: str = "30m"


def launches(launched: int, **others: int) -> dict[str, str]:
    counts = {"launched": launched, "failed": 0, "rejected": 0, "unknown": 0, "throttled": 0}
    return {
        f'fractal_launches_total{{{JOB},result="{result}"}}': f"0+{count}x60"
        for result, count in (counts | others).items()
    }


def starts(quick: int, slow: int, minutes: int = 400) -> dict[str, str]:
    name = "fractal_container_start_duration_seconds"
    return {
        f'{name}_bucket{{{JOB},le="180.0"}}': f"0+{quick}x{minutes}",
        f"{name}_count{{{JOB}}}": f"0+{quick + slow}x{minutes}",
    }


def aws(operation: str, ok: int, **codes: int) -> dict[str, str]:
    where = f'{JOB},service="ecs",operation="{operation}"'
    name = "fractal_aws_requests_total"
    return {
        f'{name}{{{where},code="{code}"}}': f"0+{count}x60"
        for code, count in ({"OK": ok} | codes).items()
    }


def ended(stop_code: str, values: str) -> dict[str, str]:
    labels = f'{JOB},stop_code="{stop_code}",reason="{stop_code}"'
    return {f"fractal_container_terminations_total{{{labels}}}": values}


def gauge(name: str, values: str, labels: str = "") -> dict[str, str]:
    return {f"{name}{{{JOB}{labels}}}": values}


def orphans(kind: str, values: str) -> dict[str, str]:
    """As a standby shows them, too: none."""
    standby = f'fractal_orphans{{job="fractal-operator",instance="b:8080",kind="{kind}"}}'
    return gauge("fractal_orphans", values, f',kind="{kind}"') | {standby: "0x90"}


def installation(namespace: str) -> str:
    """The labels of one of several: the chart's Service, and so the job, is named alike in each."""
    return f'job="fractal-operator",namespace="{namespace}",instance="{namespace}:8080"'


def leader(namespace: str, leads: int) -> dict[str, str]:
    return {f'leader_election_master_status{{{installation(namespace)},name="l"}}': f"{leads}x60"}


def database(namespace: str, errors: int, written: int) -> dict[str, str]:
    labels = installation(namespace)
    return {
        f"fractal_db_errors_total{{{labels}}}": f"0+{errors}x60",
        f"fractal_db_write_duration_seconds_count{{{labels}}}": f"0+{written}x60",
    }


def stands(watchdog: str, seconds: str, limit: int) -> dict[str, str]:
    labels = f',watchdog="{watchdog}"'
    found = gauge("fractal_watchdog_seconds", seconds, labels)
    return found | gauge("fractal_watchdog_limit_seconds", f"{limit}x60", labels)


STALLED = ',type="Stalled",status="True"'
WAITED = "fractal_permits_oldest_wait_seconds"
LONGEST = f"workqueue_longest_running_processor_seconds{QUEUE}"
DONE = f"workqueue_work_duration_seconds_count{QUEUE}"
RECONCILES = f"controller_runtime_reconcile_total{MINE}"
FAILED = f"controller_runtime_reconcile_errors_total{MINE}"
PANICS = f"controller_runtime_reconcile_panics_total{MINE}"
LAG = "fractal_event_loop_lag_seconds_bucket"
DENIED = f'fractal_aws_denied_total{{{JOB},service="ecs",operation="ListTasks"}}'
THROTTLED = f'fractal_aws_throttled_total{{{JOB},service="ecs",operation="RunTask"}}'
KUBE = f'fractal_kube_requests_total{{{JOB},verb="patch",resource="x",code='
RUNNING = gauge("fractal_containers", "100x60", ',phase="Running"')

CASES = (
    Case("FractalOperatorDown", "no answer", True, gauge("up", "1 0x60")),
    Case("FractalOperatorDown", "a restart", False, gauge("up", "1x27 0 0 0 1x30")),
    Case("FractalOperatorDown", "somebody else", False, {'up{job="api"}': "0x60"}),
    Case("FractalOperatorAbsent", "never there", True),
    Case(
        "FractalOperatorDown",
        "one of several namespaces",
        True,
        {f"up{{{installation('a')}}}": "1x60", f"up{{{installation('b')}}}": "0x60"},
    ),
    Case("FractalOperatorAbsent", "there", False, gauge("fractal_build_info", "1x60")),
    Case(
        "FractalOperatorRestarts",
        "a start every 5 minutes",
        True,
        gauge("process_start_time_seconds", "0x4 300x4 600x4 900x4 1200x4 1500x9")
        | gauge("fractal_build_info", "1x60"),
    ),
    Case(
        "FractalOperatorRestarts",
        "one deployment",
        False,
        gauge("process_start_time_seconds", "0x10 600x40") | gauge("fractal_build_info", "1x60"),
    ),
    Case(
        "FractalOperatorRestarts",
        "another program",
        False,
        gauge("process_start_time_seconds", "0x4 300x4 600x4 900x4 1200x4 1500x9"),
    ),
    Case(
        "FractalNoLeader",
        "two stand by",
        True,
        {
            'leader_election_master_status{job="f",instance="a",name="l"}': "0x60",
            'leader_election_master_status{job="f",instance="b",name="l"}': "0x60",
        },
    ),
    Case(
        "FractalNoLeader",
        "one of two leads",
        False,
        {
            'leader_election_master_status{job="f",instance="a",name="l"}': "0x60",
            'leader_election_master_status{job="f",instance="b",name="l"}': "1x60",
        },
    ),
    Case("FractalNoLeader", "a leads, b does not", True, leader("a", 1) | leader("b", 0)),
    Case("FractalNoLeader", "a and b lead", False, leader("a", 1) | leader("b", 1)),
    Case("FractalNoLeader", "no election", False, gauge("fractal_build_info", "1x60")),
    Case(
        "FractalEventLoopBlocked",
        "seconds late",
        True,
        {
            f'{LAG}{{{JOB},le="1.0"}}': "0+90x60",
            f'{LAG}{{{JOB},le="5.0"}}': "0+100x60",
            f'{LAG}{{{JOB},le="+Inf"}}': "0+100x60",
        },
    ),
    Case(
        "FractalEventLoopBlocked",
        "a tenth late",
        False,
        {
            f'{LAG}{{{JOB},le="0.1"}}': "0+100x60",
            f'{LAG}{{{JOB},le="1.0"}}': "0+100x60",
            f'{LAG}{{{JOB},le="+Inf"}}': "0+100x60",
        },
    ),
    Case("FractalReconcileErrors", "20 %", True, {RECONCILES: "0+100x60", FAILED: "0+20x60"}),
    Case("FractalReconcileErrors", "5 %", False, {RECONCILES: "0+100x60", FAILED: "0+5x60"}),
    Case(
        "FractalReconcileErrors",
        "for 5 minutes only",
        False,
        {RECONCILES: "0+100x60", FAILED: "0x24 0+90x6"},
    ),
    Case("FractalReconcilePanics", "one", True, {PANICS: "0x20 1x20"}),
    Case("FractalReconcilePanics", "one long ago", False, {PANICS: "0x5 1x60"}),
    Case("FractalQueueStuck", "one key never ends", True, {LONGEST: "0+60x60", DONE: "0+9x60"}),
    Case(
        "FractalQueueStuck",
        "keys wait and none is done",
        True,
        {f"workqueue_depth{QUEUE}": "5x60", DONE: "7x60"},
    ),
    Case(
        "FractalQueueStuck",
        "busy",
        False,
        {f"workqueue_depth{QUEUE}": "50x60", DONE: "0+600x60", LONGEST: "5x60"},
    ),
    Case("FractalQueueStuck", "idle", False, {f"workqueue_depth{QUEUE}": "0x60", DONE: "7x60"}),
    Case(
        "FractalQuotaWait",
        "for long",
        True,
        gauge(WAITED, "60+60x40", ',region="eu-central-1",operation="RunTask"'),
    ),
    Case(
        "FractalQuotaWait",
        "for a while",
        False,
        gauge(WAITED, "800x40", ',region="eu-central-1",operation="RunTask"'),
    ),
    Case("FractalQuotaWait", "nobody", False),
    Case(
        "FractalEventsUnhealthy",
        "for 20 minutes",
        True,
        gauge("fractal_events_healthy", "1x9 0x20", ',queue="q"'),
    ),
    Case(
        "FractalEventsUnhealthy",
        "for ten minutes",
        False,
        gauge("fractal_events_healthy", "1x19 0x20", ',queue="q"'),
    ),
    Case("FractalEventsUnhealthy", "without a queue", False),
    Case(
        "FractalEventsUnreadable",
        "a message",
        True,
        {f'fractal_events_total{{{JOB},result="unreadable"}}': "0x20 1x40"},
    ),
    Case(
        "FractalEventsUnreadable",
        "a crash",
        True,
        {f"fractal_events_crashes_total{{{JOB}}}": "0x20 1x40"},
    ),
    Case(
        "FractalEventsUnreadable",
        "others' events are no fault",
        False,
        {
            f'fractal_events_total{{{JOB},result="unreadable"}}': "0x60",
            f'fractal_events_total{{{JOB},result="foreign"}}': "0+1x60",
        },
    ),
    Case("FractalSweepStale", "none succeeds", True, gauge("fractal_sweep_age_seconds", "0+60x60")),
    Case(
        "FractalSweepStale", "each minute one", False, gauge("fractal_sweep_age_seconds", "60x60")
    ),
    Case("FractalStandstill", "a deaf watch", True, stands("watch", "0x20 60 120 0x60", 120)),
    Case("FractalStandstill", "long ago", False, stands("watch", "0x10 60 120 0x60", 120)),
    Case("FractalStandstill", "the API is down", False, stands("watch", "0+10x6 10x60", 120)),
    Case("FractalStandstill", "a slow call", False, stands("worker", "0x20 60 120 0x60", 600)),
    Case(
        "FractalContainersStalled",
        "one",
        True,
        gauge("fractal_container_conditions", "0x5 1x60", STALLED),
    ),
    Case(
        "FractalContainersStalled",
        "repaired at once",
        False,
        gauge("fractal_container_conditions", "0x27 1x1 0x60", STALLED),
    ),
    Case(
        "FractalDeletionStuck",
        "for 20 minutes",
        True,
        gauge("fractal_oldest_deletion_seconds", "0x10 0+60x30"),
    ),
    Case(
        "FractalDeletionStuck",
        "a drain",
        False,
        gauge("fractal_oldest_deletion_seconds", "0x20 0+42x10"),
    ),
    Case("FractalLaunchFailures", "half of them", True, launches(5, failed=2, rejected=3)),
    Case("FractalLaunchFailures", "one of twenty", False, launches(19, unknown=1)),
    Case("FractalLaunchFailures", "throttled, but not failed", False, launches(5, throttled=5)),
    Case(
        "FractalCapacityUnavailable",
        "a tenth",
        True,
        launches(10) | ended("CapacityUnavailable", "0+1x60"),
    ),
    Case(
        "FractalCapacityUnavailable",
        "other ends",
        False,
        launches(10) | ended("EssentialContainerExited", "0+9x60"),
    ),
    Case("FractalStartLatency", "a fifth is slow for an hour", True, starts(8, 2), at="90m"),
    Case("FractalStartLatency", "8 % are slow for 6 hours", True, starts(92, 8), at="380m"),
    Case(
        "FractalStartLatency",
        "two of three, all day",
        False,
        {
            f'fractal_container_start_duration_seconds_bucket{{{JOB},le="180.0"}}': "0x20 1x400",
            f"fractal_container_start_duration_seconds_count{{{JOB}}}": "0x20 3x400",
        },
        at="40m",
    ),
    Case("FractalStartLatency", "1 % is slow", False, starts(99, 1), at="380m"),
    Case(
        "FractalDuplicateTask",
        "one, from the first scrape on",
        True,
        gauge("fractal_duplicate_tasks_total", "1x60"),
    ),
    Case("FractalDuplicateTask", "none", False, gauge("fractal_duplicate_tasks_total", "0x60")),
    Case("FractalOrphans", "not stopped", True, orphans("task", "0x9 1x80"), "60m"),
    Case("FractalOrphans", "for a person", True, orphans("unproven", "0x9 1x80"), "60m"),
    Case("FractalOrphans", "found and stopped", False, orphans("task", "0x9 3x18 0x60"), "60m"),
    Case("FractalOrphans", "kept on purpose", False, orphans("retained", "0x9 1x80"), "60m"),
    Case("FractalReaperHeld", "many", True, gauge("fractal_reaper_held", "0x9 1x60")),
    Case("FractalReaperHeld", "a round", False, gauge("fractal_reaper_held", "0x20 1x5 0x60")),
    Case("FractalSelectedTwice", "stays", True, gauge("fractal_objects_elsewhere", "3x80"), "50m"),
    Case(
        "FractalSelectedTwice",
        "changes hands",
        False,
        gauge("fractal_objects_elsewhere", "0x9 9x20 0x60"),
        "50m",
    ),
    Case("FractalLaunchesPaused", "a cluster", True, gauge("fractal_launches_paused", "0x9 1x60")),
    Case("FractalLaunchesPaused", "no more", False, gauge("fractal_launches_paused", "1x9 0x60")),
    Case(
        "FractalSpotInterruptionStorm",
        "30 of 100",
        True,
        ended("SpotInterruption", "0x25 0+6x60") | RUNNING,
    ),
    Case(
        "FractalSpotInterruptionStorm",
        "8 of 100",
        False,
        ended("SpotInterruption", "0x25 8x60") | RUNNING,
    ),
    Case(
        "FractalSpotInterruptionStorm",
        "2 of 3",
        False,
        ended("SpotInterruption", "0x25 2x60")
        | gauge("fractal_containers", "3x60", ',phase="Running"'),
    ),
    Case(
        "FractalAwsThrottling",
        "a tenth of RunTask",
        True,
        aws("RunTask", 90, ThrottlingException=10) | {THROTTLED: "0+10x60"},
    ),
    Case(
        "FractalAwsThrottling",
        "one of a hundred",
        False,
        aws("RunTask", 99, ThrottlingException=1) | {THROTTLED: "0+1x60"},
    ),
    Case("FractalAwsErrors", "a half", True, aws("RunTask", 5, ServerException=5)),
    Case("FractalAwsErrors", "one of fifty", False, aws("RunTask", 49, ServerException=1)),
    Case("FractalAwsAccessDenied", "once", True, {DENIED: "0x20 1x60"}),
    Case("FractalAwsAccessDenied", "repaired since", False, {DENIED: "0x5 1x60"}),
    Case(
        "FractalKubernetesErrors",
        "a half",
        True,
        {f'{KUBE}"200"}}': "0+5x60", f'{KUBE}"503"}}': "0+3x60", f'{KUBE}"error"}}': "0+2x60"},
    ),
    Case(
        "FractalKubernetesErrors",
        "lost races",
        False,
        {f'{KUBE}"200"}}': "0+5x60", f'{KUBE}"409"}}': "0+5x60"},
    ),
    Case(
        "FractalDatabaseDown",
        "nothing is written",
        True,
        gauge("fractal_db_errors_total", "0x10 0+2x60")
        | gauge("fractal_db_write_duration_seconds_count", "0+9x10 90x60"),
    ),
    Case(
        "FractalDatabaseDown",
        "now and then an error",
        False,
        gauge("fractal_db_errors_total", "0+1x60")
        | gauge("fractal_db_write_duration_seconds_count", "0+9x60"),
    ),
    Case(
        "FractalDatabaseDown",
        "that of a writes, that of b does not",
        True,
        database("a", errors=0, written=9) | database("b", errors=2, written=0),
    ),
    Case(
        "FractalDatabaseDown",
        "those of a and b write",
        False,
        database("a", errors=0, written=9) | database("b", errors=2, written=9),
    ),
    Case("FractalDatabaseLag", "grows", True, gauge("fractal_db_lag_seconds", "0x5 0+60x60")),
    Case("FractalDatabaseLag", "a burst", False, gauge("fractal_db_lag_seconds", "0x25 20x60")),
    Case(
        "FractalRecordsRefused", "one", True, gauge("fractal_db_refused_records_total", "0x9 1x60")
    ),
    Case("FractalRecordsRefused", "none", False, gauge("fractal_db_refused_records_total", "3x60")),
)


def test_the_rule_file_is_fresh_and_prometheus_takes_it() -> None:
    assert RULES.read_text() == rules_yaml()
    checked = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    shown = {(case.alert, case.fires) for case in CASES}
    assert shown == {(alert.name, fires) for alert in ALERTS for fires in (True, False)}


def _unit_test(case: Case) -> dict[str, object]:
    """promtool's form of a case; ALERTS is what Prometheus itself tells of its alerts."""
    firing = f'(count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0))'
    shown = {
        "expr": firing + " > bool 0",
        "eval_time": case.at,
        "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
    }
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    return {"interval": "1m", "input_series": series, "promql_expr_test": [shown]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.why}")
def test_an_alert(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    tests = [_unit_test(case)]
    rules = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(json.dumps(rules))
    ran = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, yaml.safe_dump(tests) + ran.stdout + ran.stderr
