"""One AWS API call: what is told of its wait for the rate limit."""

import pytest
from tests.unit.aws_wire import Clock

from fractal_helpers.aws.calls import Api
from fractal_helpers.aws.limits import QUOTAS, QuotaGroups
from fractal_models.errors import Throttled


class Ecs:
    """What boto3 makes of an operation that always succeeds."""

    def list_tasks(self, **_: object) -> dict[str, object]:
        return {"taskArns": []}


def test_each_wait_for_a_token_is_told_and_whether_one_came() -> None:
    clock, told = Clock(), list[tuple[str, float, bool]]()
    quotas = QuotaGroups(1.0, monotonic=clock.monotonic, sleep=clock.sleep)
    api = Api(
        Ecs(),
        quotas,
        waited=lambda *what: told.append(what),
        monotonic=clock.monotonic,
        patience=0.05,
    )
    quota = QUOTAS["cluster-read"]
    for _ in range(int(quota.burst)):
        api.call("ListTasks", {})
    assert set(told) == {("ListTasks", 0.0, True)}
    api.call("ListTasks", {})
    operation, seconds, had = told[-1]
    assert (operation, had) == ("ListTasks", True)
    assert seconds == pytest.approx(1 / quota.per_second)
    quotas.throttled("ListTasks")
    with pytest.raises(Throttled):
        api.call("ListTasks", {})
    assert told[-1] == ("ListTasks", 0.0, False)
