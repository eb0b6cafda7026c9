"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("hypervisor_type", sa.String(length=255), nullable=False),
        sa.Column("hypervisor_version", sa.Integer(), nullable=False),
        sa.Column("libvirt_version", sa.Integer(), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("memory_free_mib", sa.Integer(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("uuid"),
    )
    op.create_table(
        "migrations",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("server_uuid", sa.String(length=36), nullable=False),
        sa.Column("active_server_uuid", sa.String(length=36), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("destination", sa.String(length=255), nullable=True),
        sa.Column("requested_host", sa.String(length=255), nullable=True),
        sa.Column("block_migration", sa.Boolean(), nullable=False),
        sa.Column("disk_over_commit", sa.Boolean(), nullable=True),
        sa.Column("abort_requested", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("lease_owner", sa.String(length=255), nullable=True),
        sa.Column("lease_expires_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("downtime_ms", sa.BigInteger(), nullable=True),
        sa.Column("memory_total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_processed_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_remaining_bytes", sa.BigInteger(), nullable=True),
        sa.Column("disk_total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("disk_processed_bytes", sa.BigInteger(), nullable=True),
        sa.Column("disk_remaining_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("active_server_uuid"),
        sa.UniqueConstraint("uuid"),
    )
    op.create_index("migrations_server", "migrations", ["server_uuid"], unique=False)
    op.create_index("migrations_status", "migrations", ["status"], unique=False)

    op.create_table(
        "mutexes", sa.Column("name", sa.String(length=64), nullable=False), sa.Column("taken_at", MOMENT, nullable=True), sa.PrimaryKeyConstraint("name")
    )
    op.create_table(
        "servers",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("vm_state", sa.String(length=32), nullable=False),
        sa.Column("power_state", sa.Integer(), nullable=False),
        sa.Column("task_state", sa.String(length=32), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("uuid"),
    )
    op.create_index("servers_host", "servers", ["host"], unique=False)
    op.create_index("servers_order", "servers", ["created_at", "uuid"], unique=False)

    op.create_table(
        "sightings",
        sa.Column("server_uuid", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("presence", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("server_uuid", "host"),
    )
    op.create_index("sightings_host", "sightings", ["host"], unique=False)

    op.create_table(
        "migration_events",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("migration_id", ROW_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migrations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("migration_events_migration", "migration_events", ["migration_id", "id"], unique=False)
    op.bulk_insert(sa.table("mutexes", sa.column("name", sa.String)), [{"name": "admission"}])
