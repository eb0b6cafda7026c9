"""Whether the destination has the memory and the processors that the guest needs."""

from __future__ import annotations

from collections.abc import Mapping

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused


def memory_free(now: Situation) -> Refused | None:
    """The destination has the guest's memory free, without what is reserved for the host (reserved_host_memory_mb). Page cache counts as free, and huge pages
    are counted by themselves. Mend: move other guests away, or reserve less."""
    host = now.destination.facts
    if host is None or now.guest is None:
        return None
    needed = now.guest.memory_mib - sum(now.guest.huge_pages_kib.values()) // 1024
    available = host.memory_free_mib - now.destination.reserved_memory_mib
    if needed > 0 and available <= needed:
        lack = f"Lack of memory(host:{available} <= instance:{needed})"
        return exceptions.MigrationPreCheckError(reason=f"Unable to migrate {now.server} to {now.destination.name}: {lack}")
    return None


def huge_pages_free(now: Situation) -> Refused | None:
    """The destination has as many free huge pages of each size as the guest needs, on the NUMA nodes that it is bound to. Mend: reserve more
    (`virsh allocpages`, vm.nr_hugepages)."""
    free = now.offer.free_huge_pages
    if now.guest is None or free is None:
        return None
    lacking = [_pages(size, kib) for size, kib in now.guest.huge_pages_kib.items() if not _enough(size, kib, free)]
    if lacking:
        there = ", ".join(f"{pages} of {size} KiB" for size, pages in sorted(free.items())) or "none"
        reason = f"Instance {now.server} needs huge pages: {', '.join(lacking)}; free on {now.destination.name}: {there}"
        return exceptions.MigrationPreCheckError(reason=reason)
    return None


def processors_there(now: Situation) -> Refused | None:
    """The destination has the processors online that the guest's vCPUs, emulator and I/O threads are pinned to. Mend: pin the guest to processors that both
    hosts have (`virsh vcpupin --live`, `virsh emulatorpin --live`), or to none."""
    return _there(now, "is pinned to processors", now.guest.cpus if now.guest else frozenset(), now.offer.cpus)


def numa_nodes_there(now: Situation) -> Refused | None:
    """The destination has the NUMA nodes that the guest's memory is bound to. Mend: choose a host with as many, or bind the guest to nodes that both have
    (`virsh numatune`)."""
    return _there(now, "is bound to NUMA nodes", now.guest.numa_nodes if now.guest else frozenset(), now.offer.numa_nodes)


def _there(now: Situation, how: str, wanted: frozenset[int], found: frozenset[int] | None) -> Refused | None:
    if found is None or wanted <= found:
        return None
    missing = ", ".join(map(str, sorted(wanted - found)))
    return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} {how} that {now.destination.name} does not have: {missing}")


def _enough(size: int, kib: int, free: Mapping[int, int]) -> bool:
    """Of the default size, which only the host knows, any size will do."""
    sizes = [size] if size else list(free)
    return any(free.get(each, 0) * each >= kib for each in sizes)


def _pages(size: int, kib: int) -> str:
    return f"{kib // size} of {size} KiB" if size else f"{kib} KiB in pages of the default size"
