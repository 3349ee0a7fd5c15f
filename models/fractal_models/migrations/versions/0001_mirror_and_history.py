"""The mirror (hardware.user_containers, hardware.user_app_state) and logs.container_history.

A revision is history: it repeats names and values instead of importing today's models.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CONTAINER_STATES = (
    "state IN ('CREATING', 'RUNNING_AVAILABLE', 'RUNNING_UNAVAILABLE', 'DELETING',"
    " 'STOPPED', 'FAILED')"
)
APP_STATES = (
    "state IN ('PENDING', 'SPINNING_UP_NEW', 'WAITING_FOR_CLIENT_APP', 'READY',"
    " 'FAILURE', 'CANCELLED')"
)
INDEXES = {
    ("hardware", "user_containers"): (
        ("user_id",),
        ("state",),
        ("observed_at",),
        ("uid", "attempt"),
    ),
    ("hardware", "user_app_state"): (("user_id",), ("state",), ("observed_at",)),
    ("logs", "container_history"): (("at",), ("uid", "at")),
}


def upgrade() -> None:
    _create_user_containers()
    _create_user_app_state()
    _create_container_history()
    for (schema, table), indexes in INDEXES.items():
        for columns in indexes:
            name = "_".join((table, *columns, "idx"))
            op.create_index(name, table, list(columns), schema=schema)
    op.create_index(
        "user_app_state_live_idx",
        "user_app_state",
        ["install"],
        schema="hardware",
        postgresql_where=sa.text("NOT deleted"),
    )


def downgrade() -> None:
    """Drop the tables. The schemas stay: other tables may live there."""
    op.drop_table("container_history", schema="logs")
    op.drop_table("user_app_state", schema="hardware")
    op.drop_table("user_containers", schema="hardware")


def _create_user_containers() -> None:
    op.create_table(
        "user_containers",
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String()),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("ip", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("port_32262", sa.BigInteger(), nullable=False, server_default=sa.text("-1")),
        sa.Column("port_32263", sa.BigInteger(), nullable=False, server_default=sa.text("-1")),
        sa.Column("port_32273", sa.BigInteger(), nullable=False, server_default=sa.text("-1")),
        sa.Column("dpi", sa.Integer(), server_default=sa.text("96")),
        sa.Column("task_definition", sa.String(), nullable=False),
        sa.Column("task_version", sa.Integer()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_pinged", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True)),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("stopped_at", sa.DateTime(timezone=True)),
        sa.Column("stop_code", sa.String(), nullable=False),
        sa.Column("stopped_reason", sa.String(), nullable=False),
        sa.Column("exit_code", sa.BigInteger()),
        sa.PrimaryKeyConstraint("container_id", name="user_containers_pkey"),
        sa.CheckConstraint(CONTAINER_STATES, name=op.f("user_containers_state_check")),
        schema="hardware",
    )


def _create_user_app_state() -> None:
    op.create_table(
        "user_app_state",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("install", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("user_id", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("ip", sa.String(), nullable=False),
        sa.Column("port", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("resource_version", sa.String(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("task_id", name="user_app_state_pkey"),
        sa.CheckConstraint(APP_STATES, name=op.f("user_app_state_state_check")),
        schema="hardware",
    )


def _create_container_history() -> None:
    op.create_table(
        "container_history",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("phase_from", sa.String(), nullable=False),
        sa.Column("phase_to", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="container_history_pkey"),
        schema="logs",
    )
