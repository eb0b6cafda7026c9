"""Which lab has which index: the number that its links, namespaces and subnet are named after.

A claim is a symbolic link /run/livemig-lab/<index> to the lab's directory. Making one either succeeds whole or fails, so neither two labs at the
same moment nor a kill -9 can leave a half-made claim, and what a claim stands for can be found from either end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from livemig.lab.shell import LabError

ROOT = Path("/run/livemig-lab")
MOST = 200
MARKER = "livemig-lab"


def claim(directory: Path, free: Iterator[int] | range = range(MOST)) -> int:
    """The index of the lab in `directory`: the one it has, else the one it had, else the first of `free` that no other lab has."""
    index = find(directory)
    return index if index is not None else next(_attempts(directory, [*_earlier(directory), *free]))


def find(directory: Path) -> int | None:
    """The index that the lab in `directory` has, if any."""
    for entry in ROOT.glob("*"):
        with suppress(OSError, ValueError):
            if os.readlink(entry) == str(directory):
                return int(entry.name)
    return None


def directories() -> list[Path]:
    """The directories of all labs that have an index."""
    found = []
    for entry in ROOT.glob("*"):
        with suppress(OSError):
            found.append(Path(os.readlink(entry)))
    return found


def release(directory: Path) -> None:
    """Give the index back."""
    index = find(directory)
    if index is not None:
        (ROOT / str(index)).unlink(missing_ok=True)
    with suppress(OSError):
        ROOT.rmdir()


def is_lab(directory: Path) -> bool:
    """Whether the lab may call the directory its own: it is marked as a lab's, or there is nothing in it."""
    return (directory / MARKER).exists() or not directory.exists() or not any(directory.iterdir())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory, made if need be, against others who do so. The kernel lets go when the holder dies."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_at(handle, directory):  # whoever held it before us was `down`
                continue
            yield
            return
        finally:
            os.close(handle)


def _is_at(handle: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), directory.stat())
    except FileNotFoundError:
        return False


def _attempts(directory: Path, indexes: list[int]) -> Iterator[int]:
    for index in indexes:
        if _take(index, directory):
            (directory / MARKER).write_text(f"{index}\n")
            yield index
    raise LabError(f"all {MOST} lab indexes are taken, see {ROOT}")


def _take(index: int, directory: Path) -> bool:
    while True:
        ROOT.mkdir(parents=True, exist_ok=True)
        try:
            os.symlink(directory, ROOT / str(index))
        except FileExistsError:
            return False
        except FileNotFoundError:  # another lab went down and took the empty directory away
            continue
        return True


def _earlier(directory: Path) -> list[int]:
    try:
        return [int((directory / MARKER).read_text())]
    except (OSError, ValueError):
        return []
