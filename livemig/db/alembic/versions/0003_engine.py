"""What the engine keeps of a migration: destinations tried, files to be removed, its share of a link, what it waits for, whether its guest starts by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("migrations") as batch:
        batch.add_column(sa.Column("bandwidth_mib_s", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("tried", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("files", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("untidy", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("waits_for", sa.Text(), nullable=True))
        batch.add_column(sa.Column("autostart", sa.Boolean(), nullable=False, server_default=sa.false()))
    migrations = sa.table("migrations", sa.column("tried", sa.JSON()), sa.column("files", sa.JSON()))
    op.get_bind().execute(sa.update(migrations).values(tried=[], files=[]))
    with op.batch_alter_table("migrations") as batch:
        batch.alter_column("tried", existing_type=sa.JSON(), nullable=False)
        batch.alter_column("files", existing_type=sa.JSON(), nullable=False)
    op.create_index("migrations_untidy", "migrations", ["untidy"], unique=False)
