"""Queries and bodies of /os-services (nova/api/openstack/compute/schemas/services.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import BOOLEAN, HOST_NAME, LINE, TEXT, Schema, Versioned, query, record
from livemig.microversions import MIN

_FILTERS: dict[str, Schema] = {"host": TEXT, "binary": TEXT}
_ONE: dict[str, Schema] = {"host": HOST_NAME, "binary": LINE}

LIST: Versioned = ((MIN, query(_FILTERS, several=_FILTERS)), (microversions.STRICT_QUERIES, query(_FILTERS, several=_FILTERS, strict=True)))

HOST_BINARY: Versioned = ((MIN, record(_ONE)),)
DISABLE_REASON: Versioned = ((MIN, record(_ONE | {"disabled_reason": LINE})),)
FORCE_DOWN: Versioned = ((microversions.FORCED_DOWN, record(_ONE | {"forced_down": BOOLEAN}, required=["host", "binary"])),)
UPDATE: Versioned = (
    (
        microversions.UUIDS,
        record({"status": {"type": "string", "enum": ["enabled", "disabled"]}, "disabled_reason": LINE, "forced_down": BOOLEAN}, required=[]),
    ),
)
