"""What a purge removes, what it leaves, and how little of it there is in one transaction. All but the clock's is played on PostgreSQL and MariaDB too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from oslo_config import cfg
from sqlalchemy import delete, event, func, select, update

from livemig import conf as configuration
from livemig import context
from livemig.cli import manage
from livemig.conductor.purging import DAY_S, Purging
from livemig.db import history, models
from livemig.db.engine import Database
from livemig.db.history import Sum
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.facts import Outcome, Presence
from livemig.records import LeftFile, Migration
from livemig.states import Status
from livemig.testing.runtime import VirtualRuntime
from tests.here import Here, managed
from tests.unit.rows import US, begin, lead_to, see

LATER = datetime(2999, 1, 1)  # all that has ended is older
EARLIER = datetime(1999, 1, 1)


def go_on() -> bool:
    return True


def ended(store: Store, server: str, status: Status = Status.COMPLETED, events: int = 0) -> Migration:
    """A migration of a server on a that has ended."""
    see(store, "a", server, Presence.RUNNING)
    migration = begin(store, server)
    if events:
        store.migrations.record(migration.id, *(("source", f"iteration {number}") for number in range(events)))
    if status is Status.COMPLETED:
        lead_to(store, migration, Status.RUNNING)
    assert store.migrations.finish(migration, Outcome(status, "a", "why"), None)
    return store.migrations.get(migration.id)


def forget(store: Store, server: str) -> None:
    """The guest is gone, and so is its server."""
    see(store, "a", server, Presence.ABSENT)


def rows(store: Store) -> Sum:
    with store.database.read() as session:
        return Sum(*(session.scalar(select(func.count()).select_from(table)) or 0 for table in (models.Migration, models.MigrationEvent, models.Action)))


def left(store: Store) -> list[int]:
    return [each.id for each in store.migrations.find(Selection(sort=(("id", "asc"),)))]


def purged(store: Store) -> Sum:
    """Counted, removed, and what was counted is what was removed."""
    before, counted = rows(store), store.history.count(LATER)
    assert rows(store) == before, "a count removes nothing"
    done = store.history.purge(LATER, go_on)
    assert done == counted
    assert done + rows(store) == before
    assert store.history.purge(LATER, go_on) == Sum() == store.history.count(LATER)
    return done


def test_what_ended_is_removed_with_its_events_and_actions(store: Store) -> None:
    migration = ended(store, "web", events=7)
    forget(store, "web")
    events = len(store.migrations.events(migration.id))
    assert purged(store) == Sum(1, events, 1)
    assert rows(store) == Sum()


def test_what_is_younger_stays(store: Store) -> None:
    ended(store, "web")
    forget(store, "web")
    before = rows(store)
    assert store.history.count(EARLIER) == Sum() == store.history.purge(EARLIER, go_on)
    assert rows(store) == before


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.POST_COPY])
def test_what_is_open_stays(store: Store, status: Status) -> None:
    """Though its server has migrated before, and however long it takes."""
    first, second = ended(store, "web"), ended(store, "web")
    migration = begin(store, "web")
    lead_to(store, migration, status)
    purged(store)
    assert left(store) == [second.id, migration.id], first
    assert store.migrations.get(migration.id).status is status
    assert [each.action for each in store.actions.find(Selection({"migration_id": migration.id}, sort=(("id", "asc"),)))] == ["live-migration"]


def test_of_a_server_that_there_is_the_last_stay(store: Store) -> None:
    """The last one, and the last that completed: by it the doctor knows what livemig has left behind."""
    ended(store, "web")
    completed = ended(store, "web")
    ended(store, "web", Status.ERROR)
    last = ended(store, "web", Status.CANCELLED)
    assert purged(store).migrations == 2
    assert left(store) == [completed.id, last.id]
    assert store.inspection.rows(0, defined=["web"]).moved == {"web": ("a", "b")}
    forget(store, "web")
    assert purged(store).migrations == 2


def test_of_a_guest_that_is_still_seen_the_last_stay(store: Store) -> None:
    """Its server's row may be gone while a host has a definition of it."""
    kept = ended(store, "web")
    see(store, "b", "web", Presence.SHUT_OFF)
    with store.database.write() as session:
        session.execute(models.Server.__table__.delete().where(models.Server.uuid == "web"))  # type: ignore[attr-defined]
    purged(store)
    assert left(store) == [kept.id]


def test_of_a_lost_server_all_stay(store: Store) -> None:
    ended(store, "web")
    migration = begin(store, "web")
    lead_to(store, migration, Status.RUNNING)
    store.migrations.finish(migration, Outcome(Status.ERROR, "a", "on none", lost=True), None, {"a": Presence.ABSENT})
    before = rows(store)
    assert purged(store) == Sum()
    assert rows(store) == before


@pytest.mark.parametrize("aside", [False, True], ids=["to be removed", "set aside"])
def test_with_files_in_its_journal_it_stays(store: Store, aside: bool) -> None:
    see(store, "a", "web", Presence.RUNNING)
    migration = begin(store, "web")
    assert store.migrations.claim(migration.id, US, 60, "api")
    lead_to(store, migration, Status.PREPARING, US)
    assert store.files.write_down(migration.id, US, [LeftFile("b", "/disk", "failed")], []) == ()
    store.migrations.finish(migration, Outcome(Status.ERROR, "a", "why"), None)
    if aside:
        store.files.set_aside(migration.id)
    forget(store, "web")
    purged(store)
    assert left(store) == [migration.id]
    assert len(store.migrations.events(migration.id)) > 0
    store.files.removed(migration.id, None, [])
    purged(store)
    assert left(store) == []


def test_what_a_conductor_holds_stays(store: Store) -> None:
    migration = ended(store, "web")
    forget(store, "web")
    with store.database.write() as session:
        session.execute(update(models.Migration).values(lease_owner=US))
    purged(store)
    assert left(store) == [migration.id]


def act(store: Store, server: str, action: str, finish: bool = True) -> int:
    see(store, "a", server, Presence.RUNNING)
    number = store.actions.start(store.servers.get(server), action, context.system())
    if finish:
        store.actions.finish(number)
    return number


def test_actions(store: Store) -> None:
    """Those without a migration, also of servers that there are, and what was cut off before its end; those of a migration stay while it does."""
    act(store, "web", "pause")
    act(store, "web", "reboot", finish=False)
    act(store, "gone", "lock")
    forget(store, "gone")
    kept = ended(store, "web")
    assert purged(store) == Sum(actions=3)
    assert [each.migration_id for each in store.actions.find(Selection(sort=(("id", "asc"),)))] == [kept.id]


def test_other_tables_are_as_they_were(store: Store) -> None:
    ended(store, "web")
    ended(store, "web")
    store.watches.balance(US, 60, ["a", "b"], lambda _holders, _away: (["a"], ()))

    def others() -> dict[str, Any]:
        kept = [table for table in models.Base.metadata.sorted_tables if table.name not in ("migrations", "migration_events", "actions")]
        with store.database.read() as session:
            return {table.name: session.execute(select(table)).all() for table in kept}

    before = others()
    assert purged(store).migrations == 1
    assert others() == before


@contextmanager
def counted(store: Store) -> Iterator[list[int]]:
    """How many rows each statement has removed."""
    removed: list[int] = []

    def count(_connection: object, cursor: Any, statement: str, *_more: object) -> None:
        if statement.startswith("DELETE"):
            removed.append(cursor.rowcount)

    event.listen(store.database.engine, "after_cursor_execute", count)
    try:
        yield removed
    finally:
        event.remove(store.database.engine, "after_cursor_execute", count)


def test_few_rows_in_each_transaction(store: Store) -> None:
    ended(store, "web", events=3 * history.ROWS)
    for number in range(history.MIGRATIONS + 5):
        ended(store, f"s{number}", Status.CANCELLED)
    with store.database.write() as session:  # all guests are gone
        session.execute(delete(models.Sighting))
        session.execute(delete(models.Server))
    pauses: list[int] = []
    before = rows(store)
    with counted(store) as removed:

        def pause() -> bool:
            pauses.append(len(removed))
            return True

        done = store.history.purge(LATER, pause)
    assert done == before and rows(store) == Sum()
    assert max(removed) <= history.ROWS
    assert pauses == list(range(1, len(removed) + 1)), "a pause after each"


def test_it_may_be_broken_off_and_goes_on_next_time(store: Store) -> None:
    for number in range(3):
        ended(store, f"s{number}", events=2)
        forget(store, f"s{number}")
    before, done = rows(store), Sum()
    for _ in range(20):
        done += store.history.purge(LATER, lambda: False)
    assert done == before and rows(store) == Sum()


def test_one_conductor_a_day(store: Store) -> None:
    with store.database.write() as session:
        session.execute(delete(models.Mutex).where(models.Mutex.name == "purge"))
    assert store.history.may_begin(3600)
    assert not store.history.may_begin(3600)
    assert store.history.may_begin(-1), "that time is over"


# By option, and by hand


def test_conductors_purge_once_a_day(store: Store, runtime: VirtualRuntime, caplog: pytest.LogCaptureFixture) -> None:
    """Two of them, for ten days: each day's are gone when they are three days old, at the latest a day later."""
    caplog.set_level("INFO")
    stopping = runtime.event()
    conf = _conf(3)
    for _ in range(2):
        [_task] = Purging(conf, store, runtime, stopping).start()
    oldest: list[float] = []
    for number in range(10):
        ended(store, f"s{number}")
        forget(store, f"s{number}")
        runtime.sleep(DAY_S)
        found = store.migrations.find(Selection(sort=(("id", "asc"),), limit=1))
        oldest.append((runtime.now() - (found[0].finished_at or runtime.now())).total_seconds() / DAY_S)
    stopping.set()
    assert 3 <= max(oldest) <= 4.1
    said = [message for message in caplog.messages if "ended more than 3 days ago" in message]
    assert 9 <= len(said) <= 11, "one of them, once a day"


def test_none_does_out_of_the_box(store: Store, runtime: VirtualRuntime) -> None:
    assert Purging(_conf(0), store, runtime, runtime.event()).start() == []


def _conf(days: int) -> Any:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    if days:
        conf.set_override("purge_older_than", days, group="conductor")
    return conf


def test_the_command(here: Here, capsys: pytest.CaptureFixture[str], runtime: VirtualRuntime) -> None:
    """The clock of the rows stands in the year 2026, and is behind that of the command."""
    managed(here, capsys, "db", "sync")
    store = Store(Database(here.database), runtime)
    store.hosts.configure({"a": "192.0.2.1"})
    ended(store, "web", events=3)
    forget(store, "web")
    assert rows(store).migrations == 1
    old = datetime(2020, 1, 1)
    with store.database.write() as session:
        session.execute(update(models.Migration).values(created_at=old, finished_at=old + timedelta(seconds=9)))
    events = rows(store).events
    words = f"1 migrations, {events} lines of their event logs and 1 actions on servers"
    assert managed(here, capsys, "db", "purge", "--older-than", "30", "--dry-run") == f"{words} would be removed.\n"
    assert rows(store) == Sum(1, events, 1)
    assert managed(here, capsys, "db", "purge", "--older-than", "30") == f"{words} were removed.\n"
    assert rows(store) == Sum()
    store.database.close()


@pytest.mark.parametrize(
    "given", [[], ["--older-than", "0"], ["--older-than", "-1"], ["--older-than", "1.5"], ["--older-than", "x"], ["--older-than", "99999999"]], ids=str
)
def test_how_the_command_is_used(here: Here, capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        manage.main([*here.arguments, "db", "purge", *given])
    assert end.value.code == 2
    assert "--older-than" in capsys.readouterr().err
