"""Metrics: what is counted, what is documented, what a scrape of the queue shows."""

import gc
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fractal_helpers.aws.limits import OPERATIONS, QUOTAS, Quotas
from fractal_operator.core.words.stop_codes import STOP_CODES
from fractal_operator.metrics import CONTROLLER, Metrics
from fractal_operator.shell.workqueue import WorkQueue

SERVICES = {
    "DescribeInstances": "ec2",
    "DescribeNetworkInterfaces": "ec2",
    "GetCallerIdentity": "sts",
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_every_registered_metric_is_described_and_named_by_convention(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in registry.collect()
    }
    assert {row.name: row.type for row in metrics.rows} == families
    for row in metrics.rows:
        conventional = ("fractal_", "controller_runtime_", "workqueue_", "leader_election_")
        assert row.name.startswith(conventional), row.name
        assert row.help.endswith("."), row.name
        assert not {"namespace", "user", "uid", "object"} & set(row.labels), row.name


def test_a_reconcile_is_counted(registry: CollectorRegistry, metrics: Metrics) -> None:
    def total(result: str) -> float | None:
        labels = {"controller": CONTROLLER, "result": result}
        return registry.get_sample_value("controller_runtime_reconcile_total", labels)

    assert total("error") == 0
    metrics.reconciled("success", 0.1)
    metrics.reconciled("error", 0.2)
    assert (total("success"), total("error"), total("requeue")) == (1, 1, 0)
    label = {"controller": CONTROLLER}
    assert registry.get_sample_value("controller_runtime_reconcile_errors_total", label) == 1
    seconds = registry.get_sample_value("controller_runtime_reconcile_time_seconds_sum", label)
    assert seconds == pytest.approx(0.3)


def test_an_aws_call_is_counted_once_and_as_a_throttle_if_it_was(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.aws_call("RunTask", "OK", 0.1)
    metrics.aws_call("RunTask", "ThrottlingException", 0.1)
    metrics.aws_call("DescribeInstances", "RequestLimitExceeded", 0.1)
    run = {"service": "ecs", "operation": "RunTask"}
    describe = {"service": "ec2", "operation": "DescribeInstances"}
    assert registry.get_sample_value("fractal_aws_requests_total", run | {"code": "OK"}) == 1
    assert registry.get_sample_value("fractal_aws_request_duration_seconds_count", run) == 2
    assert registry.get_sample_value("fractal_aws_throttled_total", run) == 1
    assert registry.get_sample_value("fractal_aws_throttled_total", describe) == 1


def test_a_refusal_for_want_of_rights_is_counted_as_such(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    for code in ("AccessDeniedException", "UnauthorizedOperation", "ServerException", "OK"):
        metrics.aws_call("ListTasks", code, 0.1)
    where = {"service": "ecs", "operation": "ListTasks"}
    assert registry.get_sample_value("fractal_aws_denied_total", where) == 2
    assert registry.get_sample_value("fractal_aws_throttled_total", where) == 0


def test_waits_for_the_own_rate_limit_are_measured_and_calls_not_sent_counted(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.aws_wait("StopTask", 2.0, True)
    metrics.aws_wait("StopTask", 0.0, False)
    where = {"service": "ecs", "operation": "StopTask"}
    assert registry.get_sample_value("fractal_aws_wait_duration_seconds_sum", where) == 2
    assert registry.get_sample_value("fractal_aws_wait_duration_seconds_count", where) == 2
    assert registry.get_sample_value("fractal_aws_unsent_total", where) == 1


def test_what_may_be_counted_once_is_counted_from_zero_on(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    for operation in OPERATIONS:
        service = SERVICES.get(operation, "ecs")
        where = {"service": service, "operation": operation}
        for name in ("throttled", "denied", "unsent"):
            assert registry.get_sample_value(f"fractal_aws_{name}_total", where) == 0, operation
    for result in ("launched", "adopted", "failed", "throttled", "rejected", "unknown"):
        assert registry.get_sample_value("fractal_launches_total", {"result": result}) == 0
    spot = {"stop_code": "SpotInterruption", "reason": "SpotInterruption"}
    assert registry.get_sample_value("fractal_container_terminations_total", spot) == 0


def test_stop_codes_and_reasons_stay_bounded(registry: CollectorRegistry, metrics: Metrics) -> None:
    for code in (*STOP_CODES, "", "Invented", "AlsoInvented"):
        metrics.terminated(code, "ada@example.org said no")
    metrics.terminated("TaskFailedToStart", "CannotPullContainerError: no such image")
    name = "fractal_container_terminations_total"
    [family] = [x for x in registry.collect() if x.name == name.removesuffix("_total")]
    counted = {
        (x.labels["stop_code"], x.labels["reason"]): x.value for x in family.samples if x.value
    }
    assert {code for code, _ in counted} == {*STOP_CODES, "Other"}
    assert counted["Other", "Other"] == 3
    assert counted["SpotInterruption", "SpotInterruption"] == 1
    assert counted["TaskFailedToStart", "ImagePullFailed"] == 1
    assert all(re.fullmatch("[A-Z][A-Za-z]+", reason) for _, reason in counted)


def test_conditions_are_counted_by_our_types_only(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.condition_counts({("Ready", "True"): 2, ("Stranger", "True"): 7})
    metrics.condition_counts({("Ready", "False"): 1, ("Ready", "Odd"): 7})
    name = "fractal_container_conditions"
    assert registry.get_sample_value(name, {"type": "Ready", "status": "True"}) == 0
    assert registry.get_sample_value(name, {"type": "Ready", "status": "False"}) == 1
    [family] = [x for x in registry.collect() if x.name == name]
    assert len(family.samples) == 12


def test_phases_without_objects_are_zero(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.phases({"Running": 2}, ["Running", "Failed"])
    metrics.phases({"Failed": 1}, ["Running", "Failed"])
    assert registry.get_sample_value("fractal_containers", {"phase": "Running"}) == 0
    assert registry.get_sample_value("fractal_containers", {"phase": "Failed"}) == 1


def test_a_scrape_reads_the_queue(registry: CollectorRegistry, metrics: Metrics) -> None:
    now = [0.0]
    queue: WorkQueue[str] = WorkQueue(lambda: now[0], on_add=metrics.queue_adds.inc)
    metrics.watch_queue(queue)
    for key in ["a", "b", "c", "d"]:
        queue.add(key)
    queue.take()
    now[0] += 2
    queue.take()
    now[0] += 1
    label = {"name": CONTROLLER, "controller": CONTROLLER}
    assert registry.get_sample_value("workqueue_depth", label) == 2
    assert registry.get_sample_value("workqueue_adds_total", label) == 4
    assert registry.get_sample_value("workqueue_unfinished_work_seconds", label) == 4
    longest = registry.get_sample_value("workqueue_longest_running_processor_seconds", label)
    assert longest == 3


def test_the_build_is_named(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert 'fractal_build_info{version="' in generate_latest(registry).decode()
    assert b"_created" not in generate_latest(registry)


def test_the_rate_limit_is_told_by_region_and_group_and_forgotten_with_its_region(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    quotas = Quotas(throttled=metrics.throttled)
    here = quotas.of("eu-central-1")
    metrics.watch_quotas(quotas.standings)
    metrics.quotas()
    where = {"region": "eu-central-1", "group": "cluster-modify", "reserve": "stops"}
    assert registry.get_sample_value("fractal_aws_quota_tokens", where) == 25
    assert registry.get_sample_value("fractal_aws_quota_tokens_per_second", where) == 10
    here.throttled("StopTask")
    metrics.quotas()
    assert registry.get_sample_value("fractal_aws_quota_tokens_per_second", where) == 5
    group = {"region": "eu-central-1", "group": "cluster-modify"}
    assert registry.get_sample_value("fractal_aws_throttles_total", group) == 1
    del here
    gc.collect()
    metrics.quotas()
    assert registry.get_sample_value("fractal_aws_quota_tokens", where) is None
    assert registry.get_sample_value("fractal_aws_throttles_total", group) is None


def test_a_region_in_use_shows_0_before_anybody_waits_or_is_throttled(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    quotas = Quotas(throttled=metrics.throttled)
    metrics.watch_quotas(quotas.standings)
    names = (
        "fractal_permits_waiting",
        "fractal_permits_oldest_wait_seconds",
        "fractal_aws_throttles_total",
    )

    def shown() -> set[tuple[str | float, ...]]:
        return {
            (each.name, *sorted(each.labels.values(), key="eu-central-1".__ne__), each.value)
            for family in registry.collect()
            for each in family.samples
            if each.name in names
        }

    def look(*lines: tuple[str, str, int, float]) -> None:
        metrics.quotas()
        metrics.lines(lines)

    look()
    assert shown() == set()
    here = quotas.of("eu-central-1")
    look()
    empty = {
        (name, "eu-central-1", operation, 0.0)
        for name in names[:2]
        for operation in ("RunTask", "StopTask")
    }
    refused = {(names[2], "eu-central-1", group, 0.0) for group in QUOTAS}
    assert shown() == empty | refused
    look(("eu-central-1", "StopTask", 3, 7.5))
    assert {each for each in shown() if each[-1]} == {
        (names[0], "eu-central-1", "StopTask", 3.0),
        (names[1], "eu-central-1", "StopTask", 7.5),
    }
    del here
    gc.collect()
    look()
    assert shown() == set()


def test_lines_are_told_while_somebody_waits(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.lines([("eu-central-1", "RunTask", 3, 7.5)])
    where = {"region": "eu-central-1", "operation": "RunTask"}
    assert registry.get_sample_value("fractal_permits_waiting", where) == 3
    assert registry.get_sample_value("fractal_permits_oldest_wait_seconds", where) == 7.5
    metrics.lines([])
    assert registry.get_sample_value("fractal_permits_waiting", where) is None
    metrics.permit_waited("RunTask", 7.5)
    name = "fractal_permit_wait_duration_seconds_sum"
    assert registry.get_sample_value(name, {"operation": "RunTask"}) == 7.5
