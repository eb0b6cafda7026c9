"""The storage pool on a directory: the one that is there, else a transient one for a moment.

livemig defines no pool: one that it makes is gone at the host's next boot at the latest (a libvirtd that is started again finds it in /run). Its UUID is a mark
(`livemig.hypervisor.marks`). So a pool is livemig's own if it bears a mark and is transient; its name proves nothing. Whatever conductor has used such a pool
takes it away, so that none stays even if the one that made it has died.

libvirt allows one pool for a directory, so another's transient pool is used as well. It may then be taken away at any moment: what failed for that reason is
done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from xml.sax.saxutils import escape

from livemig import exceptions
from livemig.hypervisor.domain_xml import parse
from livemig.paths import is_within

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

T = TypeVar("T")

PREFIX = "livemig-"
"""With it begins the name of everything that livemig makes for a moment, so that people know what it is."""

_TRIES = 20
_POOL = "<pool type='dir'><name>{name}</name><uuid>{uuid}</uuid><target><path>{path}</path></target></pool>"


def in_pool(host: Hypervisor, connection: Any, directory: str, tag: str, work: Callable[[Any], T]) -> T:
    """What `work` makes of the pool; it may be called more than once. To be used within `Hypervisor.use` or `apart`, which translate errors.

    Raises MigrationPreCheckError when a pool covers the directory but is not active; libvirt's error where there is no such directory.
    """
    libvirt = host.libvirt
    lost = (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_OPERATION_FAILED)  # it was taken away; somebody else was first to make one
    tries = _TRIES
    while True:
        try:
            return _once(host, connection, directory, tag, work)
        except libvirt.libvirtError as error:
            tries -= 1
            if not tries or error.get_error_code() not in lost:
                raise


def _once(host: Hypervisor, connection: Any, directory: str, tag: str, work: Callable[[Any], T]) -> T:
    pool = _lookup(host, connection, directory)
    if pool is None:
        with _made(host, connection, directory, tag, 0) as pool:
            return work(pool)
    own = _is_own(host, pool)
    try:
        return work(pool)
    finally:
        if own:
            _take_away(host, pool)


@contextmanager
def _made(host: Hypervisor, connection: Any, directory: str, tag: str, flags: int) -> Iterator[Any]:
    """A transient pool with a mark, which is taken away at the end."""
    mark = host.marks.take(host.name)
    try:
        try:
            pool = connection.storagePoolCreateXML(_POOL.format(name=f"{PREFIX}{tag}-{mark}", uuid=mark, path=escape(directory)), flags)
        except host.libvirt.libvirtError:
            with suppress(host.libvirt.libvirtError):  # a life of before may have left one that bears it
                _take_away(host, connection.storagePoolLookupByUUIDString(mark))
            raise
        try:
            yield pool
        finally:
            _take_away(host, pool)
    finally:
        host.marks.give_back(host.name, mark)


def _is_own(host: Hypervisor, pool: Any) -> bool:
    """Its name only saves asking about every other pool."""
    return bool(pool.name().startswith(PREFIX)) and pool.UUIDString() in host.marks.all(host.name)


def _take_away(host: Hypervisor, pool: Any) -> None:
    """One that bears a mark. If it was defined meanwhile, an administrator has made it his own, and it stays."""
    with suppress(host.libvirt.libvirtError):
        if not pool.isPersistent():
            pool.destroy()


def _lookup(host: Hypervisor, connection: Any, directory: str) -> Any:
    try:
        pool = connection.storagePoolLookupByTargetPath(directory)
    except host.libvirt.libvirtError as error:
        if error.get_error_code() != host.libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None
    if not pool.isActive():
        raise exceptions.MigrationPreCheckError(reason=f"Storage pool {pool.name()} on {host.name} covers {directory} but is not active")
    return pool


def make_directory(host: Hypervisor, directory: str, tag: str) -> None:
    """Make a directory, and those above it; nothing happens if it is there. Raises HypervisorError."""
    with host.apart() as connection:
        if _lookup(host, connection, directory) is None:
            with _made(host, connection, directory, tag, host.libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD):
                pass


def remove_directory(host: Hypervisor, directory: str, tag: str) -> bool:
    """Remove an empty directory of which nobody has a pool, active or not; False if it cannot be removed.

    libvirt removes a volume that is a directory by rmdir(2), which takes no directory with anything in it, and no link.
    """
    place = PurePosixPath(directory)

    def remove(pool: Any) -> bool:
        pool.refresh(0)
        if place.name not in pool.listVolumes():
            return False
        volume = pool.storageVolLookupByName(place.name)
        if volume.info()[0] != host.libvirt.VIR_STORAGE_VOL_DIR:
            return False
        volume.delete(0)
        return True

    try:
        with host.apart() as connection:
            if any(is_within(target, directory) for target in _targets(host, connection)):
                return False
            return in_pool(host, connection, str(place.parent), tag, remove)
    except exceptions.HypervisorUnavailable:
        raise
    except (exceptions.HypervisorError, exceptions.Refused):
        return False


def _targets(host: Hypervisor, connection: Any) -> Iterator[str]:
    """The directories of all pools, active or not, that do not go away meanwhile."""
    for pool in connection.listAllStoragePools(0):
        with suppress(host.libvirt.libvirtError):
            path = parse(pool.XMLDesc(0)).findtext("target/path")
            if path:
                yield path


def sweep(host: Hypervisor) -> None:
    """Take away the pools that conductors of this deployment left when they died. A conductor that is just using one makes another."""
    marks = host.marks.all(host.name)
    with host.use() as connection, suppress(host.libvirt.libvirtError):
        for pool in connection.listAllStoragePools(host.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT):
            if pool.UUIDString() in marks:
                _take_away(host, pool)


def unknown(host: Hypervisor) -> tuple[list[str], list[str]]:
    """What is called as if livemig had made it for a moment, and bears no mark: names of pools, and paths of volumes in the pools there are.

    They are another deployment's, or what version 0.1 left, or somebody's. Raises HypervisorError.
    """
    marks = host.marks.all(host.name)
    pools, volumes = [], []
    with host.apart() as connection:
        for pool in connection.listAllStoragePools(0):
            with suppress(host.libvirt.libvirtError):  # it has gone meanwhile, or is not active
                if pool.name().startswith(PREFIX) and pool.UUIDString() not in marks:
                    pools.append(pool.name())
                volumes += [pool.storageVolLookupByName(name).path() for name in pool.listVolumes() if name.startswith(PREFIX) and name[-36:] not in marks]
    return sorted(pools), sorted(set(volumes))
