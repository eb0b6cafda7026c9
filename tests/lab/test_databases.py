"""The store on PostgreSQL and MariaDB: all that `tests/unit/test_db.py` says of it on SQLite, and what only several conductors at once can show."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, event, text

from livemig import context, exceptions
from livemig.conductor import admission
from livemig.conductor.doctor import of_database
from livemig.conductor.spread import spread
from livemig.conf import Limits
from livemig.db import models, patterns
from livemig.db.engine import Database
from livemig.db.history import Sum
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.facts import Outcome, Presence, ServerFacts
from livemig.records import Host, LeftFile, Migration, Server
from livemig.runtime import ThreadRuntime
from livemig.states import ADMITTED, Status
from tests.lab.deployment import database as restartable
from tests.lab.deployment import mariadb, postgresql
from tests.unit import test_db, test_history, test_inspection, test_watches
from tests.unit.rows import US, accepted, begin, lead_to, see, take_all

pytestmark = [pytest.mark.lab]
RUNTIME = ThreadRuntime()
SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {"postgresql": postgresql, "mariadb": mariadb}
OLD = (
    "INSERT INTO hosts VALUES ('a', 'ua', true, true, 'QEMU', 7002022, 9000000, 4, 8192, 4096, NULL)",
    "INSERT INTO servers VALUES ('web', 'web.example', 'a', 'active', 1, NULL, 0, false, 2048, 2, 'admin', 'admin', '2026-01-02 03:04:05.000000', NULL)",
    "INSERT INTO migrations (id, uuid, server_uuid, status, source, block_migration, abort_requested, policy, request_id, user_id, project_id, created_at)"
    " VALUES (7, 'u7', 'web', 'completed', 'b', false, false, '{}', 'req-1', 'admin', 'admin', '2026-01-02 03:04:05.123456')",
)


@dataclass(frozen=True)
class Upgraded:
    """A database that was made by the first release, and what it knew right after it was brought to the newest revision."""

    database: Database
    hosts: Sequence[Host]
    server: Server
    migration: Migration


@pytest.fixture(scope="module", params=SERVERS)
def upgraded(request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    """One for all tests; what it knew is read before any of them empties its tables."""
    with SERVERS[request.param]() as url:
        database = Database(url, max_pool_size=20, max_overflow=20)
        database.upgrade("0001")
        with database.engine.begin() as connection:
            for row in OLD:
                connection.execute(text(row))
        database.upgrade()
        store = Store(database, RUNTIME)
        yield Upgraded(database, store.hosts.all(), store.servers.get("web"), store.migrations.get(7))
        database.close()


@pytest.fixture(scope="module")
def database(upgraded: Upgraded) -> Database:
    return upgraded.database


def test_an_older_database_keeps_what_it_knows(upgraded: Upgraded) -> None:
    assert [(host.name, host.number) for host in upgraded.hosts] == [("a", 1)]
    assert (upgraded.server.instance_name, upgraded.server.flavor.id) == ("web.example", "2-2048")
    old = upgraded.migration
    assert (old.status, old.created_at.microsecond, old.tried, old.remembered) == (Status.COMPLETED, 123456, (), None)


@pytest.fixture
def runtime() -> ThreadRuntime:
    return RUNTIME


@pytest.fixture
def store(database: Database) -> Store:
    with database.write() as session:
        for table in reversed(models.Base.metadata.sorted_tables):
            if table.name != "mutexes":
                session.execute(delete(table))
    store = Store(database, RUNTIME)
    store.hosts.configure(dict.fromkeys(["a", "b"], "192.0.2.1"))
    return store


@pytest.fixture
def migration(store: Store) -> Migration:
    return accepted(store)


def test_the_newest_revision_is_what_the_models_say(store: Store) -> None:
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), models.Base.metadata) == []


# What SQLite alone has, or a virtual clock
ELSEWHERE = {
    "test_upgrade_can_be_repeated",
    "test_the_newest_revision_is_what_the_models_say",
    "test_a_column_that_only_the_models_have_would_be_found",
    "test_a_locked_database_is_unavailable",
}


def _again(module: ModuleType) -> dict[str, Any]:
    tests = {name: each for name, each in vars(module).items() if name.startswith("test_") and name not in ELSEWHERE}
    return {name: each for name, each in tests.items() if (given := inspect.signature(each).parameters) and "store" in given and "runtime" not in given}


globals().update(_again(test_db) | _again(test_watches) | _again(test_inspection) | _again(test_history))


# Clocks


def test_leases_go_by_the_clock_of_the_database(store: Store, migration: Any) -> None:
    """Two conductors whose clocks are hours apart."""
    fast, slow = (Store(store.database, Skewed(hours * 3600)) for hours in (5, -5))
    assert slow.migrations.claim(migration.id, US, 60, "api")
    assert not fast.migrations.claim(migration.id, "fast:1", 60) and not fast.migrations.orphans()
    assert slow.watches.balance("slow:1", 60, ["a"], take_all) == {"a": 1}
    assert fast.watches.balance("fast:1", 60, ["a"], take_all) == {}
    slow.watches.balance("slow:1", 0, ["a"], take_all)
    assert slow.migrations.renew(US, 0, [migration.id]) == {migration.id}  # the last to expire, as soon as the clock of the database goes on
    while not (orphans := fast.migrations.orphans()):
        RUNTIME.sleep(0.01)
    assert [each.id for each in orphans] == [migration.id]
    assert fast.migrations.claim(migration.id, "fast:1", 60)
    assert fast.watches.balance("fast:1", 60, ["a"], take_all) == {"a": 2}
    assert not slow.migrations.claim(migration.id, US, 60)
    assert slow.watches.balance("slow:1", 60, ["a"], take_all) == {}


def test_the_time_of_a_migration_goes_by_the_clock_of_the_database(store: Store, migration: Any) -> None:
    fast, slow = (Store(store.database, Skewed(hours * 3600)) for hours in (5, -5))
    assert fast.migrations.elapsed_s(migration.id) == 0
    lead_to(slow, migration, Status.RUNNING)
    assert 0 <= fast.migrations.elapsed_s(migration.id) < 60


def test_a_machine_whose_clock_is_wrong_is_found(store: Store) -> None:
    assert of_database(store) == []
    [found] = of_database(Store(store.database, Skewed(-3600)))
    assert found.kind.name == "clock" and 3590 < float(str(found.facts["ahead"])) < 3610


class Skewed(ThreadRuntime):
    """A machine whose clock is wrong."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> Any:
        return super().now() + timedelta(seconds=self._seconds)


# Several at once


def together(*deeds: Callable[[], Any]) -> list[Any]:
    """What each returns, all begun at the same moment."""
    go = RUNTIME.event()
    results: list[Any] = [None] * len(deeds)

    def run(place: int, deed: Callable[[], Any]) -> None:
        go.wait()
        try:
            results[place] = deed()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results[place] = error

    tasks = [RUNTIME.start(f"deed{place}", run, place, deed) for place, deed in enumerate(deeds)]
    go.set()
    for task in tasks:
        task.join(100)
        assert not task.is_alive(), f"{task.name} has not come to its end"
    failures = [result for result in results if isinstance(result, Exception) and not isinstance(result, exceptions.LivemigError)]
    assert failures == []
    return results


def queued(store: Store, count: int) -> list[int]:
    numbers = []
    for number in range(count):
        see(store, "a", f"s{number}", Presence.RUNNING)
        migration = begin(store, f"s{number}", seconds=0)
        assert store.migrations.claim(migration.id, US, 60)
        assert store.migrations.queue(migration, US, "", "b")
        numbers.append(migration.id)
    return numbers


def test_limits_hold_while_many_admit_and_end(store: Store) -> None:
    """Ten conductors let in what they can, and end what they let in, at the same time."""
    queued(store, 30)
    choose = partial(admission.choose, limits=Limits(2, 0, 3, {}, {}))
    seen: list[int] = []

    def conduct(owner: str) -> int:
        ended = 0
        while store.queue.waiting():
            for started in store.queue.admit(owner, 60, choose):
                seen.append(sum(each.status in ADMITTED for each in store.migrations.open()))
                assert store.migrations.finish(started, Outcome(Status.ERROR, "a", "done"), owner)
                ended += 1
        return ended

    ended = together(*(partial(conduct, f"c{number}:1") for number in range(10)))
    assert sum(ended) == 30
    assert max(seen) <= 2


def test_one_of_many_claims_wins(store: Store, migration: Any) -> None:
    claims = together(*(partial(store.migrations.claim, migration.id, f"c{number}:1", 60, "api") for number in range(10)))
    assert claims.count(True) == 1


def test_one_of_many_requests_wins(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    begun = together(*(partial(begin, store) for _ in range(10)))
    assert sum(isinstance(each, exceptions.ServerInvalidState) for each in begun) == 9


def test_hosts_are_spread_by_many_at_once(store: Store) -> None:
    hosts = [f"h{number}" for number in range(100)]
    owners = [f"c{number}:1" for number in range(4)]

    def balance(owner: str) -> Any:
        for _ in range(4):
            owned = store.watches.balance(owner, 60, hosts, partial(spread, owner))
        return owned

    together(*(partial(balance, owner) for owner in owners))
    watched = [balance(owner) for owner in owners]
    assert [len(each) for each in watched] == [25] * 4
    assert sorted(host for each in watched for host in each) == sorted(hosts)


def test_of_many_sights_one_is_written(store: Store) -> None:
    store.watches.balance(US, 60, ["a", "b"], take_all)
    sight = store.watches.find("a")
    looks = [ServerFacts("web", "WEB", Presence.RUNNING if number % 2 else Presence.PAUSED) for number in range(10)]
    assert together(*(partial(store.servers.see, "a", [look], sight=sight) for look in looks)).count(True) == 1


def test_a_journal_keeps_what_several_write(store: Store, migration: Any) -> None:
    """Files are written down and begun by one thread while another takes its own back."""
    store.migrations.claim(migration.id, US, 60, "api")
    lead_to(store, migration, Status.PREPARING, US)
    files = [LeftFile("b", f"/{number}", "planned") for number in range(8)]
    assert store.files.write_down(migration.id, US, files, []) == ()
    assert together(*(partial(store.files.begin, migration.id, US, file) for file in files)) == [True] * 8
    assert {file.after for file in store.migrations.get(migration.id).files} == {"failed"}


@pytest.mark.parametrize("round_", range(10))
def test_a_wish_and_a_start_at_once(store: Store, migration: Any, round_: int) -> None:
    """Whoever is second, or loses a deadlock and tries again, finds what the first has done: never is something started that was cancelled."""
    store.migrations.claim(migration.id, US, 60, "api")
    lead_to(store, migration, Status.PREPARING, US)
    started, asked = together(
        partial(store.migrations.advance, migration.id, Status.RUNNING, US), partial(store.migrations.ask_abort, migration, context.system())
    )
    row = store.migrations.get(migration.id)
    assert isinstance(started, bool) and asked is True
    assert (row.status, row.abort_requested) == (Status.RUNNING if started else Status.CANCELLED, True)


def test_a_thousand_hosts_cost_few_statements(store: Store) -> None:
    hosts = [f"h{number}" for number in range(1000)]
    store.watches.balance(US, 60, hosts, take_all)
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", count)
    try:
        assert len(store.watches.balance(US, 60, hosts, take_all)) == 1000
    finally:
        event.remove(store.database.engine, "before_cursor_execute", count)
    assert 0 < len(statements) < 10, statements


def test_a_pattern_that_an_engine_would_never_finish(store: Store) -> None:
    """MariaDB goes back and tries again, up to its own limit for each row; PostgreSQL does not."""
    store.servers.see("a", [ServerFacts(str(number), "a" * 200 + "!", Presence.RUNNING) for number in range(300)])
    began = RUNTIME.monotonic()
    try:
        assert store.servers.find(Selection(patterns={"name": "^(a|aa)+$"})) == []
    except exceptions.InvalidPattern as error:
        assert str(error).endswith("takes longer than 5 s"), error
    assert RUNTIME.monotonic() - began < patterns.LONGEST_SEARCH_MS / 1000 + 30  # the engine stops; a busy machine is slow to say so
    with pytest.raises(exceptions.InvalidPattern, match="regular expression of the database"):
        store.servers.find(Selection(patterns={"name": "("}))
    assert len(store.servers.find(Selection(patterns={"name": "^a+!$"}))) == 300


# History


@pytest.mark.timeout(300)
def test_a_purge_beside_conductors_that_work(store: Store) -> None:
    """Migrations begin and end while what has ended is removed, by two at once: what is open stays as it is, and in the end only the last are left."""
    over = RUNTIME.event()
    ended = [0] * 4

    def conduct(number: int) -> None:
        server = f"s{number}"
        see(store, "a", server, Presence.RUNNING)
        for _ in range(25):
            migration = begin(store, server, seconds=0)
            assert store.migrations.claim(migration.id, US, 60)
            lead_to(store, migration, Status.RUNNING, US)
            store.migrations.record(migration.id, *(("source", f"iteration {each}") for each in range(30)))
            assert store.migrations.finish(migration, Outcome(Status.COMPLETED, "a"), US, {"a": Presence.RUNNING})
            ended[number] += 1
        if sum(ended) == 100:
            over.set()

    def purge() -> Sum:
        done = Sum()
        while not over.is_set():
            done += store.history.purge(RUNTIME.now() + timedelta(days=1), lambda: not over.wait(0.005))
        return done

    *_conducted, first, second = together(*(partial(conduct, number) for number in range(4)), purge, purge)
    rest = store.history.purge(RUNTIME.now() + timedelta(days=1), lambda: True)
    assert first.migrations + second.migrations + rest.migrations == 96
    left = store.migrations.find(Selection(sort=(("id", "asc"),)))
    assert sorted(each.server_uuid for each in left) == [f"s{number}" for number in range(4)]
    assert store.history.count(RUNTIME.now() + timedelta(days=1)) == Sum()


def test_projects_are_told_apart_letter_by_letter(store: Store) -> None:
    """By MariaDB's usual collation these are all the same."""
    names = ["shop", "SHOP", "shop ", "Shöp", "shöp", "bank"]
    store.servers.see("a", [ServerFacts(f"s{number}", f"s{number}", Presence.RUNNING, project_id=name, vcpus=1 + number) for number, name in enumerate(names)])
    for number, name in enumerate(names):
        mine = (name,)
        assert [each.uuid for each in store.servers.find(Selection(projects=mine))] == [f"s{number}"], name
        assert store.servers.usage(mine).vcpus == 1 + number
        assert [each.vcpus for each in store.servers.flavors(mine)] == [1 + number]
        with pytest.raises(exceptions.ServerNotFound):
            store.servers.find(Selection(projects=mine, marker=f"s{(number + 1) % len(names)}"))
    assert store.servers.usage(()).servers == 0 == len(store.servers.flavors(())) == len(store.servers.find(Selection(projects=())))
    assert store.servers.usage(None).servers == len(names)


def test_one_of_many_conductors_purges(store: Store) -> None:
    """The row of the mutex is there, or made by all at once."""
    with store.database.write() as session:
        session.execute(delete(models.Mutex).where(models.Mutex.name == "purge"))
    for allowed in (1, 0):
        assert together(*(partial(store.history.may_begin, 3600) for _ in range(8))).count(True) == allowed


# A server that goes away


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "killed"])
def test_whatever_a_restart_breaks_is_told_as_a_database_that_is_away(by: signal.Signals) -> None:
    """In the middle of statements, of commits, and of connecting; and all is well once it is back."""
    with restartable() as server:
        database = Database(server.url, max_pool_size=2, max_overflow=4, pool_timeout=1)
        database.upgrade()
        store = Store(database, RUNTIME)
        store.hosts.configure(dict.fromkeys(["a", "b"], "192.0.2.1"))
        over, done = RUNTIME.event(), [0] * 8

        def work(number: int) -> None:
            while not over.is_set():
                RUNTIME.sleep(0.01)  # who waits for one of the pool's six connections gets none, if the others ask anew at once
                with suppress(exceptions.DatabaseUnavailable):
                    see(store, "a", f"s{number}", Presence.RUNNING if done[number] % 2 else Presence.PAUSED)
                    store.migrations.renew(f"c{number}:1", 60, [1, 2])
                    assert [host.name for host in store.hosts.all()] == ["a", "b"]
                    done[number] += 1

        def strike() -> None:
            for _ in range(3):
                RUNTIME.sleep(0.5)
                server.stop(by)
                RUNTIME.sleep(0.2)
                server.start()
            before = list(done)
            while any(now == former for now, former in zip(done[1:], before[1:], strict=True)):
                RUNTIME.sleep(0.1)
            over.set()

        together(*(partial(work, number) for number in range(1, 8)), strike)
        database.close()
