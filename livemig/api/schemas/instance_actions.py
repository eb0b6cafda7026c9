"""Queries of /servers/{id}/os-instance-actions (nova/api/openstack/compute/schemas/instance_actions.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import NUMBER, TEXT, TIME, Schema, Versioned, query
from livemig.microversions import MIN

_PAGE: dict[str, Schema] = {"limit": NUMBER, "marker": TEXT, "changes-since": TIME}

LIST: Versioned = (
    (MIN, query({})),
    (microversions.PAGED_ACTIONS, query(_PAGE, strict=True)),
    (microversions.CHANGES_BEFORE, query(_PAGE | {"changes-before": TIME}, strict=True)),
)
