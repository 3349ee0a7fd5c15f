"""No secret value is ever written anywhere: canaries in all that is secret, and a life of trouble.

Looked at is everything that the operator writes: its log at DEBUG, the objects but for their specs,
Events, metrics, and every table of the database.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import yaml
from sqlalchemy import text
from tests.e2e.api import DEADLINE
from tests.e2e.stack import OPERATOR, Obj, Servers, World, container, until

CANARIES = {
    "the database's password": "canary/db+pass@word",
    "AWS_SECRET_ACCESS_KEY": "canaryAwsSecret/abc+def0123456789abcdefgh",
    "AWS_SESSION_TOKEN": "canaryAwsSession//////////wEaCXVzLWVhc3QtMSJH",
    "the service account's token": "canary-kube-token-0123456789",
    "a variable of the process": "canary-of-the-process",
    "spec.environment": "canary-of-the-spec",
    "spec.template.environment": "canary-of-the-template",
    "spec.command": "canary-of-the-command",
}
QUOTED = "canary%2Fdb%2Bpass%40word"


def with_password(url: str) -> str:
    """The URL of the database, with a password that it does not ask for."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0] or 'postgres'}:{QUOTED}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))


@pytest.fixture
def secretive(world: World) -> Callable[..., dict[str, str]]:
    """The environment of an operator of this world, with a canary in each secret."""

    def environ(**changes: str) -> dict[str, str]:
        made = world.environ(
            log_level="DEBUG", database_url=with_password(world.database_url), **changes
        )
        config = Path(made["KUBECONFIG"])
        body = yaml.safe_load(config.read_text())
        body["users"][0]["user"]["token"] = CANARIES["the service account's token"]
        config.write_text(yaml.safe_dump(body))
        return made | {
            "AWS_SECRET_ACCESS_KEY": CANARIES["AWS_SECRET_ACCESS_KEY"],
            "AWS_SESSION_TOKEN": CANARIES["AWS_SESSION_TOKEN"],
            "APP_SIGNING_SEED": CANARIES["a variable of the process"],
        }

    return environ


def spec(**changes: Any) -> Obj:
    """A spec with a canary in each value that is nobody's but the container's."""
    made = container(
        environment=[{"name": "APP_A", "value": CANARIES["spec.environment"]}],
        command=["serve", "--key", CANARIES["spec.command"]],
    )
    made["template"]["environment"] = [
        {"name": "APP_B", "value": CANARIES["spec.template.environment"]}
    ]
    return made | changes


def leaks(written: str) -> list[str]:
    """Whose canary stands in ``written``, also as JSON, Python and URLs spell it."""
    spelled = {name: {value, json.dumps(value)[1:-1]} for name, value in CANARIES.items()}
    spelled["the database's password"].add(QUOTED)
    return [name for name, each in spelled.items() if any(value in written for value in each)]


def dump(world: World) -> str:
    """Every row of every table."""
    with world.engine.connect() as connection:
        tables = connection.execute(
            text(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_schema IN ('hardware', 'public', 'logs') AND table_type = 'BASE TABLE'"
            )
        ).all()
        rows = {
            f"{schema}.{name}": connection.execute(
                text(f'SELECT row_to_json(t)::text FROM "{schema}"."{name}" t')
            ).all()
            for schema, name in tables
        }
    assert rows["hardware.user_containers"]
    assert rows["logs.container_history"]
    return str(rows)


def written(world: World) -> dict[str, str]:
    """All that the operator has written, by where."""
    listed = json.loads(world.kubectl("get", "fc", "-o", "json"))["items"]
    for each in listed:
        del each["spec"]
        each["metadata"].pop("managedFields", None)
    scraped = world.operators[0].get("/metrics")
    assert scraped[0] == 200
    return {
        "its log": world.operators[0].logfile.read_text(),
        "objects": json.dumps(listed),
        "Events": world.kubectl("get", "events", "-o", "json"),
        "metrics": scraped[1],
        "tables": dump(world),
    }


def test_a_life_of_trouble_writes_no_secret(
    world: World, servers: Servers, secretive: Callable[..., dict[str, str]]
) -> None:
    operator = world.start()
    operator.kill()
    operator.environ = secretive()
    operator.start().wait_ready()
    world.create("ada", spec())
    world.until_condition("ada", "Ready", "True")

    # refused, too large, denied, throttled, lost
    filler = {"name": "APP_A", "value": "x" * 8000}
    secret = {"name": "APP_C", "value": CANARIES["spec.environment"] * 20}
    world.create("bob", spec(environment=[filler, secret]))
    world.until_condition("bob", "Stalled", "True")
    denied = "The security token included in the request is invalid."
    for code, message, status in (
        ("UnrecognizedClientException", denied, 400),
        ("ThrottlingException", "Rate exceeded", 400),
        ("ServerException", "Service Unavailable", 500),
    ):
        world.ecs.fail_next("RunTask", code=code, message=message, status=status)
    world.create("eve", spec())
    until(lambda: len(world.ecs.errors()) >= 1, "calls are refused")
    mark, its = world.mark(), f"/namespaces/{world.namespace}/fractalcontainers/mallory/status"
    world.proxy.broken = its
    world.create("mallory", spec())

    def refused() -> bool:
        return any(each.code == 503 and its in each.path for each in world.proxy.requests[mark:])

    until(refused, "writes fail")
    world.proxy.broken = ""

    # the database goes away, the process dies, and both come again
    servers.postgres.stop()
    try:
        world.patch("ada", spec={"dpi": 120})
        until(lambda: "rows failed, tried again later" in operator.log(), "it is missed")
        operator.kill()
        operator.start()
    finally:
        servers.postgres.start()
    operator.wait_ready()
    world.until_condition("mallory", "Ready", "True")
    uid = world.uid("mallory")
    until(lambda: world.app_state(uid).get("state") == "READY", "what happened is recorded")

    found = {where: leaking for where, what in written(world).items() if (leaking := leaks(what))}
    assert found == {}
    assert '"level": "debug"' in operator.logfile.read_text()


def test_a_process_that_cannot_start_tells_no_secret(
    secretive: Callable[..., dict[str, str]],
) -> None:
    broken = {
        "FRACTAL_DATABASE_URL": f"postgresq://fractal:{QUOTED}@db/fractal",
        "FRACTAL_WORKERS": "none",
        "FRACTAL_ALLOW": "{",
    }
    good = secretive(metrics_port="0", leader_election="false")
    for name, value in broken.items():
        done = subprocess.run(
            OPERATOR, env=good | {name: value}, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode != 0
        assert name in done.stderr, done.stderr
        assert leaks(done.stdout + done.stderr) == []


def test_settings_that_are_shown_show_no_secret(
    secretive: Callable[..., dict[str, str]],
) -> None:
    show = (
        "from fractal_operator.settings import Settings; s = Settings();"
        "print(repr(s), str(s), s.model_dump(), s.model_dump_json(), vars(s))"
    )
    done = subprocess.run(
        [sys.executable, "-c", show], env=secretive(), capture_output=True, text=True, check=True
    )
    assert "database_url" in done.stdout
    assert leaks(done.stdout) == []
