"""Whether two hosts see the same directory: found out through their storage APIs, since nothing of ours runs there.

A volume made in the directory on one host is looked for on the other. Where no storage pool covers the directory a transient one is made, and taken away
again (virStoragePoolCreateXML; libvirt allows one pool per target path, so a pool that exists is used).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from livemig import exceptions

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

PREFIX = "livemig-probe-"

_POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
_VOLUME = "<volume><name>{name}</name><capacity>1</capacity><allocation>0</allocation><target><format type='raw'/></target></volume>"


def same_directory(source: Hypervisor, destination: Hypervisor, directory: str) -> bool:
    """Whether `directory` is the same on both hosts.

    Raises HypervisorError when the source cannot tell, MigrationPreCheckError when a pool covers the directory but is not active.
    """
    name = PREFIX + str(uuid.uuid4())
    with _pool(source, directory) as here, _volume(source, here, name):
        return _sees(destination, directory, name)


def _sees(host: Hypervisor, directory: str, name: str) -> bool:
    try:
        with _pool(host, directory) as pool, host.use():
            pool.refresh(0)
            return name in pool.listVolumes()
    except exceptions.HypervisorUnavailable:
        raise
    except exceptions.HypervisorError:
        return False  # no such directory there


@contextmanager
def _pool(host: Hypervisor, directory: str) -> Iterator[Any]:
    with host.use() as connection:
        pool = _lookup(host, connection, directory)
        transient = pool is None
        if transient:
            pool = connection.storagePoolCreateXML(_POOL.format(name=PREFIX + str(uuid.uuid4()), path=escape(directory)), 0)
    try:
        yield pool
    finally:
        if transient:
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


@contextmanager
def _volume(host: Hypervisor, pool: Any, name: str) -> Iterator[None]:
    with host.use():
        volume = pool.createXML(_VOLUME.format(name=name), 0)
    try:
        yield
    finally:
        with suppress(host.libvirt.libvirtError):
            volume.delete(0)
