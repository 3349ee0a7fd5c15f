"""Rate limits: quota groups by account and region, and what each operation draws on."""

import gc

import pytest
from tests.unit.aws_wire import REGION, Clock, answer, clients, on_send

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import OPERATIONS, Quota, QuotaGroups, Quotas
from fractal_models.errors import Throttled

WAITING = [each for each in OPERATIONS if each not in ("RunTask", "StopTask")]


def groups(clock: Clock, share: float = 0.5, **own: Quota) -> QuotaGroups:
    named = {name.replace("_", "-"): quota for name, quota in own.items()}
    return QuotaGroups(share, named, monotonic=clock.monotonic, sleep=clock.sleep)


def drain(quotas: QuotaGroups, operation: str) -> int:
    taken = 0
    while not quotas.draw(operation):
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("operation", "burst", "per_second"),
    [
        ("RunTask", 25, 10),
        ("StopTask", 25, 20),
        ("DescribeTasks", 50, 10),
        ("DescribeClusters", 25, 10),
        ("RegisterTaskDefinition", 10, 0.5),
        ("DescribeTaskDefinition", 25, 10),
        ("DescribeInstances", 50, 10),
    ],
)
def test_half_of_the_documented_quota(operation: str, burst: int, per_second: float) -> None:
    """Where nothing else of the group is asked for: then stops have launches' part as well."""
    clock = Clock()
    quotas = groups(clock)
    assert drain(quotas, operation) == burst
    taken = []
    for _ in range(80):
        clock.time += 0.25
        taken.append(drain(quotas, operation))
    assert sum(taken[40:]) == int(per_second * 10), "when nothing is saved any more"


def test_actions_of_a_group_share_a_bucket() -> None:
    quotas = groups(Clock())
    assert drain(quotas, "ListTasks") == 50
    assert drain(quotas, "DescribeTasks") == drain(quotas, "DescribeContainerInstances") == 0


@pytest.mark.parametrize(("storm", "other"), [("RunTask", "StopTask"), ("StopTask", "RunTask")])
def test_neither_launches_nor_stops_starve_the_other(storm: str, other: str) -> None:
    clock = Clock()
    quotas = groups(clock)
    for _ in range(200):
        drain(quotas, storm)
        clock.time += 0.05
    assert drain(quotas, other) == 25, "its reserve is whole"
    taken = 0
    for _ in range(200):
        clock.time += 0.05
        drain(quotas, storm)
        taken += drain(quotas, other)
    assert taken == pytest.approx(100, abs=1)


def test_a_launch_draws_on_the_quota_of_fargate_too() -> None:
    clock = Clock()
    quotas = groups(clock, fargate_launch=Quota(4, 2))
    assert drain(quotas, "RunTask") == 2
    assert quotas.draw("RunTask") == pytest.approx(1.0)
    before = {each.group: each.tokens for each in quotas.standings() if each.reserve == "launches"}
    assert before == {"cluster-modify": 23}, "what could not be used was put back"
    clock.time += 1
    assert drain(quotas, "RunTask") == 1


def test_the_share_of_the_quota_can_be_set() -> None:
    assert drain(groups(Clock(), 1.0), "RunTask") == 50
    assert drain(groups(Clock(), 0.01), "RegisterTaskDefinition") == 1
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="share"):
            QuotaGroups(share)


def test_the_account_may_have_quotas_of_its_own() -> None:
    quotas = groups(Clock(), cluster_read=Quota(1000, 1))
    assert drain(quotas, "ListTasks") == 500
    assert drain(quotas, "StopTask") == 25, "the others stay as documented"
    for burst, per_second in ((0.5, 1), (1, 0), (float("nan"), 1)):
        with pytest.raises(ValueError, match="quota"):
            Quota(burst, per_second)


@pytest.mark.parametrize("operation", WAITING)
def test_every_other_operation_can_wait_for_its_token(operation: str) -> None:
    clock = Clock()
    quotas = groups(clock)
    taken = drain(quotas, operation)
    assert taken
    assert not quotas.take(operation, 0.0)
    assert quotas.take(operation, 60.0)
    assert len(clock.slept) == 1


def test_a_throttle_shrinks_what_the_operation_draws_on_and_is_told() -> None:
    clock, told = Clock(), list[tuple[str, str]]()
    quotas = Quotas(
        throttled=lambda region, group: told.append((region, group)),
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )
    here = quotas.of(REGION)
    here.throttled("StopTask")
    assert told == [(REGION, "cluster-modify")]
    assert drain(here, "StopTask") == drain(here, "RunTask") == 0
    assert drain(here, "ListTasks") == 50
    assert drain(quotas.of("us-east-1"), "StopTask") == 25, "regions are throttled by themselves"


def test_all_that_a_process_does_in_a_region_shares_its_buckets() -> None:
    quotas = Quotas(monotonic=Clock().monotonic)
    first, second = quotas.of(REGION), quotas.of(REGION)
    assert drain(first, "RunTask") == 25
    assert drain(second, "RunTask") == 0


def test_regions_that_nobody_uses_are_forgotten() -> None:
    quotas = Quotas()
    kept = quotas.of(REGION)
    for number in range(100):
        quotas.of(f"aa-north-{number}")
    gc.collect()
    assert {region for region, _ in quotas.standings()} == {REGION}
    assert quotas.of(REGION) is kept


def test_standings_tell_the_tokens_and_the_rate_of_each_reserve() -> None:
    clock = Clock()
    quotas = groups(clock)
    for _ in range(5):
        assert not quotas.draw("StopTask")
    told = {(each.group, each.reserve): each for each in quotas.standings()}
    assert told["cluster-modify", "stops"].tokens == 20
    assert told["cluster-modify", "launches"].tokens == 25
    assert told["cluster-read", ""].per_second == 10
    quotas.throttled("StopTask")
    shrunk = {(each.group, each.reserve): each for each in quotas.standings()}
    assert shrunk["cluster-modify", "launches"].per_second == 5


def test_a_throttle_that_botocore_retries_by_itself_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the bucket would shrink only after the third one in a row."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    told: list[str] = []
    quotas = QuotaGroups(throttled=told.append)
    throttle = b'{"__type": "InvalidParameterException", "message": "Rate exceeded"}'
    # Only codes are known to botocore: it does not retry what only the text tells.
    coded = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'
    replies = [(coded, 400), (coded, 400), (b'{"taskArns": []}', 200), (throttle, 400)]
    made = clients()
    on_send(made.ecs, "ListTasks", lambda _: answer(*replies.pop(0)))
    codes: list[str] = []
    ecs = EcsClient(made, quotas, observe=lambda operation, code, _: codes.append(code))
    assert ecs.list_tasks("main") == ()
    assert told == ["cluster-read"] * 2
    with pytest.raises(Throttled):
        ecs.list_tasks("main")
    assert codes == ["OK", "ThrottlingException"], "text counts as well as code"
    assert told == ["cluster-read"] * 3
