"""Queries of /os-hypervisors (nova/api/openstack/compute/schemas/hypervisors.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import BOOLEAN, HOST_NAME, NUMBER, TEXT, Schema, Versioned, query
from livemig.microversions import MIN

_PAGE: dict[str, Schema] = {"limit": NUMBER, "marker": TEXT}
_FOUND: dict[str, Schema] = _PAGE | {"hypervisor_hostname_pattern": HOST_NAME, "with_servers": BOOLEAN}
_SERVERS: dict[str, Schema] = {"with_servers": BOOLEAN}

LIST: Versioned = (
    (MIN, query({})),
    (microversions.PAGED_HYPERVISORS, query(_PAGE)),
    (microversions.UUIDS, query(_FOUND, strict=True)),
)
SHOW: Versioned = ((MIN, query({})), (microversions.UUIDS, query(_SERVERS, strict=True)))
