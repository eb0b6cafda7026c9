"""Disks in a migration: which of them QEMU copies, what the destination must have, and what it has in the end."""

from __future__ import annotations

from typing import Any

from livemig.testing import constants as C
from livemig.testing import errors
from livemig.testing.fleet import Domain, Host
from livemig.testing.guests import Disk
from livemig.testing.storage import MIB, File, split

BLOCK = C.VIR_MIGRATE_NON_SHARED_DISK | C.VIR_MIGRATE_NON_SHARED_INC


def copied(domain: Domain, flags: int, parameters: dict[str, Any]) -> list[Disk]:
    """Those that a client chose; else all that are local and writable, wherever they are."""
    chosen = parameters.get(C.VIR_MIGRATE_PARAM_MIGRATE_DISKS)
    could = [disk for disk in domain.definition.disks if flags & BLOCK and disk.path and not disk.network and not disk.read_only]
    return [disk for disk in could if chosen is None or disk.target in chosen]


def check_disks(domain: Domain, flags: int, parameters: dict[str, Any]) -> None:
    """A writable disk in a local file must be copied. Raises libvirt's error."""
    copies = copied(domain, flags, parameters)
    for disk in domain.definition.disks:
        directory = domain.host.directory(split(disk.path)[0])
        if disk.path and not disk.network and not disk.read_only and disk not in copies and not (directory and directory.shared):
            raise errors.UNSAFE()


def place(destination: Host, disk: Disk, is_copied: bool) -> None:
    """The destination needs the disk's file; one that is to be copied is made where a pool covers its path. Raises libvirt's error."""
    if disk.network or not disk.path:
        return
    file = destination.file(disk.path)
    if file is not None:
        _check_backing(destination, file)
        return
    path, name = split(disk.path)
    if not is_copied:
        raise errors.NO_DISK(path=disk.path)
    pool = next((pool for pool in destination.pools.values() if pool.active and pool.path == path), None)
    if pool is None:
        raise errors.NO_POOL(key=f"target path '{path}'")
    pool.create(name, File(disk.size_mib * MIB, 0, disk.format))


def _check_backing(host: Host, file: File) -> None:
    while file.backing is not None:
        below = host.file(file.backing[0])
        if below is None:
            raise errors.INTERNAL(reason=f"process exited while connecting to monitor: Could not open '{file.backing[0]}': No such file or directory")
        file = below


def arrive(source: Host, destination: Host, disk: Disk) -> None:
    """What was copied is the same at both ends."""
    ours, theirs = source.file(disk.path), destination.file(disk.path)
    if ours is not None and theirs is not None and ours is not theirs:
        theirs.content, theirs.allocation = ours.content, ours.allocation
        theirs.change()
