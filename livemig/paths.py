"""Paths of files on hosts, as texts. Links are another matter: only the host could follow them."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath


def plain(path: str) -> str:
    """The path without what a kernel passes over: `//`, `/./`, a slash at the end, and `..` with what is before it."""
    return posixpath.normpath(f"/{path.lstrip('/')}") if path.startswith("/") else path


def is_plain(path: str) -> bool:
    """Whether it is written so already; the path of a directory may end with a slash."""
    return path == plain(path) or path == f"{plain(path)}/"


def above(path: str) -> tuple[str, ...]:
    """The names of the directories in which it lies."""
    return PurePosixPath(path.rstrip("/")).parent.parts[1:]


def is_within(path: str, directory: str) -> bool:
    """Whether a file or directory lies in a directory, or is that directory."""
    return PurePosixPath(plain(path)).is_relative_to(plain(directory))
