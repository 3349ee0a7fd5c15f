"""Run by Alembic for every command: binds the migrations to the caller's connection.

The caller (``fractal_helpers.migrate``) opens the transaction: all revisions happen, or none.
"""

from alembic import context
from sqlalchemy import func, inspect, select
from sqlalchemy.schema import CreateSchema

from fractal_models.migrations import OPTIONS, SCHEMAS

# Any number, the same in every release: two operators that start at once migrate one by one.
LOCK = 0x66726163

connection = context.config.attributes["connection"]
connection.execute(select(func.pg_advisory_xact_lock(LOCK)))

# The version table needs its schema before the first revision runs. CREATE SCHEMA IF NOT EXISTS
# would need the privilege to create one even where an administrator already has.
for schema in set(SCHEMAS) - set(inspect(connection).get_schema_names()):
    connection.execute(CreateSchema(schema))

context.configure(connection=connection, **OPTIONS)
with context.begin_transaction():
    context.run_migrations()
