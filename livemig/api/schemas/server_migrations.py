"""Queries and bodies below /servers/{id}/migrations (nova/api/openstack/compute/schemas/server_migrations.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import NULL, Versioned, query, record
from livemig.microversions import MIN

LIST: Versioned = ((MIN, query({})), (microversions.STRICT_EVERYWHERE, query({}, strict=True)))
ACTION: Versioned = ((microversions.FORCE_COMPLETE, record({"force_complete": NULL})),)
