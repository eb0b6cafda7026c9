"""A host as Nova shows its compute service (nova/api/openstack/compute/services.py)."""

from __future__ import annotations

from typing import Any

from livemig import microversions
from livemig.api.views import links
from livemig.microversions import Version
from livemig.records import Host


def service(version: Version, host: Host, zone: str) -> dict[str, Any]:
    """An item of GET /os-services."""
    shown = {
        "id": host.service_uuid if version >= microversions.UUIDS else host.number,
        "binary": "nova-compute",
        "host": host.name,
        "zone": zone,
        "status": status(host),
        "state": state(host),
        "updated_at": links.micro_or_none(host.updated_at),
        "disabled_reason": host.disabled_reason,
    }
    if version >= microversions.FORCED_DOWN:
        shown["forced_down"] = host.forced_down
    return shown


def status(host: Host) -> str:
    return "disabled" if host.disabled else "enabled"


def state(host: Host) -> str:
    return "up" if host.usable else "down"
