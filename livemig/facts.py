"""The frozen dataclasses that cross rooms. Sizes are in the unit of their name; times are naive UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any

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
    SAVED = "saved"  # defined, not running, its memory in a managed save image: Nova's suspended
    CRASHED = "crashed"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"  # by the guest itself (pmsuspended)
    MIGRATING = "paused (migrating)"  # on the destination while memory arrives, on the source during switch-over
    POST_COPY = "paused (post-copy)"  # a source whose guest runs on the destination
    POST_COPY_FAILED = "post-copy failed"  # either end; recoverable, and maybe the only copy

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Backing:
    """What a disk's image stands on: a file that it is the difference to, or the like. `kind` is libvirt's disk type."""

    path: str
    format: str
    kind: str = "file"


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a guest. `path` is None where libvirt shows none (an empty CD-ROM). `backing` goes down to the last."""

    target: str
    kind: str  # libvirt's disk type: file, block, network, volume, …
    path: str | None = None
    device: str = "disk"
    read_only: bool = False
    shareable: bool = False
    format: str = "raw"
    backing: tuple[Backing, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A file as a host's storage API shows it, in bytes: `capacity` is what a guest sees, `length` the file's own, `allocation` what it takes of the disk.

    `format` is what its first bytes say, which is not to be trusted where a guest writes them. `backing` is the path that it names. `permissions` are its mode
    (octal), owner and group as libvirt writes them.
    """

    path: str
    format: str = "raw"
    capacity: int = 0
    length: int = 0
    allocation: int = 0
    backing: str = ""
    permissions: tuple[str, str, str] | None = None
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """Of the file system that a directory is on, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Storage:
    """The files of a guest's disks that are not the same on both hosts, by their path: at the source, and `there`, those that the destination has too.

    `space` is the destination's, by directory. Those that it does not have yet are `absent`, with the space of the one that they are to be made in; a directory
    that cannot be made is in neither.
    """

    images: Mapping[str, Image] = field(default_factory=dict)
    there: Mapping[str, Image] = field(default_factory=dict)
    space: Mapping[str, Space] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Flavor:
    """What a server was sized by: Nova's flavor as its metadata element names it, or made from the domain's own sizes. `id` is the flavor's id in the API."""

    id: str
    name: str
    memory_mib: int
    vcpus: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    extra_specs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address of a server, as metadata, a DHCP lease, the guest agent or ARP tell it. `network` is what the API groups it by."""

    network: str
    ip: str
    version: int
    mac: str = ""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """How one host has one server.

    `instance_name` is the domain's name, `name` what users call it. Owner, flavor, description and user metadata come from a metadata element (Nova's or
    livemig's own); without one `name` is the domain's, and the owner is empty.
    """

    uuid: str
    instance_name: str
    presence: Presence
    memory_mib: int = 0
    vcpus: int = 0
    name: str = ""
    description: str | None = None
    project_id: str = ""
    user_id: str = ""
    flavor: Flavor | None = None
    addresses: tuple[Address, ...] = ()
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    root_device: str | None = None
    config_drive: bool = False
    details: bool = True


@dataclass(frozen=True, slots=True)
class Plug:
    """Where a guest's network interface is plugged in at its host: `kind` is libvirt's type (network, bridge, direct, …), `name` what it is called there."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """Something of a guest that is bound to its host, or may be: `kind` is a word of the checks' tables, `what` says which one it is."""

    kind: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """What moving a server depends on, from its domain XML. `cpu_xml` is its migratable `<cpu>` element, empty where it has none.

    `vcpus` is the most that it may have. `huge_pages_kib` is what of its memory is in huge pages, by their size in KiB (0: the host's default). `cpus` are
    the host's processors that it is pinned to, `numa_nodes` the host's nodes that its memory comes from; empty for any.
    """

    memory_mib: int
    vcpus: int
    persistent: bool = True
    domain_type: str = "kvm"
    arch: str = "x86_64"
    machine: str = ""
    emulator: str = ""
    cpu_xml: str = ""
    disks: tuple[Disk, ...] = ()
    name: str = ""
    cpu_mode: str = ""
    huge_pages_kib: Mapping[int, int] = field(default_factory=dict)
    cpus: frozenset[int] = frozenset()
    numa_nodes: frozenset[int] = frozenset()
    plugs: tuple[Plug, ...] = ()
    devices: tuple[Device, ...] = ()
    snapshots: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What a host has for one guest, as far as the guest needs it. None: not needed, or not to be found out, which is held against nobody.

    `unknown` says which of the guest's emulator, machine type and domain type the daemon does not know, `unknown_text` how it says so. `idle` are network
    interfaces that exist and are not active. `free_huge_pages` are counted by their size in KiB. `namesake` is the UUID of another guest of the
    same name. `unasked` says what could not be found out, and why.
    """

    unknown: str = ""
    unknown_text: str = ""
    most_vcpus: int | None = None
    tpm_backends: frozenset[str] | None = None
    cpus: frozenset[int] | None = None
    numa_nodes: frozenset[int] | None = None
    free_huge_pages: Mapping[int, int] | None = None
    networks: frozenset[str] | None = None
    interfaces: frozenset[str] | None = None
    idle: frozenset[str] = frozenset()
    namesake: str = ""
    unasked: tuple[str, ...] = ()


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
    cpu: Mapping[str, Any] = field(default_factory=dict)  # arch, model, vendor, topology {sockets, cores, threads}, features
    disk_gib: int = 0  # of the largest active storage pool of the host's own
    disk_free_gib: int = 0
    booted_at: datetime | None = None


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
    def begun(self) -> bool:
        """Whether anything is sent: disks go before the memory."""
        return self.started or self.disk_total_bytes > 0

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
    name: str = "nova"
    post_copy: bool = False
    parallel_connections: int = 1
    tls: bool = False
    tunnelled: bool = False
    compression: tuple[str, ...] = ()
    zero_copy: bool = False
    auto_converge_initial: int = 0
    auto_converge_increment: int = 0
    switchover_bandwidth_mib_s: int = 0
    on_stall: tuple[str, ...] = ()
    stall_iterations: int = 3
    other_destinations: int = 0


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
    auto_converge_initial: int = 0
    auto_converge_increment: int = 0
    post_copy: bool = False
    parallel_connections: int = 1
    tls: bool = False
    tunnelled: bool = False
    compression: tuple[str, ...] = ()
    zero_copy: bool = False
    switchover_bandwidth_mib_s: int = 0
    migrate_disks: tuple[str, ...] = ()  # targets (vda) of the disks that are copied; their images are at the destination already


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """A validated os-migrateLive. `host` None lets the conductor choose; `block_migration` None stands for "auto".

    `disk_over_commit` and `force` are None where the microversion has none: before 2.30 a named host is taken as if forced.
    """

    host: str | None
    block_migration: bool | None
    disk_over_commit: bool | None = None
    force: bool | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a migration ended and which host has the guest now. `reason` is for people, empty on a success that leaves nothing to do.

    `lost` says that the hosts disagree about the guest (it runs nowhere, or twice), so that a person must look.
    """

    status: Status
    host: str
    reason: str = ""
    job: Job | None = None
    lost: bool = False
