"""Whether the disks can be moved as was asked. What each of them needs is decided in `livemig.conductor.disks`."""

from __future__ import annotations

from pathlib import PurePosixPath

from livemig import exceptions
from livemig.conductor import disks
from livemig.conductor.checks.situation import Situation
from livemig.conductor.disks import Way
from livemig.exceptions import Refused
from livemig.facts import Disk, Image, Space, Storage

_MIB = 1024 * 1024


def storage(now: Situation) -> Refused | None:
    """block_migration says what the disks need, as in Nova: false with all of them shared, true with some that are local; "auto" (or null): what they need.
    Mend: ask for "auto"; the sentence names what is local."""
    if now.probe_error:
        return exceptions.MigrationPreCheckError(reason=f"Whether the disks are shared could not be found out: {now.probe_error}")
    if not now.guest or now.destination.facts is None:
        return None
    local = _local(now)
    if now.block_migration and not local:
        return exceptions.InvalidLocalStorage(path=now.source.name, reason="Block migration can not be used with shared storage.")
    if local and now.block_migration is False:
        reason = f"Live migration without block migration needs every disk on shared storage; these are not: {', '.join(local)}"
        return exceptions.InvalidSharedStorage(path=now.destination.name, reason=reason)
    return None


def disks_movable(now: Situation) -> Refused | None:
    """Each disk is of a kind that can be moved: shared, or a file of its own. Mend: detach the disk that is named; put one that several guests write to on
    storage that both hosts have."""
    stuck = [disks.why_not(disk) for disk in _disks(now) if disks.way(disk, now.shared) is Way.CANNOT]
    stuck += [f"{image.path} is encrypted, and the destination may not have its secret" for image in _storage(now).images.values() if image.encrypted]
    strange = [backing for disk in _disks(now) for backing in disk.backing if backing.kind not in ("file", *disks.SHARED_BY_NATURE)]
    stuck += [f"nobody can say whether {backing.path}, a backing store of type {backing.kind}, is shared" for backing in strange]
    return exceptions.MigrationPreCheckError(reason=f"Disks that cannot be moved: {'; '.join(stuck)}") if stuck else None


def images_known(now: Situation) -> Refused | None:
    """The source's daemon sees the local files as volumes, with their sizes. Mend: see that they are regular files, not links or sockets, and that it may
    read their directory."""
    unknown = [path for path in _local(now) if now.storage and path not in now.storage.images]
    return exceptions.MigrationPreCheckError(reason=f"{now.source.name} does not see {', '.join(unknown)}") if unknown else None


def directories_there(now: Situation) -> Refused | None:
    """The destination has the directories in which local files are, or those in which they are to be made. Mend: make the directory there."""
    missing = sorted({_directory(path) for path in _storage(now).images} - _storage(now).space.keys())
    return exceptions.MigrationPreCheckError(reason=f"{now.destination.name} does not have {', '.join(missing)}") if missing else None


def images_not_there(now: Situation) -> Refused | None:
    """The destination has no file where a disk is to be copied to: it might be anything, and is never overwritten. Mend: see whose it is, and move it away."""
    taken = [blank.path for blank in _needs(now).blanks if blank.path in _storage(now).there]
    return exceptions.DestinationDiskExists(path=", ".join(taken)) if taken else None


def read_only_images_same(now: Situation) -> Refused | None:
    """A backing file, CD-ROM or config drive that the destination has too has the same format, sizes and backing file there. Mend: put the same file in both
    places, or remove the destination's, if nobody needs it: it is copied then."""
    there = _storage(now).there
    other = [f"{image.path} ({_differences(image, there[image.path])})" for image in _needs(now).found(there) if _differences(image, there[image.path])]
    reason = f"{now.destination.name} has other files in place of {', '.join(other)}"
    return exceptions.MigrationPreCheckError(reason=reason) if other else None


def disk_free(now: Situation) -> Refused | None:
    """The destination has the space that the copied files need, without what is reserved (reserved_host_disk_mb). Mend: free some, ask for disk_over_commit,
    or reserve less."""
    needed = disks.bytes_needed(_needs(now), _storage(now).images, _storage(now).there, now.disk_over_commit)
    by_file_system: dict[Space, int] = {}  # directories of one file system report the same space
    for directory, size in needed.items():
        if space := _storage(now).space.get(directory):
            by_file_system[space] = by_file_system.get(space, 0) + size
    for space, size in by_file_system.items():
        available = space.free - now.destination.reserved_disk_mib * _MIB
        if available < size:
            large = f"Disk of instance is too large(available on destination host:{available} < need:{size})"
            return exceptions.MigrationPreCheckError(reason=f"Unable to migrate {now.server}: {large}")
    return None


def _disks(now: Situation) -> tuple[Disk, ...]:
    return now.guest.disks if now.guest else ()


def _storage(now: Situation) -> Storage:
    return now.storage or Storage()


def _local(now: Situation) -> list[str]:
    return [path for path, shared in now.shared.items() if not shared]


def _needs(now: Situation) -> disks.Needs:
    return disks.needs(now.guest, now.server, now.shared, _storage(now).images) if now.guest else disks.Needs()


def _directory(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _differences(one: Image, other: Image) -> str:
    names = ("format", "capacity", "length", "backing")
    return ", ".join(f"{name} {getattr(other, name)} for {getattr(one, name)}" for name in names if getattr(one, name) != getattr(other, name))
