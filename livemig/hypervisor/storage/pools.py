"""The storage pool on a directory: the one that is there, else a transient one for a moment.

libvirt allows one pool for a directory, so somebody else's transient pool is used as well. It may then be taken away at any moment: what failed for that
reason is done again. Whoever has used a transient pool of livemig's takes it away, so that none stays even if the one who made it has died.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from xml.sax.saxutils import escape

from livemig import exceptions

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

T = TypeVar("T")

PREFIX = "livemig-"

_TRIES = 20
_POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"


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
            _forget(host, connection, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE)


def _once(host: Hypervisor, connection: Any, directory: str, tag: str, work: Callable[[Any], T]) -> T:
    pool = _lookup(host, connection, directory)
    if pool is None:
        pool = connection.storagePoolCreateXML(_xml(directory, tag), 0)
    try:
        return work(pool)
    finally:
        if pool.name().startswith(PREFIX):
            with suppress(host.libvirt.libvirtError):
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


def _xml(directory: str, tag: str) -> str:
    return _POOL.format(name=f"{PREFIX}{tag}-{uuid.uuid4()}", path=escape(directory))


def make_directory(host: Hypervisor, directory: str, tag: str) -> None:
    """Make a directory, and those above it; nothing happens if it is there. Raises HypervisorError."""
    with host.apart() as connection:
        if _lookup(host, connection, directory) is None:
            connection.storagePoolCreateXML(_xml(directory, tag), host.libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD).destroy()


def remove_directory(host: Hypervisor, directory: str, tag: str) -> bool:
    """Remove an empty directory of which nobody made a pool; False if it cannot be removed. libvirt does so only for a pool that is defined and not active."""
    try:
        with host.apart() as connection:
            if _lookup(host, connection, directory) is not None or in_pool(host, connection, directory, tag, lambda pool: pool.listVolumes()):
                return False
            pool = connection.storagePoolDefineXML(_xml(directory, tag), 0)
            try:
                pool.delete(0)
            finally:
                pool.undefine()
    except exceptions.HypervisorUnavailable:
        raise
    except (exceptions.HypervisorError, exceptions.Refused):
        return False
    return True


def sweep(host: Hypervisor) -> None:
    """Take away the pools that somebody left who died. Whoever is just using one makes another."""
    with host.use() as connection:
        _forget(host, connection, 0)


def _forget(host: Hypervisor, connection: Any, which: int) -> None:
    """One that was defined to remove its directory would be in everybody's way."""
    with suppress(host.libvirt.libvirtError):
        for pool in connection.listAllStoragePools(which):
            if pool.name().startswith(PREFIX):
                for step in (pool.destroy, pool.undefine):  # a transient one is gone after the first
                    with suppress(host.libvirt.libvirtError):
                        step()
