"""Task definitions: found or registered once, whatever happens around it."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from tests.unit.aws_wire import Clock, Stubs, answer, clients, on_send

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups
from fractal_models.errors import OutcomeUnknown, Rejected, Throttled

FAMILY = "fc-0123"
REGISTRATION = {"family": FAMILY, "containerDefinitions": [{"name": "app", "image": "nginx"}]}


def arn(revision: int, family: str = FAMILY) -> str:
    return f"arn:aws:ecs:eu-central-1:111122223333:task-definition/{family}:{revision}"


def described(revision: int, status: str = "ACTIVE", family: str = FAMILY) -> dict[str, Any]:
    return {
        "taskDefinition": {
            "taskDefinitionArn": arn(revision, family),
            "status": status,
            "networkMode": "awsvpc",
            "containerDefinitions": [{"name": "app"}],
        }
    }


def unknown(stubs: Stubs) -> None:
    stubs.ecs.add_client_error(
        "describe_task_definition", "ClientException", "Unable to describe task definition."
    )


def client(stubs: Stubs, clock: Clock | None = None) -> EcsClient:
    clock = clock or Clock()
    quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
    return EcsClient(stubs.clients, quotas, monotonic=clock.monotonic)


def test_an_unknown_reference_is_none() -> None:
    stubs = Stubs.active()
    unknown(stubs)
    assert client(stubs).resolve_definition("nothing") is None


def test_another_client_exception_is_no_unknown_reference() -> None:
    stubs = Stubs.active()
    stubs.ecs.add_client_error("describe_task_definition", "ClientException", "Bad luck.")
    with pytest.raises(Rejected, match="Bad luck"):
        client(stubs).resolve_definition("nothing")


@pytest.mark.parametrize("answered", [{}, {"taskDefinition": {"family": FAMILY}}])
def test_an_unreadable_answer_is_no_unknown_reference(answered: dict[str, Any]) -> None:
    stubs = Stubs.active()
    stubs.ecs.add_response("describe_task_definition", answered)
    with pytest.raises(OutcomeUnknown):
        client(stubs).resolve_definition(FAMILY)


def test_a_family_is_asked_for_again_after_seconds_and_a_revision_after_five_minutes() -> None:
    stubs, clock = Stubs.active(), Clock()
    ecs = client(stubs, clock)
    for revision in (1, 2):
        stubs.ecs.add_response(
            "describe_task_definition", described(revision), {"taskDefinition": FAMILY}
        )
        for _ in range(3):
            found = ecs.resolve_definition(FAMILY)
            assert found
            assert found.arn == arn(revision)
        clock.time += 5
    for reference in (arn(2), f"{FAMILY}:2", arn(1)):
        assert ecs.resolve_definition(reference)
    stubs.assert_all_sent()
    clock.time += 300
    stubs.ecs.add_response(
        "describe_task_definition", described(2, "INACTIVE"), {"taskDefinition": arn(2)}
    )
    found = ecs.resolve_definition(arn(2))
    assert found
    assert found.status == "INACTIVE"


def test_an_active_revision_of_the_family_is_used_and_remembered() -> None:
    stubs = Stubs.active()
    stubs.ecs.add_response("describe_task_definition", described(4), {"taskDefinition": FAMILY})
    ecs = client(stubs)
    assert [ecs.ensure_definition(REGISTRATION).arn for _ in range(3)] == [arn(4)] * 3
    stubs.assert_all_sent()


@pytest.mark.parametrize("inactive", [False, True])
def test_a_family_without_active_revision_is_registered_as_asked(inactive: bool) -> None:
    stubs = Stubs.active()
    if inactive:
        stubs.ecs.add_response("describe_task_definition", described(1, "INACTIVE"))
    else:
        unknown(stubs)
    stubs.once.add_response("register_task_definition", described(2), REGISTRATION)
    ecs = client(stubs)
    assert ecs.ensure_definition(REGISTRATION).arn == arn(2)
    assert ecs.ensure_definition(REGISTRATION).arn == arn(2)
    stubs.assert_all_sent()


def test_a_forgotten_family_is_looked_up_again() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    stubs.ecs.add_response("describe_task_definition", described(1))
    first = ecs.ensure_definition(REGISTRATION)
    ecs.forget_definition(first.arn)
    unknown(stubs)
    stubs.once.add_response("register_task_definition", described(2))
    assert ecs.ensure_definition(REGISTRATION).arn == arn(2)
    ecs.forget_definition(arn(1))
    stubs.ecs.add_response("describe_task_definition", described(1, "INACTIVE"))
    found = ecs.resolve_definition(arn(1))
    assert found
    assert found.status == "INACTIVE"


def test_a_lost_reply_is_resolved_by_looking_up() -> None:
    stubs = Stubs.active()
    unknown(stubs)
    stubs.once.add_client_error("register_task_definition", "ServerException", "", 500)
    stubs.ecs.add_response("describe_task_definition", described(1), {"taskDefinition": FAMILY})
    assert client(stubs).ensure_definition(REGISTRATION).arn == arn(1)
    stubs.assert_all_sent()


def test_a_lost_reply_that_stays_lost_is_looked_up_before_the_next_registration() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    unknown(stubs)
    stubs.once.add_client_error("register_task_definition", "ServerException", "", 500)
    unknown(stubs)
    with pytest.raises(OutcomeUnknown):
        ecs.ensure_definition(REGISTRATION)
    stubs.ecs.add_response("describe_task_definition", described(1))
    assert ecs.ensure_definition(REGISTRATION).arn == arn(1)
    stubs.assert_all_sent()


def test_a_concurrent_registration_elsewhere_is_found_at_the_next_try() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    unknown(stubs)
    stubs.once.add_client_error(
        "register_task_definition",
        "ClientException",
        "Too many concurrent attempts to create a new revision of the specified family.",
    )
    with pytest.raises(Throttled):
        ecs.ensure_definition(REGISTRATION)
    stubs.ecs.add_response("describe_task_definition", described(1))
    assert ecs.ensure_definition(REGISTRATION).arn == arn(1)


def test_a_registration_is_sent_once_even_when_its_reply_is_lost() -> None:
    made = clients()
    registered: list[str] = []

    def lose(request: Any) -> Any:
        registered.append(json.loads(request.body)["family"])
        raise ReadTimeoutError(endpoint_url="https://ecs.invalid")

    refusal = b'{"__type":"ClientException","message":"Unable to describe task definition."}'
    on_send(made.ecs, "DescribeTaskDefinition", lambda _: answer(refusal, 400))
    on_send(made.ecs_once, "RegisterTaskDefinition", lose)
    with pytest.raises(OutcomeUnknown):
        EcsClient(made, QuotaGroups()).ensure_definition(REGISTRATION)
    assert registered == [FAMILY]


class Registry:
    """A stand-in at the wire: families that exist once registered, and every request counted."""

    def __init__(self, all_entered: Callable[[], object]) -> None:
        self.sent: list[tuple[str, str]] = []
        self.clients = clients()
        self._all_entered = all_entered
        self._lock = threading.Lock()
        on_send(self.clients.ecs, "DescribeTaskDefinition", self._describe)
        on_send(self.clients.ecs_once, "RegisterTaskDefinition", self._register)

    def _describe(self, request: Any) -> Any:
        family = json.loads(request.body)["taskDefinition"]
        self._all_entered()
        with self._lock:
            self.sent.append(("Describe", family))
            if ("Register", family) in self.sent:
                return answer(json.dumps(described(1, family=family)).encode())
        refusal = {"__type": "ClientException", "message": "Unable to describe task definition."}
        return answer(json.dumps(refusal).encode(), 400)

    def _register(self, request: Any) -> Any:
        family = json.loads(request.body)["family"]
        with self._lock:
            self.sent.append(("Register", family))
        return answer(json.dumps(described(1, family=family)).encode())


def test_many_threads_register_each_family_once() -> None:
    callers, families = 24, ["fc-a", "fc-b", "fc-c"]
    entered = threading.Semaphore(0)
    go = threading.Event()
    registry = Registry(lambda: go.wait(timeout=30))
    ecs = EcsClient(registry.clients, QuotaGroups())

    def ensure(number: int) -> str:
        entered.release()
        return ecs.ensure_definition({**REGISTRATION, "family": families[number % 3]}).arn

    with ThreadPoolExecutor(callers) as pool:
        futures = [pool.submit(ensure, number) for number in range(callers)]
        for _ in range(callers):
            assert entered.acquire(timeout=30)
        go.set()
        arns = [future.result(timeout=30) for future in futures]
    assert arns == [arn(1, families[number % 3]) for number in range(callers)]
    assert sorted(registry.sent) == sorted(
        (kind, family) for kind in ("Describe", "Register") for family in families
    )


def test_many_threads_that_name_a_family_share_one_question() -> None:
    callers = 24
    entered, go = threading.Semaphore(0), threading.Event()
    registry = Registry(lambda: go.wait(timeout=30))
    registry.sent.append(("Register", "web"))
    ecs = EcsClient(registry.clients, QuotaGroups(), monotonic=Clock().monotonic)

    def resolve(_: int) -> str:
        entered.release()
        found = ecs.resolve_definition("web")
        assert found
        return found.arn

    with ThreadPoolExecutor(callers) as pool:
        futures = [pool.submit(resolve, number) for number in range(callers)]
        for _ in range(callers):
            assert entered.acquire(timeout=30)
        go.set()
        assert {future.result(timeout=30) for future in futures} == {arn(1, "web")}
    assert registry.sent.count(("Describe", "web")) == 1


def test_threads_that_wait_for_a_failing_registration_fail_with_it() -> None:
    made = clients()
    go, asked = threading.Event(), threading.Event()

    def refuse(_: Any) -> Any:
        asked.set()
        go.wait(timeout=30)
        return answer(b'{"__type":"AccessDeniedException","message":"no"}', 400)

    on_send(made.ecs, "DescribeTaskDefinition", refuse)
    ecs = EcsClient(made, QuotaGroups())
    waiting = threading.Semaphore(0)

    def ensure() -> None:
        waiting.release()
        ecs.ensure_definition(REGISTRATION)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(ensure)]
        assert asked.wait(timeout=30)
        futures += [pool.submit(ensure) for _ in range(3)]
        for _ in range(4):
            assert waiting.acquire(timeout=30)
        go.set()
        errors = [future.exception(timeout=30) for future in futures]
    assert {type(error).__name__ for error in errors} == {"AccessDenied"}
    with pytest.raises(Rejected):
        ecs.ensure_definition(REGISTRATION)
