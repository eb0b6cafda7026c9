"""The microversions of the API, one line of history each (Nova's: nova/api/openstack/compute/rest_api_version_history.rst)."""

from __future__ import annotations

Version = tuple[int, int]

HISTORY: dict[Version, str] = {
    (2, 1): "os-migrateLive with host, block_migration and disk_over_commit, answered when the checks are done.",
}

MIN = min(HISTORY)
MAX = max(HISTORY)
SERVICE_TYPE = "compute"
LEGACY_HEADER = "X-OpenStack-Nova-API-Version"
HEADER = "OpenStack-API-Version"


def text(version: Version) -> str:
    """(2, 1) → "2.1"."""
    return f"{version[0]}.{version[1]}"
