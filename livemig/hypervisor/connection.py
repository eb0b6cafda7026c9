"""One libvirt daemon: the few verbs that livemig needs, in and out in livemig's words.

Every verb may raise a HypervisorError, and HypervisorUnavailable whenever there is no connection: nothing but `connect()` waits for a host that is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from livemig import exceptions
from livemig.facts import Disconnected, Guest, HostEvent, HostFacts, Iteration, Job, JobCompleted, Plan, Presence, ServerChanged, ServerFacts
from livemig.hypervisor import domain_xml, host
from livemig.hypervisor import flags as migrate_flags
from livemig.hypervisor.addresses import Addresses, Leases
from livemig.hypervisor.capabilities import Machine
from livemig.hypervisor.errors import Translator
from livemig.hypervisor.marks import Marks, Remembered
from livemig.hypervisor.presence import Words

Listener = Callable[[HostEvent], None]
T = TypeVar("T")


class Hypervisor:
    """The daemon at `uri`, which the configuration calls `name`. `keepalive` is (seconds between probes, probes that may go unanswered).

    `marks` are for what is made there for a moment; without them it knows as its own only what it made itself.
    """

    def __init__(self, libvirt: Any, name: str, uri: str, keepalive: tuple[int, int], marks: Marks | None = None) -> None:
        self.name = name
        self.uri = uri
        self.marks = marks or Remembered()
        self._libvirt = libvirt
        self._keepalive = keepalive
        self._translated = Translator(libvirt)
        self.words = Words(libvirt)
        self.addresses = Addresses(libvirt)
        self._connection: Any = None
        self._callbacks: list[int] = []
        self._listeners: tuple[Listener, ...] = ()
        self._processors: dict[str, Any] = {}
        self._knows_processors = False  # since it was connected
        self.remembered: dict[Any, Machine] = {}  # what QEMU can do, by kind of machine; since it was connected
        self._booted_at: datetime | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def connect(self) -> None:
        """Open the connection and ask for its events. May take long; only the host's watcher calls it."""
        connection = self._open()
        with self._translated(self.name):
            events = (
                (self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._on_iteration),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._on_job_completed),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on_metadata_change),
                (self._libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._on_agent_lifecycle),
            )
            try:
                connection.registerCloseCallback(self._on_close, None)
                self._callbacks = [connection.domainEventRegisterAny(None, event, callback, None) for event, callback in events]
            except self._libvirt.libvirtError:
                connection.close()
                raise
        self._knows_processors = False
        self.remembered = {}
        self._connection = connection

    def close(self) -> None:
        """Close the connection, if there is one. What cannot be undone on a broken connection is dropped with it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for callback in self._callbacks:
            with suppress(self._libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        for step in (connection.unregisterCloseCallback, connection.close):
            with suppress(self._libvirt.libvirtError):
                step()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Pass events on to `listener`, in libvirt's event thread; the returned function ends that."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return stop

    def facts(self) -> HostFacts:
        """What checks look at: all but its processors, storage and boot."""
        with self.use() as connection:
            _model, memory_mib, cpus, *_rest = connection.getInfo()
            memory = connection.getMemoryStats(self._libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
            return HostFacts(
                hostname=connection.getHostname(),
                hypervisor_type=connection.getType(),
                hypervisor_version=connection.getVersion(),
                libvirt_version=connection.getLibVersion(),
                vcpus=cpus,
                memory_mib=memory_mib,
                memory_free_mib=sum(memory.get(kind, 0) for kind in ("free", "buffers", "cached")) // 1024,
            )

    def all_facts(self, now: datetime) -> HostFacts:
        """Those, and all that the API shows besides. What the daemon cannot tell is left at its default; the processors, until `learn_processors()`."""
        facts, libvirt = self.facts(), self._libvirt
        stats = self._optional(lambda connection: dict(connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0))) or {}
        self._booted_at = host.booted_at(stats, facts.vcpus, now, self._booted_at)
        pools = self._optional(lambda connection: host.disk(connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)))
        disk_gib, disk_free_gib = pools or (0, 0)
        return replace(facts, cpu=self._processors, disk_gib=disk_gib, disk_free_gib=disk_free_gib, booted_at=self._booted_at)

    def learn_processors(self) -> bool:
        """Ask about the host's processors, once for each connection; true when that was now. A daemon that never was asked takes seconds to answer."""
        if self._knows_processors:
            return False
        self._processors = self._optional(lambda connection: host.processors(connection.getCapabilities())) or {}
        self._knows_processors = True
        return True

    def servers(self) -> list[ServerFacts]:
        """All servers of the host. One that vanishes meanwhile is left out. It takes one call for each, and a few for all together."""
        with self.use() as connection:
            found = connection.getAllDomainStats(self._libvirt.VIR_DOMAIN_STATS_STATE, 0)
            saved = {domain.UUIDString() for domain in connection.listAllDomains(self._libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)}
            leases = Leases(self._libvirt, connection)
        said = [self._server(domain, self._at_rest(self.words.stats(stats), domain.UUIDString() in saved), leases) for domain, stats in found]
        self.addresses.keep(server.uuid for server in said)
        return [server for server in said if server.presence is not Presence.ABSENT]

    def server(self, uuid: str) -> ServerFacts:
        """How the host has one server; ABSENT when it has not."""
        try:
            with self.use() as connection:
                domain = connection.lookupByUUIDString(uuid)
                presence = self.words.presence(*domain.state())
                presence = self._at_rest(presence, presence is Presence.SHUT_OFF and bool(domain.hasManagedSaveImage()))
                leases = Leases(self._libvirt, connection)
        except exceptions.DomainNotFound:
            return ServerFacts(uuid, "", Presence.ABSENT)
        return self._server(domain, presence, leases)

    def ask_agent(self, uuid: str) -> bool:
        """Ask a guest's agent for its addresses, for the next look; whether its answer is new. It may take long, or for ever."""
        with self.apart() as connection:
            told = connection.lookupByUUIDString(uuid).interfaceAddresses(self._libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
        return self.addresses.learn(uuid, told)

    def presence(self, uuid: str) -> Presence:
        """How the host has one server, UNKNOWN when it cannot be asked. It asks for the state only: more would block on an incoming guest."""
        try:
            domain = self._lookup(uuid)
            with self._translated(self.name, self._is_alive):
                return Presence.ABSENT if domain is None else self.words.presence(*domain.state())
        except exceptions.DomainNotFound:
            return Presence.ABSENT
        except exceptions.HypervisorError:
            return Presence.UNKNOWN

    def guest(self, uuid: str) -> Guest:
        """Raises DomainNotFound, or HypervisorError for a domain whose XML cannot be read."""
        with self.use() as connection:
            domain = connection.lookupByUUIDString(uuid)
            xml = domain.XMLDesc(self._libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            try:
                return domain_xml.guest(xml, bool(domain.isPersistent()), domain.snapshotNum(0), domain.XMLDesc(0))
            except domain_xml.UNREADABLE as error:
                raise exceptions.HypervisorError(host=self.name, code=0, message=f"the XML of {uuid} cannot be read: {error}") from error

    def runs_cpu(self, guest: Guest) -> bool:
        """Whether this host offers all that the guest's CPU has (virConnectCompareHypervisorCPU). A guest without a `<cpu>` asks for nothing."""
        if not guest.cpu_xml:
            return True
        try:
            with self.use() as connection:
                verdict = connection.compareHypervisorCPU(None, guest.arch, guest.machine or None, guest.domain_type, guest.cpu_xml, 0)
        except exceptions.UnsupportedByHypervisor:
            return True  # an old libvirt or an architecture without comparison: libvirt itself refuses at the start
        return bool(verdict > self._libvirt.VIR_CPU_COMPARE_INCOMPATIBLE)

    def migrate(self, uuid: str, plan: Plan, last_word: Callable[[], None] = lambda: None) -> None:
        """Move a server as planned; returns when libvirt's call does (virDomainMigrateToURI3, peer to peer).

        `last_word` is called right before; what it raises keeps libvirt from being told. The call has a connection of its own, for as long as the migration
        takes. What it returns or raises is one witness of the outcome, not the verdict.
        """
        flags, parameters = migrate_flags.flags(self._libvirt, self.name, plan), migrate_flags.parameters(self._libvirt, self.name, plan)
        with self.apart() as connection:
            domain = connection.lookupByUUIDString(uuid)
            last_word()
            domain.migrateToURI3(plan.destination_uri, parameters, flags)

    def resume_post_copy(self, uuid: str, plan: Plan, last_word: Callable[[], None] = lambda: None) -> None:
        """Go on with an interrupted post-copy (VIR_MIGRATE_POSTCOPY_RESUME, libvirt 8.5); returns as `migrate`, and proves as little.

        The flags must be those of the first call; whether the guest is persistent its own domain knows.
        """
        resume = migrate_flags.constant(self._libvirt, self.name, "VIR_MIGRATE_POSTCOPY_RESUME")
        with self.apart() as connection:
            domain = connection.lookupByUUIDString(uuid)
            flags = migrate_flags.flags(self._libvirt, self.name, replace(plan, persistent=bool(domain.isPersistent())))
            last_word()
            domain.migrateToURI3(plan.destination_uri, migrate_flags.parameters(self._libvirt, self.name, plan), flags | resume)

    def job(self, uuid: str) -> Job | None:
        """The server's running migration as this host sees it, None when there is none."""
        return self._job(uuid, 0)

    def completed_job(self, uuid: str) -> Job | None:
        """The last completed migration that this host remembers of the server, None when there is none."""
        return self._job(uuid, self._libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | self._libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)

    def abort(self, uuid: str) -> None:
        """Stop the running job. Raises NoJob when it is over."""
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).abortJob()

    def set_max_downtime(self, uuid: str, milliseconds: int) -> None:
        """The longest permitted pause at switch-over."""
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).migrateSetMaxDowntime(milliseconds, 0)

    def set_max_speed(self, uuid: str, mib_s: int, post_copy: bool) -> None:
        """The most bandwidth of the running job, before the switch to post-copy or after it; 0 for no limit. libvirt remembers it for the domain."""
        flags = migrate_flags.constant(self._libvirt, self.name, "VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY") if post_copy else 0
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).migrateSetMaxSpeed(mib_s or migrate_flags.UNLIMITED, flags)

    def start_post_copy(self, uuid: str) -> None:
        """Let the guest go on at the destination at once. Raises NoJob when it was not planned so, or is over; another error before QEMU has begun."""
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).migrateStartPostCopy(0)

    def pause(self, uuid: str) -> None:
        """Stop the guest's CPUs, so that its memory no longer changes."""
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).suspend()

    def resume(self, uuid: str) -> None:
        with self.use() as connection:
            connection.lookupByUUIDString(uuid).resume()

    @contextmanager
    def use(self) -> Iterator[Any]:
        """libvirt's connection, its errors turned into ours. Raises HypervisorUnavailable when there is none."""
        connection = self._connection
        if connection is None:
            raise exceptions.HypervisorUnavailable(host=self.name, code=self._libvirt.VIR_ERR_NO_CONNECT, message="not connected")
        with self._translated(self.name, self._is_alive):
            yield connection

    @contextmanager
    def apart(self) -> Iterator[Any]:
        """A connection for one call that may last: a daemon works on few requests of one connection at a time (max_client_requests, 5)."""
        connection = self._open()
        try:
            with self._translated(self.name, lambda: bool(connection.isAlive())):
                yield connection
        finally:
            with suppress(self._libvirt.libvirtError):
                connection.close()

    @property
    def libvirt(self) -> Any:
        """The libvirt module in use."""
        return self._libvirt

    def _open(self) -> Any:
        with self._translated(self.name, lambda: False):
            connection = self._libvirt.open(self.uri)
            connection.setKeepAlive(*self._keepalive)
            return connection

    def _is_alive(self) -> bool:
        connection = self._connection
        try:
            return connection is not None and bool(connection.isAlive())
        except self._libvirt.libvirtError:
            return False

    def _lookup(self, uuid: str) -> Any:
        try:
            with self.use() as connection:
                return connection.lookupByUUIDString(uuid)
        except exceptions.DomainNotFound:
            return None

    def _server(self, domain: Any, presence: Presence, leases: Leases) -> ServerFacts:
        """Of a guest that is just moving only its presence: more would block on an incoming one."""
        uuid = domain.UUIDString()
        if presence is Presence.MIGRATING:
            return ServerFacts(uuid, domain.name(), presence, details=False)
        try:
            with self._translated(self.name, self._is_alive):
                described = domain_xml.describe(uuid, presence, domain.XMLDesc(0))
                return replace(described.facts, addresses=self.addresses.find(described, domain, leases))
        except exceptions.DomainNotFound:
            return ServerFacts(uuid, "", Presence.ABSENT)

    def _at_rest(self, presence: Presence, saved: bool) -> Presence:
        return Presence.SAVED if presence is Presence.SHUT_OFF and saved else presence

    def _optional(self, ask: Callable[[Any], T]) -> T | None:
        """What a daemon may not be able to tell: None then."""
        try:
            with self.use() as connection:
                return ask(connection)
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.HypervisorError:
            return None

    def _job(self, uuid: str, flags: int) -> Job | None:
        try:
            with self.use() as connection:
                return self.words.job(connection.lookupByUUIDString(uuid).jobStats(flags))
        except (exceptions.DomainNotFound, exceptions.NoJob):
            return None

    def _tell(self, event: HostEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self._tell(ServerChanged(domain.UUIDString(), self.words.lifecycle(event, detail)))

    def _on_iteration(self, _connection: Any, domain: Any, iteration: int, _opaque: Any) -> None:
        self._tell(Iteration(domain.UUIDString(), iteration))

    def _on_job_completed(self, _connection: Any, domain: Any, stats: dict[str, Any], _opaque: Any) -> None:
        # The event is sent for a job that is over, but its type says what it was while it ran.
        job = self.words.job({**stats, "type": self._libvirt.VIR_DOMAIN_JOB_COMPLETED})
        if job is not None:
            self._tell(JobCompleted(domain.UUIDString(), job))

    def _on_metadata_change(self, _connection: Any, domain: Any, _type: int, _uri: str | None, _opaque: Any) -> None:
        self._tell(ServerChanged(domain.UUIDString(), "metadata changed"))

    def _on_agent_lifecycle(self, _connection: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        connected = state == self._libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._tell(ServerChanged(domain.UUIDString(), f"guest agent {'connected' if connected else 'disconnected'}"))

    def _on_close(self, _connection: Any, reason: int, _opaque: Any) -> None:
        self._tell(Disconnected(_CLOSE_REASONS.get(reason, f"reason {reason}")))


_CLOSE_REASONS = {0: "input/output error", 1: "end of file", 2: "keepalive time-out", 3: "closed by livemig"}
