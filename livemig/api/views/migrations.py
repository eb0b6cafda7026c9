"""A migration as Nova shows it, in both places (nova/api/openstack/compute/migrations.py, server_migrations.py)."""

from __future__ import annotations

from typing import Any

from livemig import microversions
from livemig.api.request import Request
from livemig.api.views import links
from livemig.records import Migration
from livemig.states import IN_PROGRESS

LIVE_MIGRATION = "live-migration"  # livemig has no other type

_COUNTERS = ("memory_total", "memory_processed", "memory_remaining", "disk_total", "disk_processed", "disk_remaining")


def listed(request: Request, migration: Migration, sees_hosts: bool) -> dict[str, Any]:
    """An item of GET /os-migrations. No flavor changes hands, so that neither type id says anything."""
    version = request.version
    shown = _both(request, migration, sees_hosts) | {
        "status": migration.status.value,
        "instance_uuid": migration.server_uuid,
        "old_instance_type_id": None,
        "new_instance_type_id": None,
    }
    if version >= microversions.SERVER_MIGRATIONS:
        shown["migration_type"] = LIVE_MIGRATION
        if migration.status in IN_PROGRESS:
            shown["links"] = links.of(request, f"servers/{migration.server_uuid}/migrations/{migration.id}")
    return shown


def in_progress(request: Request, migration: Migration, sees_hosts: bool) -> dict[str, Any]:
    """GET /servers/{id}/migrations/{migration}. A byte counter with nothing to count is null: Nova's own schema of the answer has no zero there."""
    counters = {f"{name}_bytes": getattr(migration, f"{name}_bytes") or None for name in _COUNTERS}
    return _both(request, migration, sees_hosts) | {"status": migration.status.value, "server_uuid": migration.server_uuid, **counters}


def _both(request: Request, migration: Migration, sees_hosts: bool) -> dict[str, Any]:
    source = migration.source if sees_hosts else None
    destination = migration.destination if sees_hosts else None
    shown = {
        "id": migration.id,
        "source_compute": source,
        "source_node": source,
        "dest_compute": destination,
        "dest_node": destination,
        "dest_host": None,  # Nova sets it for resizes only
        "created_at": links.micro(migration.created_at),
        "updated_at": links.micro(migration.updated_at or migration.created_at),
    }
    if request.version >= microversions.PAGED_MIGRATIONS:
        shown["uuid"] = migration.uuid
    if request.version >= microversions.MIGRATION_OWNERS:
        shown |= {"user_id": migration.user_id, "project_id": migration.project_id}
    return shown
