"""Every row of the classification: what an error of AWS means for the caller."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from tests.ports import closed_port
from tests.unit.aws_wire import REGION, Clock, Stubs, answer, clients, on_send, session, task_arn

from fractal_helpers.aws.calls import Api
from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.failures import classify
from fractal_helpers.aws.limits import QuotaGroups
from fractal_models.errors import (
    AccessDenied,
    FractalError,
    OutcomeUnknown,
    QuotaReached,
    Rejected,
    Throttled,
    TokenConflict,
    Unavailable,
)

REQUEST = {"cluster": "main", "taskDefinition": "fc-1", "count": 1, "clientToken": "t"}


def api(client: Any, **options: Any) -> Api:
    return Api(client, QuotaGroups(), **options)


def outcome(stubs: Stubs) -> FractalError:
    with pytest.raises(FractalError) as caught:
        api(stubs.clients.ecs_once).send("RunTask", REQUEST)
    return caught.value


ANSWERS = [
    # throttles, whatever their code
    ("ThrottlingException", "Rate exceeded", 400, Throttled),
    ("Throttling", "", 400, Throttled),
    ("ThrottledException", "", 400, Throttled),
    ("RequestThrottled", "", 400, Throttled),
    ("EC2ThrottledException", "", 400, Throttled),
    ("RequestLimitExceeded", "Request limit exceeded.", 503, Throttled),
    ("TooManyRequestsException", "", 429, Throttled),
    ("429", "", 429, Throttled),
    (
        "InvalidParameterException",
        "Error retrieving subnet information for [subnet-1]: Rate exceeded (ErrorCode: Throttling)",
        400,
        Throttled,
    ),
    (
        "ClientException",
        "Too many concurrent attempts to create a new revision of the specified family.",
        400,
        Throttled,
    ),
    # full, not fast
    (
        "ClientException",
        "The cluster has reached the limit of tasks in the PROVISIONING state.",
        400,
        QuotaReached,
    ),
    (
        "ClientException",
        "You've reached the limit on the number of vCPUs you can run concurrently",
        400,
        QuotaReached,
    ),
    ("LimitExceededException", "The limit for the resource was exceeded.", 400, QuotaReached),
    # perhaps executed
    ("ServerException", "Service Unavailable. Please try again later.", 500, OutcomeUnknown),
    ("ServerException", "", 400, OutcomeUnknown),
    ("ServerException", "Rate exceeded", 500, OutcomeUnknown),
    ("InternalFailure", "", 500, OutcomeUnknown),
    ("ServiceUnavailable", "", 503, OutcomeUnknown),
    ("502", "Bad Gateway", 502, OutcomeUnknown),
    ("504", "Gateway Timeout", 504, OutcomeUnknown),
    ("RequestTimeout", "", 408, OutcomeUnknown),
    # not allowed
    ("AccessDeniedException", "not authorized to perform: ecs:RunTask", 400, AccessDenied),
    ("AccessDenied", "", 403, AccessDenied),
    ("UnauthorizedOperation", "", 403, AccessDenied),
    ("UnrecognizedClientException", "", 400, AccessDenied),
    ("ExpiredToken", "", 400, AccessDenied),
    ("ExpiredTokenException", "", 400, AccessDenied),
    ("InvalidSignatureException", "", 400, AccessDenied),
    ("BlockedException", "Your account is blocked.", 400, AccessDenied),
    ("403", "Forbidden", 403, AccessDenied),
    # the request is at fault
    ("ClusterNotFoundException", "Cluster not found.", 400, Rejected),
    ("InvalidParameterException", "No Container Instances were found.", 400, Rejected),
    ("ClientException", "TaskDefinition is inactive", 400, Rejected),
    ("ClientException", "ECS was unable to assume the role 'arn:…'", 400, Rejected),
    ("PlatformUnknownException", "", 400, Rejected),
    ("PlatformTaskDefinitionIncompatibilityException", "", 400, Rejected),
    ("UnsupportedFeatureException", "", 400, Rejected),
    ("AccessDeniedException", "is not authorized to perform: iam:PassRole on …", 400, Rejected),
]


@pytest.mark.parametrize(("code", "text", "status", "expected"), ANSWERS)
def test_answers(code: str, text: str, status: int, expected: type[FractalError]) -> None:
    stubs = Stubs.active()
    stubs.once.add_client_error("run_task", code, text, status)
    error = outcome(stubs)
    assert type(error) is expected
    assert code in str(error)
    assert text in str(error)
    if isinstance(error, Rejected):
        assert error.code == code


def test_a_token_conflict_names_the_tasks_that_the_token_is_bound_to() -> None:
    stubs = Stubs.active()
    arns = [task_arn(1), task_arn(2)]
    stubs.once.add_client_error(
        "run_task", "ConflictException", "", 400, modeled_fields={"resourceIds": arns}
    )
    stubs.once.add_client_error("run_task", "ConflictException", "", 400)
    first, second = outcome(stubs), outcome(stubs)
    assert isinstance(first, TokenConflict)
    assert isinstance(second, TokenConflict)
    assert (first.resource_ids, first.code) == (tuple(arns), "ConflictException")
    assert second.resource_ids == ()


URL = "https://ecs.invalid"
LOST: list[tuple[BotoCoreError, type[FractalError]]] = [
    (ReadTimeoutError(endpoint_url=URL), OutcomeUnknown),
    (ConnectionClosedError(endpoint_url=URL), OutcomeUnknown),
    (HTTPClientError(error="reset"), OutcomeUnknown),
    (SSLError(endpoint_url=URL, error=OSError("decryption failed")), OutcomeUnknown),
    (SSLError(endpoint_url=URL, error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED]")), Unavailable),
    (EndpointConnectionError(endpoint_url=URL), Unavailable),
    (ConnectTimeoutError(endpoint_url=URL), Unavailable),
    (ProxyConnectionError(proxy_url=URL), Unavailable),
    (CredentialRetrievalError(provider="container-role", error_msg="timed out"), Unavailable),
    (NoCredentialsError(), AccessDenied),
]


@pytest.mark.parametrize(("raised", "expected"), LOST, ids=lambda value: type(value).__name__)
def test_calls_without_an_answer(raised: BotoCoreError, expected: type[FractalError]) -> None:
    client = clients().ecs_once
    attempts: list[Any] = []

    def fail(request: Any) -> Any:
        attempts.append(request)
        raise raised

    on_send(client, "RunTask", fail)
    with pytest.raises(FractalError) as caught:
        api(client).send("RunTask", REQUEST)
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised
    assert len(attempts) == 1, "the retry of RunTask is the caller's"


def test_a_failed_call_for_credentials_means_that_ours_was_never_sent() -> None:
    def error(code: str, status: int) -> ClientError:
        response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return ClientError(response, "AssumeRoleWithWebIdentity")

    assert type(classify(error("ServiceUnavailable", 503), "RunTask")) is Unavailable
    assert type(classify(error("InvalidIdentityToken", 400), "RunTask")) is AccessDenied
    assert type(classify(error("Throttling", 400), "RunTask")) is Throttled


def test_a_body_that_cannot_be_sent_is_rejected_without_repeating_its_values() -> None:
    secret = ["hunter2"]
    with pytest.raises(Rejected) as caught:
        api(clients().ecs_once).send("RunTask", {**REQUEST, "startedBy": secret})
    assert caught.value.code == "ParamValidationError"
    assert "startedBy" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_answer_that_is_no_json_may_have_been_executed() -> None:
    client = clients().ecs
    on_send(client, "DescribeTasks", lambda _: answer(b"\xff<html>", 200))
    with pytest.raises(OutcomeUnknown):
        api(client).call("DescribeTasks", {"cluster": "main", "tasks": ["a"]})


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server on 127.0.0.1 that handles one connection with ``serve``: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def run_against(url: str) -> FractalError:
    client: Any = session().client(
        "ecs",
        region_name=REGION,
        endpoint_url=url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=0.2),
    )
    with pytest.raises(FractalError) as caught:
        EcsClient(clients(ecs_once=client), QuotaGroups()).run_task(REQUEST)
    client.close()
    return caught.value


def test_a_server_that_hangs_up_after_the_request_leaves_the_outcome_unknown() -> None:
    with server(lambda connection: None) as url:
        assert type(run_against(url)) is OutcomeUnknown


def test_a_server_that_dies_within_its_answer_leaves_the_outcome_unknown() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b'{"tasks": [')

    with server(cut) as url:
        assert type(run_against(url)) is OutcomeUnknown


def test_a_server_that_does_not_answer_leaves_the_outcome_unknown() -> None:
    caller_gone = threading.Event()

    def wait(_: socket.socket) -> None:
        caller_gone.wait(timeout=30)

    with server(wait) as url:
        error = run_against(url)
        caller_gone.set()
    assert type(error) is OutcomeUnknown


def test_a_closed_port_is_unavailable() -> None:
    with closed_port() as port:
        assert type(run_against(f"http://127.0.0.1:{port}")) is Unavailable


def test_a_throttle_shrinks_the_bucket_but_a_full_account_does_not() -> None:
    clock = Clock()
    quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
    stubs = Stubs.active()
    stubs.once.add_client_error("run_task", "ClientException", "tasks in PROVISIONING state")
    stubs.once.add_client_error("run_task", "ThrottlingException", "Rate exceeded")
    calls = Api(stubs.clients.ecs_once, quotas)
    with pytest.raises(QuotaReached):
        calls.send("RunTask", REQUEST)
    assert not quotas.draw("RunTask")
    with pytest.raises(Throttled):
        calls.send("RunTask", REQUEST)
    assert quotas.draw("RunTask")
    assert quotas.draw("StopTask"), "launches and stops share ECS's bucket"
    assert not quotas.draw("DescribeTasks")


def test_every_call_is_observed_once_with_its_code_and_duration() -> None:
    stubs = Stubs.active()
    stubs.once.add_response("run_task", {"tasks": [], "failures": []})
    stubs.once.add_client_error("run_task", "ClientException", "no")
    seen: list[tuple[str, str, float]] = []
    ticks = iter([1.0, 3.5, 10.0, 10.25])
    calls = api(
        stubs.clients.ecs_once,
        observe=lambda *values: seen.append(values),
        monotonic=lambda: next(ticks),
    )
    calls.send("RunTask", REQUEST)
    with pytest.raises(Rejected):
        calls.send("RunTask", REQUEST)
    assert seen == [("RunTask", "OK", 2.5), ("RunTask", "ClientException", 0.25)]


def test_a_call_whose_token_would_come_too_late_is_throttled_and_not_sent() -> None:
    clock = Clock()
    quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
    while not quotas.draw("DescribeTasks"):
        pass
    seen: list[str] = []
    calls = Api(clients().ecs, quotas, observe=lambda op, *_: seen.append(op), patience=0.05)
    with pytest.raises(Throttled, match="DescribeTasks"):
        calls.call("DescribeTasks", {"cluster": "main", "tasks": ["a"]})
    assert (seen, clock.slept) == ([], [])
