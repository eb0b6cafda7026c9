"""Bodies of POST /servers/{id}/action."""

from __future__ import annotations

from livemig.api.schemas.validation import BOOLEAN, HOST, Versioned

# nova/api/openstack/compute/schemas/migrate_server.py
MIGRATE_LIVE: Versioned = (
    (
        (2, 1),
        {
            "type": "object",
            "properties": {
                "os-migrateLive": {
                    "type": "object",
                    "properties": {"host": HOST, "block_migration": BOOLEAN, "disk_over_commit": BOOLEAN},
                    "required": ["block_migration", "disk_over_commit", "host"],
                    "additionalProperties": False,
                },
            },
            "required": ["os-migrateLive"],
            "additionalProperties": False,
        },
    ),
)
