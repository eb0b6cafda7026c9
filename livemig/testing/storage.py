"""Directories with files, and the storage pools that a daemon has on them. Plain data; every call comes in under the fleet's lock."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass, field

from livemig.testing import errors

MIB = 1024 * 1024


@dataclass(slots=True)
class File:
    """A file as libvirt sees one: sizes in bytes."""

    capacity: int = 0
    allocation: int = 0
    format: str = "raw"


@dataclass(slots=True)
class Directory:
    """A directory of one host, or, when `shared`, one network file system that several hosts mount at the same path."""

    path: str
    shared: bool = False
    capacity_mib: int = 1024 * 1024
    full: bool = False
    files: dict[str, File] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """Free bytes."""
        used = sum(file.allocation for file in self.files.values())
        return 0 if self.full else max(0, self.capacity_mib * MIB - used)

    def write(self, name: str, file: File) -> None:
        """Raises libvirt's error when the file does not fit."""
        if self.full or file.allocation > self.available:
            raise errors.NO_SPACE(size=file.allocation, path=f"{self.path}/{name}")
        self.files[name] = file


@dataclass(slots=True)
class Pool:
    """A `dir` pool. `seen` is what its daemon knew of the directory when it last looked: other hosts' files appear at a refresh."""

    name: str
    uuid: str
    directory: Directory
    persistent: bool = False
    active: bool = True
    autostart: bool = False
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> None:
        self.seen = set(self.directory.files)

    def create(self, name: str, file: File) -> None:
        if name in self.seen:
            raise errors.VOLUME_TAKEN(name=name)
        self.directory.write(name, file)
        self.seen.add(name)

    def delete(self, name: str) -> None:
        """A file that another host has removed meanwhile counts as deleted, as libvirt has it."""
        if name not in self.seen:
            raise errors.NO_VOLUME(key=f"name '{name}'")
        self.seen.discard(name)
        self.directory.files.pop(name, None)


def normal(path: str) -> str:
    """A path without its trailing slashes."""
    return path.rstrip("/") or "/"


def split(path: str) -> tuple[str, str]:
    """(directory, file name) of a file's path."""
    directory, _, name = path.rpartition("/")
    return normal(directory), name


def pool_uuid(host: str, name: str) -> str:
    """The uuid of a pool whose XML gives none: always the same for the same host and name."""
    return str(uuids.uuid5(uuids.NAMESPACE_URL, f"pool:{host}/{name}"))
