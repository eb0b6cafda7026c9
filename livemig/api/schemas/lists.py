"""Queries of the lists that take little more than a page."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import NUMBER, TEXT, Schema, Versioned, query
from livemig.microversions import MIN

_PAGE: dict[str, Schema] = {"limit": NUMBER, "marker": TEXT}
_OFFSET: dict[str, Schema] = {"limit": NUMBER, "offset": NUMBER}

# nova/api/openstack/compute/schemas/volume_attachment.py
PAGE: Versioned = ((MIN, query(_OFFSET)), (microversions.STRICT_QUERIES, query(_OFFSET, strict=True)))

# nova/api/openstack/compute/schemas/hosts.py
ZONE: Versioned = ((MIN, query({"zone": TEXT}, several=["zone"])),)

# nova/api/openstack/compute/schemas/flavors.py
_FLAVORS: dict[str, Schema] = {
    **_PAGE,
    "is_public": TEXT,
    "minRam": TEXT,
    "minDisk": TEXT,
    "sort_key": {
        "type": "string",
        "enum": [
            *("created_at", "deleted", "disabled", "ephemeral_gb", "flavorid", "id", "is_public", "memory_mb", "name", "root_gb", "rxtx_factor", "swap"),
            *("updated_at", "vcpus", "vcpu_weight"),
        ],
    },
    "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
}
FLAVORS: Versioned = ((MIN, query(_FLAVORS, several=_FLAVORS)), (microversions.STRICT_QUERIES, query(_FLAVORS, several=_FLAVORS, strict=True)))

# nova/api/openstack/compute/schemas/limits.py
_LIMITS: dict[str, Schema] = {"tenant_id": TEXT, "reserved": TEXT}
LIMITS: Versioned = ((MIN, query(_LIMITS, several=_LIMITS)), (microversions.STRICT_QUERIES, query({"tenant_id": TEXT}, several=["tenant_id"], strict=True)))

# nova/api/openstack/compute/schemas/simple_tenant_usage.py
_USAGE: dict[str, Schema] = {"start": TEXT, "end": TEXT, "detailed": TEXT}
_USAGE_PAGES = _USAGE | _PAGE
USAGE: Versioned = (
    (MIN, query(_USAGE, several=_USAGE)),
    (microversions.USAGE_PAGES, query(_USAGE_PAGES, several=_USAGE_PAGES)),
    (microversions.STRICT_QUERIES, query(_USAGE_PAGES, several=_USAGE_PAGES, strict=True)),
)
