"""Everything that is written down, read at once; and the repairs of rows."""

from __future__ import annotations

from sqlalchemy import update

from livemig.db import models
from livemig.db.inspection import MigrationRow, ServerRow
from livemig.db.store import Store
from livemig.facts import Outcome, Presence
from livemig.records import LeftFile, Migration
from livemig.states import Status
from tests.unit.rows import begin, lead_to, see, take_all

LONG_S, ALREADY_S = 30.0, -30.0
WEB = ServerRow("web", "WEB", "a", "active", 1)


def end(store: Store, migration: Migration, status: Status = Status.CANCELLED) -> None:
    lead_to(store, migration, Status.RUNNING)
    host = "b" if status is Status.COMPLETED else "a"
    assert store.migrations.finish(migration, Outcome(status, host), None, {host: Presence.RUNNING})


def test_servers_and_where_they_were_seen(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    see(store, "b", "web", Presence.SHUT_OFF)
    see(store, "b", "db", Presence.PAUSED)
    rows = store.inspection.rows(LONG_S)
    assert rows.servers == {"web": WEB, "db": ServerRow("db", "DB", "b", "paused", 3)}
    assert rows.sightings == {"web": {"a": Presence.RUNNING, "b": Presence.SHUT_OFF}, "db": {"b": Presence.PAUSED}}
    assert (rows.migrations, rows.hosts, rows.conductors, rows.moved) == ([], {"a": False, "b": False}, {}, {})


def test_only_what_is_on_some_hosts_or_was_seen_there(store: Store) -> None:
    for host, server in [("a", "web"), ("b", "db"), ("c", "far")]:
        see(store, host, server, Presence.RUNNING)
    see(store, "a", "db", Presence.SHUT_OFF)
    rows = store.inspection.rows(LONG_S, ["a"])
    assert set(rows.servers) == set(rows.sightings) == {"web", "db"}
    assert set(store.inspection.rows(LONG_S, ["a"], ["far", "none"]).servers) == {"web", "db", "far"}
    assert store.inspection.rows(LONG_S, []).servers == {}


def test_hosts_that_are_configured_and_those_that_were(store: Store) -> None:
    store.hosts.configure({"b": "192.0.2.1"})
    rows = store.inspection.rows(LONG_S)
    assert (rows.hosts, rows.former) == ({"b": False}, frozenset("a"))


def test_conductors_that_live_and_that_do_not(store: Store) -> None:
    store.watches.balance("dead:1", -5, ["a"], take_all)
    assert store.inspection.rows(LONG_S).conductors == {"dead:1": False}
    store.watches.balance("one:1", 60, ["a"], take_all)
    assert store.inspection.rows(LONG_S).conductors == {"one:1": True}


def test_an_open_migration(store: Store, migration: Migration) -> None:
    row = MigrationRow(migration.id, "web", Status.ACCEPTED, "a", None, holder="api")
    assert store.inspection.rows(LONG_S).migrations == [row]
    assert store.inspection.rows(LONG_S).servers["web"].migrating


def test_one_that_nobody_holds(store: Store, migration: Migration) -> None:
    store.migrations.claim(migration.id, "dead:1", 0, "api")
    assert [row.forsaken for seconds in (LONG_S, ALREADY_S) for row in store.inspection.rows(seconds).migrations] == [False, True]
    store.migrations.release("dead:1")
    assert [row.forsaken for seconds in (LONG_S, ALREADY_S) for row in store.inspection.rows(seconds).migrations] == [False, True]


def test_an_ended_one_is_there_while_it_has_files(store: Store, migration: Migration) -> None:
    end(store, migration)
    assert store.inspection.rows(LONG_S).migrations == []
    file = LeftFile("b", "/images/web", "failed")
    with store.database.write() as session:
        session.execute(update(models.Migration).values(files=[{"host": file.host, "path": file.path, "after": file.after}], untidy=True))
    [row] = store.inspection.rows(LONG_S).migrations
    assert row == MigrationRow(migration.id, "web", Status.CANCELLED, "a", "b", False, None, False, (file,), True)
    assert store.inspection.rows(ALREADY_S).migrations[0].forsaken


def test_where_livemig_has_moved_a_server_from(store: Store, migration: Migration) -> None:
    assert store.inspection.rows(LONG_S, defined=["web"]).moved == {}
    end(store, migration, Status.COMPLETED)
    assert store.inspection.rows(LONG_S, defined=["web", "db"]).moved == {"web": ("a", "b")}
    assert store.inspection.rows(LONG_S, defined=["db"]).moved == {}
    see(store, "a", "web", Presence.RUNNING)
    see(store, "b", "web", Presence.ABSENT)
    end(store, begin(store))
    assert store.inspection.rows(LONG_S, defined=["web"]).moved == {"web": ("a", "b")}


def test_a_server_that_no_migration_has_is_let_go(store: Store) -> None:
    see(store, "a", "web", Presence.PAUSED)
    assert not store.inspection.release("web")
    with store.database.write() as session:
        session.execute(update(models.Server).values(task_state="migrating", host="b"))
    assert store.inspection.release("web")
    assert store.inspection.rows(LONG_S).servers["web"] == ServerRow("web", "WEB", "a", "paused", 3)


def test_a_server_that_migrates_is_not_let_go(store: Store, migration: Migration) -> None:
    assert not store.inspection.release("web")
    assert store.servers.get("web").task_state == "migrating"


def test_a_claim_of_a_migration_that_was_ended_by_hand(store: Store, migration: Migration) -> None:
    with store.database.write() as session:
        session.execute(update(models.Migration).values(status="failed"))
    assert store.inspection.release("web") and not store.inspection.release("web")
    assert store.servers.get("web").task_state is None
    begin(store)


def test_a_server_that_is_given_up_is_shown_so_until_it_lives_on_one_host(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    both = dict.fromkeys("ab", Presence.RUNNING)
    assert store.inspection.lose("web", "It lives twice.", both) and not store.inspection.lose("web", "Again.", both)
    see(store, "a", "web", Presence.RUNNING)
    shown = store.servers.get("web")
    assert (shown.vm_state, shown.fault and shown.fault["message"]) == ("error", "It lives twice.")
    see(store, "b", "web", Presence.ABSENT)
    assert (store.servers.get("web").vm_state, store.servers.get("web").fault) == ("active", None)


def test_a_server_that_migrates_is_not_given_up(store: Store, migration: Migration) -> None:
    assert not store.inspection.lose("web", "no", {})


def test_the_revision(store: Store) -> None:
    there, newest = store.inspection.revision()
    assert there == newest


def test_who_is_known(store: Store, migration: Migration) -> None:
    assert store.inspection.knows("web") and not store.inspection.knows("db")
