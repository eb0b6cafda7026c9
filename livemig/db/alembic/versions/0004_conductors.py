"""Several conductors: who lives, who watches which host, and what a conductor remembers of a migration for whoever takes it up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
NAME = sa.String(length=255)


def upgrade() -> None:
    op.create_table("conductors", sa.Column("owner", NAME, nullable=False), sa.Column("expires_at", MOMENT, nullable=False), sa.PrimaryKeyConstraint("owner"))
    op.create_table(
        "watches",
        sa.Column("host", NAME, nullable=False),
        sa.Column("owner", NAME, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host"),
    )
    op.create_index("watches_owner", "watches", ["owner"], unique=False)
    with op.batch_alter_table("migrations") as batch:
        batch.add_column(sa.Column("remembered", sa.JSON(), nullable=True))
    op.bulk_insert(sa.table("mutexes", sa.column("name", sa.String)), [{"name": "watches"}])
