"""The models, the migrations and a live database say the same, both ways."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateSchema
from tests.integration.test_ledger import APP_STATE, CONTAINER

from fractal_helpers import migrate
from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models import migrations
from fractal_models.errors import Unavailable
from fractal_models.migrations import SCHEMAS
from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer

COLUMNS = """
    SELECT table_schema, table_name, column_name, data_type, udt_name, character_maximum_length,
           is_nullable, column_default, is_identity, collation_name, ordinal_position
      FROM information_schema.columns WHERE table_schema IN ('hardware', 'logs')"""
# Primary and unique keys, foreign keys and checks, in PostgreSQL's own words.
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace::regnamespace::text IN ('hardware', 'logs')"""
INDEXES = """
    SELECT schemaname, indexname, indexdef
      FROM pg_indexes WHERE schemaname IN ('hardware', 'logs')"""
OTHERS = """
    SELECT relnamespace::regnamespace::text, relname,
           concat(relkind, reloptions::text)
      FROM pg_class WHERE relnamespace::regnamespace::text IN ('hardware', 'logs')
     UNION SELECT event_object_schema, trigger_name, 't' FROM information_schema.triggers
     UNION SELECT typnamespace::regnamespace::text, typname, 'e' FROM pg_type WHERE typtype = 'e'"""


def catalogue(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """What PostgreSQL knows of our schemas, but for Alembic's own table."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("DROP TABLE IF EXISTS logs.alembic_version"))
        found = {
            query: {tuple(row) for row in connection.execute(text(query))}
            for query in (COLUMNS, CONSTRAINTS, INDEXES, OTHERS)
        }
        connection.rollback()
    engine.dispose()
    return found


def test_migrations_and_models_make_the_same_tables(
    database: str, make_database: Callable[..., str]
) -> None:
    from_models = make_database()
    engine = create_engine(from_models)
    with engine.begin() as connection:
        for schema in SCHEMAS:
            connection.execute(CreateSchema(schema))
        Base.metadata.create_all(connection)
    engine.dispose()

    migrated, declared = catalogue(database), catalogue(from_models)
    for query in (CONSTRAINTS, INDEXES, OTHERS):
        assert migrated[query] == declared[query]
    # The order of the columns is compared too: it is what people see in psql.
    assert migrated[COLUMNS] == declared[COLUMNS]
    assert len(migrated[COLUMNS]) == 26 + 12 + 11


def test_a_migrated_database_passes_the_check(database: str) -> None:
    assert migrate.current(database) == "0002"
    assert migrate.check(database) == []


def test_an_empty_database_fails_the_check(make_database: Callable[..., str]) -> None:
    url = make_database()
    assert migrate.current(url) is None
    assert {line for line in migrate.check(url) if "add_table" in line} == {
        "add_table hardware.user_app_state",
        "add_table hardware.user_containers",
        "add_table logs.container_history",
    }


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("ALTER TABLE hardware.user_containers ADD COLUMN lock boolean", "lock"),
        ("ALTER TABLE hardware.user_containers DROP COLUMN dpi", "dpi"),
        (
            "ALTER TABLE hardware.user_containers ALTER COLUMN dpi TYPE bigint",
            "database BIGINT, models INTEGER",
        ),
        (
            "ALTER TABLE hardware.user_containers ALTER COLUMN dpi SET DEFAULT 97",
            "database 97, models 96",
        ),
        (
            "ALTER TABLE hardware.user_app_state ALTER COLUMN ip DROP NOT NULL",
            "modify_nullable hardware.user_app_state.ip",
        ),
        (
            "ALTER TABLE logs.container_history ALTER COLUMN key TYPE varchar(9)",
            "database VARCHAR(9), models VARCHAR",
        ),
        ("DROP INDEX logs.container_history_at_idx", "container_history_at_idx"),
        ("CREATE INDEX stray ON logs.container_history (name)", "stray"),
        (
            "ALTER TABLE hardware.user_containers DROP CONSTRAINT user_containers_state_check",
            "hardware.user_containers.user_containers_state_check exists in the models only",
        ),
        (
            "ALTER TABLE hardware.user_containers ADD CONSTRAINT positive CHECK (dpi > 0)",
            "hardware.user_containers.positive exists in the database only",
        ),
    ],
)
def test_a_drift_is_seen(database: str, engine: Engine, statement: str, word: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))
    (line,) = migrate.check(database)
    assert word in line


def test_other_peoples_tables_are_none_of_our_business(database: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE public.users (id int)"))
        connection.execute(text("CREATE TABLE hardware.cluster_info (id int)"))
        connection.execute(text("CREATE TABLE public.alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO public.alembic_version VALUES ('abc')"))
    assert migrate.check(database) == []
    migrate.downgrade(database, "base")
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM public.users, hardware.cluster_info"))
        assert connection.scalar(text("SELECT version_num FROM public.alembic_version")) == "abc"


def test_down_and_up_again_end_where_they_began(database: str) -> None:
    before = catalogue(database)
    migrate.downgrade(database, "base")
    assert migrate.current(database) is None
    assert not any(catalogue(database).values())
    migrate.upgrade(database)
    assert catalogue(database) == before


def test_rows_are_written_while_a_database_is_migrated(
    database: str, ledger: PostgresLedger
) -> None:
    migrate.downgrade(database, "0001")
    done, started = threading.Event(), threading.Event()

    def write() -> int:
        for number in itertools.count():
            assert ledger.write([replace(CONTAINER, container_id=f"t{number}"), APP_STATE]) == ()
            started.set()
            if done.is_set():
                return number + 1
        raise AssertionError

    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(write)
        assert started.wait(30)
        migrate.upgrade(database)
        done.set()
        assert len(ledger.containers("uid-1")) <= written.result(timeout=30)
    assert len(ledger.containers("uid-1")) == written.result()
    assert migrate.check(database) == []


def test_upgrading_twice_changes_nothing(database: str) -> None:
    before = catalogue(database)
    migrate.upgrade(database)
    assert catalogue(database) == before


def test_a_failed_upgrade_leaves_nothing_behind(make_database: Callable[..., str]) -> None:
    url = make_database()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(CreateSchema("logs"))
        connection.execute(text("CREATE TABLE logs.container_history (someone_elses int)"))
    before = catalogue(url)
    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(url)
    assert catalogue(url) == before
    engine.dispose()


def test_migrating_an_unreachable_database_is_typed(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        migrate.upgrade(f"postgresql://nobody@/none?host={tmp_path}")


def test_a_new_revision_is_drafted_from_the_template(
    database: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE logs.container_history DROP COLUMN message"))
    draft = migrate.draft(database, "Bring back the message", tmp_path)
    assert "op.add_column('container_history', sa.Column('message'" in draft.read_text()
    assert "down_revision = '0002'" in draft.read_text()
    compile(draft.read_text(), draft, "exec")


@pytest.mark.parametrize(
    ("model", "record", "own"),
    [
        (UserContainer, ContainerRecord, {"last_pinged"}),
        (UserAppState, AppStateRecord, set()),
        (ContainerHistory, HistoryRecord, set()),
    ],
)
def test_a_table_holds_what_its_record_holds(
    model: type[Base], record: type[Any], own: set[str]
) -> None:
    assert {c.key for c in model.__table__.columns} - own == {f.name for f in fields(record)}


def test_the_database_refuses_a_state_nobody_knows(engine: Engine) -> None:
    row = "'t', 'lab', 'n', 'n', NULL, 'DRAINING', '', -1, 1, '1', now(), false"
    with engine.begin() as connection, pytest.raises(IntegrityError, match="state_check"):
        connection.execute(text(f"INSERT INTO hardware.user_app_state VALUES ({row})"))


def test_every_revision_is_in_the_package() -> None:
    folder = Path(migrations.__file__).parent
    assert (folder / "script.py.mako").is_file()
    assert [path.name for path in sorted((folder / "versions").glob("*.py"))] == [
        "0001_mirror_and_history.py",
        "0002_indexes.py",
    ]
