"""Whether two hosts see the same directory: a volume made in it on one host is looked for on the other, and always taken away again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from livemig import exceptions
from livemig.hypervisor.storage.pools import PREFIX, in_pool

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

_TRIES = 5
_VOLUME = "<volume><name>{name}</name><capacity>1</capacity><allocation>0</allocation><target><format type='raw'/></target></volume>"


def same_directory(source: Hypervisor, destination: Hypervisor, directory: str, tag: str = "probe") -> bool:
    """Whether `directory` is the same on both hosts. What a conductor of this deployment that died has left of the same tag is swept away: it bears a mark.

    One that only seemed to be dead may sweep in its turn: a volume that is not seen is none to go by unless its source has it still.
    Raises HypervisorError when the source cannot tell, MigrationPreCheckError when a pool covers the directory but is not active.
    """
    mine = f"{PREFIX}{tag}-"
    swept = False

    def probe(pool: Any) -> bool:
        nonlocal swept
        if not swept:
            _sweep(source, connection, directory, tag, pool, mine)
        swept = True
        found = (_marked(source, destination, connection, directory, tag, pool, mine) for _ in range(_TRIES))
        return next((seen for seen in found if seen is not None), False)

    with source.use() as connection:
        return in_pool(source, connection, directory, tag, probe)


def _sweep(source: Hypervisor, connection: Any, directory: str, tag: str, pool: Any, mine: str) -> None:
    left = [name for name in pool.listVolumes() if name.startswith(mine)]
    marks = source.marks.all(source.name) if left else ()
    for name in left:
        if name.removeprefix(mine) in marks:
            _remove(source, connection, directory, tag, pool, name)


def _marked(source: Hypervisor, destination: Hypervisor, connection: Any, directory: str, tag: str, pool: Any, mine: str) -> bool | None:
    mark = source.marks.take(source.name)
    try:
        return _probe(source, destination, connection, directory, tag, pool, mine + mark)
    finally:
        source.marks.give_back(source.name, mark)


def _probe(source: Hypervisor, destination: Hypervisor, connection: Any, directory: str, tag: str, pool: Any, name: str) -> bool | None:
    """Whether a new volume is seen at the destination; None when it was taken away meanwhile."""
    pool.createXML(_VOLUME.format(name=name), 0)
    try:
        if _sees(destination, directory, tag, name):
            return True
        return False if in_pool(source, connection, directory, tag, lambda now: name in now.listVolumes()) else None
    finally:
        _remove(source, connection, directory, tag, pool, name)


def _sees(host: Hypervisor, directory: str, tag: str, name: str) -> bool:
    def look(pool: Any) -> bool:
        pool.refresh(0)
        return name in pool.listVolumes()

    try:
        with host.use() as connection:
            return in_pool(host, connection, directory, tag, look)
    except exceptions.HypervisorUnavailable:
        raise
    except exceptions.HypervisorError:
        return False  # no such directory there


def _remove(host: Hypervisor, connection: Any, directory: str, tag: str, pool: Any, name: str) -> None:
    """Through another pool where the one in which it was made is gone meanwhile."""

    def delete(pool: Any) -> None:
        pool.storageVolLookupByName(name).delete(0)

    with suppress(host.libvirt.libvirtError):
        try:
            delete(pool)
        except host.libvirt.libvirtError as error:
            if error.get_error_code() != host.libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            in_pool(host, connection, directory, tag, delete)
