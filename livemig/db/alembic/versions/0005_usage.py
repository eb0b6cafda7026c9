"""The sum of every host's servers is read from an index alone."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("servers_host", "servers")
    op.create_index("servers_host", "servers", ["host", "vm_state", "vcpus", "memory_mib"], unique=False)
