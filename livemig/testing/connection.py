"""libvirt.virConnect over the simulated fleet. What a method does is in libvirt's documentation under the same name."""

from __future__ import annotations

import itertools
import uuid as uuids
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from livemig.testing import capacity, documents, errors, processors, statistics
from livemig.testing import constants as C
from livemig.testing.domain import virDomain
from livemig.testing.errors import libvirtError
from livemig.testing.fleet import SHUT_OFF, STATES, Domain, Host
from livemig.testing.guests import Definition, Load
from livemig.testing.networks import chosen, virInterface, virNetwork
from livemig.testing.pools import virStoragePool, virStorageVol
from livemig.testing.remote import remote
from livemig.testing.selection import DOMAINS, POOLS, selected
from livemig.testing.storage import MIB, Pool, normal, pool_uuid, split
from livemig.testing.streams import virStream

if TYPE_CHECKING:
    from livemig.testing.libvirt import Libvirt

RESTORED = {
    "running": (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_RESTORED),
    "paused": (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_MIGRATION),
}


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

    @property
    def _connection(self) -> virConnect:
        return self

    # The connection itself

    def reach(self, function: str) -> None:
        """Go to the daemon with a call: raise what it raises when the connection is gone, wait while it is silent."""
        self.host.calls[function] += 1
        self.fleet.runtime.sleep(self.fleet.latency_s)
        if self._closed:
            raise errors.BAD_CONNECTION(function=function)
        if not self._speaks():
            self.fleet.wait(lambda: self.gone or self._speaks())
        if self._lost is not None:
            lost, self._lost = self._lost, errors.SOCKET_CLOSED()
            raise lost

    def follow(self) -> None:
        """A switch was set: the daemon may have died, fallen silent, or come back."""
        if self._deaths != self.host.deaths:
            self.lose(errors.END_OF_FILE(), C.VIR_CONNECT_CLOSE_REASON_ERROR)
        elif not self._speaks():
            self._silent_since = self.fleet.time() if self._silent_since is None else self._silent_since
            self._libvirt.silent.add(self)
        else:
            self._silent_since = None
            self._libvirt.silent.discard(self)
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
        self._libvirt.silent.discard(self)
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
        self._libvirt.silent.discard(self)
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
        return self.host.max_vcpus

    @remote
    def getCPUMap(self, flags: int = 0) -> tuple[int, list[bool], int]:
        return self.host.vcpus, [True] * self.host.vcpus, self.host.vcpus

    @remote
    def getFreePages(self, pages: list[int], startCell: int, maxCells: int, flags: int = 0) -> dict[int, dict[int, int]]:
        return capacity.free_pages(self.host, pages, startCell, maxCells)

    @remote
    def getFreeMemory(self) -> int:
        return self.host.memory_free_mib() * MIB

    @remote
    def getMemoryStats(self, cellNum: int, flags: int = 0) -> dict[str, int]:
        return {"total": self.host.memory_mib * 1024, "free": self.host.memory_free_mib() * 1024, "buffers": 0, "cached": 0}

    @remote
    def getCPUStats(self, cpuNum: int, flags: int = 0) -> dict[str, int]:
        return statistics.of_host(self.host)

    @remote
    def getCapabilities(self) -> str:
        return documents.capabilities(self.host)

    @remote
    def getDomainCapabilities(self, emulatorbin: str | None, arch: str | None, machine: str | None, virttype: str | None, flags: int = 0) -> str:
        kind = capacity.domain_type(self.host, emulatorbin, arch, virttype)
        return documents.domain_capabilities(self.host, capacity.machine(self.host, arch, machine), kind)

    @remote
    def getCPUModelNames(self, arch: str, flags: int = 0) -> list[str]:
        return list(processors.KNOWN)

    @remote
    def compareHypervisorCPU(self, emulator: str | None, arch: str | None, machine: str | None, virttype: str | None, xmlCPU: str, flags: int = 0) -> int:
        capacity.machine(self.host, arch, machine)
        model = documents.parse(xmlCPU, "CPU_definition", errors.BAD_CPU_XML).findtext("model", "qemu64")
        if model not in processors.KNOWN:
            raise errors.BAD_CPU_MODEL(model=model)
        if not self.host.refuses_cpu and processors.runs(self.host.cpu_model, model):
            return C.VIR_CPU_COMPARE_SUPERSET
        if flags & C.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE:
            raise errors.CPU_INCOMPATIBLE(features=model)
        return C.VIR_CPU_COMPARE_INCOMPATIBLE

    @remote
    def listAllInterfaces(self, flags: int = 0) -> list[virInterface]:
        return [virInterface(self, name) for name in chosen(self.host, self.host.interfaces, flags)]

    @remote
    def listAllNetworks(self, flags: int = 0) -> list[virNetwork]:
        return [virNetwork(self, name) for name in chosen(self.host, self.host.networks, flags)]

    @remote
    def networkLookupByName(self, name: str) -> virNetwork:
        if name not in self.host.networks:
            raise errors.NO_NETWORK(name=name)
        return virNetwork(self, name)

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
        return selected(self.host.domains.values(), DOMAINS, flags)

    @remote
    def getAllDomainStats(self, stats: int = 0, flags: int = 0) -> list[tuple[virDomain, dict[str, Any]]]:
        return [(virDomain(self, domain), statistics.of_domain(domain, stats)) for domain in self._selected(flags)]

    @remote
    def domainListGetStats(self, doms: list[virDomain], stats: int = 0, flags: int = 0) -> list[tuple[virDomain, dict[str, Any]]]:
        found = (self.host.domains.get(each.UUIDString()) for each in doms)
        return [(virDomain(self, domain), statistics.of_domain(domain, stats)) for domain in found if domain]

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
        what = documents.definition(xml, self.host)
        old, same_name = self.host.domains.get(what.uuid), self._named(what.name)
        if same_name and same_name is not old:
            raise errors.NAME_TAKEN(name=what.name, uuid=same_name.definition.uuid)
        if old and old.definition.name != what.name:
            raise errors.UUID_TAKEN(name=old.definition.name, uuid=what.uuid)
        return what, old

    def start(self, domain: Domain, state: str = "running") -> None:
        """A domain's QEMU is started, from its managed save image if there is one."""
        domain.id = self.host.next_id()
        saved, domain.saved = domain.saved, None
        if saved:
            self._restore(domain, saved)
            return
        domain.become(*STATES[state])
        if domain.runs:
            self._tell(domain, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
        self._tell(domain, C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_BOOTED)
        if not domain.runs:
            self._tell(domain, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)

    def _restore(self, domain: Domain, state: str) -> None:
        """libvirt 9.0 gives a paused one the reason "migration"."""
        domain.become(*RESTORED[state])
        self._tell(domain, C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_RESTORED)
        if domain.runs:
            self._tell(domain, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT)
        else:
            self._tell(domain, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_RESTORED)

    def _tell(self, domain: Domain, event: int, detail: int) -> None:
        self.host.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)

    # Storage

    def newStream(self, flags: int = 0) -> virStream:
        return virStream(self)

    @remote
    def listAllStoragePools(self, flags: int = 0) -> list[virStoragePool]:
        return [virStoragePool(self, pool) for pool in selected(self.host.pools.values(), POOLS, flags)]

    @remote
    def storagePoolLookupByName(self, name: str) -> virStoragePool:
        return self._pool(self.host.pools.get(name), f"name '{name}'")

    @remote
    def storagePoolLookupByTargetPath(self, path: str) -> virStoragePool:
        found = (pool for pool in self.host.pools.values() if pool.active and pool.path == normal(path))
        return self._pool(next(found, None), f"target path '{normal(path)}'")

    @remote
    def storagePoolLookupByUUIDString(self, uuidstr: str) -> virStoragePool:
        return self._pool(next((pool for pool in self.host.pools.values() if pool.uuid == uuidstr), None), f"uuid '{uuidstr}'")

    def _pool(self, pool: Pool | None, key: str) -> virStoragePool:
        if pool is None:
            raise errors.NO_POOL(key=key)
        return virStoragePool(self, pool)

    @remote
    def storagePoolCreateXML(self, xmlDesc: str, flags: int = 0) -> virStoragePool:
        return self._new_pool(xmlDesc, persistent=False, build=bool(flags & C.VIR_STORAGE_POOL_CREATE_WITH_BUILD))

    @remote
    def storagePoolDefineXML(self, xml: str, flags: int = 0) -> virStoragePool:
        return self._new_pool(xml, persistent=True)

    def _new_pool(self, xml: str, persistent: bool, build: bool = False) -> virStoragePool:
        root = documents.parse(xml, "storage_pool_definition")
        name, path = root.findtext("name") or "", normal(root.findtext("target/path") or "")
        uuid = root.findtext("uuid") or pool_uuid(self.host.name, name)
        for other in self.host.pools.values():
            if other.uuid == uuid and other.name != name:
                raise errors.POOL_UUID_TAKEN(name=other.name, uuid=uuid)
        if name in self.host.pools:
            raise errors.POOL_TAKEN(name=name, uuid=self.host.pools[name].uuid)
        for other in self.host.pools.values():
            if other.path == path:
                raise errors.POOL_CONFLICT(name=other.name)
        if build:
            self.host.make_directory(path)
        directory = self.host.directory(path)
        if directory is None:
            raise errors.NO_DIRECTORY(path=path)
        pool = Pool(name, uuid, path, directory, lambda: self.host.entries(path), persistent, active=not persistent)
        self.host.add_pool(pool)
        return virStoragePool(self, pool)

    @remote
    def storageVolLookupByPath(self, path: str) -> virStorageVol:
        directory, name = split(path)
        for pool in self.host.pools.values():
            if pool.active and pool.path == directory and name in pool.seen:
                return virStorageVol(self, pool, name)
        raise errors.NO_VOLUME(key=f"path '{path}'")
