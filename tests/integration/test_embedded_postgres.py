"""The embedded PostgreSQL on a machine that is busy with other things."""

from pathlib import Path

from sqlalchemy import text

from fractal_dev.postgres import Postgres
from fractal_helpers.sql import create_engine

SLOW = """#!/bin/sh
# Starts the server, and takes longer to say so than the wheel waits.
{pg_ctl} "$@" || exit
case " $* " in *" start "*) exec sleep 60 ;; esac
"""


def test_a_start_that_takes_longer_than_the_wheel_waits_is_waited_for(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "data")
    server = postgres._server = postgres._open()
    slow = tmp_path / "bin"
    slow.mkdir()
    for program in server.bin_path.iterdir():
        (slow / program.name).symlink_to(program)
    (slow / "pg_ctl").unlink()
    (slow / "pg_ctl").write_text(SLOW.format(pg_ctl=server.bin_path / "pg_ctl"))
    (slow / "pg_ctl").chmod(0o755)
    server.bin_path = slow
    with postgres:
        engine = create_engine(postgres.url())
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()
