"""Rows as JSON, read from a real database."""

import json
from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fractal_models.serializers import serialize
from fractal_models.tables import ContainerHistory, UserAppState, UserContainer

NOW = datetime(2026, 11, 22, 23, 59, 59, tzinfo=timezone(timedelta(hours=-5)))


def test_rows_become_json_with_utc_times(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(
            UserContainer(
                container_id="t1",
                uid="u1",
                namespace="team",
                name="web",
                attempt=1,
                cluster="c",
                location="us-east-1",
                ip="192.0.2.1",
                state="CREATING",
                task_definition="fc-1",
                version=2**62,
                generation=1,
                observed_at=NOW,
                stop_code="",
                stopped_reason="ünï\n",
            )
        )
        session.commit()
        row = serialize(session.get_one(UserContainer, "t1"))

    assert json.loads(json.dumps(row)) == row
    assert row == {
        "container_id": "t1",
        "uid": "u1",
        "namespace": "team",
        "name": "web",
        "attempt": 1,
        "user_id": None,
        "cluster": "c",
        "location": "us-east-1",
        "ip": "192.0.2.1",
        "state": "CREATING",
        "port_32262": -1,
        "port_32263": -1,
        "port_32273": -1,
        "dpi": 96,
        "task_definition": "fc-1",
        "task_version": None,
        "version": 2**62,
        "generation": 1,
        "observed_at": "2026-11-23T04:59:59.000000Z",
        "last_pinged": None,
        "created_at": None,
        "started_at": None,
        "stopped_at": None,
        "stop_code": "",
        "stopped_reason": "ünï\n",
        "exit_code": None,
    }


def test_booleans_stay_booleans(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(
            UserAppState(
                task_id="u1",
                install="lab",
                namespace="team",
                name="web",
                state="READY",
                ip="",
                port=-1,
                generation=1,
                resource_version="1",
                observed_at=NOW,
            )
        )
        session.commit()
        assert serialize(session.get_one(UserAppState, "u1"))["deleted"] is False


def test_texts_of_times_sort_as_the_times_do() -> None:
    times = [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1)]
    texts = [str(serialize(ContainerHistory(at=time))["at"]) for time in times]
    assert sorted(texts) == texts
    assert datetime.fromisoformat(texts[0]) == NOW
    assert texts[0] == NOW.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
