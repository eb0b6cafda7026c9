"""The marks of this process, written down in the database. A mark is used again and again, so that it seldom takes a transaction."""

from __future__ import annotations

import threading
from collections.abc import Collection

from livemig.db.store import Store


class WrittenMarks:
    """Those that `keeper` has written down: the machine that a conductor runs on. Its next life goes on with them; two keepers never have the same."""

    def __init__(self, store: Store, keeper: str) -> None:
        self._store = store
        self._keeper = keeper[:255]  # what the column takes
        self._lock = threading.Lock()
        self._free: dict[str, list[str]] = {}  # by host

    def take(self, host: str) -> str:
        with self._lock:
            known = host in self._free
            free = self._free.setdefault(host, [])
        if not known:
            self._add(host, self._store.marks.of(host, self._keeper))
        with self._lock:
            if free:
                return free.pop(0)
        return self._store.marks.write_down(host, self._keeper)

    def give_back(self, host: str, mark: str) -> None:
        self._add(host, [mark])

    def all(self, host: str) -> Collection[str]:
        return self._store.marks.of(host)

    def _add(self, host: str, marks: Collection[str]) -> None:
        with self._lock:
            self._free[host] += [mark for mark in marks if mark not in self._free[host]]
