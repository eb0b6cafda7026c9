"""The UUIDs of what livemig makes on hosts for a moment; and which migrations have left files that are not provably the guest's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("keeper", sa.String(255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_index("marks_host", "marks", ["host"])
    with op.batch_alter_table("migrations") as batch:
        batch.add_column(sa.Column("keeps", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.create_index("migrations_keeps", ["keeps"])
