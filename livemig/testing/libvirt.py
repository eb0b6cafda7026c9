"""A mock of libvirt-python over a simulated fleet (`livemig.testing.fleet`): the same names, the same behaviour, no hypervisor.

`Fleet.libvirt()` gives an object to use as the `libvirt` module of one process. This module itself can stand for it too:
its module-level names work on the fleet that `load()` made last, or on an empty one in real time. What a name does is in libvirt's own documentation
under the same name; `docs/mock.md` says what is left out.
"""

from __future__ import annotations

import functools
import itertools
import uuid as uuids
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from livemig.runtime import Runtime, ThreadRuntime
from livemig.testing import constants as C
from livemig.testing import documents, errors, fleetfile, processors
from livemig.testing.constants import *  # noqa: F403 - the module has libvirt's names
from livemig.testing.errors import libvirtError
from livemig.testing.events import Loop
from livemig.testing.fleet import MACHINES, SHUT_OFF, STATES, Definition, Domain, Fleet, Host, Load
from livemig.testing.migration import BLOCK, UNLIMITED, Migration
from livemig.testing.physics import INSTANT
from livemig.testing.storage import MIB, Pool, normal, pool_uuid, split

F = TypeVar("F", bound=Callable[..., Any])

CONSTANTS = {name: value for name, value in vars(C).items() if name.startswith("VIR_")}
PORTS = {"qemu+tcp": "16509", "qemu+tls": "16514", "qemu+ssh": "22", "qemu": "16514"}
DRIVERS = frozenset(PORTS)
# How long libvirtd lets a call wait for a domain that has a job.
STATE_LOCK_S = 30.0


def remote(method: F) -> F:
    """A call to the daemon: it waits while there is no answer, fails once the connection is lost, and goes on under the fleet's lock."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = self if isinstance(self, virConnect) else self.connect()
        connection.reach(method.__name__)
        with connection.fleet.lock:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]


def exclusive(method: F) -> F:
    """A remote call which a domain with a job makes wait, for so long as libvirtd does."""
    under_lock = remote(method)

    @functools.wraps(method)
    def call(self: virDomain, *args: Any, **kwargs: Any) -> Any:
        self.await_job()
        return under_lock(self, *args, **kwargs)

    return call  # type: ignore[return-value]


class virConnect:
    """libvirt.virConnect."""

    def __init__(self, libvirt: Libvirt, host: Host, uri: str) -> None:
        self.fleet = host.fleet
        self.host = host
        self._libvirt = libvirt
        self._uri = uri
        self._closed = False
        self._lost: libvirtError | None = None
        self._callbacks: dict[int, tuple[int, str | None, Callable[..., Any], Any]] = {}
        self._numbers = itertools.count(1)
        self._on_close: tuple[Callable[..., Any], Any] | None = None
        self._keepalive: tuple[int, int] | None = None
        self._silent_since: float | None = None
        self._held: list[tuple[int, Domain, tuple[Any, ...]]] = []
        self._deaths = host.deaths
        host.connections.add(self)

    # The connection itself

    def reach(self, function: str) -> None:
        """Go to the daemon with a call: raise what it raises when the connection is gone, wait while it is silent."""
        self.fleet.runtime.sleep(self.fleet.latency_s)
        if self._closed:
            raise errors.BAD_CONNECTION(function=function)
        self.fleet.wait(lambda: self._closed or self._lost is not None or self._speaks())
        if self._lost is not None:
            lost, self._lost = self._lost, errors.SOCKET_CLOSED()
            raise lost

    def follow(self) -> None:
        """A switch was set: the daemon may have died, fallen silent, or come back."""
        if self._deaths != self.host.deaths:
            self.lose(errors.END_OF_FILE(), C.VIR_CONNECT_CLOSE_REASON_EOF)
        elif not self._speaks():
            self._silent_since = self.fleet.time() if self._silent_since is None else self._silent_since
        else:
            self._silent_since = None
            held, self._held = self._held, []
            for event in held:
                self.deliver(*event)

    def keepalive_deadline(self) -> float | None:
        """When keepalive will give the connection up, in simulated time, as it is now."""
        if self._keepalive is None or self._silent_since is None:
            return None
        interval, count = self._keepalive
        return self._silent_since + interval * (count + 1)

    def lose(self, error: libvirtError, reason: int) -> None:
        """The connection breaks; calls in progress fail, and the close callback is called."""
        self.host.connections.discard(self)
        self._lost, self._silent_since = error, None
        if self._on_close:
            callback, opaque = self._on_close
            self._libvirt.loop.post(callback, self, reason, opaque)
        self.fleet.changed()

    def deliver(self, event: int, domain: Domain, details: tuple[Any, ...]) -> None:
        """Hand an event to the callbacks registered for it; on a silent connection it is held back, as TCP does."""
        if not self._speaks():
            self._held.append((event, domain, details))
            return
        for wanted, uuid, callback, opaque in list(self._callbacks.values()):
            if wanted == event and uuid in (None, domain.definition.uuid):
                self._libvirt.loop.post(callback, self, virDomain(self, domain), *details, opaque)

    @property
    def gone(self) -> bool:
        return self._closed or self._lost is not None

    def _speaks(self) -> bool:
        return not self.host.hung and self.fleet.linked(self._libvirt.origin, self.host)

    def close(self) -> int:
        if self._closed:
            raise errors.BAD_CONNECTION(function="virConnectClose")
        self._closed = True
        self.host.connections.discard(self)
        self.fleet.changed()
        return 0

    def isAlive(self) -> int:
        if self._closed:
            raise errors.BAD_CONNECTION(function="virConnectIsAlive")
        return int(self._lost is None)

    def setKeepAlive(self, interval: int, count: int) -> int:
        if not self._libvirt.loop.registered:
            raise errors.NO_EVENT_LOOP()
        self._keepalive = (interval, count) if interval > 0 else None
        self.fleet.changed()
        return 0

    def registerCloseCallback(self, cb: Callable[..., Any], opaque: Any) -> int:
        self._on_close = (cb, opaque)
        return 0

    def unregisterCloseCallback(self) -> int:
        self._on_close = None
        return 0

    @remote
    def domainEventRegisterAny(self, dom: virDomain | None, eventID: int, cb: Callable[..., Any], opaque: Any) -> int:
        number = next(self._numbers)
        self._callbacks[number] = (eventID, dom.UUIDString() if dom else None, cb, opaque)
        return number

    @remote
    def domainEventDeregisterAny(self, callbackID: int) -> int:
        del self._callbacks[callbackID]
        return 0

    # The host

    @remote
    def getHostname(self) -> str:
        return self.host.name

    @remote
    def getType(self) -> str:
        return self.host.hypervisor_type

    @remote
    def getVersion(self) -> int:
        return self.host.hypervisor_version

    @remote
    def getLibVersion(self) -> int:
        return self.host.libvirt_version

    @remote
    def getURI(self) -> str:
        return self._uri

    @remote
    def getInfo(self) -> list[Any]:
        host = self.host
        return ["x86_64", host.memory_mib, host.vcpus, 2600, 1, 1, host.vcpus, 1]

    @remote
    def getMaxVcpus(self, type: str | None = None) -> int:
        return 288

    @remote
    def getFreeMemory(self) -> int:
        return self.host.memory_free_mib() * MIB

    @remote
    def getMemoryStats(self, cellNum: int, flags: int = 0) -> dict[str, int]:
        return {"total": self.host.memory_mib * 1024, "free": self.host.memory_free_mib() * 1024, "buffers": 0, "cached": 0}

    @remote
    def getCapabilities(self) -> str:
        return documents.capabilities(self.host)

    @remote
    def getDomainCapabilities(
        self, emulatorbin: str | None, arch: str | None, machine: str | None, virttype: str | None, flags: int = 0
    ) -> str:
        return documents.domain_capabilities(self.host, self._machine(arch, machine), virttype or "kvm")

    @remote
    def getCPUModelNames(self, arch: str, flags: int = 0) -> list[str]:
        return list(processors.KNOWN)

    @remote
    def compareHypervisorCPU(
        self, emulator: str | None, arch: str | None, machine: str | None, virttype: str | None, xmlCPU: str, flags: int = 0
    ) -> int:
        self._machine(arch, machine)
        model = documents.parse(xmlCPU, "CPU_definition", errors.BAD_CPU_XML).findtext("model", "qemu64")
        if model not in processors.KNOWN:
            raise errors.BAD_CPU_MODEL(model=model)
        if not self.host.refuses_cpu and processors.runs(self.host.cpu_model, model):
            return C.VIR_CPU_COMPARE_SUPERSET
        if flags & C.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE:
            raise errors.CPU_INCOMPATIBLE(features=model)
        return C.VIR_CPU_COMPARE_INCOMPATIBLE

    def _machine(self, arch: str | None, machine: str | None) -> str:
        """A machine type without its aliases."""
        if arch not in (None, "x86_64"):
            raise errors.BAD_ARCH(arch=arch)
        wanted = MACHINES.get(machine or "pc", machine or "pc")
        if wanted not in self.host.machines:
            raise errors.BAD_MACHINE(machine=machine)
        return wanted

    @remote
    def listAllInterfaces(self, flags: int = 0) -> list[virNamed]:
        return [virNamed(name) for name in self.host.interfaces]

    @remote
    def listAllNetworks(self, flags: int = 0) -> list[virNamed]:
        return [virNamed(name) for name in self.host.networks]

    # Domains

    @remote
    def lookupByUUIDString(self, uuidstr: str) -> virDomain:
        try:
            uuid = str(uuids.UUID(uuidstr))
        except ValueError:
            raise errors.BAD_UUID() from None
        return self._found(self.host.domains.get(uuid), f"uuid '{uuid}'")

    @remote
    def lookupByName(self, name: str) -> virDomain:
        return self._found(self._named(name), f"name '{name}'")

    @remote
    def lookupByID(self, id: int) -> virDomain:
        domains = (domain for domain in self.host.domains.values() if domain.active and domain.id == id)
        return self._found(next(domains, None), f"id {id}")

    def _found(self, domain: Domain | None, key: str) -> virDomain:
        if domain is None:
            raise errors.NO_DOMAIN(key=key)
        return virDomain(self, domain)

    def _named(self, name: str) -> Domain | None:
        return next((domain for domain in self.host.domains.values() if domain.definition.name == name), None)

    @remote
    def numOfDomains(self) -> int:
        return sum(domain.active for domain in self.host.domains.values())

    @remote
    def listAllDomains(self, flags: int = 0) -> list[virDomain]:
        return [virDomain(self, domain) for domain in self._selected(flags)]

    def _selected(self, flags: int) -> Iterator[Domain]:
        """The domains that have one of the wanted properties in each group in which any is wanted."""
        for domain in self.host.domains.values():
            groups = (
                {C.VIR_CONNECT_LIST_DOMAINS_ACTIVE: domain.active, C.VIR_CONNECT_LIST_DOMAINS_INACTIVE: not domain.active},
                {C.VIR_CONNECT_LIST_DOMAINS_PERSISTENT: domain.persistent, C.VIR_CONNECT_LIST_DOMAINS_TRANSIENT: not domain.persistent},
                {
                    C.VIR_CONNECT_LIST_DOMAINS_RUNNING: domain.state == C.VIR_DOMAIN_RUNNING,
                    C.VIR_CONNECT_LIST_DOMAINS_PAUSED: domain.state == C.VIR_DOMAIN_PAUSED,
                    C.VIR_CONNECT_LIST_DOMAINS_SHUTOFF: domain.state == C.VIR_DOMAIN_SHUTOFF,
                },
                {C.VIR_CONNECT_LIST_DOMAINS_AUTOSTART: domain.autostart, C.VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART: not domain.autostart},
            )
            if all(any(has for flag, has in group.items() if flags & flag) or not any(flags & flag for flag in group) for group in groups):
                yield domain

    @remote
    def getAllDomainStats(self, stats: int = 0, flags: int = 0) -> list[tuple[virDomain, dict[str, Any]]]:
        return [(virDomain(self, domain), _domain_stats(domain, stats)) for domain in self._selected(flags)]

    @remote
    def domainListGetStats(self, doms: list[virDomain], stats: int = 0, flags: int = 0) -> list[tuple[virDomain, dict[str, Any]]]:
        found = (self.host.domains.get(each.UUIDString()) for each in doms)
        return [(virDomain(self, domain), _domain_stats(domain, stats)) for domain in found if domain]

    @remote
    def defineXMLFlags(self, xml: str, flags: int = 0) -> virDomain:
        what, old = self._defined(xml)
        detail = C.VIR_DOMAIN_EVENT_DEFINED_UPDATED if old else C.VIR_DOMAIN_EVENT_DEFINED_ADDED
        if old is None:
            old = self.host.domains[what.uuid] = Domain(self.host, what, Load(), *SHUT_OFF, persistent=True)
        old.definition = old.definition if old.active else what
        old.persistent = True
        self._tell(old, C.VIR_DOMAIN_EVENT_DEFINED, detail)
        return virDomain(self, old)

    def defineXML(self, xml: str) -> virDomain:
        return self.defineXMLFlags(xml, 0)

    @remote
    def createXML(self, xmlDesc: str, flags: int = 0) -> virDomain:
        what, old = self._defined(xmlDesc)
        if old and old.active:
            raise errors.ALREADY_ACTIVE(name=what.name)
        domain = old or Domain(self.host, what, Load(working_set_mib=what.memory_mib / 2), *SHUT_OFF, persistent=False)
        domain.definition = what
        self.host.domains[what.uuid] = domain
        self.start(domain, "paused" if flags & C.VIR_DOMAIN_START_PAUSED else "running")
        return virDomain(self, domain)

    def _defined(self, xml: str) -> tuple[Definition, Domain | None]:
        """A domain's XML, and the domain that it would replace. Raises libvirt's error for a clash."""
        what = documents.definition(xml)
        old, same_name = self.host.domains.get(what.uuid), self._named(what.name)
        if same_name and same_name is not old:
            raise errors.NAME_TAKEN(name=what.name, uuid=same_name.definition.uuid)
        if old and old.definition.name != what.name:
            raise errors.UUID_TAKEN(name=old.definition.name, uuid=what.uuid)
        return what, old

    def start(self, domain: Domain, state: str = "running") -> None:
        """A domain's QEMU is started."""
        domain.id = self.host.next_id()
        domain.become(*STATES[state])
        if domain.runs:
            self._tell(domain, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
        self._tell(domain, C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_BOOTED)
        if not domain.runs:
            self._tell(domain, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)

    def _tell(self, domain: Domain, event: int, detail: int) -> None:
        self.host.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)

    # Storage

    @remote
    def listAllStoragePools(self, flags: int = 0) -> list[virStoragePool]:
        return [virStoragePool(self, pool) for pool in self.host.pools.values()]

    @remote
    def storagePoolLookupByName(self, name: str) -> virStoragePool:
        return self._pool(self.host.pools.get(name), f"name '{name}'")

    @remote
    def storagePoolLookupByTargetPath(self, path: str) -> virStoragePool:
        found = (pool for pool in self.host.pools.values() if pool.active and pool.directory.path == normal(path))
        return self._pool(next(found, None), f"target path '{normal(path)}'")

    def _pool(self, pool: Pool | None, key: str) -> virStoragePool:
        if pool is None:
            raise errors.NO_POOL(key=key)
        return virStoragePool(self, pool)

    @remote
    def storagePoolCreateXML(self, xmlDesc: str, flags: int = 0) -> virStoragePool:
        return self._new_pool(xmlDesc, persistent=False)

    @remote
    def storagePoolDefineXML(self, xml: str, flags: int = 0) -> virStoragePool:
        return self._new_pool(xml, persistent=True)

    def _new_pool(self, xml: str, persistent: bool) -> virStoragePool:
        root = documents.parse(xml, "storage_pool_definition")
        name, path = root.findtext("name") or "", normal(root.findtext("target/path") or "")
        if name in self.host.pools:
            raise errors.POOL_TAKEN(name=name, uuid=self.host.pools[name].uuid)
        for other in self.host.pools.values():
            if other.directory.path == path:
                raise errors.POOL_CONFLICT(name=other.name)
        directory = self.host.directory(path)
        if directory is None:
            raise errors.NO_DIRECTORY(path=path)
        pool = Pool(name, root.findtext("uuid") or pool_uuid(self.host.name, name), directory, persistent, active=not persistent)
        pool.refresh()
        self.host.pools[name] = pool
        return virStoragePool(self, pool)

    @remote
    def storageVolLookupByPath(self, path: str) -> virStorageVol:
        directory, name = split(path)
        for pool in self.host.pools.values():
            if pool.active and pool.directory.path == directory and name in pool.seen:
                return virStorageVol(self, pool, name)
        raise errors.NO_VOLUME(key=f"path '{path}'")


class virNamed:
    """As much of libvirt.virInterface and libvirt.virNetwork as says that they are there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def isActive(self) -> int:
        return 1


class virDomain:
    """libvirt.virDomain: name, uuid and id as they were when it was looked up."""

    def __init__(self, connection: virConnect, domain: Domain) -> None:
        self._connection = connection
        self._name, self._uuid, self._id = domain.definition.name, domain.definition.uuid, domain.id

    def connect(self) -> virConnect:
        return self._connection

    def UUIDString(self) -> str:
        return self._uuid

    def name(self) -> str:
        return self._name

    def ID(self) -> int:
        return self._id

    def _domain(self) -> Domain:
        domain = self._connection.host.domains.get(self._uuid)
        if domain is None:
            raise errors.NO_DOMAIN(key=f"uuid '{self._uuid}' ({self._name})")
        return domain

    def _active(self) -> Domain:
        domain = self._domain()
        if not domain.active:
            raise errors.NOT_RUNNING()
        return domain

    def await_job(self) -> None:
        """Wait for the domain's job to end. Raises libvirt's time-out."""
        fleet, host = self._connection.fleet, self._connection.host

        def free() -> bool:
            domain = host.domains.get(self._uuid)
            return domain is None or domain.job is None

        if not fleet.wait(free, STATE_LOCK_S):
            raise errors.STATE_LOCK()

    def _tell(self, event: int, detail: int) -> None:
        domain = self._domain()
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)

    # Looking

    @remote
    def isActive(self) -> int:
        return int(self._domain().active)

    @remote
    def isPersistent(self) -> int:
        return int(self._domain().persistent)

    @remote
    def state(self, flags: int = 0) -> list[int]:
        domain = self._domain()
        return [domain.state, domain.reason]

    @remote
    def info(self) -> list[int]:
        domain = self._domain()
        memory = domain.definition.memory_mib * 1024
        return [domain.state, memory, memory, domain.definition.vcpus, int(self._connection.fleet.time() * 1e9) if domain.active else 0]

    @remote
    def maxMemory(self) -> int:
        return self._domain().definition.memory_mib * 1024

    @remote
    def maxVcpus(self) -> int:
        return self._domain().definition.vcpus

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.domain(self._domain(), bool(flags & C.VIR_DOMAIN_XML_INACTIVE))

    @remote
    def autostart(self) -> int:
        return int(self._domain().autostart)

    @exclusive
    def setAutostart(self, autostart: int) -> int:
        domain = self._domain()
        if not domain.persistent:
            raise errors.TRANSIENT_AUTOSTART()
        domain.autostart = bool(autostart)
        return 0

    @remote
    def metadata(self, type: int, uri: str | None, flags: int = 0) -> str:
        what = self._domain().definition
        texts = {C.VIR_DOMAIN_METADATA_TITLE: what.title, C.VIR_DOMAIN_METADATA_DESCRIPTION: what.description}
        found = texts[type] if type in texts else what.metadata.get(uri or "", ("", None))[1]
        if found is None:
            raise errors.NO_METADATA()
        return found

    @exclusive
    def setMetadata(self, type: int, metadata: str | None, key: str | None, uri: str | None, flags: int = 0) -> int:
        domain = self._domain()
        if type == C.VIR_DOMAIN_METADATA_TITLE:
            domain.definition.title = metadata
        elif type == C.VIR_DOMAIN_METADATA_DESCRIPTION:
            domain.definition.description = metadata
        elif metadata is None:
            domain.definition.metadata.pop(uri or "", None)
        else:
            domain.definition.metadata[uri or ""] = (key or "", metadata)
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, domain, type, uri)
        return 0

    # Life

    @remote
    def suspend(self) -> int:
        domain = self._active()
        if domain.job and domain.job.target is domain:
            raise errors.STATE_LOCK()
        reason = C.VIR_DOMAIN_PAUSED_MIGRATION if domain.job else C.VIR_DOMAIN_PAUSED_USER
        if domain.runs:
            domain.become(C.VIR_DOMAIN_PAUSED, reason)
            detail = C.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED if domain.job else C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED
            self._tell(C.VIR_DOMAIN_EVENT_SUSPENDED, detail)
            self._connection.fleet.changed()
        return 0

    @exclusive
    def resume(self) -> int:
        domain = self._active()
        if domain.runs:
            raise errors.NOT_PAUSED()
        domain.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_UNPAUSED)
        self._tell(C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
        return 0

    @exclusive
    def createWithFlags(self, flags: int = 0) -> int:
        domain = self._domain()
        if domain.active:
            raise errors.ALREADY_RUNNING()
        self._connection.start(domain, "paused" if flags & C.VIR_DOMAIN_START_PAUSED else "running")
        return 0

    def create(self) -> int:
        return int(self.createWithFlags(0))

    @exclusive
    def shutdown(self) -> int:
        return self._stop(C.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST, C.VIR_DOMAIN_SHUTOFF_SHUTDOWN, C.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)

    @remote
    def destroyFlags(self, flags: int = 0) -> int:
        return self._stop(C.VIR_DOMAIN_EVENT_SHUTDOWN_HOST, C.VIR_DOMAIN_SHUTOFF_DESTROYED, C.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)

    def destroy(self) -> int:
        return int(self.destroyFlags(0))

    def _stop(self, shutdown: int, reason: int, detail: int) -> int:
        domain = self._active()
        self._tell(C.VIR_DOMAIN_EVENT_SHUTDOWN, shutdown)
        domain.host.stop(domain, (C.VIR_DOMAIN_SHUTOFF, reason), detail)
        self._connection.fleet.changed()
        return 0

    @exclusive
    def reboot(self, flags: int = 0) -> int:
        domain = self._active()
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_REBOOT, domain)
        return 0

    @exclusive
    def reset(self, flags: int = 0) -> int:
        domain = self._active()
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_REBOOT, domain)
        return 0

    @remote
    def undefineFlags(self, flags: int = 0) -> int:
        domain = self._domain()
        if not domain.persistent:
            raise errors.TRANSIENT()
        domain.persistent = domain.autostart = False
        self._tell(C.VIR_DOMAIN_EVENT_UNDEFINED, C.VIR_DOMAIN_EVENT_UNDEFINED_REMOVED)
        if not domain.active:
            domain.host.remove(domain)
        return 0

    def undefine(self) -> int:
        return int(self.undefineFlags(0))

    # Jobs

    def jobStats(self, flags: int = 0) -> dict[str, Any]:
        """Statistics of an incoming guest block until it has come (as do all that need its monitor)."""
        if self._incoming():
            self.await_job()
        return dict(self._job_stats(flags))

    @remote
    def _job_stats(self, flags: int) -> dict[str, Any]:
        domain = self._domain()
        if flags & C.VIR_DOMAIN_JOB_STATS_COMPLETED:
            found = {**domain.completed, "type": C.VIR_DOMAIN_JOB_COMPLETED} if domain.completed else {"type": C.VIR_DOMAIN_JOB_NONE}
            if not flags & C.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED:
                domain.completed = None
            return found
        return domain.job.stats() if domain.job else {"type": C.VIR_DOMAIN_JOB_NONE}

    @remote
    def _incoming(self) -> bool:
        domain = self._domain()
        return domain.job is not None and domain.job.target is domain

    def jobInfo(self) -> list[int]:
        stats = self.jobStats(0)
        sizes = [stats.get(f"{part}_{key}", 0) for part in ("data", "memory", "disk") for key in ("total", "processed", "remaining")]
        return [stats["type"], stats.get("time_elapsed", 0), 0, *sizes]

    @remote
    def abortJobFlags(self, flags: int = 0) -> int:
        job = self._domain().job
        if job is None:
            raise errors.NO_JOB()
        if flags & C.VIR_DOMAIN_ABORT_JOB_POSTCOPY:
            job.abort_post_copy()
        else:
            job.abort()
        return 0

    def abortJob(self) -> int:
        return int(self.abortJobFlags(0))

    # Migration

    def migrateToURI3(self, dconnuri: str | None, params: dict[str, Any] | None = None, flags: int = 0) -> int:
        """The job goes on in the fleet, whatever becomes of the caller and its connection."""
        fleet, connection = self._connection.fleet, self._connection
        if flags & C.VIR_MIGRATE_POSTCOPY_RESUME:
            job = self._resumed_job()
        else:
            job = self._new_job(dconnuri, params or {}, flags)
            fleet.runtime.start(f"migration of {self._name}", job.run)
        fleet.wait(lambda: job.returned or connection.gone)
        if not job.returned:
            connection.reach("virDomainMigrateToURI3")
        if job.error is not None:
            raise job.error
        return 0

    @remote
    def _resumed_job(self) -> Migration:
        job = self._domain().job
        if job is None:
            raise errors.NOT_POSTCOPY_FAILED(name=self._name)
        job.resume_post_copy()
        return job

    @remote
    def _new_job(self, uri: str | None, params: dict[str, Any], flags: int) -> Migration:
        _check_migration(uri, params, flags)
        domain = self._active()
        if domain.job:
            raise errors.JOB_RUNNING(name=self._name)
        if not flags & C.VIR_MIGRATE_UNSAFE:
            _check_disks(domain, flags)
        given = params.get(C.VIR_MIGRATE_PARAM_DEST_XML)
        _, address, port = _parts(uri or "")
        job = Migration(domain, address, port, flags, params, documents.definition(given) if given else domain.definition)
        domain.job = job
        domain.host.jobs.add(job)
        return job

    @remote
    def migrateStartPostCopy(self, flags: int = 0) -> int:
        domain = self._active()
        if domain.job is None or domain.job.source is not domain:
            raise errors.NO_OUTGOING()
        domain.job.start_post_copy()
        return 0

    @remote
    def migrateSetMaxDowntime(self, downtime: int, flags: int = 0) -> int:
        self._active().max_downtime_ms = downtime
        self._connection.fleet.changed()
        return 0

    @remote
    def migrateGetMaxDowntime(self, flags: int = 0) -> int:
        return self._active().max_downtime_ms

    @remote
    def migrateSetMaxSpeed(self, bandwidth: int, flags: int = 0) -> int:
        domain, post_copy = self._domain(), bool(flags & C.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
        if not post_copy:
            domain.max_speed = bandwidth
        if domain.job:
            domain.job.set_speed(bandwidth, post_copy)
        return 0

    @remote
    def migrateGetMaxSpeed(self, flags: int = 0) -> int:
        return self._domain().max_speed or UNLIMITED


class virStoragePool:
    """libvirt.virStoragePool."""

    def __init__(self, connection: virConnect, pool: Pool) -> None:
        self._connection = connection
        self._pool = pool

    def connect(self) -> virConnect:
        return self._connection

    def name(self) -> str:
        return self._pool.name

    def UUIDString(self) -> str:
        return self._pool.uuid

    def _known(self) -> Pool:
        pool = self._connection.host.pools.get(self._pool.name)
        if pool is not self._pool:
            raise errors.NO_POOL(key=f"uuid '{self._pool.uuid}' ({self._pool.name})")
        return pool

    def _active(self) -> Pool:
        pool = self._known()
        if not pool.active:
            raise errors.POOL_INACTIVE(name=pool.name)
        return pool

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.pool(self._known())

    @remote
    def info(self) -> list[int]:
        pool = self._known()
        capacity, available = pool.directory.capacity_mib * MIB, pool.directory.available
        return [C.VIR_STORAGE_POOL_RUNNING if pool.active else C.VIR_STORAGE_POOL_INACTIVE, capacity, capacity - available, available]

    @remote
    def isActive(self) -> int:
        return int(self._known().active)

    @remote
    def isPersistent(self) -> int:
        return int(self._known().persistent)

    @remote
    def refresh(self, flags: int = 0) -> int:
        self._active().refresh()
        return 0

    @remote
    def create(self, flags: int = 0) -> int:
        pool = self._known()
        if pool.active:
            raise errors.POOL_ACTIVE(name=pool.name)
        pool.active = True
        pool.refresh()
        return 0

    @remote
    def destroy(self) -> int:
        pool = self._active()
        pool.active = False
        if not pool.persistent:
            del self._connection.host.pools[pool.name]
        return 0

    @remote
    def undefine(self) -> int:
        pool = self._known()
        if pool.active:
            raise errors.POOL_STILL_ACTIVE(name=pool.name)
        del self._connection.host.pools[pool.name]
        return 0

    @remote
    def listVolumes(self) -> list[str]:
        return sorted(self._active().seen)

    @remote
    def listAllVolumes(self, flags: int = 0) -> list[virStorageVol]:
        pool = self._active()
        return [virStorageVol(self._connection, pool, name) for name in sorted(pool.seen)]

    @remote
    def storageVolLookupByName(self, name: str) -> virStorageVol:
        pool = self._active()
        if name not in pool.seen:
            raise errors.NO_VOLUME(key=f"name '{name}'")
        return virStorageVol(self._connection, pool, name)

    @remote
    def createXML(self, xmlDesc: str, flags: int = 0) -> virStorageVol:
        root = documents.parse(xmlDesc, "storage_volume_definition")
        name = root.findtext("name") or ""
        pool = self._active()
        pool.create(name, documents.file(root))
        return virStorageVol(self._connection, pool, name)


class virStorageVol:
    """libvirt.virStorageVol."""

    def __init__(self, connection: virConnect, pool: Pool, name: str) -> None:
        self._connection = connection
        self._pool = pool
        self._name = name

    def connect(self) -> virConnect:
        return self._connection

    def name(self) -> str:
        return self._name

    def path(self) -> str:
        return f"{self._pool.directory.path}/{self._name}"

    def key(self) -> str:
        return self.path()

    def _file(self) -> Any:
        file = self._pool.directory.files.get(self._name)
        if file is None:
            raise errors.NO_VOLUME(key=f"path '{self.path()}'")
        return file

    @remote
    def info(self) -> list[int]:
        file = self._file()
        return [C.VIR_STORAGE_VOL_FILE, file.capacity, file.allocation]

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.volume(self.path(), self._name, self._file())

    @remote
    def delete(self, flags: int = 0) -> int:
        self._pool.delete(self._name)
        return 0


Connection = virConnect


class Libvirt:
    """The `libvirt` module of one process at `origin`: functions, classes and constants, over a fleet."""

    libvirtError = libvirtError
    virConnect = virConnect
    virDomain = virDomain
    virStoragePool = virStoragePool
    virStorageVol = virStorageVol

    def __init__(self, fleet: Fleet, origin: str = "client") -> None:
        self.fleet = fleet
        self.origin = origin
        self.loop = Loop(fleet, self._keepalive)
        vars(self).update(CONSTANTS)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"module 'libvirt' has no attribute {name!r}")

    def open(self, name: str | None = None) -> Connection:
        """The host is found by the URI's host part: its name or its address."""
        scheme, address, port = _parts(name or "")
        if scheme not in DRIVERS or not address:
            raise errors.BAD_URI(uri=name)
        host = self.fleet.connectable(self.origin, address, port)
        self.fleet.wait(lambda: not host.hung)
        with self.fleet.lock:
            return virConnect(self, host, name or "")

    def openReadOnly(self, name: str | None = None) -> Connection:
        return self.open(name)

    def openAuth(self, uri: str, auth: list[Any], flags: int = 0) -> Connection:
        return self.open(uri)

    def getVersion(self, name: str | None = None) -> int:
        return 9000000

    def registerErrorHandler(self, f: Callable[..., Any] | None, ctx: Any) -> int:
        return 1

    def virEventRegisterDefaultImpl(self) -> int:
        self.loop.registered = True
        return 0

    def virEventRunDefaultImpl(self) -> int:
        self.loop.run_once()
        return 0

    def virEventAddTimeout(self, timeout: int, cb: Callable[..., Any], opaque: Any) -> int:
        return self.loop.add_timer(timeout, cb, opaque)

    def virEventUpdateTimeout(self, timer: int, timeout: int) -> None:
        self.loop.update_timer(timer, timeout)

    def virEventRemoveTimeout(self, timer: int) -> int:
        self.loop.remove_timer(timer)
        return 0

    def _keepalive(self) -> float | None:
        """Give up the connections that have been silent for too long; the simulated seconds until the next one is."""
        deadlines = []
        for host in list(self.fleet.hosts.values()):
            for connection in list(host.connections):
                deadline = connection.keepalive_deadline()
                if deadline is not None and deadline <= self.fleet.time() + INSTANT:
                    connection.lose(errors.KEEPALIVE_LOST(), C.VIR_CONNECT_CLOSE_REASON_KEEPALIVE)
                elif deadline is not None:
                    deadlines.append(deadline - self.fleet.time())
        return min(deadlines, default=None)


def _parts(uri: str) -> tuple[str, str, str]:
    """(driver and transport, host, port) of a connection URI."""
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname or "", str(parts.port or PORTS.get(parts.scheme, ""))


MIGRATE_FLAGS = functools.reduce(int.__or__, (value for name, value in CONSTANTS.items() if name.startswith("VIR_MIGRATE_") and isinstance(value, int)))
MIGRATE_PARAMETERS = {value for name, value in CONSTANTS.items() if name.startswith("VIR_MIGRATE_PARAM_")}
MUTUALLY_EXCLUSIVE = (
    ("VIR_MIGRATE_NON_SHARED_DISK", "VIR_MIGRATE_NON_SHARED_INC"),
    ("VIR_MIGRATE_TUNNELLED", "VIR_MIGRATE_PARALLEL"),
)


def _check_migration(uri: str | None, params: dict[str, Any], flags: int) -> None:
    """Raise what libvirt refuses at once, whatever the domain."""
    if not uri:
        raise errors.NO_DESTINATION()
    for one, other in MUTUALLY_EXCLUSIVE:
        if flags & CONSTANTS[one] and flags & CONSTANTS[other]:
            raise errors.EXCLUSIVE(one=one, other=other)
    refusals = (
        (flags & C.VIR_MIGRATE_ZEROCOPY and not flags & C.VIR_MIGRATE_PARALLEL, errors.ZEROCOPY_ALONE()),
        (not flags & C.VIR_MIGRATE_PEER2PEER, errors.DIRECT()),
        (flags & ~MIGRATE_FLAGS, errors.UNKNOWN_FLAGS(flags=flags & ~MIGRATE_FLAGS)),
        (flags & C.VIR_MIGRATE_TUNNELLED and flags & C.VIR_MIGRATE_POSTCOPY, errors.TUNNELLED_POSTCOPY()),
        *((True, errors.UNKNOWN_PARAMETER(name=name)) for name in sorted(params.keys() - MIGRATE_PARAMETERS)),
    )
    for refused, error in refusals:
        if refused:
            raise error


def _check_disks(domain: Domain, flags: int) -> None:
    """A writable disk in a local file must be copied."""
    for disk in domain.definition.disks:
        directory = domain.host.directory(split(disk.path)[0])
        if disk.path and not disk.network and not disk.read_only and not flags & BLOCK and not (directory and directory.shared):
            raise errors.UNSAFE()


def _domain_stats(domain: Domain, groups: int) -> dict[str, Any]:
    """virConnectGetAllDomainStats, by the groups asked for (0: all)."""
    memory = domain.definition.memory_mib * 1024
    stats: dict[int, dict[str, Any]] = {
        C.VIR_DOMAIN_STATS_STATE: {"state.state": domain.state, "state.reason": domain.reason},
        C.VIR_DOMAIN_STATS_BALLOON: {"balloon.current": memory, "balloon.maximum": memory},
        C.VIR_DOMAIN_STATS_VCPU: {"vcpu.current": domain.definition.vcpus, "vcpu.maximum": domain.definition.vcpus},
        C.VIR_DOMAIN_STATS_BLOCK: {"block.count": len(domain.definition.disks)},
    }
    return {key: value for group, values in stats.items() if not groups or groups & group for key, value in values.items()}


# The module itself, in place of libvirt-python

_default: Libvirt | None = None


def default() -> Libvirt:
    """What the module-level names work on."""
    global _default
    if _default is None:
        _default = Libvirt(Fleet(ThreadRuntime()))
    return _default


def load(fleet: str | dict[str, Any], runtime: Runtime | None = None) -> Libvirt:
    """A libvirt over the fleet that a YAML file (or the same as a dict) describes; from now on the module-level names work on it as well."""
    global _default
    _default = Libvirt(fleetfile.load(fleet, runtime or ThreadRuntime()))
    return _default


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return getattr(default(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


FUNCTIONS = frozenset(name for name in vars(Libvirt) if name[0] != "_" and name[:3] != "VIR")
