"""The simulated world behind the mock: hosts with domains, directories and pools, the network between them, and a clock.

What can go wrong is a switch: a plain attribute of a host (`up`, `hung`, `isolated`, `refuses_cpu`, `disk_full`, …), a cut between two hosts, or a deed
(`host.kill_guest`, `host.crash`). Setting one is all; connections, jobs and guests follow.

One lock guards it all, and is never held while anything waits. Whoever waits does so by `Fleet.wait`, and looks again at every change.
"""

from __future__ import annotations

import threading
import uuid as uuids
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from livemig.runtime import Event, Runtime
from livemig.testing import constants as C
from livemig.testing import errors
from livemig.testing.files import Files
from livemig.testing.guests import EMULATOR, MACHINES, Definition, Load, each_disk, each_interface
from livemig.testing.guests import Disk as Disk
from livemig.testing.guests import Interface as Interface
from livemig.testing.guests import guest_uuid as guest_uuid
from livemig.testing.physics import INSTANT
from livemig.testing.remote import PORTS
from livemig.testing.storage import MIB, Directory, File, normal, split

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect
    from livemig.testing.libvirt import Libvirt
    from livemig.testing.migration import Migration

T = TypeVar("T")

TELLS_SHUTDOWN = 11_000_000  # libvirt: seen with 11.3 and not with 9.0, so it began somewhere between
SHUT_OFF = (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_SHUTDOWN)
STATES = {
    "running": (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_BOOTED),
    "paused": (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_USER),
    "pmsuspended": (C.VIR_DOMAIN_PMSUSPENDED, C.VIR_DOMAIN_PMSUSPENDED_UNKNOWN),
    "shutoff": SHUT_OFF,
    "saved": (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_SAVED),
}


@dataclass(slots=True, eq=False)
class Domain:
    """A domain as one host has it. A guest that is being migrated is two of them."""

    host: Host
    definition: Definition
    load: Load
    state: int
    reason: int
    persistent: bool
    id: int = -1
    autostart: bool = False
    job: Migration | None = None
    completed: dict[str, Any] | None = None
    saved: str | None = None
    """What its managed save image starts as: "running" or "paused"."""
    saved_xml: str = ""
    """The definition in its managed save image."""
    snapshots: list[str] = field(default_factory=list)
    """Their XML; one with any does not migrate."""
    max_speed: int = 0
    max_downtime_ms: int = 300

    @property
    def active(self) -> bool:
        return self.state != C.VIR_DOMAIN_SHUTOFF

    @property
    def runs(self) -> bool:
        """Whether its processors go: true on one host at most, at any time."""
        return self.state == C.VIR_DOMAIN_RUNNING

    def become(self, state: int, reason: int) -> None:
        self.state, self.reason = state, reason


class Switch(Generic[T]):
    """An attribute of a host which the whole fleet follows when it is set."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, host: None, owner: type) -> Switch[T]: ...
    @overload
    def __get__(self, host: Host, owner: type) -> T: ...
    def __get__(self, host: Host | None, owner: type) -> Switch[T] | T:
        if host is None:
            return self
        value: T = host.switches.get(self.name, self.default)
        return value

    def __set__(self, host: Host, value: T) -> None:
        with host.fleet.lock:
            host.switches[self.name] = value
            host.fleet.follow(host)


class Host(Files):
    """A machine with a libvirt daemon."""

    up = Switch(True)
    """The daemon answers. False: connections break, new ones are refused, jobs in pre-copy end; guests run on."""
    hung = Switch(False)
    """Calls block, until it is False again or keepalive ends the connection."""
    isolated = Switch(False)
    """No packet comes in or goes out: cut from every other host and from all clients."""
    refuses_cpu = Switch(False)
    """No guest's CPU is compatible."""
    disk_full = Switch(False)
    """Nothing more can be written on the host's directories."""
    machines = Switch[tuple[str, ...]](tuple(MACHINES.values()))
    """Machine types that its QEMU has."""
    max_vcpus = Switch(288)
    """The most that a guest of any of them may have."""
    emulators = Switch[tuple[str, ...]]((EMULATOR,))
    """Paths of its QEMU."""
    virt_types = Switch[tuple[str, ...]](("qemu", "kvm"))
    """Domain types: without kvm its processors do not virtualize."""
    tpm_backends = Switch[tuple[str, ...]](("passthrough", "emulator"))
    """TPM backends that it has the programs for."""
    networks = Switch[tuple[str, ...]](("default",))
    """libvirt's networks."""
    interfaces = Switch[tuple[str, ...]](("eth0", "lo"))
    """Network interfaces and bridges."""
    idle = Switch[tuple[str, ...]](("lo",))
    """Those networks and interfaces that are not active."""
    unsupported = Switch[tuple[str, ...]](())
    """Calls that its libvirt does not support, by libvirt-python's names: one that is old, or lacks a driver."""
    numa_nodes = Switch(1)
    """NUMA nodes."""
    huge_pages = Switch[dict[int, int]]({})
    """Free huge pages on each node, by their size in KiB (2048, 1048576)."""
    bandwidth_mib_s = Switch(1000.0)
    """What its network carries for migrations, MiB/s, shared among its jobs."""
    stream_mib_s = Switch(0.0)
    """How fast its daemon reads files for storage streams, MiB/s; 0 takes no time."""
    migration_error = Switch[str | None](None)
    """The text with which the next migration to this host fails, once."""
    migration_error_phase = Switch("copy")
    """Where it does: "prepare", "copy" or "finish"."""

    def __init__(self, fleet: Fleet, name: str, address: str, facts: dict[str, Any]) -> None:
        self.fleet = fleet
        super().__init__(name)
        self.address = address
        self.uuid = str(uuids.uuid5(uuids.NAMESPACE_URL, f"host:{name}"))
        self.memory_mib: int = facts.pop("memory_mib", 65536)
        self.vcpus: int = facts.pop("vcpus", 16)
        self.hypervisor_type: str = facts.pop("hypervisor_type", "QEMU")
        self.hypervisor_version: int = facts.pop("hypervisor_version", 7002022)
        self.libvirt_version: int = facts.pop("libvirt_version", 9000000)
        self.cpu_model: str = facts.pop("cpu_model", "Cascadelake-Server")
        self.keepalive: tuple[int, int] = tuple(facts.pop("keepalive", (5, 5)))
        self.switches: dict[str, Any] = {}
        self.domains: dict[str, Domain] = {}
        self.connections: set[virConnect] = set()
        self.jobs: set[Migration] = set()
        """Migrations from and to it."""
        self.calls: Counter[str] = Counter()
        """How often each call came in, by libvirt-python's names."""
        self.deaths = 0
        """How often the daemon has died."""
        self.booted_s = fleet.time()
        """When it was booted, in simulated time."""
        self._alive = True
        self._last_id = 0
        self.switch(facts)

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def switch(self, settings: dict[str, Any]) -> None:
        """Set switches by name, as a fleet file does. Raises AttributeError for one that there is not."""
        for name, value in settings.items():
            if not isinstance(vars(Host).get(name), Switch):
                raise AttributeError(f"a host has no switch {name!r}")
            setattr(self, name, value)

    def daemon_restart(self, seconds: float = 0.0) -> None:
        """Kill the daemon and start it again, `seconds` later."""
        self.up = False
        self.fleet.sleep(seconds)
        self.up = True

    def kill_guest(self, uuid: str) -> None:
        """Kill a domain's QEMU process."""
        with self.fleet.lock:
            if self.domains[uuid].active:
                self.stop(self.domains[uuid], (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_CRASHED), C.VIR_DOMAIN_EVENT_STOPPED_FAILED)
            self.fleet.changed()

    def crash(self) -> None:
        """Power fails: the daemon and all guests are gone."""
        self.up = False
        for uuid in [uuid for uuid, domain in self.domains.items() if domain.active]:
            self.kill_guest(uuid)

    def memory_free_mib(self) -> int:
        return max(0, self.memory_mib - sum(domain.definition.memory_mib for domain in self.domains.values() if domain.active))

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def stop(self, domain: Domain, state: tuple[int, int], detail: int) -> None:
        """A domain's QEMU is gone: shut off, or gone altogether when it was transient."""
        domain.become(*state)
        self.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, C.VIR_DOMAIN_EVENT_STOPPED, detail)
        domain.id = -1
        if not domain.persistent:
            self.remove(domain)

    def end(self, domain: Domain, state: tuple[int, int], detail: int) -> None:
        """The daemon ends a domain's QEMU by itself, which newer ones tell."""
        if self.libvirt_version >= TELLS_SHUTDOWN:
            self.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, C.VIR_DOMAIN_EVENT_SHUTDOWN, C.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
        self.stop(domain, state, detail)

    def follow(self) -> None:
        """A switch was set: count a daemon that died, and have directories and connections follow."""
        self.deaths += self._alive and not self.up
        self._alive = self.up
        for directory in self.directories.values():
            directory.full = directory.full if directory.shared else self.disk_full
        for connection in list(self.connections):
            connection.follow()

    def remove(self, domain: Domain) -> None:
        """Forget a domain, unless another has taken its place."""
        if self.domains.get(domain.definition.uuid) is domain:
            del self.domains[domain.definition.uuid]

    def emit(self, event: int, domain: Domain, *details: Any) -> None:
        """Tell all connections; a dead daemon tells nobody."""
        if self.up:
            for connection in list(self.connections):
                connection.deliver(event, domain, details)


class Fleet:
    """Hosts, links and guests on one clock.

    `speed`: how many simulated seconds pass in one of the runtime's (a 2 GiB guest takes about two simulated seconds: 50 ms at 40).
    """

    def __init__(self, runtime: Runtime, speed: float = 1.0) -> None:
        self.runtime = runtime
        self.speed = speed
        self.lock = threading.RLock()
        self.hosts: dict[str, Host] = {}
        self.shared: dict[str, Directory] = {}
        self.setup_s = 0.25
        """From the start of a job to QEMU's first page."""
        self.finish_s = 0.05
        """From the guest running on the destination to the source's last word."""
        self.connect_s = 3.0
        """How long a connection to nowhere takes to fail."""
        self.latency_s = 0.0
        """How long each call takes, in the runtime's seconds; at 0 it still lets other threads go on."""
        self._addresses: dict[str, Host] = {}
        self._cuts: set[frozenset[str]] = set()
        self._waiting: set[Event] = set()

    # Building

    def add_host(self, name: str, address: str | None = None, **facts: Any) -> Host:
        """A host, known by its name and its address.

        `facts`: memory_mib, vcpus, hypervisor_type, hypervisor_version, libvirt_version, cpu_model, keepalive (seconds, count), and any switch.
        """
        host = Host(self, name, address or name, dict(facts))
        with self.lock:
            self.hosts[name] = host
            self._addresses[name] = self._addresses[host.address] = host
        return host

    def add_directory(self, path: str, hosts: Iterable[str | Host] | None = None, capacity_mib: int = 1024 * 1024, pool: str | None = None) -> Directory:
        """A network file system which the `hosts` (None: all there are) mount at `path`, each with a storage pool of that name on it if one is given."""
        directory = self.shared[normal(path)] = Directory(normal(path), True, capacity_mib)
        for host in self.hosts.values() if hosts is None else map(self.host, hosts):
            host.hold(directory, pool)
        return directory

    def add_local_directory(self, host: str | Host, path: str, capacity_mib: int = 1024 * 1024, pool: str | None = None) -> Directory:
        """A directory of one host, with a storage pool of that name if one is given; there is none else until it has one."""
        directory = Directory(normal(path), False, capacity_mib)
        self.host(host).hold(directory, pool)
        return directory

    def add_guest(
        self,
        name: str,
        host: str | Host,
        uuid: str | None = None,
        state: str = "running",
        persistent: bool = True,
        dirty_mib_s: float = 10.0,
        working_set_mib: float | None = None,
        disks: Iterable[Disk | dict[str, Any] | str] = (),
        interfaces: Iterable[Interface | dict[str, Any] | str] = (),
        ignores_acpi: bool = False,
        **definition: Any,
    ) -> Domain:
        """A guest on a host. Its uuid follows from its name when none is given. A disk's file is made where the host has its directory, or in a new local one.

        `definition`: memory_mib, vcpus, cpu_model, machine, virt_type, agent, metadata (by namespace: [prefix, element]), title, description.
        """
        home = self.host(host)
        definition |= {"disks": tuple(each_disk(disks)), "interfaces": tuple(each_interface(interfaces, name))}
        what = Definition(name, uuid or guest_uuid(name), **definition)
        load = Load(dirty_mib_s, what.memory_mib / 2 if working_set_mib is None else working_set_mib, ignores_acpi)
        domain = Domain(home, what, load, *STATES[state], persistent=persistent, saved="running" if state == "saved" else None)
        domain.id = home.next_id() if domain.active else -1
        with self.lock:
            self._place_disks(home, what.disks)
            home.domains[what.uuid] = domain
            home.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, C.VIR_DOMAIN_EVENT_DEFINED, C.VIR_DOMAIN_EVENT_DEFINED_ADDED)
            if domain.active:
                home.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_BOOTED)
        return domain

    def _place_disks(self, host: Host, disks: Iterable[Disk]) -> None:
        for disk in disks:
            if not disk.network and host.file(disk.path) is None:
                self._place_file(host, disk.path, disk.size_mib, disk.format, (disk.backing, "raw") if disk.backing else None)
                if disk.backing and host.file(disk.backing) is None:
                    self._place_file(host, disk.backing, disk.size_mib, "raw", None)

    def _place_file(self, host: Host, path: str, size_mib: int, kind: str, backing: tuple[str, str] | None) -> None:
        """What is in it says where it was made."""
        where, name = split(path)
        directory = host.directory(where) or self.add_local_directory(host, where)
        directory.files[name] = File(size_mib * MIB, size_mib * MIB, kind, f"{host.name}:{path}".encode(), backing)

    # Looking

    def host(self, host: str | Host) -> Host:
        """By name or address. Raises KeyError."""
        return host if isinstance(host, Host) else self._addresses[host]

    def copies(self, uuid: str) -> Iterator[Domain]:
        """A guest's domains, on whatever hosts."""
        return (host.domains[uuid] for host in self.hosts.values() if uuid in host.domains)

    def running_on(self, uuid: str) -> list[str]:
        """The hosts on which a guest's processors go. More than one would be a guest run twice, none a guest stopped or killed."""
        with self.lock:
            return [domain.host.name for domain in self.copies(uuid) if domain.runs]

    # The network

    def cut(self, one: str | Host, other: str | Host) -> None:
        """Let nothing through between two hosts, or between a host and a client's `origin` (see `libvirt`)."""
        with self.lock:
            self._cuts.add(frozenset({_name(one), _name(other)}))
            self.follow()

    def heal(self, one: str | Host, other: str | Host) -> None:
        """End a cut."""
        with self.lock:
            self._cuts.discard(frozenset({_name(one), _name(other)}))
            self.follow()

    def set_cuts(self, cuts: Iterable[tuple[str, str]]) -> None:
        """Have these cuts, and no others."""
        wanted = {frozenset(cut) for cut in cuts}
        for gone in self._cuts - wanted:
            self.heal(*gone)
        for new in wanted - self._cuts:
            self.cut(*new)

    def linked(self, one: str | Host, other: str | Host) -> bool:
        """Whether packets go through, in both directions."""
        names = {_name(one), _name(other)}
        apart = any(self.hosts[name].isolated for name in names if name in self.hosts)
        return len(names) == 1 or not (apart or frozenset(names) in self._cuts)

    def bandwidth(self, job: Migration) -> float:
        """What a job may send, MiB/s: its own limit, or its share of what both hosts' networks carry."""
        ends = (job.source.host, job.destination)
        if not self.linked(*ends):
            return 0.0
        shares = [end.bandwidth_mib_s / max(1, len(end.jobs)) for end in ends]
        return min([*shares, job.limit] if job.limit else shares)

    # Time

    def time(self) -> float:
        """Simulated seconds."""
        return self.runtime.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        """Let that many simulated seconds pass."""
        self.runtime.sleep(seconds / self.speed)

    def wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until `ready()`, which is asked under the lock at every change, or for that many simulated seconds."""
        until = None if seconds is None else self.time() + seconds
        return self.wait_real(ready, lambda: None if until is None else max(0.0, until - self.time()) / self.speed)

    def wait_real(self, ready: Callable[[], bool], patience: Callable[[], float | None]) -> bool:
        """The same with `patience()` giving how many of the runtime's seconds are left (None: no limit)."""
        with self.lock:
            if ready():
                return True
        event = self.runtime.event()
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                with self.lock:
                    if ready():
                        return True
                    left = patience()
                if left is not None and left <= INSTANT:
                    return False
                event.wait(left)
        finally:
            self._waiting.discard(event)

    def changed(self) -> None:
        """Something may be ready: let everyone who waits look again."""
        for event in list(self._waiting):
            event.set()

    def follow(self, host: Host | None = None) -> None:
        """A switch was set: connections break or come to life, jobs look again."""
        for each in [host] if host else self.hosts.values():
            each.follow()
        self.changed()

    def reload(self, source: str | dict[str, Any]) -> None:
        """Set the switches as the fleet's file has them now (`fleetfile.reload`)."""
        from livemig.testing import fleetfile

        fleetfile.reload(self, source)

    def libvirt(self, origin: str = "client") -> Libvirt:
        """A `libvirt` module over this fleet, as one process has it. `origin` names the machine it runs on, for cuts."""
        from livemig.testing.libvirt import Libvirt

        return Libvirt(self, origin)

    def connectable(self, origin: str | Host, address: str, port: str = "16509") -> Host:
        """The host at an address, once reached from `origin`. Raises libvirt's error, as late as a real one would."""
        host = self._addresses.get(address)
        if host is None:
            raise errors.CANNOT_RESOLVE(host=address, port=port)
        if not self.linked(origin, host):
            self.wait(lambda: self.linked(origin, host), self.connect_s)
            if not self.linked(origin, host):
                raise errors.NO_ROUTE(host=address, port=port)
        if not host.up or port not in PORTS.values():
            raise errors.REFUSED(host=address, port=port)
        return host


def _name(end: str | Host) -> str:
    return end.name if isinstance(end, Host) else end
