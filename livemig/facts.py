"""The frozen dataclasses that cross rooms. Sizes are in the unit of their name; times are naive UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum

from livemig.states import Status


class PowerState(IntEnum):
    """Nova's power states (nova/objects/fields.py, InstancePowerState)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


class Presence(str, Enum):
    """How one host has a server, from libvirt's domain state and reason."""

    UNKNOWN = "unknown"  # the host cannot be asked
    ABSENT = "absent"
    SHUT_OFF = "shut off"  # defined, not running
    CRASHED = "crashed"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    MIGRATING = "paused (migrating)"  # on the destination while memory arrives, on the source during switch-over
    POST_COPY = "paused (post-copy)"  # a source whose guest runs on the destination
    POST_COPY_FAILED = "post-copy failed"  # either end; recoverable, and maybe the only copy

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a guest. `path` is None where libvirt shows none (an empty CD-ROM)."""

    target: str
    kind: str  # libvirt's disk type: file, block, network, volume, …
    path: str | None = None
    device: str = "disk"
    read_only: bool = False
    shareable: bool = False


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """How one host has one server."""

    uuid: str
    name: str
    presence: Presence
    memory_mib: int = 0
    vcpus: int = 0


@dataclass(frozen=True, slots=True)
class Guest:
    """What moving a server depends on, from its domain XML. `cpu_xml` is its migratable `<cpu>` element, empty where it has none."""

    memory_mib: int
    vcpus: int
    persistent: bool = True
    domain_type: str = "kvm"
    arch: str = "x86_64"
    machine: str = ""
    emulator: str = ""
    cpu_xml: str = ""
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host's daemon says of itself. Versions are libvirt's integers (major × 1,000,000 + minor × 1,000 + release)."""

    hostname: str
    hypervisor_type: str
    hypervisor_version: int
    libvirt_version: int
    vcpus: int
    memory_mib: int
    memory_free_mib: int


@dataclass(frozen=True, slots=True)
class Job:
    """A libvirt job's statistics (virDomainGetJobStats). Rates are in bytes a second.

    While it runs, libvirt's downtime is the limit it expects; only the record of a completed job holds the measured one, so `downtime_ms` is None
    until then. `started` is False while QEMU has not begun to send: zeros then mean nothing.
    """

    outgoing: bool
    completed: bool = False
    elapsed_ms: int = 0
    downtime_ms: int | None = None
    memory_total_bytes: int = 0
    memory_processed_bytes: int = 0
    memory_remaining_bytes: int = 0
    memory_bps: int = 0
    memory_dirty_bps: int = 0
    memory_iteration: int = 0
    disk_total_bytes: int = 0
    disk_processed_bytes: int = 0
    disk_remaining_bytes: int = 0

    @property
    def started(self) -> bool:
        return self.memory_total_bytes > 0

    @property
    def progress(self) -> int:
        """Percent as Nova counts it: what of the memory is not remaining. A job that runs is never at 100, though nothing remains between iterations."""
        if self.completed:
            return 100
        return min(99, 100 - self.memory_remaining_bytes * 100 // self.memory_total_bytes) if self.started else 0


@dataclass(frozen=True, slots=True)
class ServerChanged:
    """A lifecycle event: look at the server again. `text` is for the event log, such as "resumed (migrated)"."""

    uuid: str
    text: str


@dataclass(frozen=True, slots=True)
class Iteration:
    """QEMU began to send the memory for the `number`-th time (VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION)."""

    uuid: str
    number: int


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """A job ended well (VIR_DOMAIN_EVENT_ID_JOB_COMPLETED)."""

    uuid: str
    job: Job


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the daemon broke."""

    reason: str


HostEvent = ServerChanged | Iteration | JobCompleted | Disconnected


@dataclass(frozen=True, slots=True)
class Policy:
    """The knobs of one migration; names and defaults are Nova's (nova/conf/libvirt.py, live_migration_*)."""

    downtime_ms: int = 500
    downtime_steps: int = 10
    downtime_delay_s: int = 75
    completion_timeout_s: int = 800
    timeout_action: str = "abort"
    bandwidth_mib_s: int = 0
    auto_converge: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything migrateToURI3 is told. `persistent` guests become persistent at the destination and are undefined at the source.

    `shared_files` says that the guest has disks in files and that each was found to be the same file on both hosts. libvirt trusts only file systems
    that it knows to be shared, and refuses others as unsafe; it need not when somebody has looked.
    """

    destination_uri: str
    migrate_uri: str | None
    persistent: bool
    shared_files: bool = False
    bandwidth_mib_s: int = 0
    auto_converge: bool = False


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """A validated os-migrateLive. `host` None lets the conductor choose; `disk_over_commit` is None where the version has none."""

    host: str | None
    block_migration: bool
    disk_over_commit: bool | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A row of `servers`: what the API shows."""

    uuid: str
    name: str
    host: str
    vm_state: str
    power_state: int
    task_state: str | None
    progress: int
    memory_mib: int
    vcpus: int
    project_id: str
    user_id: str
    created_at: datetime
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Host:
    """A row of `hosts`. `up` is what its watcher last found."""

    name: str
    uuid: str
    up: bool
    hypervisor_type: str
    hypervisor_version: int
    libvirt_version: int
    vcpus: int
    memory_mib: int
    memory_free_mib: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Migration:
    """A row of `migrations`."""

    id: int
    uuid: str
    server_uuid: str
    status: Status
    source: str
    destination: str | None
    requested_host: str | None
    block_migration: bool
    disk_over_commit: bool | None
    abort_requested: bool
    policy: Policy
    request_id: str
    user_id: str
    project_id: str
    created_at: datetime
    updated_at: datetime | None
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


@dataclass(frozen=True, slots=True)
class MigrationEvent:
    """A line of a migration's event log."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a migration ended and which host has the guest now. `reason` is for people, empty on success.

    `lost` says that the hosts disagree about the guest (it runs nowhere, or twice), so that a person must look.
    """

    status: Status
    host: str
    reason: str = ""
    job: Job | None = None
    lost: bool = False
