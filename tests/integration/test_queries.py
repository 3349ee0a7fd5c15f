"""docs/queries.md and the ledger's own statements, on many rows: answered, and from indexes.

10,000 objects and as many that are gone, 40,000 tasks, a quarter of them live, 100,000 transitions.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models.observed import TaskArn

DOCUMENT = Path(__file__).parents[2] / "docs" / "queries.md"
QUERIES = [
    pytest.param(query, id=f"{title} {number}")
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    for number, query in enumerate(re.findall(r"```sql\n(.*?)```", body, re.S))
]
BIG = {"user_containers", "user_app_state", "container_history"}
FILL = """
INSERT INTO hardware.user_app_state
SELECT md5('object' || n), 'lab', 'team-' || n % 20, 'web-' || n,
       'user-' || n % 3000 || '@example.org',
       CASE WHEN n > 10000 THEN 'CANCELLED' WHEN n % 50 = 0 THEN 'PENDING' ELSE 'READY' END,
       '10.0.0.1', -1, 1, n::text, now() - n % 80 * interval '1 day', n > 10000
  FROM generate_series(1, 20000) n;

INSERT INTO hardware.user_containers
SELECT 'arn:aws:ecs:eu-central-1:123456789012:task/apps/' || lpad(to_hex(n), 32, '0'),
       md5('object' || (n - 1) % 20000 + 1), 'team-' || n % 20, 'web-' || n % 20000, 1 + n / 20000,
       'user-' || n % 3000 || '@example.org', (ARRAY['apps', 'batch', 'gpu', 'more'])[1 + n % 4],
       'eu-central-1', '10.0.0.1', state, -1, -1, -1, 96, 'fc-0123456789abcdef', 1, 5, 1, born,
       extract(epoch FROM now()) - CASE WHEN n % 100 = 0 THEN 3600 ELSE 60 END,
       born, born + n % 90 * interval '1 second',
       CASE WHEN state IN ('STOPPED', 'FAILED') THEN born + interval '1 hour' END,
       '', '', CASE WHEN state = 'FAILED' THEN 1 END
  FROM (SELECT n, now() - n % 1997 * interval '1 hour' AS born,
               CASE WHEN n <= 10000 THEN 'RUNNING_AVAILABLE'
                    WHEN n % 20 = 0 THEN 'FAILED' ELSE 'STOPPED' END AS state
          FROM generate_series(1, 40000) n) rows
 ORDER BY born;

INSERT INTO logs.container_history
SELECT md5('object' || n % 20000) || '-' || n, now() - n * interval '78 seconds',
       md5('object' || n % 20000), 'team-' || n % 20, 'web-' || n % 20000, 1, '',
       'Pending', 'Running',
       (ARRAY['Ready', 'Launched', 'Replaced'])[1 + n % 3], 'a sentence that tells what happened'
  FROM generate_series(1, 100000) n;

UPDATE hardware.user_containers SET name = 'broken', namespace = 'team-1'
 WHERE state = 'FAILED' AND created_at > now() - interval '20 hours';

DELETE FROM hardware.user_app_state WHERE task_id = md5('object' || 77)
"""


@pytest.fixture(scope="module")
def many(make_database: Callable[..., str], migrated: str) -> Iterator[Engine]:
    """A database full of rows, with statistics, and nothing that changes them behind our back."""
    engine = create_engine(make_database(template=migrated))
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in FILL.split(";"):
            connection.execute(text(statement))
        connection.execute(text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def read_whole(engine: Engine, statement: str, parameters: Any = None) -> list[str]:
    """The big tables that a statement reads from the first row to the last, by its plan."""
    with engine.connect() as connection:
        told = connection.exec_driver_sql(
            f"EXPLAIN (FORMAT JSON) {statement}", parameters
        ).scalar_one()
    found = [*nodes(told[0]["Plan"])]
    assert any("Index" in node["Node Type"] for node in found), "it reads something"
    scans = (node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan")
    return [table for table in scans if table in BIG]


@pytest.mark.parametrize("query", QUERIES)
def test_what_people_ask_is_answered_from_indexes(many: Engine, query: str) -> None:
    with many.connect() as connection:
        assert connection.exec_driver_sql(query.replace("%", "%%")).all() != []
    assert read_whole(many, query.replace("%", "%%")) == []


ARNS: list[TaskArn] = [
    TaskArn(f"arn:aws:ecs:eu-central-1:123456789012:task/apps/{number:032x}")
    for number in range(1, 201)
]
LONG_AGO = datetime.now(UTC) - timedelta(days=70)
OWN: dict[str, Callable[[PostgresLedger], object]] = {
    "the auditor's first page": lambda ledger: ledger.live("lab"),
    "its page in the middle": lambda ledger: ledger.live("lab", after="8"),
    "its page of a namespace": lambda ledger: ledger.live("lab", ["team-7"]),
    "closing": lambda ledger: ledger.close_missing("lab", ["nobody"], ARNS, LONG_AGO),
    "pruning": lambda ledger: ledger.prune("nobody", LONG_AGO, 1000),
    "touching": lambda ledger: ledger.touch(dict.fromkeys(ARNS, LONG_AGO)),
    "one object's tasks": lambda ledger: ledger.containers("nobody"),
    "one object": lambda ledger: ledger.app_state("nobody"),
    "one object's history": lambda ledger: ledger.history("nobody"),
}


@pytest.mark.parametrize("operation", OWN.values(), ids=OWN)
def test_the_ledger_reads_no_table_whole(
    many: Engine, operation: Callable[[PostgresLedger], object]
) -> None:
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, rows: Any, *_: object) -> None:
        sent.append((statement, rows))

    event.listen(many, "before_cursor_execute", note)
    operation(PostgresLedger(many))
    event.remove(many, "before_cursor_execute", note)
    assert sent
    for statement, parameters in sent:
        assert read_whole(many, statement, parameters) == [], statement
