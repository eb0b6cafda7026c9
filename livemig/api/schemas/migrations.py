"""Queries of GET /os-migrations (nova/api/openstack/compute/schemas/migrations.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import NUMBER, TEXT, TIME, Schema, Versioned, query
from livemig.microversions import MIN

_FILTERS: dict[str, Schema] = dict.fromkeys(("hidden", "host", "instance_uuid", "source_compute", "status", "migration_type"), TEXT)
_PAGED = _FILTERS | {"limit": NUMBER, "marker": TEXT, "changes-since": TIME}
_BEFORE = _PAGED | {"changes-before": TIME}
_OWNERS = _BEFORE | {"user_id": TEXT, "project_id": TEXT}

LIST: Versioned = (
    (MIN, query(_FILTERS)),
    (microversions.PAGED_MIGRATIONS, query(_PAGED, strict=True)),
    (microversions.CHANGES_BEFORE, query(_BEFORE, strict=True)),
    (microversions.MIGRATION_OWNERS, query(_OWNERS, strict=True)),
)
