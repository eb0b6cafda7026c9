"""Actions on servers and their events as Nova shows them (nova/api/openstack/compute/instance_actions.py).

The events of a live migration are told by its event log. In Nova a transfer reads as a success as soon as it is queued; here it ends when the migration
does, and a failed one says so, with the reason in `details`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from livemig import microversions
from livemig.api.views import links
from livemig.api.views.servers import host_id
from livemig.db.actions import ERROR, SUCCESS
from livemig.microversions import Version
from livemig.records import Action, Migration, MigrationEvent
from livemig.states import Status

LIVE_MIGRATION = "live-migration"

# Nova's names of the steps of a live migration.
CONDUCTOR = "conductor_live_migrate_instance"
CHECK = "compute_check_can_live_migrate_destination"
TRANSFER = "compute_live_migration"
ARRIVAL = "compute_post_live_migration_at_destination"


@dataclass(frozen=True, slots=True)
class Event:
    """One step of an action; `finished_at` and `result` are None while it lasts."""

    name: str
    host: str | None
    started_at: datetime
    finished_at: datetime | None
    result: str | None
    details: str | None


def action(version: Version, found: Action) -> dict[str, Any]:
    """An item of GET /servers/{id}/os-instance-actions."""
    shown = {
        "action": found.action,
        "instance_uuid": found.server_uuid,
        "request_id": found.request_id,
        "user_id": found.user_id,
        "project_id": found.project_id,
        "start_time": links.micro(found.started_at),
        "message": "Error" if found.result == ERROR else None,
    }
    if version >= microversions.PAGED_ACTIONS:
        shown["updated_at"] = links.micro(found.updated_at)
    return shown


def event(version: Version, found: Action, step: Event, sees_all: bool, sees_details: bool) -> dict[str, Any]:
    """An event of an action. Hosts are for those who may see all; `hostId` tells the others whether two are the same."""
    shown = {
        "event": step.name,
        "start_time": links.micro(step.started_at),
        "finish_time": links.micro_or_none(step.finished_at),
        "result": step.result,
    }
    if sees_all:
        shown["traceback"] = None
    if version >= microversions.EVENT_HOST:
        shown["hostId"] = host_id(found.project_id, step.host) if step.host else ""
        if sees_all:
            shown["host"] = step.host
    if version >= microversions.EVENT_DETAILS and sees_details:
        shown["details"] = step.details
    return shown


def own_event(found: Action) -> Event:
    """The one event of an action that is no migration: compute_pause_instance and the like."""
    name = f"compute_{found.action.replace('-', '_')}_instance"
    return Event(name, found.host, found.started_at, found.finished_at, found.result, found.details)


def events_of_migration(migration: Migration, log: Sequence[MigrationEvent]) -> list[Event]:
    """The steps that a migration has taken, the newest first. What a conductor does is told of the source: the API's field takes no null."""
    entered = {entry.text.partition(":")[0]: entry.at for entry in log if entry.kind == "status"}
    checks = [entry.at for entry in log if entry.kind == "check"]
    queued, running = entered.get(Status.QUEUED.value), entered.get(Status.RUNNING.value)
    steps = [_step(migration, CONDUCTOR, migration.source, migration.created_at, queued)]
    if checks:
        steps.append(_step(migration, CHECK, migration.destination or migration.requested_host or migration.source, checks[0], queued))
    if running is not None:
        steps.append(_step(migration, TRANSFER, migration.source, running, None))
    if migration.status is Status.COMPLETED and migration.finished_at is not None:
        steps.append(Event(ARRIVAL, migration.destination, migration.finished_at, migration.finished_at, SUCCESS, None))
    return steps[::-1]


def _step(migration: Migration, name: str, host: str | None, started_at: datetime, passed_at: datetime | None) -> Event:
    """A step that was passed, or lasts, or ended with the migration."""
    if passed_at is not None:
        return Event(name, host, started_at, passed_at, SUCCESS, None)
    if migration.finished_at is None:
        return Event(name, host, started_at, None, None, None)
    good = migration.status is Status.COMPLETED
    return Event(name, host, started_at, migration.finished_at, SUCCESS if good else ERROR, None if good else migration.reason)
