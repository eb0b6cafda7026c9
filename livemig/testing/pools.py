"""libvirt.virStoragePool and libvirt.virStorageVol over the simulated fleet. What a method does is in libvirt's documentation under the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livemig.testing import constants as C
from livemig.testing import documents, errors
from livemig.testing.remote import remote
from livemig.testing.storage import MIB, Directory, File, Pool
from livemig.testing.streams import virStream

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect


class virStoragePool:
    """libvirt.virStoragePool."""

    def __init__(self, connection: virConnect, pool: Pool) -> None:
        self._connection = connection
        self._pool = pool

    def connect(self) -> virConnect:
        return self._connection

    def name(self) -> str:
        return self._pool.name

    def UUIDString(self) -> str:
        return self._pool.uuid

    def _known(self) -> Pool:
        pool = self._connection.host.pools.get(self._pool.name)
        if pool is not self._pool:
            raise errors.NO_POOL(key=f"uuid '{self._pool.uuid}' ({self._pool.name})")
        return pool

    def _active(self) -> Pool:
        pool = self._known()
        if not pool.active:
            raise errors.POOL_INACTIVE(name=pool.name)
        return pool

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.pool(self._known())

    @remote
    def info(self) -> list[int]:
        pool = self._known()
        capacity, available = pool.directory.capacity_mib * MIB, pool.directory.available
        return [C.VIR_STORAGE_POOL_RUNNING if pool.active else C.VIR_STORAGE_POOL_INACTIVE, capacity, capacity - available, available]

    @remote
    def isActive(self) -> int:
        return int(self._known().active)

    @remote
    def isPersistent(self) -> int:
        return int(self._known().persistent)

    @remote
    def refresh(self, flags: int = 0) -> int:
        self._active().refresh()
        return 0

    @remote
    def create(self, flags: int = 0) -> int:
        pool = self._known()
        if pool.active:
            raise errors.POOL_ACTIVE(name=pool.name)
        pool.active = True
        pool.refresh()
        return 0

    @remote
    def destroy(self) -> int:
        pool = self._active()
        pool.active = False
        if not pool.persistent:
            del self._connection.host.pools[pool.name]
        return 0

    @remote
    def undefine(self) -> int:
        pool = self._known()
        if pool.active:
            raise errors.POOL_STILL_ACTIVE(name=pool.name)
        del self._connection.host.pools[pool.name]
        return 0

    @remote
    def delete(self, flags: int = 0) -> int:
        """Its directory is removed, if it is empty."""
        pool = self._known()
        if pool.active:
            raise errors.POOL_STILL_ACTIVE(name=pool.name)
        self._connection.host.delete(pool.directory.path)
        return 0

    @remote
    def listVolumes(self) -> list[str]:
        return sorted(self._active().seen)

    @remote
    def listAllVolumes(self, flags: int = 0) -> list[virStorageVol]:
        pool = self._active()
        return [virStorageVol(self._connection, pool, name) for name in sorted(pool.seen)]

    @remote
    def storageVolLookupByName(self, name: str) -> virStorageVol:
        pool = self._active()
        if name not in pool.seen:
            raise errors.NO_VOLUME(key=f"name '{name}'")
        return virStorageVol(self._connection, pool, name)

    @remote
    def createXML(self, xmlDesc: str, flags: int = 0) -> virStorageVol:
        root = documents.parse(xmlDesc, "storage_volume_definition")
        name = root.findtext("name") or ""
        pool, file = self._active(), documents.file(root)
        if file.backing and self._connection.host.file(file.backing[0]) is None:
            raise errors.NO_BACKING(path=file.backing[0])
        pool.create(name, file)
        return virStorageVol(self._connection, pool, name)


class virStorageVol:
    """libvirt.virStorageVol."""

    def __init__(self, connection: virConnect, pool: Pool, name: str) -> None:
        self._connection = connection
        self._pool = pool
        self._name = name

    def connect(self) -> virConnect:
        return self._connection

    def name(self) -> str:
        return self._name

    def path(self) -> str:
        return f"{self._pool.path}/{self._name}"

    def key(self) -> str:
        return self.path()

    def _found(self) -> File | Directory:
        if self._connection.host.pools.get(self._pool.name) is not self._pool:
            raise errors.NO_POOL(key=f"name '{self._pool.name}'")
        found = self._pool.look().get(self._name)
        if found is None:
            raise errors.NO_VOLUME(key=f"path '{self.path()}'")
        return found

    def _file(self) -> File:
        """What stands for a directory has nothing in it."""
        found = self._found()
        return found if isinstance(found, File) else File(format="dir", permissions=("0711", "0", "0"))

    @remote
    def info(self) -> list[int]:
        found, file = self._found(), self._file()
        return [C.VIR_STORAGE_VOL_FILE if found is file else C.VIR_STORAGE_VOL_DIR, file.capacity, file.allocation]

    @remote
    def infoFlags(self, flags: int = 0) -> list[int]:
        file = self._file()
        return [C.VIR_STORAGE_VOL_FILE, file.capacity, file.length if flags & C.VIR_STORAGE_VOL_GET_PHYSICAL else file.allocation]

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.volume(self.path(), self._name, self._file())

    @remote
    def download(self, stream: virStream, offset: int, length: int, flags: int = 0) -> int:
        stream.begin_reading(self._file(), bool(flags & C.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM))
        return 0

    @remote
    def upload(self, stream: virStream, offset: int, length: int, flags: int = 0) -> int:
        stream.begin_writing(self._pool.directory, self._file())
        return 0

    @remote
    def delete(self, flags: int = 0) -> int:
        if self._connection.host.pools.get(self._pool.name) is not self._pool:
            raise errors.NO_POOL(key=f"name '{self._pool.name}'")
        if self._name not in self._pool.seen:
            raise errors.NO_VOLUME(key=f"name '{self._name}'")
        self._connection.host.delete(self.path())  # one that another host has removed meanwhile counts as deleted, as libvirt has it
        self._pool.seen.discard(self._name)
        return 0
