"""What each disk of a guest needs to move, and what that makes of its files at the destination. Pure: tables over what the survey has found.

Nova copies what is local and writable (nova/virt/libvirt/driver.py, _live_migration_copy_disk_paths); read-only images it cannot move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from livemig.facts import Backing, Disk, Guest, Image
from livemig.hypervisor.storage import Blank


class Way(Enum):
    """How a disk gets to the destination."""

    NOTHING = "it has no image"
    SHARED = "both hosts have the same"
    QEMU = "QEMU copies it while the guest runs"
    STREAM = "it is copied before the start"
    CANNOT = "it cannot be moved"


SHARED_BY_NATURE = frozenset({"network", "block"})  # libvirt's disk types that mean the same on every host which can open them
_SEEDS = ("seed", "cidata", "cloudinit", "cloud-init", "config", "config-2", "configdrive")  # what images for cloud-init are called
CANNOT: Mapping[str, str] = {
    "dir": "a directory that QEMU shows as a FAT file system",
    "volume": "a volume of a storage pool, of which nobody can say whether it is shared; name its file or device instead",
    "nvme": "an NVMe device of the host",
    "vhostuser": "a vhost-user device of the host",
    "vhostvdpa": "a vDPA device of the host",
}


def way(disk: Disk, shared: Mapping[str, bool]) -> Way:
    """`shared` says of each file whether both hosts have the same; one that nobody has asked about is taken for local."""
    if disk.kind in SHARED_BY_NATURE:
        return Way.SHARED
    if disk.kind != "file":
        return Way.CANNOT
    if not disk.path:
        return Way.NOTHING
    if shared.get(disk.path):
        return Way.SHARED
    if disk.read_only:
        return Way.STREAM
    return Way.CANNOT if disk.shareable else Way.QEMU


def why_not(disk: Disk) -> str:
    """Why a disk cannot be moved, for people."""
    if disk.kind == "file":
        return f"{disk.target} ({disk.path}) is local, and other guests may write to it at the same time"
    return f"{disk.target} is {CANNOT.get(disk.kind, f'of type {disk.kind}')}"


def targets(guest: Guest, shared: Mapping[str, bool]) -> tuple[str, ...]:
    """The disks that QEMU copies, by their names in the guest: never a shared one."""
    return tuple(disk.target for disk in guest.disks if way(disk, shared) is Way.QEMU)


def files(disks: Iterable[Disk]) -> list[str]:
    """All files that may or may not be the same on both hosts: of disks, and those that they stand on."""
    return list(dict.fromkeys(path for disk in disks for path in _files(disk)))


def _files(disk: Disk) -> Iterator[str]:
    if disk.kind == "file" and disk.path:
        yield disk.path
    yield from (backing.path for backing in disk.backing if backing.kind == "file" and backing.path)


@dataclass(frozen=True, slots=True)
class Needs:
    """What the destination must have of the local files: `blanks` that QEMU copies into, and `read_only` ones that are copied if they are not there."""

    blanks: tuple[Blank, ...] = ()
    read_only: tuple[Image, ...] = ()
    own: tuple[str, ...] = ()  # what is the guest's alone, so that the source needs it no more afterwards; a directory ends with a slash

    def copies(self, there: Mapping[str, Image]) -> tuple[Image, ...]:
        return tuple(image for image in self.read_only if image.path not in there)

    def found(self, there: Mapping[str, Image]) -> tuple[Image, ...]:
        return tuple(image for image in self.read_only if image.path in there)


def needs(guest: Guest, server: str, shared: Mapping[str, bool], images: Mapping[str, Image]) -> Needs:
    """`server` is the guest's UUID, `images` are the local files at the source."""
    ways = [(disk, way(disk, shared)) for disk in guest.disks]
    moved = [disk for disk, how in ways if how is Way.QEMU]
    streamed = [disk for disk, how in ways if how is Way.STREAM]
    below = [backing.path for disk, how in ways if how in (Way.QEMU, Way.STREAM, Way.SHARED) for backing in disk.backing if _is_local(backing, shared)]
    own = [PurePosixPath(disk.path or "") for disk in (*moved, *(disk for disk in streamed if is_own(disk, guest, server)))]
    homes = dict.fromkeys(f"{place.parent}/" for place in own if place.parent.name in (server, guest.name))
    return Needs(
        blanks=tuple(_blank(disk, images[disk.path or ""]) for disk in moved if disk.path in images),
        read_only=tuple(images[path] for path in dict.fromkeys([*below, *(disk.path or "" for disk in streamed)]) if path in images),
        own=(*map(str, own), *homes),
    )


def is_own(disk: Disk, guest: Guest, server: str) -> bool:
    """Whether a read-only image was made for this guest, as a config drive is: its name says so, or the directory's.

    Anything else may be an installation CD, of use to guests that are not there yet.
    """
    place = PurePosixPath(disk.path or "")
    if server in str(place) or guest.name in place.parent.parts:
        return True
    seeds = {f"{guest.name}{mark}{word}" for mark in "-._" for word in _SEEDS}
    return place.name.endswith("disk.config") or place.stem in {"config-2", f"{guest.name}.{disk.target}", *seeds}


def _is_local(backing: Backing, shared: Mapping[str, bool]) -> bool:
    return backing.kind == "file" and not shared.get(backing.path)


def _blank(disk: Disk, image: Image) -> Blank:
    """Of its format the domain speaks the truth: what a guest writes to a raw image may look like another format, with sizes and backing files of its own."""
    capacity = image.length if disk.format == "raw" else image.capacity
    return Blank(image.path, disk.format, capacity, image.permissions, disk.backing[0] if disk.backing else None)


def bytes_needed(wanted: Needs, images: Mapping[str, Image], there: Mapping[str, Image], over_commit: bool | None) -> dict[str, int]:
    """What the files to be made take, by directory.

    Nova's arithmetic: allocated sizes with disk_over_commit, virtual ones without. Where a request cannot say (microversion 2.25 and later, at which Nova
    does not look at all), raw images count whole, since a copy may lose their holes, and others what they take. A read-only file never grows.
    """
    sizes = [(blank.path, _size(blank, images[blank.path], over_commit)) for blank in wanted.blanks]
    sizes += [(image.path, image.allocation if over_commit else image.length) for image in wanted.copies(there)]
    total: dict[str, int] = {}
    for path, size in sizes:
        directory = str(PurePosixPath(path).parent)
        total[directory] = total.get(directory, 0) + size
    return total


def _size(blank: Blank, image: Image, over_commit: bool | None) -> int:
    virtual = over_commit is False or (over_commit is None and blank.format == "raw")
    return blank.capacity if virtual else image.allocation
