"""The HTTP side: who answers a request, what is counted, and where calls are held or cut."""

import contextlib
import io
import json
import re
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NoReturn
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from fractal_dev.ecs.api import TaskApi
from fractal_dev.ecs.engine import TaskEngine
from fractal_dev.ecs.errors import AwsError
from fractal_dev.ecs.faults import Faults
from fractal_dev.ecs.holds import Holds
from fractal_dev.ecs.throttle import Throttle

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Control = Callable[[str, str, dict[str, Any]], Any]

_TARGET = "AmazonEC2ContainerServiceV20141113."
_QUEUES = "AmazonSQS."
_SCOPE = re.compile(r"Credential=[^/]+/\d+/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/")
_JSON = "application/x-amz-json-1.1"


class Calls:
    """Counts calls as they arrive, and the errors answered. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def count(self, operation: str) -> None:
        """Count a call that arrived."""
        with self._lock:
            self._calls[operation] += 1

    def count_error(self, operation: str, code: str) -> None:
        """Count an error that a call was answered."""
        with self._lock:
            self._errors[f"{operation}:{code}"] += 1

    def take(self, *, clear: bool) -> dict[str, dict[str, int]]:
        """Return {"calls": per operation, "errors": per operation:code}, and start over."""
        with self._lock:
            counted = {"calls": dict(self._calls), "errors": dict(self._errors)}
            if clear:
                self._calls.clear()
                self._errors.clear()
        return counted


class StandInApp:
    """The WSGI application: /_ecs/ is the control API, ECS is ours, the rest is moto's."""

    def __init__(
        self,
        api: TaskApi,
        engine: TaskEngine,
        calls: Calls,
        faults: Faults,
        holds: Holds,
        throttle: Throttle,
        control: Control,
    ) -> None:
        self._api, self._engine, self._calls = api, engine, calls
        self._faults, self._holds, self._throttle = faults, holds, throttle
        self._control = control
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        if path.startswith("/_ecs/"):
            return self._answer_control(environ, path.removeprefix("/_ecs/"), body, start_response)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._engine.account.id
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if scope and target.startswith(_TARGET):
            operation = target.removeprefix(_TARGET)
            try:
                return self._answer_ecs(operation, scope["region"], body, environ, start_response)
            except AwsError as error:
                self._calls.count_error(operation, error.code)
                return _reply(start_response, error.status, error.body(), _JSON)
        if scope and target.startswith(_QUEUES):
            operation = f"sqs:{target.removeprefix(_QUEUES)}"
            self._calls.count(operation)
            try:
                self._faults.raise_error(operation, "")
            except AwsError as error:
                return _reply(start_response, error.status, error.body(), _JSON)
            return self._ask_moto(environ, start_response)
        if scope:
            action = parse_qs(body.decode()).get("Action", ["?"])[0]
            self._calls.count(f"{scope['service']}:{action}")
            if scope["service"] == "ec2":
                try:
                    self._faults.raise_error(f"ec2:{action}", "")
                except AwsError as error:
                    return _ec2_error(start_response, error)
                with self._engine.lock:
                    self._engine.settle()
                    return _whole(self._moto(environ, start_response))
        return self._ask_moto(environ, start_response)

    def _answer_ecs(
        self,
        operation: str,
        region: str,
        body: bytes,
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        request = json.loads(body or b"{}")
        client: socket.socket = environ["werkzeug.socket"]
        with self._engine.lock:
            subject = self._api.subject(request)
        self._calls.count(operation)
        hold = self._holds.take(operation, subject, ("before",))
        if hold and not self._holds.wait(hold, subject, client):
            _cut(client)
        self._throttle.take(region, operation)
        self._faults.raise_error(operation, subject)
        with self._engine.lock:
            answer = self._api.call(operation, region, request)
            reply = None if answer is not None else _whole(self._moto(environ, start_response))
        hold = self._holds.take(operation, subject, ("after", "drop"))
        if hold and (hold.phase == "drop" or not self._holds.wait(hold, subject, client)):
            _cut(client)
        return reply if reply is not None else _reply(start_response, 200, answer, _JSON)

    def _ask_moto(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer

    def _answer_control(
        self, environ: Environ, path: str, body: bytes, start_response: StartResponse
    ) -> Iterable[bytes]:
        query = {name: values[-1] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        try:
            values = {**query, **json.loads(body or b"{}")}
            answer = self._control(environ["REQUEST_METHOD"], path, values)
        except LookupError as error:
            return _reply(start_response, 404, {"error": str(error)}, "application/json")
        except (TypeError, ValueError) as error:
            return _reply(start_response, 400, {"error": str(error)}, "application/json")
        return _reply(start_response, 200, answer, "application/json")


def _ec2_error(start_response: StartResponse, error: AwsError) -> list[bytes]:
    said = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    body = f"<Response><Errors><Error>{said}</Error></Errors><RequestID>0</RequestID></Response>"
    start_response(f"{error.status} Error", [("Content-Type", "text/xml")])
    return [body.encode()]


def _whole(chunks: Iterable[bytes]) -> list[bytes]:
    try:
        return list(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()


def _cut(client: socket.socket) -> NoReturn:
    """End the connection without a reply; the server treats it as dropped by the client."""
    with contextlib.suppress(OSError):  # the client was faster
        client.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("cut by the stand-in")


def _reply(
    start_response: StartResponse, status: int, answer: Any, content_type: str
) -> list[bytes]:
    body = json.dumps(answer).encode()
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("X-Fractal-Stand-In", "ecs"),
    ]
    start_response(f"{status} {'OK' if status == 200 else 'Error'}", headers)
    return [body]
