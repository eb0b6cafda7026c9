"""Directories with files, and the storage pools that a daemon has on them. Plain data; every call comes in under the fleet's lock."""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from livemig.testing import errors

MIB = 1024 * 1024


MAGIC = b"IMAGE\xfb"
_CHANGES = count(1)


@dataclass(slots=True)
class File:
    """A file as libvirt sees one: sizes in bytes. `content` is what is in it, as far as anybody needs to know; the rest are zeros.

    `backing` is (path, format) of its backing file, `permissions` are mode, owner and group.
    """

    capacity: int = 0
    allocation: int = 0
    format: str = "raw"
    content: bytes = b""
    backing: tuple[str, str] | None = None
    permissions: tuple[str, str, str] = ("0600", "0", "0")
    changed: int = field(default_factory=lambda: next(_CHANGES), compare=False, repr=False)
    """When it was last changed, in nanoseconds; two files have never changed at the same time."""

    def change(self) -> None:
        self.changed = next(_CHANGES)

    @property
    def length(self) -> int:
        """The file's own: an image of another format than raw grows."""
        return max(self.capacity if self.format == "raw" else self.allocation, len(self.data()))

    def data(self) -> bytes:
        """What a reader of the file gets: its content, and before it what tells the format of an image that is not raw."""
        if self.format == "raw":
            return self.content
        return MAGIC + json.dumps([self.format, self.capacity, self.backing]).encode() + b"\n" + self.content

    def become(self, data: bytes, length: int, allocation: int) -> None:
        """Hold what somebody has written; its format is seen by its first bytes."""
        self.allocation = allocation
        self.change()
        if not data.startswith(MAGIC):
            self.format, self.capacity, self.backing, self.content = "raw", length, None, data.rstrip(b"\0")
            return
        header, _, content = data[len(MAGIC) :].partition(b"\n")
        self.format, self.capacity, backing = json.loads(header)
        self.backing, self.content = (tuple(backing) if backing else None), content.rstrip(b"\0")


@dataclass(slots=True)
class Directory:
    """A directory of one host, or, when `shared`, one network file system that several hosts mount at the same path."""

    path: str
    shared: bool = False
    capacity_mib: int = 1024 * 1024
    full: bool = False
    files: dict[str, File] = field(default_factory=dict)
    late: dict[str, File] = field(default_factory=dict)
    """Files that somebody else puts there just before a volume of that name is made."""

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
    """A `dir` pool. `seen` is what its daemon knew of the directory when it last looked: other hosts' files appear at a refresh.

    `path` is where its XML says that the directory is, links and all; `look` says what is there, by name: files and directories, of links what they lead to.
    """

    name: str
    uuid: str
    path: str
    directory: Directory
    look: Callable[[], Mapping[str, File | Directory]]
    persistent: bool = False
    active: bool = True
    autostart: bool = False
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> None:
        self.seen = set(self.look())

    def create(self, name: str, file: File) -> None:
        if name in self.directory.late:
            self.directory.files[name] = self.directory.late.pop(name)
        if name in self.seen:
            raise errors.VOLUME_TAKEN(name=name)
        if name in self.directory.files:
            raise errors.VOLUME_PATH_TAKEN(path=f"{self.directory.path}/{name}")
        self.directory.write(name, file)
        self.seen.add(name)


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
