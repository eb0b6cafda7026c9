"""Marks: UUIDs that livemig writes down before anything bears one, so that what bears one is its own, and what bears none is not."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Protocol


class Marks(Protocol):
    """Those of one deployment of livemig, on each of its hosts. Every call may raise DatabaseUnavailable."""

    def take(self, host: str) -> str:
        """A mark that is written down for the host, and that nobody else of this process uses, until it is given back."""

    def give_back(self, host: str, mark: str) -> None:
        """Nothing bears it any more."""

    def all(self, host: str) -> Collection[str]:
        """All that the deployment has ever written down for the host."""


class Remembered:
    """For a process that has no database: what it made itself it knows, and nothing else."""

    def __init__(self) -> None:
        self._marks: dict[str, set[str]] = {}

    def take(self, host: str) -> str:
        mark = str(uuid.uuid4())
        self._marks.setdefault(host, set()).add(mark)
        return mark

    def give_back(self, host: str, mark: str) -> None:
        pass

    def all(self, host: str) -> Collection[str]:
        return frozenset(self._marks.get(host, ()))
