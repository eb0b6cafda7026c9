"""The store, on SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from oslo_config import cfg
from sqlalchemy import text

from livemig import conf as configuration
from livemig import context, exceptions
from livemig.db import models
from livemig.db import store as stores
from livemig.db.engine import Database
from livemig.db.migrations import API
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.facts import HostFacts, Outcome, Presence, ServerFacts
from livemig.records import Member, Migration, Move
from livemig.states import IN_PROGRESS, Status, sources
from livemig.testing.runtime import VirtualRuntime
from tests.unit.rows import JOB, POLICY, US, begin, lead_to, see, story

# The tables


def test_upgrade_can_be_repeated(store: Store, migration: Migration) -> None:
    store.database.upgrade()
    assert store.migrations.get(migration.id) == migration
    with store.database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_the_newest_revision_is_what_the_models_say(store: Store) -> None:
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), models.Base.metadata) == []


def test_a_column_that_only_the_models_have_would_be_found(store: Store) -> None:
    with store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE servers DROP COLUMN name"))
        assert compare_metadata(MigrationContext.configure(connection), models.Base.metadata)


def test_an_older_database_keeps_what_it_knows(tmp_path: Path, runtime: VirtualRuntime) -> None:
    """From the first release's tables: hosts, servers and a migration are shown as before, with what is new at its default."""
    database = Database(f"sqlite:///{tmp_path}/old.sqlite")
    database.upgrade("0001")
    rows = (
        "INSERT INTO hosts VALUES ('a', 'ua', 1, 1, 'QEMU', 7002022, 9000000, 4, 8192, 4096, NULL), ('b', 'ub', 0, 0, '', 0, 0, 0, 0, 0, NULL)",
        "INSERT INTO servers VALUES ('web', 'web.example', 'a', 'active', 1, NULL, 0, 0, 2048, 2, 'admin', 'admin', '2026-01-02 03:04:05.000000', NULL)",
        "INSERT INTO migrations (id, uuid, server_uuid, status, source, block_migration, abort_requested, policy, request_id, user_id, project_id, created_at)"
        " VALUES (7, 'u7', 'web', 'completed', 'b', 0, 0, '{}', 'req-1', 'admin', 'admin', '2026-01-02 03:04:05.000000')",
    )
    with database.engine.begin() as connection:
        for row in rows:
            connection.execute(text(row))
    database.upgrade()
    store = Store(database, runtime)
    (host,) = store.hosts.all()
    assert (host.name, host.number, host.uuid, host.disabled, host.forced_down, host.cpu) == ("a", 1, "ua", False, False, {})
    server = store.servers.get("web")
    assert (server.name, server.instance_name, server.flavor.id, server.addresses, server.locked_by) == ("web.example", "web.example", "2-2048", (), None)
    migration = store.migrations.get(7)
    assert (migration.status, migration.force, migration.completion_forced) == (Status.COMPLETED, None, False)
    database.close()


def test_the_store_of_the_configuration(tmp_path: Path, runtime: VirtualRuntime) -> None:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    conf.set_override("state_path", str(tmp_path))
    conf.set_override("connection", f"sqlite:///{tmp_path}/livemig.sqlite", group="database")
    store = stores.from_conf(conf, runtime)
    store.database.upgrade()
    assert store.servers.count() == 0
    store.database.close()


# Migrations: from the request to the end


def test_begin(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    assert (migration.status, migration.source, migration.requested_host, migration.destination) == (Status.ACCEPTED, "a", "b", None)
    assert (migration.policy, migration.created_at, migration.user_id) == (POLICY, runtime.now(), "livemig")
    assert store.servers.get("web").task_state == "migrating"
    assert list(store.migrations.open()) == [migration] == list(store.migrations.of_server("web"))
    assert story(store, migration) == [("status", "accepted: from a to b")]


def test_a_server_has_one_open_migration(store: Store, migration: Migration) -> None:
    with pytest.raises(exceptions.ServerInvalidState) as refused:
        begin(store)
    assert str(refused.value) == "Cannot 'os-migrateLive' instance web while it is in task_state migrating"
    assert len(store.migrations.of_server("web")) == 1


def test_an_unknown_server(store: Store) -> None:
    with pytest.raises(exceptions.ServerNotFound):
        begin(store, "nobody")


BEGINS = {
    Presence.RUNNING: None,
    Presence.PAUSED: None,
    Presence.SHUT_OFF: "vm_state stopped",
    Presence.SUSPENDED: "vm_state suspended",
    Presence.CRASHED: "vm_state error",
}


@pytest.mark.parametrize("presence", BEGINS, ids=str)
def test_only_a_server_that_is_active_or_paused_may_migrate(store: Store, presence: Presence) -> None:
    see(store, "a", "web", presence)
    expected = BEGINS[presence]
    if expected is None:
        begin(store)
        return
    with pytest.raises(exceptions.ServerInvalidState, match=expected):
        begin(store)
    assert store.servers.get("web").task_state is None


@pytest.mark.parametrize("before", [status for status in Status if status in IN_PROGRESS])
@pytest.mark.parametrize("to", [Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.POST_COPY])
def test_a_state_is_entered_only_from_before_it(store: Store, migration: Migration, before: Status, to: Status) -> None:
    lead_to(store, migration, before)
    lines = len(story(store, migration))
    entered = store.migrations.advance(migration.id, to, None, "why")
    assert entered is (before in sources(to))
    assert store.migrations.get(migration.id).status is (to if entered else before)
    assert story(store, migration)[lines:] == ([("status", f"{to}: why")] if entered else [])


@pytest.mark.parametrize("before", [status for status in Status if status in IN_PROGRESS])
@pytest.mark.parametrize("to", [Status.COMPLETED, Status.CANCELLED, Status.FAILED, Status.ERROR])
def test_ends(store: Store, migration: Migration, before: Status, to: Status) -> None:
    lead_to(store, migration, before)
    ended = store.migrations.finish(migration, Outcome(to, "a"), None)
    assert ended is (before in sources(to))
    assert store.servers.get("web").task_state == (None if ended else "migrating")
    assert (list(store.migrations.open()) == []) is ended


def test_the_second_of_two_writers_loses(store: Store, migration: Migration) -> None:
    assert store.migrations.advance(migration.id, Status.QUEUED, None)
    assert not store.migrations.advance(migration.id, Status.QUEUED, None)
    assert store.migrations.finish(migration, Outcome(Status.ERROR, "a", "no"), None)
    assert not store.migrations.finish(migration, Outcome(Status.CANCELLED, "a", "no"), None)
    assert not store.migrations.advance(migration.id, Status.PREPARING, None)
    assert store.migrations.get(migration.id).status is Status.ERROR


def test_who_lost_the_lease_writes_no_state(store: Store, migration: Migration) -> None:
    lead_to(store, migration, Status.RUNNING)
    assert store.migrations.claim(migration.id, US, 60, API)
    done = Outcome(Status.COMPLETED, "b")
    assert not store.migrations.advance(migration.id, Status.POST_COPY, "them:1")
    assert not store.migrations.finish(migration, done, "them:1", {"b": Presence.RUNNING})
    assert store.servers.get("web").host == "a"
    assert store.migrations.finish(migration, done, US, {"a": Presence.ABSENT, "b": Presence.RUNNING})
    assert (store.servers.get("web").host, store.servers.get("web").task_state) == ("b", None)


def test_an_end_may_be_narrowed(store: Store, migration: Migration) -> None:
    store.migrations.advance(migration.id, Status.QUEUED, None)
    withdrawn = Outcome(Status.ERROR, "a", "withdrawn")
    assert not store.migrations.finish(migration, withdrawn, None, before=[Status.ACCEPTED])
    assert store.migrations.finish(migration, withdrawn, None, before=[Status.QUEUED])


def test_an_ended_migration_is_closed(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    lead_to(store, migration, Status.RUNNING)
    runtime.sleep(5)
    store.migrations.finish(migration, Outcome(Status.COMPLETED, "b", job=replace(JOB, completed=True, downtime_ms=42)), None)
    ended = store.migrations.get(migration.id)
    assert (ended.status, ended.finished_at, ended.reason, ended.downtime_ms) == (Status.COMPLETED, runtime.now(), None, 42)
    assert (ended.memory_total_bytes, ended.memory_remaining_bytes, ended.disk_total_bytes) == (1000, 750, 8)
    assert list(store.migrations.open()) == [] and list(store.migrations.orphans()) == []
    again = begin(store)
    assert [each.id for each in store.migrations.of_server("web")] == [again.id, migration.id]


def test_figures_of_a_job_that_did_not_complete_have_no_downtime(store: Store, migration: Migration) -> None:
    lead_to(store, migration, Status.RUNNING)
    store.migrations.finish(migration, Outcome(Status.FAILED, "a", "why", job=JOB), None)
    ended = store.migrations.get(migration.id)
    assert (ended.downtime_ms, ended.memory_total_bytes, ended.reason) == (None, 1000, "why")


def test_progress(store: Store, migration: Migration) -> None:
    store.migrations.progress(migration, JOB)
    assert store.servers.get("web").progress == 25
    assert store.migrations.get(migration.id).memory_processed_bytes == 250
    store.migrations.finish(migration, Outcome(Status.ERROR, "a"), None)
    store.migrations.progress(migration, JOB)
    assert store.servers.get("web").progress == 0, "a late write does not show on a server that migrates no more"


def test_progress_of_several_is_written_at_once(store: Store, migration: Migration) -> None:
    """Whoever comes while another one writes leaves it to the next; figures of one that has ended meanwhile are not."""
    see(store, "a", "db", Presence.RUNNING)
    other, ended = begin(store, "db"), migration
    assert store.migrations._writing.acquire(blocking=False)
    store.migrations.progress(ended, JOB)
    store.migrations._writing.release()
    store.migrations.finish(ended, Outcome(Status.ERROR, "a"), None)
    store.migrations.progress(other, replace(JOB, memory_remaining_bytes=100))
    assert (store.servers.get("db").progress, store.servers.get("web").progress) == (90, 0)
    assert store.migrations.get(ended.id).memory_total_bytes is None
    see(store, "a", "more", Presence.RUNNING)
    more = begin(store, "more")
    store.migrations._writing.acquire()
    store.migrations.progress(more, JOB)
    store.migrations._writing.release()
    assert store.servers.get("more").progress == 0
    store.migrations.progress(other, JOB)
    assert (store.servers.get("more").progress, store.servers.get("db").progress) == (25, 25)


def test_a_wish_to_abort_is_kept(store: Store, migration: Migration) -> None:
    lead_to(store, migration, Status.RUNNING)
    assert store.migrations.ask_abort(migration, context.system())
    assert store.migrations.get(migration.id).abort_requested
    assert story(store, migration)[-1][0] == "abort"


def test_the_event_log(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    runtime.sleep(1)
    store.migrations.record(migration.id, ("check", "one"), ("check", "two"))
    assert story(store, migration)[1:] == [("check", "one"), ("check", "two")]
    assert store.migrations.events(migration.id)[-1].at == runtime.now()


# Leases


def test_one_of_two_claims_wins(store: Store, migration: Migration) -> None:
    assert not store.migrations.claim(migration.id, US, 60), "the API holds it"
    assert store.migrations.claim(migration.id, US, 60, held_by=API)
    assert not store.migrations.claim(migration.id, "them:1", 60)
    assert not store.migrations.claim(migration.id, "them:1", 60, held_by=API)
    assert store.migrations.claim(migration.id, "them:1", 60, held_by=US)


def test_a_silent_holder_loses_its_lease(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    store.migrations.claim(migration.id, US, 10, API)
    runtime.sleep(9)
    assert list(store.migrations.orphans()) == []
    store.migrations.renew(US, 10, [migration.id])
    runtime.sleep(9)
    assert not store.migrations.claim(migration.id, "them:1", 10)
    runtime.sleep(2)
    assert [orphan.id for orphan in store.migrations.orphans()] == [migration.id]
    assert store.migrations.claim(migration.id, "them:1", 10)
    store.migrations.renew(US, 1000, [migration.id])
    runtime.sleep(11)
    assert store.migrations.claim(migration.id, US, 10), "renewing does not lengthen another's lease"


def test_a_lease_that_nobody_works_on_expires(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    store.migrations.claim(migration.id, US, 10, API)
    store.migrations.renew(US, 1000, [])
    runtime.sleep(11)
    assert len(store.migrations.orphans()) == 1


def test_a_queued_migration_needs_no_lease(store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    store.migrations.claim(migration.id, US, 10, API)
    store.migrations.advance(migration.id, Status.QUEUED, US)
    runtime.sleep(11)
    assert list(store.migrations.orphans()) == []
    (started,) = store.queue.admit("them:1", 10, lambda queued, _admitted: ([queued[0].id], {}))
    assert not store.migrations.advance(started.id, Status.RUNNING, US)


def test_an_ended_migration_cannot_be_claimed(store: Store, migration: Migration) -> None:
    store.migrations.finish(migration, Outcome(Status.ERROR, "a"), None)
    assert not store.migrations.claim(migration.id, US, 10)


@pytest.mark.parametrize(("former", "freed"), [("us:0", True), ("us:1", False), ("other:0", False), ("us2:0", False), ("%:0", False), ("u_:0", False)])
def test_a_new_life_frees_the_leases_of_former_ones(store: Store, migration: Migration, former: str, freed: bool) -> None:
    store.migrations.claim(migration.id, former, 60, API)
    store.migrations.release_former(US)
    assert bool(store.migrations.orphans()) is freed


def test_names_are_no_patterns(store: Store, migration: Migration) -> None:
    store.migrations.claim(migration.id, "us:0", 60, API)
    store.migrations.release_former("u_:1")
    store.migrations.release_former("%:1")
    assert list(store.migrations.orphans()) == []


def test_release(store: Store, migration: Migration) -> None:
    store.migrations.claim(migration.id, US, 60, API)
    store.migrations.release("them:1")
    assert list(store.migrations.orphans()) == []
    store.migrations.release(US)
    assert len(store.migrations.orphans()) == 1


# Admission


def queue(store: Store, servers: str, owner: str = US) -> list[Migration]:
    """One queued migration per letter, the letter being its server."""
    made = []
    for server in servers:
        see(store, "a", server, Presence.RUNNING)
        made.append(begin(store, server))
        store.migrations.claim(made[-1].id, owner, 60, API)
        store.migrations.advance(made[-1].id, Status.QUEUED, owner, destination="b")
    return made


def stories(store: Store, made: list[Migration], kind: str) -> list[list[str]]:
    return [[text for its, text in story(store, each) if its == kind] for each in made]


def test_admission_shows_all_and_admits_whosever_it_is(store: Store, runtime: VirtualRuntime) -> None:
    made = queue(store, "xy") + queue(store, "z", "them:1")
    one, two, three = made
    seen: list[tuple[list[int], list[int]]] = []

    def first_and_last(queued: Any, admitted: Any) -> Any:
        seen.append(([each.id for each in queued], [each.id for each in admitted]))
        return [queued[0].id, queued[-1].id], {two.id: "node1 sends 1 of 1"}

    admitted = store.queue.admit(US, 60, first_and_last)
    assert [(each.id, each.status) for each in admitted] == [(one.id, Status.PREPARING), (three.id, Status.PREPARING)]
    assert not store.migrations.advance(three.id, Status.RUNNING, "them:1"), "it has another owner now"
    assert [(each.id, each.waits_for) for each in store.queue.waiting()] == [(two.id, "node1 sends 1 of 1")]
    runtime.sleep(30)
    store.migrations.renew(US, 60, [])
    runtime.sleep(40)
    assert [each.id for each in store.migrations.orphans()] == [one.id, three.id], "nobody worked on these"
    store.queue.admit(US, 60, first_and_last)
    assert seen == [([one.id, two.id, three.id], []), ([two.id], [one.id, three.id])]
    assert store.queue.admit(US, 60, first_and_last) == [], "and nobody is asked any more"
    assert len(seen) == 2 and store.migrations.get(two.id).waits_for is None


def test_what_it_waits_for_is_told_when_it_is_new(store: Store) -> None:
    made = queue(store, "xy")
    for reasons in (("a", "a"), ("a", "a"), ("b", "a"), ("b", "b")):
        store.queue.admit(US, 60, lambda queued, _admitted, reasons=reasons: ([], dict(zip([each.id for each in queued], reasons, strict=True))))
    assert stories(store, made, "queue") == [["waits: a", "waits: b"], ["waits: a", "waits: b"]]
    assert store.migrations.ask_abort(made[0], context.system())
    assert store.migrations.get(made[0].id).waits_for is None


def test_one_that_is_queued_again_begins_anew(store: Store, runtime: VirtualRuntime) -> None:
    (one,) = queue(store, "x")
    lead_to(store, one, Status.RUNNING)
    store.migrations.progress(one, JOB)
    store.migrations.ask_completion(one, context.system())
    assert not store.migrations.queue(one, US, "to b", "b"), "whoever read it before has been overtaken"
    assert store.migrations.queue(store.migrations.get(one.id), US, "to c", "c", ["b"])
    again = store.migrations.get(one.id)
    assert (again.status, again.destination, again.tried, again.started_at, again.completion_forced) == (Status.QUEUED, "c", ("b",), None, False)
    assert again.memory_total_bytes is None and store.servers.get("x").progress == 0
    assert story(store, one)[-1] == ("status", "queued: to c")
    lead_to(store, one, Status.RUNNING)
    store.migrations.ask_abort(one, context.system())
    assert not store.migrations.queue(store.migrations.get(one.id), US, "to d", "d", ["b", "c"]), "somebody wants it aborted"
    assert store.migrations.get(one.id).tried == ("b",)


def test_moves_and_members(store: Store) -> None:
    for name, group in (("x", "web"), ("y", "web"), ("z", "web"), ("other", "db"), ("alone", "")):
        see(store, "b" if name == "z" else "a", name, Presence.RUNNING, user_metadata={"livemig:group": group} if group else {})
    one, two, _other = (begin(store, name) for name in ("x", "y", "other"))  # the last has no destination yet
    for each in (one, two):
        store.migrations.queue(each, API, "to b", "b")
    assert store.queue.moves(one.id) == [Move("a", "b", 2048, 2)]
    assert store.queue.moves(-1) == [Move("a", "b", 2048, 2)] * 2
    members = {member.migration: member for member in store.servers.members(store.servers.get("x"), "livemig:group")}
    assert members == {two.id: Member("a", "b", two.id, Status.QUEUED), None: Member("b")}
    assert store.servers.members(store.servers.get("alone"), "livemig:group") == []
    assert store.servers.members(store.servers.get("other"), "livemig:group") == []


def test_a_release_before_this_one_had_no_queue(tmp_path: Path, runtime: VirtualRuntime) -> None:
    """From the second release's tables: a migration that waited there goes on waiting."""
    database = Database(f"sqlite:///{tmp_path}/old.sqlite")
    database.upgrade("0002")
    columns = (
        "id, uuid, server_uuid, active_server_uuid, status, source, destination, abort_requested, completion_forced, policy, request_id, user_id, project_id"
    )
    values = "7, 'u7', 'web', 'web', 'queued', 'a', 'b', 0, 0, '{}', 'req-1', 'admin', 'admin'"
    with database.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO migrations ({columns}, created_at) VALUES ({values}, '2026-01-02 03:04:05.000000')"))
    database.upgrade()
    store = Store(database, runtime)
    (waiting,) = store.queue.waiting()
    assert (waiting.tried, waiting.files, waiting.untidy, waiting.waits_for, waiting.autostart, waiting.bandwidth_mib_s) == ((), (), False, None, False, None)
    (started,) = store.queue.admit(US, 60, lambda queued, _admitted: ([queued[0].id], {}))
    assert store.migrations.advance(started.id, Status.RUNNING, US, autostart=True)
    assert store.migrations.get(7).autostart
    database.close()


# Servers follow their sightings


def test_a_server_appears_changes_and_goes(store: Store, runtime: VirtualRuntime) -> None:
    see(store, "a", "web", Presence.RUNNING)
    server = store.servers.get("web")
    assert (server.name, server.host, server.vm_state, server.power_state, server.memory_mib) == ("WEB", "a", "active", 1, 2048)
    runtime.sleep(1)
    see(store, "a", "web", Presence.RUNNING)
    assert store.servers.get("web").updated_at == server.updated_at, "a look that finds nothing new changes nothing"
    see(store, "a", "web", Presence.PAUSED, memory_mib=4096)
    changed = store.servers.get("web")
    assert (changed.vm_state, changed.memory_mib, changed.updated_at, changed.created_at) == ("paused", 4096, runtime.now(), server.created_at)
    see(store, "a", "web", Presence.ABSENT)
    with pytest.raises(exceptions.ServerNotFound):
        store.servers.get("web")


def test_a_complete_look_takes_away_what_is_not_there(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    see(store, "a", "db", Presence.RUNNING)
    see(store, "b", "far", Presence.RUNNING)
    store.servers.see("a", [ServerFacts("db", "DB", Presence.RUNNING)], complete=True)
    assert {server.uuid for server in store.servers.find(Selection(limit=10))} == {"db", "far"}
    store.servers.see("a", [], complete=True)
    assert {server.uuid for server in store.servers.find(Selection(limit=10))} == {"far"}


def test_a_server_moved_by_hand_is_followed_in_any_order(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    see(store, "b", "web", Presence.MIGRATING)
    assert store.servers.get("web").host == "a"
    see(store, "b", "web", Presence.RUNNING)
    assert store.servers.get("web").host == "a"
    see(store, "a", "web", Presence.ABSENT)
    assert store.servers.get("web").host == "b"


def test_a_migrating_server_does_not_follow(store: Store, migration: Migration) -> None:
    see(store, "b", "web", Presence.RUNNING)
    see(store, "a", "web", Presence.ABSENT)
    server = store.servers.get("web")
    assert (server.host, server.task_state) == ("a", "migrating")
    store.migrations.finish(migration, Outcome(Status.ERROR, "a"), None)
    assert store.servers.get("web").host == "b", "the end looks at what was seen meanwhile"


def test_a_server_that_vanished_while_it_migrated_goes_at_the_end(store: Store, migration: Migration) -> None:
    see(store, "a", "web", Presence.ABSENT)
    assert store.servers.get("web").task_state == "migrating"
    store.migrations.finish(migration, Outcome(Status.ERROR, "a"), None)
    with pytest.raises(exceptions.ServerNotFound):
        store.servers.get("web")


def test_a_lost_server_stays_until_it_is_found(store: Store, migration: Migration) -> None:
    lead_to(store, migration, Status.RUNNING)
    store.migrations.finish(migration, Outcome(Status.ERROR, "a", "gone", lost=True), None, {"a": Presence.ABSENT, "b": Presence.ABSENT})
    assert (store.servers.get("web").vm_state, store.servers.get("web").task_state) == ("error", None)
    store.servers.see("b", [], complete=True)
    see(store, "b", "web", Presence.MIGRATING)
    assert store.servers.get("web").vm_state == "error"
    see(store, "b", "web", Presence.RUNNING)
    assert (store.servers.get("web").vm_state, store.servers.get("web").host) == ("active", "b")
    see(store, "b", "web", Presence.ABSENT)
    with pytest.raises(exceptions.ServerNotFound):
        store.servers.get("web")


def test_a_server_that_runs_twice_stays_lost_until_one_is_gone(store: Store, migration: Migration) -> None:
    lead_to(store, migration, Status.RUNNING)
    store.migrations.finish(migration, Outcome(Status.ERROR, "a", "twice", lost=True), None, {"a": Presence.RUNNING, "b": Presence.RUNNING})
    see(store, "a", "web", Presence.RUNNING)
    assert store.servers.get("web").vm_state == "error"
    see(store, "a", "web", Presence.ABSENT)
    assert (store.servers.get("web").vm_state, store.servers.get("web").host) == ("active", "b")


def test_pages(store: Store, runtime: VirtualRuntime) -> None:
    for server in ("c", "a"):  # of one moment
        see(store, "a", server, Presence.RUNNING)
    runtime.sleep(1)
    see(store, "a", "b", Presence.RUNNING)
    assert [server.uuid for server in store.servers.find(Selection(limit=10))] == ["b", "c", "a"]
    pages, marker = [], None
    while page := store.servers.find(Selection(limit=1, marker=marker)):
        pages.append(page[0].uuid)
        marker = page[-1].uuid
    assert pages == ["b", "c", "a"]
    with pytest.raises(exceptions.ServerNotFound):
        store.servers.find(Selection(limit=10, marker="nobody"))
    assert store.servers.count() == 3


# Hosts

SAID = HostFacts("a.example.org", "QEMU", 7, 9, 4, 8192, 4096)


def test_hosts_come_go_and_are_forgotten(store: Store, runtime: VirtualRuntime) -> None:
    assert [(host.name, host.up) for host in store.hosts.all()] == [("a", False), ("b", False)]
    store.hosts.came_up("a", SAID)
    host = store.hosts.get("a")
    assert host is not None
    assert (host.up, host.hypervisor_version, host.memory_free_mib, host.updated_at) == (True, 7, 4096, runtime.now())
    store.hosts.went_down("a")
    assert [(host.name, host.up, host.memory_mib) for host in store.hosts.all()] == [("a", False, 8192), ("b", False, 0)]
    store.hosts.configure(dict.fromkeys(["b", "c"], "192.0.2.1"))
    assert [host.name for host in store.hosts.all()] == ["b", "c"]
    assert store.hosts.get("a") is None
    store.hosts.configure(dict.fromkeys(["a"], "192.0.2.1"))
    again = store.hosts.get("a")
    assert again is not None and (again.uuid, again.memory_mib) == (host.uuid, 8192), "a host that comes back is the same"


def test_a_forgotten_host_takes_its_sightings_along(store: Store) -> None:
    see(store, "a", "web", Presence.RUNNING)
    see(store, "b", "web", Presence.SHUT_OFF)
    store.hosts.forget("a")
    see(store, "b", "web", Presence.SHUT_OFF)
    assert (store.servers.get("web").host, store.servers.get("web").vm_state) == ("b", "stopped")


# A database that is away


def test_a_locked_database_is_unavailable(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "livemig.sqlite", timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(exceptions.DatabaseUnavailable):
            store.hosts.configure(dict.fromkeys(["a"], "192.0.2.1"))
        other.execute("ROLLBACK")
    store.hosts.configure(dict.fromkeys(["a"], "192.0.2.1"))


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path, runtime: VirtualRuntime) -> None:
    store = Store(Database(f"sqlite:///{tmp_path}/nowhere/livemig.sqlite", max_retries=0), runtime)
    with pytest.raises(exceptions.DatabaseUnavailable):
        store.servers.count()
    with pytest.raises(exceptions.DatabaseUnavailable):
        store.database.upgrade()
