"""Files from host to host through libvirt's storage streams, and through this process. Holes stay holes (sparse streams, libvirt 3.4).

Each end has a connection of its own for as long as it takes. What a file holds is not interpreted: an image of any format is copied byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from livemig.facts import Image
from livemig.hypervisor.storage.pools import in_pool

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

Tell = Callable[[int], None]  # so many bytes more are done; it may raise to stop it
Chunk = tuple[int, bytes | None]  # (length, what is there; None for a hole)

CHUNK = 256 * 1024  # about the most that one message of libvirt's carries
_AT_HOLE = -3


def fill(source: Hypervisor, destination: Hypervisor, image: Image, tag: str, tell: Tell) -> None:
    """Give the file at the destination, which was made as a raw one, what it has at the source. Raises HypervisorError, and what `tell` raises."""
    with closing(_read(source, image.path, tag)) as chunks, _written(destination, image, tag) as stream:
        for length, found in chunks:
            _send(stream, length, found)
            tell(length)


def same_content(source: Hypervisor, destination: Hypervisor, path: str, tag: str, tell: Tell) -> bool:
    """Whether both hosts have the same in the file. It is read to its end, or to the first difference."""
    with closing(_read(source, path, tag)) as ours, closing(_read(destination, path, tag)) as theirs:
        one: Chunk = (0, b"")
        other: Chunk = (0, b"")
        while True:
            one, other = _more(one, ours), _more(other, theirs)
            length = min(one[0], other[0])
            if not length:
                return one[0] == other[0]
            if not _equal(one[1], other[1], length):
                return False
            one, other = _rest(one, length), _rest(other, length)
            tell(length)


def _more(left: Chunk, chunks: Iterator[Chunk]) -> Chunk:
    return left if left[0] else next(chunks, (0, b""))


def _rest(chunk: Chunk, length: int) -> Chunk:
    return chunk[0] - length, None if chunk[1] is None else chunk[1][length:]


def _equal(one: bytes | None, other: bytes | None, length: int) -> bool:
    """A hole reads as zeros."""
    if one is None or other is None:
        return not any((one or other or b"")[:length])
    return one[:length] == other[:length]


def _read(host: Hypervisor, path: str, tag: str) -> Generator[Chunk, None, None]:
    libvirt = host.libvirt
    with host.apart() as connection:
        stream = connection.newStream(0)
        _open(host, connection, path, tag, lambda volume: volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM))
        with _ended(host, stream):
            while True:
                found = stream.recvFlags(CHUNK, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
                if found == _AT_HOLE:
                    yield stream.recvHole(), None
                elif found:
                    yield len(found), found
                else:
                    break


@contextmanager
def _written(host: Hypervisor, image: Image, tag: str) -> Iterator[Any]:
    with host.apart() as connection:
        stream = connection.newStream(0)
        flags = host.libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
        _open(host, connection, image.path, tag, lambda volume: volume.upload(stream, 0, image.length, flags))
        with _ended(host, stream):
            yield stream


@contextmanager
def _ended(host: Hypervisor, stream: Any) -> Iterator[None]:
    """Finish a stream, which is when a daemon tells what went wrong; abort it when something did here."""
    try:
        yield
    except BaseException:
        with suppress(host.libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()


def _open(host: Hypervisor, connection: Any, path: str, tag: str, begin: Callable[[Any], Any]) -> None:
    """A stream that has begun goes on without its pool."""
    place = PurePosixPath(path)

    def opened(pool: Any) -> None:
        pool.refresh(0)
        begin(pool.storageVolLookupByName(place.name))

    in_pool(host, connection, str(place.parent), tag, opened)


def _send(stream: Any, length: int, found: bytes | None) -> None:
    if found is None:
        stream.sendHole(length)
        return
    while found:
        found = found[stream.send(found) :]
