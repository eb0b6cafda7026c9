"""The rows of the database as the rooms see them: frozen, with the names of their columns. Times are naive UTC, as in `facts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from livemig.facts import Address, Flavor, Policy
from livemig.states import Status


class HostStatus(str, Enum):
    """What a server's owner may be told of its host (nova/objects/fields.py, HostStatus)."""

    UP = "UP"
    DOWN = "DOWN"
    MAINTENANCE = "MAINTENANCE"  # disabled
    UNKNOWN = "UNKNOWN"  # not one of enabled_hosts any more


@dataclass(frozen=True, slots=True)
class Server:
    """A row of `servers`: what the API shows. `fault` is {code, message, created} of a server in error; `locked_by` is owner or admin."""

    uuid: str
    name: str
    instance_name: str
    description: str | None
    host: str
    vm_state: str
    power_state: int
    task_state: str | None
    progress: int
    memory_mib: int
    vcpus: int
    flavor: Flavor
    addresses: tuple[Address, ...]
    user_metadata: Mapping[str, str]
    root_device: str | None
    config_drive: bool
    locked_by: str | None
    locked_reason: str | None
    fault: Mapping[str, Any] | None
    project_id: str
    user_id: str
    created_at: datetime
    updated_at: datetime | None
    host_status: HostStatus


@dataclass(frozen=True, slots=True)
class Host:
    """A row of `hosts`. `up` is what its watcher last found; `forced_down` is an operator's word that it is not to be relied on.

    `number`, `uuid` and `service_uuid` are the ids of hypervisor and service in the API. A disabled host gets no migrations.
    """

    name: str
    number: int
    uuid: str
    service_uuid: str
    up: bool
    forced_down: bool
    disabled: bool
    disabled_reason: str | None
    address: str
    hypervisor_type: str
    hypervisor_version: int
    libvirt_version: int
    vcpus: int
    memory_mib: int
    memory_free_mib: int
    cpu: Mapping[str, Any]
    disk_gib: int
    disk_free_gib: int
    booted_at: datetime | None
    updated_at: datetime | None

    @property
    def usable(self) -> bool:
        """Up, and nobody said otherwise."""
        return self.up and not self.forced_down


@dataclass(slots=True)  # not frozen, which takes several times as long: a choice makes one for every host
class HostState:
    """What a choice looks at in a row of `hosts`; the fields are those of `Host`."""

    name: str
    up: bool
    forced_down: bool
    disabled: bool
    disabled_reason: str | None
    hypervisor_version: int
    vcpus: int
    memory_free_mib: int
    disk_free_gib: int


@dataclass(frozen=True, slots=True)
class Member:
    """Where a server of a group is, and where to its open migration `migration`, in `status`, brings it, if it has one."""

    host: str
    destination: str | None = None
    migration: int | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What an open migration takes from one host to another."""

    source: str
    destination: str
    memory_mib: int
    vcpus: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the servers of a host add up to; `active` are those that are not shut off."""

    servers: int = 0
    active: int = 0
    vcpus: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A configured host aggregate; `number` is its place in the configuration, from 1."""

    number: int
    uuid: str
    name: str
    zone: str | None
    hosts: tuple[str, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Action:
    """A row of `actions`: something asked of a server (Nova's instance action).

    `event` is the one thing that was done for it, with its `result`; that of a live migration is told by its migration's event log instead.
    """

    id: int
    server_uuid: str
    action: str
    request_id: str
    user_id: str
    project_id: str
    migration_id: int | None
    host: str | None
    started_at: datetime
    finished_at: datetime | None
    updated_at: datetime
    result: str | None
    details: str | None


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file that is to be removed from a host once its migration has ended: `after` it has "completed" (the source's copy) or "failed" (what was made);
    "now" when that has begun, "planned" while it is not even made. The source's copy is "proven" once the destination's is known to be whole; what is "kept"
    stays, since it is not provably livemig's to remove."""

    host: str
    path: str
    after: str


@dataclass(frozen=True, slots=True)
class Migration:
    """A row of `migrations`.

    `tried` are the destinations to which a transfer failed. `waits_for` says what a queued one waits for, `autostart` whether its guest starts with its host.
    `files` are still to be removed, and `untidy` says that there are such. `bandwidth_mib_s` is its
    share of a limited link at the moment, None where nothing limits it but its policy. `remembered` is what was decided while it ran, for whoever takes it up.
    """

    id: int
    uuid: str
    server_uuid: str
    status: Status
    source: str
    destination: str | None
    requested_host: str | None
    block_migration: bool | None
    disk_over_commit: bool | None
    force: bool | None
    abort_requested: bool
    completion_forced: bool
    policy: Policy
    request_id: str
    user_id: str
    project_id: str
    created_at: datetime
    updated_at: datetime | None
    remembered: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    downtime_ms: int | None = None
    memory_total_bytes: int | None = None
    memory_processed_bytes: int | None = None
    memory_remaining_bytes: int | None = None
    disk_total_bytes: int | None = None
    disk_processed_bytes: int | None = None
    disk_remaining_bytes: int | None = None
    bandwidth_mib_s: int | None = None
    tried: tuple[str, ...] = ()
    files: tuple[LeftFile, ...] = ()
    untidy: bool = False
    waits_for: str | None = None
    autostart: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What admission looks at in the row of a migration that is queued, or that has its place."""

    id: int
    source: str
    destination: str
    waits_for: str | None = None
    anywhere: bool = False
    """The request names no host."""


@dataclass(frozen=True, slots=True)
class MigrationEvent:
    """A line of a migration's event log."""

    at: datetime
    kind: str
    text: str
