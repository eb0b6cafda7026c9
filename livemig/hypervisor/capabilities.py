"""What a host has for a guest: its emulator and machine, processors, memory, networks, and a name that is free.

Only what the guest needs is asked. What QEMU can do is asked once while the host is connected, and again where it is not enough: that may have been mended.
What a daemon cannot tell (an old libvirt, an interface driver that is not there) stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from xml.sax.saxutils import escape, quoteattr

from livemig import exceptions
from livemig.facts import Guest, Offer
from livemig.hypervisor.domain_xml import parse

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

T = TypeVar("T")

_TOGETHER = -1  # as a NUMA cell: all of them (virNodeGetFreePages)


@dataclass(frozen=True, slots=True)
class Machine:
    """What domain capabilities say of one machine. `tpm_backends` is None where libvirt does not tell; `host_model` is the CPU that guests can be given."""

    most_vcpus: int | None
    tpm_backends: frozenset[str] | None
    host_model: str
    cpu_model: str


def offer(host: Hypervisor, guest: Guest) -> Offer:
    """Raises HypervisorUnavailable."""
    asking = _Asking(host, guest)
    found = asking.machine()
    return replace(
        found,
        cpus=asking.cpus() if guest.cpus else None,
        numa_nodes=asking.numa_nodes() if guest.numa_nodes else None,
        free_huge_pages=asking.free_huge_pages() if guest.huge_pages_kib else None,
        networks=asking.networks() if asking.plugged("network") else None,
        **asking.interfaces(asking.plugged("bridge", "direct")),
        namesake=asking.namesake(),
        unasked=tuple(asking.unasked),
    )


def machine(host: Hypervisor, guest: Guest) -> Machine | None:
    """What the host can make of the guest's kind of machine, None where it cannot tell. Raises HypervisorUnavailable."""
    return _Asking(host, guest).known_machine()


class _Asking:
    """The questions about one guest to one host; `unasked` collects what could not be found out."""

    def __init__(self, host: Hypervisor, guest: Guest) -> None:
        self._host = host
        self._guest = guest
        self.unasked: list[str] = []

    def machine(self) -> Offer:
        """The guest's emulator, machine type and domain type."""
        try:
            known = self._machine()
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.UnsupportedByHypervisor as error:
            self.unasked.append(f"domain capabilities: {error}")
            return Offer()
        except exceptions.HypervisorError as error:
            return Offer(unknown=self._culprit(), unknown_text=str(error))
        return Offer(most_vcpus=known.most_vcpus, tpm_backends=known.tpm_backends)

    def known_machine(self) -> Machine | None:
        return self._ask("domain capabilities", lambda _connection: self._machine())

    def _machine(self) -> Machine:
        guest = self._guest
        key, known = (guest.emulator, guest.arch, guest.machine, guest.domain_type), self._host.remembered
        if key not in known or not _suits(known[key], guest):
            known[key] = _machine(self._domain_capabilities(guest.machine, guest.domain_type))
        return known[key]

    def _culprit(self) -> str:
        """What of it the daemon does not know: it is asked for less and less, until it answers."""
        for what, kind in (("machine type", self._guest.domain_type), ("domain type", None)):
            try:
                self._domain_capabilities(None, kind)
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError:
                continue
            return what
        return "emulator"

    def _domain_capabilities(self, machine_type: str | None, domain_type: str | None) -> str:
        with self._host.use() as connection:
            return str(connection.getDomainCapabilities(self._guest.emulator or None, self._guest.arch or None, machine_type or None, domain_type or None, 0))

    def cpus(self) -> frozenset[int] | None:
        """Those that are online."""
        found = self._ask("processors", lambda connection: connection.getCPUMap(0))
        return None if found is None else frozenset(number for number, online in enumerate(found[1]) if online)

    def numa_nodes(self) -> frozenset[int] | None:
        cells = self._topology("cell")
        return None if cells is None else frozenset(int(cell.get("id", "0")) for cell in cells) or None

    def free_huge_pages(self) -> Mapping[int, int] | None:
        """On the nodes that the guest is bound to, else on all; of every size that the host has, where the guest leaves the size to it."""
        sizes = sorted({size for wanted in self._guest.huge_pages_kib for size in ([wanted] if wanted else self._page_sizes())})
        free = dict.fromkeys(sizes, 0)
        for node in sorted(self._guest.numa_nodes) or [_TOGETHER]:
            for size in sizes:
                pages = self._free_pages(size, node)
                if pages is None:
                    return None
                free[size] += pages
        return free

    def _free_pages(self, size: int, node: int) -> int | None:
        pages = self._ask(f"free pages of {size} KiB", lambda connection: connection.getFreePages([size], node, 1, 0))
        return None if pages is None else sum(each.get(size, 0) for each in pages.values())

    def _page_sizes(self) -> list[int]:
        """Of huge pages: all but the smallest."""
        return sorted({int(pages.get("size", "0")) for pages in self._topology("cell/pages") or ()})[1:]

    def _topology(self, path: str) -> list[Any] | None:
        document = self._ask("capabilities", lambda connection: parse(connection.getCapabilities()))
        return None if document is None else document.findall(f"host/topology/cells/{path}")

    def networks(self) -> frozenset[str] | None:
        """The active ones."""
        active = self._host.libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
        return _names(self._ask("networks", lambda connection: connection.listAllNetworks(active)))

    def interfaces(self, wanted: frozenset[str]) -> dict[str, Any]:
        """The active ones; and all, if any that is wanted is not among them."""
        active_only = self._host.libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE
        active = _names(self._ask("interfaces", lambda connection: connection.listAllInterfaces(active_only))) if wanted else None
        if active is None or wanted <= active:
            return {"interfaces": active}
        every = _names(self._ask("interfaces", lambda connection: connection.listAllInterfaces(0)))
        return {"interfaces": every, "idle": (every or frozenset()) - active}

    def plugged(self, *kinds: str) -> frozenset[str]:
        """The names of what the guest's interfaces of these kinds are plugged in to."""
        return frozenset(plug.name for plug in self._guest.plugs if plug.kind in kinds)

    def namesake(self) -> str:
        """The UUID of whatever has the guest's name: libvirt takes each but once."""
        try:
            with self._host.use() as connection:
                return str(connection.lookupByName(self._guest.name).UUIDString()) if self._guest.name else ""
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.HypervisorError:
            return ""

    def _ask(self, what: str, question: Callable[[Any], T]) -> T | None:
        try:
            with self._host.use() as connection:
                return question(connection)
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.HypervisorError as error:
            self.unasked.append(f"{what}: {error}")
            return None


def _names(things: Iterable[Any] | None) -> frozenset[str] | None:
    return None if things is None else frozenset(thing.name() for thing in things)


def _suits(known: Machine, guest: Guest) -> bool:
    enough = known.most_vcpus is None or guest.vcpus <= known.most_vcpus
    return enough and (known.tpm_backends is None or "emulator" in known.tpm_backends or not any(device.kind == "tpm emulator" for device in guest.devices))


def _machine(document: str) -> Machine:
    root = parse(document)
    vcpu, tpm, model = root.find("vcpu"), root.find("devices/tpm"), root.find("cpu/mode[@name='host-model'][@supported='yes']")
    return Machine(
        most_vcpus=None if vcpu is None else int(vcpu.get("max", "0")) or None,
        tpm_backends=None if tpm is None else frozenset(value.text or "" for value in tpm.iterfind("enum[@name='backendModel']/value")),
        host_model="" if model is None else "".join(_custom(model)),
        cpu_model="" if model is None else model.findtext("model", ""),
    )


def _custom(model: Any) -> Iterator[str]:
    """The host's model of a CPU as a guest's own."""
    yield f"<cpu mode='custom' match='exact'><model fallback='forbid'>{escape(model.findtext('model', ''))}</model>"
    for feature in model.iterfind("feature"):
        yield f"<feature policy={quoteattr(feature.get('policy', 'require'))} name={quoteattr(feature.get('name', ''))}/>"
    yield "</cpu>"
