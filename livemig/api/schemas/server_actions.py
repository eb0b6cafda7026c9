"""Bodies of POST /servers/{id}/action, by action."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import BOOLEAN, FALSE, HOST, LINE, TRUE, Schema, Versioned, record
from livemig.microversions import MIN

AUTO = "auto"
_BLOCK: Schema = {"type": ["boolean", "string"], "enum": [*TRUE, *FALSE, AUTO]}

# nova/api/openstack/compute/schemas/migrate_server.py
MIGRATE_LIVE: Versioned = (
    (MIN, record({"os-migrateLive": record({"block_migration": BOOLEAN, "disk_over_commit": BOOLEAN, "host": HOST})})),
    (microversions.BLOCK_MIGRATION_AUTO, record({"os-migrateLive": record({"block_migration": _BLOCK, "host": HOST})})),
    (
        microversions.FORCE,
        record({"os-migrateLive": record({"block_migration": _BLOCK, "host": HOST, "force": BOOLEAN}, required=["block_migration", "host"])}),
    ),
    (microversions.NO_FORCE, record({"os-migrateLive": record({"block_migration": _BLOCK, "host": HOST})})),
)


def _plain(name: str) -> Versioned:
    """An action without parameters. Clients send null or {}; Nova takes anything (nova/api/openstack/compute/schemas/servers.py), and so does livemig."""
    return ((MIN, record({name: {}})),)


PAUSE = _plain("pause")
UNPAUSE = _plain("unpause")
SUSPEND = _plain("suspend")
RESUME = _plain("resume")
START = _plain("os-start")
STOP = _plain("os-stop")
UNLOCK = _plain("unlock")

# nova/api/openstack/compute/schemas/lock_server.py
LOCK: Versioned = (
    (MIN, record({"lock": {}})),
    (microversions.LOCKED_REASON, record({"lock": {**record({"locked_reason": LINE}, required=[]), "type": ["object", "null"]}})),
)

# nova/api/openstack/compute/schemas/servers.py
REBOOT: Versioned = ((MIN, record({"reboot": record({"type": {"type": "string", "enum": [*("HARD", "Hard", "hard"), *("SOFT", "Soft", "soft")]}})})),)

# nova/api/openstack/compute/schemas/admin_actions.py
RESET_STATE: Versioned = ((MIN, record({"os-resetState": record({"state": {"type": "string", "enum": ["active", "error"]}})})),)
