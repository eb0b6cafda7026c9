"""What each disk of a guest needs to move, and what that makes of its files at the destination. Pure: tables over what the survey has found.

Nova copies what is local and writable (nova/virt/libvirt/driver.py, _live_migration_copy_disk_paths); read-only images it cannot move.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from livemig.facts import Backing, Disk, Guest, Image
from livemig.hypervisor.storage import Blank
from livemig.paths import above, is_plain


class Way(Enum):
    """How a disk gets to the destination."""

    NOTHING = "it has no image"
    SHARED = "both hosts have the same"
    QEMU = "QEMU copies it while the guest runs"
    STREAM = "it is copied before the start"
    CANNOT = "it cannot be moved"


SHARED_BY_NATURE = frozenset({"network", "block"})  # libvirt's disk types that mean the same on every host which can open them
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
    own: tuple[str, ...] = ()  # what the source needs no more afterwards, if it is proven whole at the destination; a directory ends with a slash

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
    own = [disk.path or "" for disk in (*moved, *(disk for disk in streamed if is_own(disk.path or "", server)))]
    homes = dict.fromkeys(f"{PurePosixPath(path).parent}/" for path in own if PurePosixPath(path).parent.name == server)
    return Needs(
        blanks=tuple(_blank(disk, images[disk.path or ""]) for disk in moved if disk.path in images),
        read_only=tuple(images[path] for path in dict.fromkeys([*below, *(disk.path or "" for disk in streamed)]) if path in images),
        own=(*own, *homes),
    )


def is_own(path: str, server: str) -> bool:
    """Whether a file that a guest only reads is provably its own: it lies in a directory that is named by the guest's UUID.

    The guest's name proves nothing, nor does what config drives are called: anything else may be of use to guests that are not there yet.
    """
    return server in above(path)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a file, or a directory, at the source of a migration that has completed.

    `made`: the one at the destination was made by this migration, which told libvirt only after all that it copied itself was there, whole. `there`: the
    destination has it now. `attached`: it is a disk of the guest there, or below one; `written`: one that the guest writes, which QEMU has copied, as both
    hosts have said.
    """

    path: str
    server: str
    made: bool = False
    there: bool = False
    attached: bool = False
    written: bool = False


_STAYS: tuple[tuple[Callable[[Evidence], bool], str], ...] = (
    (lambda seen: not is_plain(seen.path), "its path is not in its plain form"),
    (lambda seen: _is_directory(seen) and PurePosixPath(seen.path).name != seen.server, "it is not named by the guest's UUID"),
    (lambda seen: not _is_directory(seen) and not seen.made, "this migration has not copied it"),
    (lambda seen: not _is_directory(seen) and not seen.there, "its copy is not at the destination"),
    (lambda seen: not _is_directory(seen) and not seen.attached, "its copy is no disk of the guest at the destination"),
    (
        lambda seen: not _is_directory(seen) and not seen.written and not is_own(seen.path, seen.server),
        "nothing proves that it is the guest's own: the guest only reads it, and it lies in no directory that is named by the guest's UUID",
    ),
)


def why_it_stays(seen: Evidence) -> str | None:
    """What is missing to prove that a file may be removed from the source; None when nothing is. That nobody else uses it is another question."""
    return next((why for stays, why in _STAYS if stays(seen)), None)


def _is_directory(seen: Evidence) -> bool:
    return seen.path.endswith("/")


def evidence(path: str, server: str, made: Container[str], there: Container[str], disks: Iterable[Disk]) -> Evidence:
    """`made` are the files that the migration made at the destination, `there` those that are there now, `disks` the guest's there."""
    having = [disk for disk in disks if path in _files(disk)]
    return Evidence(path, server, path in made, path in there, bool(having), any(not disk.read_only for disk in having))


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
