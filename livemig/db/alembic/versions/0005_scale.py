"""Which hosts a conductor cannot reach; the sum of every host's servers is read from an index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("conductors") as batch:
        batch.add_column(sa.Column("away", sa.JSON(), nullable=True))
    op.drop_index("servers_host", "servers")
    op.create_index("servers_host", "servers", ["host", "vm_state", "vcpus", "memory_mib"], unique=False)
