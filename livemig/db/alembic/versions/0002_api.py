"""What the whole API shows: hosts as services and hypervisors, servers in full, actions."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(length=255)


def upgrade() -> None:
    _hosts()
    _servers()
    _migrations()
    op.create_table(
        "actions",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("server_uuid", sa.String(length=36), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("migration_id", ROW_ID, nullable=True),
        sa.Column("host", NAME, nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("result", sa.String(length=16), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("actions_server", "actions", ["server_uuid", "id"], unique=False)
    op.create_index("actions_request", "actions", ["request_id"], unique=False)


def _hosts() -> None:
    with op.batch_alter_table("hosts") as batch:
        batch.alter_column("enabled", new_column_name="configured", existing_type=sa.Boolean(), existing_nullable=False)
        batch.add_column(sa.Column("number", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("service_uuid", sa.String(length=36), nullable=True))
        batch.add_column(_false("forced_down"))
        batch.add_column(_false("disabled"))
        batch.add_column(sa.Column("disabled_reason", NAME, nullable=True))
        batch.add_column(_empty("address"))
        batch.add_column(sa.Column("cpu", sa.JSON(), nullable=True))
        batch.add_column(_zero("disk_gib"))
        batch.add_column(_zero("disk_free_gib"))
        batch.add_column(sa.Column("booted_at", MOMENT, nullable=True))
    connection = op.get_bind()
    hosts = sa.table("hosts", sa.column("name"), sa.column("number"), sa.column("service_uuid"), sa.column("cpu", sa.JSON()))
    for number, name in enumerate(connection.scalars(sa.select(hosts.c.name).order_by(hosts.c.name)).all(), start=1):
        service_uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.services.livemig"))
        connection.execute(sa.update(hosts).where(hosts.c.name == name).values(number=number, service_uuid=service_uuid, cpu={}))
    with op.batch_alter_table("hosts") as batch:
        batch.alter_column("number", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("service_uuid", existing_type=sa.String(length=36), nullable=False)
        batch.alter_column("cpu", existing_type=sa.JSON(), nullable=False)
        batch.create_unique_constraint("hosts_number", ["number"])
        batch.create_unique_constraint("hosts_service_uuid", ["service_uuid"])


def _servers() -> None:
    """What is not known of a server yet is seen when its host is connected to."""
    json = ("flavor", "addresses", "user_metadata")
    with op.batch_alter_table("servers") as batch:
        batch.add_column(_empty("instance_name"))
        batch.add_column(sa.Column("description", sa.Text(), nullable=True))
        batch.add_column(_false("condemned"))
        batch.add_column(_empty("flavor_id"))
        for name in json:
            batch.add_column(sa.Column(name, sa.JSON(), nullable=True))
        batch.add_column(sa.Column("ip_addresses", sa.Text(), nullable=True))
        batch.add_column(sa.Column("root_device", NAME, nullable=True))
        batch.add_column(_false("config_drive"))
        batch.add_column(sa.Column("locked_by", sa.String(length=16), nullable=True))
        batch.add_column(sa.Column("locked_reason", NAME, nullable=True))
        batch.add_column(sa.Column("fault", sa.JSON(), nullable=True))
    servers = sa.table("servers", *(sa.column(name, sa.JSON()) for name in json), *map(sa.column, ("name", "instance_name", "ip_addresses")))
    op.get_bind().execute(sa.update(servers).values(instance_name=servers.c.name, flavor={}, addresses=[], user_metadata={}, ip_addresses=""))
    with op.batch_alter_table("servers") as batch:
        for name in json:
            batch.alter_column(name, existing_type=sa.JSON(), nullable=False)
        batch.alter_column("ip_addresses", existing_type=sa.Text(), nullable=False)
    op.create_index("servers_project", "servers", ["project_id", "created_at"], unique=False)
    op.create_index("servers_updated", "servers", ["updated_at"], unique=False)


def _migrations() -> None:
    with op.batch_alter_table("migrations") as batch:
        batch.alter_column("block_migration", existing_type=sa.Boolean(), nullable=True)
        batch.add_column(sa.Column("force", sa.Boolean(), nullable=True))
        batch.add_column(_false("completion_forced"))
    op.create_index("migrations_order", "migrations", ["created_at", "id"], unique=False)
    op.create_index("migrations_updated", "migrations", ["updated_at"], unique=False)


def _false(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _zero(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _empty(name: str) -> sa.Column[str]:
    return sa.Column(name, NAME, nullable=False, server_default="")
