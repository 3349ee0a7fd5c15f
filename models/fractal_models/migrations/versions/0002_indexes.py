"""The indexes by which people ask (docs/queries.md), the auditor reads and old rows are pruned.

Not CONCURRENTLY: docs/decisions/0013-ten-thousand-rows.md tells why.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Indexes = tuple[tuple[str, str, str, list[str], str | None], ...]

HARDWARE, LOGS = "hardware", "logs"
CONTAINERS, APPS, HISTORY = "user_containers", "user_app_state", "container_history"
ENDED = "state IN ('STOPPED', 'FAILED')"
LIVE = "state NOT IN ('STOPPED', 'FAILED')"
OLD = (  # in the order in which the auditor reads, so that the two cannot wait for each other
    (HARDWARE, APPS, "state_idx", ["state"], None),
    (HARDWARE, APPS, "observed_at_idx", ["observed_at"], None),
    (HARDWARE, APPS, "live_idx", ["install"], "NOT deleted"),
    (HARDWARE, CONTAINERS, "state_idx", ["state"], None),
    (HARDWARE, CONTAINERS, "observed_at_idx", ["observed_at"], None),
)
NEW = (
    (HARDWARE, CONTAINERS, "namespace_name_idx", ["namespace", "name"], None),
    (HARDWARE, CONTAINERS, "created_at_idx", ["created_at"], None),
    (HARDWARE, CONTAINERS, "live_idx", ["cluster", "uid"], LIVE),
    (HARDWARE, CONTAINERS, "ended_idx", ["stopped_at"], ENDED),
    (HARDWARE, APPS, "namespace_name_idx", ["namespace", "name"], None),
    (HARDWARE, APPS, "live_state_idx", ["state"], "NOT deleted"),
    (HARDWARE, APPS, "live_task_id_idx", ["install", "task_id"], "NOT deleted"),
    (HARDWARE, APPS, "deleted_idx", ["install", "observed_at"], "deleted"),
    (LOGS, HISTORY, "namespace_name_at_idx", ["namespace", "name", "at"], None),
)


def upgrade() -> None:
    # Of pages that are written from now on; those that are full loosen as their rows move out.
    op.execute("ALTER TABLE hardware.user_containers SET (fillfactor = 70)")
    _replace(OLD, NEW)


def downgrade() -> None:
    op.execute("ALTER TABLE hardware.user_containers RESET (fillfactor)")
    _replace(NEW, OLD)


def _replace(old: Indexes, new: Indexes) -> None:
    for schema, table, name, columns, where in new:
        op.create_index(
            f"{table}_{name}",
            table,
            columns,
            schema=schema,
            postgresql_where=sa.text(where) if where else None,
        )
    # In the end, because a DROP keeps readers out until the transaction is over.
    for schema, table, name, *_ in old:
        op.drop_index(f"{table}_{name}", table, schema=schema)
