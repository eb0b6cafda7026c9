"""libvirt.virStream over the simulated fleet, blocking, for the content of volumes: whole files, with their holes where both ends ask for them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from livemig.testing import constants as C
from livemig.testing import errors
from livemig.testing.remote import remote
from livemig.testing.storage import MIB, Directory, File

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect

HOLE = -3  # virStreamRecvFlags: there is a hole, and it was asked to stop there


class virStream:
    """libvirt.virStream. It reads a file or writes one, from the first byte to the last."""

    def __init__(self, connection: virConnect) -> None:
        self._connection = connection
        self._data = b""  # what is still to be read
        self._zeros = 0  # that are written to the disk, after it
        self._hole = 0  # and then
        self._written: deque[bytes] | None = None
        self._length = self._allocated = 0
        self._target: tuple[Directory, File] | None = None
        self._open = False

    def connect(self) -> virConnect:
        return self._connection

    def begin_reading(self, file: File, sparse: bool) -> None:
        self._open, self._data = True, file.data()
        full = file.length if not sparse else min(file.length, max(file.allocation, len(self._data)))
        self._zeros = full - len(self._data)
        self._hole = file.length - full

    def begin_writing(self, directory: Directory, file: File) -> None:
        self._open, self._written, self._target = True, deque(), (directory, file)

    def recv(self, nbytes: int) -> bytes | int:
        return self.recvFlags(nbytes)

    def recvFlags(self, nbytes: int, flags: int = 0) -> bytes | int:
        """Takes as long as the daemon's host needs for it (`stream_mib_s`)."""
        found = self._take(nbytes, bool(flags & C.VIR_STREAM_RECV_STOP_AT_HOLE))
        speed = self._connection.host.stream_mib_s
        if speed and not isinstance(found, int):
            self._connection.fleet.sleep(len(found) / MIB / speed)
        return found

    @remote
    def _take(self, nbytes: int, stop_at_hole: bool) -> bytes | int:
        self._check_open()
        if self._data:
            found, self._data = self._data[:nbytes], self._data[nbytes:]
            return found
        if not self._zeros and self._hole and stop_at_hole:
            return HOLE
        if not self._zeros:
            self._zeros, self._hole = self._hole, 0
        length = min(nbytes, self._zeros)
        self._zeros -= length
        return bytes(length)

    @remote
    def recvHole(self, flags: int = 0) -> int:
        self._check_open()
        length, self._hole = self._hole, 0
        return length

    @remote
    def send(self, data: bytes) -> int:
        self._add(data, len(data))
        return len(data)

    @remote
    def sendHole(self, length: int, flags: int = 0) -> int:
        self._add(b"", length)
        return 0

    def _add(self, data: bytes, length: int) -> None:
        self._check_open()
        assert self._target is not None and self._written is not None
        directory, file = self._target
        if directory.full or self._allocated + len(data) - file.allocation > directory.available:
            self._open = False
            raise errors.STREAM_FULL()
        self._length += length
        self._allocated += len(data)
        if data.strip(b"\0"):
            self._written.append(data)
        file.allocation = self._allocated

    @remote
    def finish(self) -> int:
        self._check_open()
        self._open = False
        if self._target is not None:
            self._target[1].become(b"".join(self._written or ()), self._length, self._allocated)
        return 0

    @remote
    def abort(self) -> int:
        self._open = False
        return 0

    def _check_open(self) -> None:
        if not self._open:
            raise errors.STREAM_CLOSED()
