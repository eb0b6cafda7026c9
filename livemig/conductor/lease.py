"""What this conductor may act on. A migration is its own for as long as its lease lasts; another may take it only after that, by the database's clock.

Here the time counts from the moment before the lease was last asked for, by the monotonic clock, and ends a quarter earlier: whoever was frozen, or cut off
from the database, stops before anybody else begins. Nothing is told to a hypervisor for a migration without asking here right before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from livemig.db.queue import Choose
from livemig.db.store import Store
from livemig.records import Migration
from livemig.runtime import Runtime

_MARGIN = 0.25  # of the lease: for clocks that do not run at the same speed, and for a call to a hypervisor that is under way


class Lapsed(Exception):
    """The migration is not this conductor's any more, or may not be."""


class Leases:
    """Those of one conductor. `owner` is the name under which they are held: NAME:LIFE, the life differing from start to start."""

    def __init__(self, store: Store, runtime: Runtime, owner: str, seconds: float) -> None:
        self.owner = owner
        self.seconds = seconds
        self._store = store
        self._runtime = runtime
        self._since: dict[int, float] = {}  # when the lease was last asked for, with success
        self._surrendered = False
        self._working: dict[object, int] = {}  # one migration may be in two hands for a moment: one queues it while the other begins

    def of(self, migration_id: int) -> Lease:
        return Lease(self, migration_id)

    def held(self, migration_id: int) -> bool:
        """Whether it may be acted on."""
        since = self._since.get(migration_id)
        return since is not None and not self._surrendered and self._runtime.monotonic() - since < self.seconds * (1 - _MARGIN)

    def gone(self, migration_id: int) -> bool:
        """Whether somebody else has it, or may have; not so while it could only not be renewed."""
        return self._surrendered or migration_id not in self._since

    def claim(self, migration_id: int, held_by: str | None = None) -> bool:
        """Take one that nobody holds, or that is `held_by`."""
        since = self._runtime.monotonic()
        taken = self._store.migrations.claim(migration_id, self.owner, self.seconds, held_by)
        self._took(since, [migration_id] if taken else [])
        return taken

    def claim_files(self, migration_id: int) -> Migration | None:
        """Take an ended one whose files are to be removed."""
        since = self._runtime.monotonic()
        migration = self._store.files.claim(migration_id, self.owner, self.seconds)
        self._took(since, [migration_id] if migration else [])
        return migration

    def admit(self, choose: Choose) -> Sequence[Migration]:
        """Take the queued ones that may start."""
        since = self._runtime.monotonic()
        started = self._store.queue.admit(self.owner, self.seconds, choose)
        self._took(since, [migration.id for migration in started])
        return started

    def renew(self) -> None:
        """Keep those that are worked on. What this conductor has lost, or has nothing to do with any more, is forgotten."""
        since = self._runtime.monotonic()
        wanted = set(self._working.values())
        kept = self._store.migrations.renew(self.owner, self.seconds, tuple(wanted)) if wanted else ()
        self._took(since, kept)
        for number, asked in list(self._since.items()):
            if asked < since and (number in wanted or since - asked > self.seconds):
                del self._since[number]

    def give_up(self, migration_id: int) -> None:
        """Leave one to another conductor, at once."""
        self._since.pop(migration_id, None)
        self._store.migrations.release(self.owner, migration_id)

    def surrender(self) -> None:
        """Act on nothing any more; the database is told apart."""
        self._surrendered = True

    @contextmanager
    def worked_on(self, migration_id: int) -> Iterator[None]:
        """While it lasts the lease is renewed. One that nobody works on any more, for whatever reason, expires and is taken up again."""
        hand = object()
        self._working[hand] = migration_id
        try:
            yield
        finally:
            del self._working[hand]

    def works_on(self, migration_id: int) -> bool:
        return migration_id in list(self._working.values())

    def _took(self, since: float, numbers: Iterable[int]) -> None:
        self._since |= dict.fromkeys(numbers, since)


@dataclass(frozen=True, slots=True)
class Lease:
    """That of one migration."""

    leases: Leases
    number: int

    @property
    def owner(self) -> str:
        return self.leases.owner

    @property
    def held(self) -> bool:
        return self.leases.held(self.number)

    @property
    def gone(self) -> bool:
        return self.leases.gone(self.number)

    def check(self) -> None:
        """Right before something is told to a hypervisor. Raises Lapsed."""
        if not self.held:
            raise Lapsed(f"the lease on migration {self.number} has lapsed")
