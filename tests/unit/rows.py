"""A store on SQLite, and what tests write into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from livemig import context
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.facts import Job, MigrationRequest, Policy, Presence, ServerFacts
from livemig.records import Migration
from livemig.runtime import Runtime
from livemig.states import IN_PROGRESS, Status, sources
from tests.service import tables

US = "us:1"
POLICY = Policy(downtime_ms=250, timeout_action="force_complete")
JOB = Job(True, memory_total_bytes=1000, memory_processed_bytes=250, memory_remaining_bytes=750, disk_total_bytes=8)


@contextmanager
def stored(directory: Path, runtime: Runtime) -> Iterator[Store]:
    """A store that knows hosts a and b, and nothing else."""
    (directory / "livemig.sqlite").write_bytes(tables())
    store = Store(Database(f"sqlite:///{directory}/livemig.sqlite?timeout=0.01", sqlite_synchronous=False), runtime)
    try:
        store.hosts.configure(dict.fromkeys(["a", "b"], "192.0.2.1"))
        yield store
    finally:
        store.database.close()


def see(store: Store, host: str, server: str, presence: Presence, **facts: Any) -> None:
    store.servers.see(host, [ServerFacts(server, server.upper(), presence, **{"memory_mib": 2048, "vcpus": 2, **facts})])


def begin(store: Store, server: str = "web", seconds: float = 60) -> Migration:
    return store.migrations.begin(server, MigrationRequest("b", False, None), POLICY, context.system(), seconds)


def accepted(store: Store) -> Migration:
    """An accepted migration of server web, from a to b."""
    see(store, "a", "web", Presence.RUNNING)
    return begin(store)


def lead_to(store: Store, migration: Migration, status: Status, owner: str | None = None) -> None:
    """Walk a migration to a state in progress."""
    while (now := store.migrations.get(migration.id).status) is not status:
        step = next(each for each in Status if each in IN_PROGRESS and now in sources(each) and list(Status).index(each) > list(Status).index(now))
        assert store.migrations.advance(migration.id, step, owner, destination="b")


def story(store: Store, migration: Migration) -> list[tuple[str, str]]:
    return [(event.kind, event.text) for event in store.migrations.events(migration.id)]


def take_all(holders: Mapping[str, str | None], _away: object) -> tuple[Sequence[str], Sequence[str]]:
    """What nobody has."""
    return [host for host, holder in holders.items() if holder is None], ()
