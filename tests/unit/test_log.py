"""Logs: one object a line whatever is logged, and no secret in any of them."""

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fractal_helpers import log
from fractal_helpers.log import Format, configure, fractal_log, register_secret
from fractal_helpers.redaction import escape, redact

JSON: Format = "json"
TEXT: Format = "text"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    names = [None, *log._FLOORS]
    handlers, levels = root.handlers[:], [logging.getLogger(name).level for name in names]
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    configure("json", logging.DEBUG, stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_event_is_one_json_object(lines: Lines) -> None:
    fractal_log("reconcile", "team/web", "launched", namespace="team", name="web", attempt=3)

    (event,) = lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("ts"))
    assert event == {
        "level": "info",
        "logger": "fractal",
        "message": "launched",
        "function": "reconcile",
        "label": "team/web",
        "namespace": "team",
        "name": "web",
        "attempt": 3,
    }


def test_fields_of_plain_logging_and_of_kopf_arrive(lines: Lines) -> None:
    logging.getLogger("a").warning("of %s", "extra", extra={"fields": {"uid": "u", "ts": 1}})
    reference = {"namespace": "team", "name": "web", "uid": "u", "kind": "FractalContainer"}
    logging.getLogger("kopf.objects").warning(
        "of kopf", extra={"k8s_ref": reference, "settings": None}
    )

    plain, kopf = lines()
    assert (plain["message"], plain["uid"], plain["ts_"]) == ("of extra", "u", 1)
    assert plain["ts"] != 1
    assert (kopf["namespace"], kopf["name"], kopf["uid"]) == ("team", "web", "u")
    assert "settings" not in kopf


def test_an_exception_is_a_field(lines: Lines) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    caught.value.args = ("bad\npassword=hunter22",)
    fractal_log("f", None, "failed", level=logging.ERROR, error=caught.value)

    (event,) = lines()
    assert event["level"] == "error"
    assert event["error"] == "ZeroDivisionError: bad\npassword=***"
    assert event["exception"].startswith("Traceback")
    assert "hunter22" not in json.dumps(event)


def test_values_json_does_not_know_become_text(lines: Lines) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    deep: list[Any] = []
    deep.append(deep)
    fractal_log(
        "f", None, "m", nan=float("nan"), broken=Broken(), deep=deep, pair=("a", {1: b"x"}), at=NOON
    )

    (event,) = lines()
    assert event["nan"] == "nan"
    assert event["broken"] == "<Broken>"
    assert event["at"] == "2026-01-02T12:00:00+00:00"
    assert event["pair"] == ["a", {"1": "b'x'"}]


def test_a_wrong_format_string_loses_nothing_and_prints_nothing_else(
    stream: io.StringIO, lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("json", stream=stream)  # again, without pytest's own handler, which would raise
    logging.getLogger("a").info("%d and password=%s", "hunter22")

    (event,) = lines()
    assert "%d and password=" in event["message"]
    assert capsys.readouterr() == ("", "")


def test_a_closed_stream_prints_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    stream.close()
    fractal_log("f", None, "password=hunter22")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://fractal:CANARY@db.example/fractal",
        "postgresql+psycopg2://fractal:CAN/ARY@db/fractal?sslmode=require",
        "amqp://:CAN@ARY@db",
        "host=db user=fractal password=CANARY dbname=x",
        "{'aws_secret_access_key': 'CANARY', 'region': 'x'}",
        '{"SecretAccessKey": "CANARY", "SessionToken":"CANARY"}',
        "AWS_SESSION_TOKEN=CANARY",
        "GET /?X-Amz-Credential=CANARY&X-Amz-Signature=CANARY",
        "Authorization: Bearer CANARY.x-y",
        "token: CANARY",
        "the key AKIACANARY0123456789 was used",
        "ASIACANARY0123456789",
        "eyJCANARY.eyJCANARY.CANARY",
        "-----BEGIN RSA PRIVATE KEY-----\nCANARY\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_recognisable_secrets_are_masked_everywhere(text: str, lines: Lines) -> None:
    fractal_log("f", text, text, field=text, nested={"list": [text]}, error=RuntimeError(text))
    logging.getLogger("lib").debug("%s", text)

    written = json.dumps(lines())
    assert "***" in written
    assert not re.search("CAN.?ARY", written)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:ecs:us-east-1:123456789012:task/cluster/0123456789abcdef0123456789abcdef",
        "clientToken=ABCDEFGHIJ",
        "GET http://127.0.0.1:8080/path from me@example.org",
        "no credentials were found",
        "commit 4f9c0f2c7f6f1f0f9e8d7c6b5a4938271605f4e3",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_fields_named_like_secrets_are_masked(lines: Lines) -> None:
    fractal_log("f", None, "m", db_password="x", nested={"apiKey": 1, "token": "y", "k": "z"})
    (event,) = lines()
    assert event["db_password"] == "***"
    assert event["nested"] == {"apiKey": "***", "token": "***", "k": "z"}


def test_registered_secrets_are_masked_in_every_spelling(lines: Lines) -> None:
    secret = 'p@ss "word"\n/ü'
    register_secret(secret)
    register_secret("")
    register_secret("abc")
    for spelled in (secret, "p%40ss%20%22word%22%0A%2F%C3%BC", repr(secret), json.dumps(secret)):
        fractal_log("f", None, f"<{spelled}> abc")

    assert {event["message"].replace('"', "").replace("'", "") for event in lines()} == {
        "<***> abc"
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=40))
def test_no_text_can_forge_a_line(text: str) -> None:
    for stream, layout in ((io.StringIO(), JSON), (io.StringIO(), TEXT)):
        configure(layout, stream=stream)
        fractal_log("f", text, text, field=text)

        written = stream.getvalue()
        assert written.isprintable() or set(written.rstrip("\n")).isdisjoint(
            map(chr, (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E))
        )
        assert len(written.splitlines()) == 1
        written.encode()


def test_json_hands_back_the_text_as_it_was(lines: Lines) -> None:
    text = "two\nlines, \x1b[31mred\x1b[0m, ü and \U0001f600"
    fractal_log("f", None, text)
    assert lines()[0]["message"] == text


def test_text_is_readable_and_a_traceback_stays_indented(stream: io.StringIO) -> None:
    configure("text", stream=stream)
    fractal_log("f", "team/web", "went\nwrong", error=ValueError("x\n2026 INFO forged"))

    first, *rest = stream.getvalue().splitlines()
    assert " info     fractal: went\\nwrong function=f label=team/web " in first
    assert "forged" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_escape_keeps_ordinary_text() -> None:
    assert escape("ünï 漢字 \U0001f600 a\tb") == "ünï 漢字 \U0001f600 a\\tb"


@pytest.mark.parametrize(("terminal", "json_expected"), [(True, False), (False, True)])
def test_auto_is_text_on_a_terminal_only(terminal: bool, json_expected: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    configure("auto", stream=stream)
    fractal_log("f", None, "m")
    assert stream.getvalue().startswith("{") == json_expected


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    fractal_log("f", None, "m")
    assert json.loads(capsys.readouterr().err)["message"] == "m"
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


def test_configuring_again_replaces_the_first(lines: Lines) -> None:
    again = io.StringIO()
    configure("json", stream=again)
    fractal_log("f", None, "m")
    assert lines() == []
    assert len(again.getvalue().splitlines()) == 1


def test_libraries_that_dump_payloads_are_held_back_at_debug(lines: Lines) -> None:
    for name in ("kopf.objects", "kopf._core.engines.peering", "botocore.endpoint", "urllib3"):
        logging.getLogger(name).debug("payload")
    logging.getLogger("sqlalchemy.engine").info("parameters")
    logging.getLogger("fractal_operator").debug("ours")
    assert [event["message"] for event in lines()] == ["ours"]


def test_libraries_do_not_become_louder_than_the_rest(stream: io.StringIO) -> None:
    configure("json", "ERROR", stream)
    logging.getLogger("kopf.objects").warning("m")
    assert stream.getvalue() == ""


def test_python_warnings_are_logged(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("look: password=hunter22", stacklevel=1)

    (event,) = lines()
    assert event["logger"] == "py.warnings"
    assert "look: password=***" in event["message"]
