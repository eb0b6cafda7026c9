"""What a host's libvirtd answers about emulators, machines and pages of memory."""

from __future__ import annotations

from livemig.testing import errors
from livemig.testing.fleet import Host
from livemig.testing.guests import MACHINES

PAGES_KIB = (4, 2048, 1048576)
TOGETHER = -1
VIRT_TYPES = ("qemu", "kvm", "xen", "lxc", "test", "vz", "bhyve", "hvf")


def domain_type(host: Host, emulator: str | None, arch: str | None, wanted: str | None) -> str:
    """The domain type that a guest of this emulator has, or the best there is. Raises libvirt's refusals of all three."""
    if emulator not in (None, *host.emulators):
        raise errors.NO_EMULATOR(path=emulator)
    _check_arch(arch)
    if wanted is not None and wanted not in VIRT_TYPES:
        raise errors.BAD_VIRTTYPE(virttype=wanted)
    if wanted not in (None, *host.virt_types):
        raise errors.NO_VIRTTYPE(virttype=wanted)
    return wanted or host.virt_types[-1]


def aliases(host: Host) -> dict[str, str]:
    """What each alias of a machine type stands for: the newest of its kind that the host's QEMU has."""
    kinds = {alias: machine.partition("-7.2")[0] for alias, machine in MACHINES.items()}
    return {alias: machine for alias, kind in kinds.items() for machine in host.machines if machine.startswith(f"{kind}-")}


def canonical(host: Host, machine: str) -> str:
    """A machine type without its alias."""
    return aliases(host).get(machine) or MACHINES.get(machine, machine)


def machine(host: Host, arch: str | None, wanted: str | None) -> str:
    """A machine type that the host's QEMU has, without its alias."""
    _check_arch(arch)
    found = canonical(host, wanted or "pc")
    if found not in host.machines:
        raise errors.BAD_MACHINE(machine=wanted)
    return found


def _check_arch(arch: str | None) -> None:
    if arch not in (None, "x86_64"):
        raise errors.BAD_ARCH(arch=arch)


def free_pages(host: Host, sizes: list[int], first: int, count: int) -> dict[int, dict[int, int]]:
    """virNodeGetFreePages: by cell and size; of all cells together for the cell -1."""
    if first >= host.numa_nodes:
        raise errors.NO_CELL(cell=first, last=host.numa_nodes - 1)
    for size in sizes:
        if size not in PAGES_KIB:
            raise errors.NO_PAGES(size=size, cell=max(first, 0))
    on_each = {size: _free(host, size) for size in sizes}
    if first == TOGETHER:
        return {TOGETHER: {size: pages * host.numa_nodes for size, pages in on_each.items()}}
    return {cell: dict(on_each) for cell in range(first, min(first + count, host.numa_nodes))}


def _free(host: Host, size: int) -> int:
    """Of one node."""
    return host.huge_pages.get(size, 0) if size != PAGES_KIB[0] else host.memory_free_mib() * 1024 // PAGES_KIB[0] // host.numa_nodes
