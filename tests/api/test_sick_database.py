"""An embedded database that is locked by another process, gone, damaged, read-only or full: 503, soon, the reason in the log; and all goes on after."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from livemig import exceptions
from livemig.api.app import PATIENCE_S
from livemig.db.engine import Database, hurry, patient
from livemig.runtime import ThreadRuntime
from tests.api.world import World
from tests.service import configured

RUNTIME = ThreadRuntime()
LATE_S = 3.0  # beyond the bound: on a machine that has much else to do
MIGRATE = {"os-migrateLive": {"host": "node2", "block_migration": False, "disk_over_commit": False}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, conductor__reconcile_interval=0, api__conductor_timeout=5) as world:
        for number in range(4):
            world.fleet.add_guest(f"g{number}", "node1", dirty_mib_s=1)
        world.settle()
        yield world


def file(world: World) -> Path:
    return Path(world.store.database.engine.url.database or "")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As by another process that writes and does not end it."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def act(world: World, name: str, action: dict[str, Any], version: str = "2.1") -> tuple[int, float]:
    """The status, and the seconds until it came."""
    began = RUNTIME.monotonic()
    answer = world.ask("POST", f"/v2.1/servers/{world.id(name)}/action", version, action)
    return answer.status_int, RUNTIME.monotonic() - began


def at_once(*calls: Callable[[], tuple[int, float]]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    tasks = [RUNTIME.start("ask", lambda call=call: found.append(call())) for call in calls]
    for task in tasks:
        task.join(60)
    assert len(found) == len(calls)
    return found


def migrates(world: World, name: str) -> None:
    world.do(name, MIGRATE)
    assert world.wait_idle(world.id(name)).status == "completed"


@pytest.mark.parametrize(
    "actions", [[MIGRATE] * 4, [{"pause": None}, {"lock": None}, {"os-stop": None}, {"os-resetState": {"state": "error"}}]], ids=["move", "act"]
)
def test_while_another_process_locks_it(world: World, actions: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    with locked(file(world)):
        found = at_once(*(lambda number=number, action=action: act(world, f"g{number}", action) for number, action in enumerate(actions)))
        assert {status for status, _seconds in found} == {503}
        assert max(seconds for _status, seconds in found) < PATIENCE_S + LATE_S
        assert world.request("GET", "/v2.1/servers").status_int == 200, "who reads waits for nobody"
    assert any(message.startswith("The database is away: ") and "locked" in message for message in caplog.messages)
    assert all(world.state(world.id(f"g{number}")) == ("ACTIVE", "node1", None) for number in range(4))
    migrates(world, "g0")


def test_a_lock_that_comes_while_a_conductor_checks(world: World) -> None:
    """The conductor has waited: the API does not wait once more, to withdraw the migration."""
    begin, held = threading.Event(), threading.Event()
    accept = world.conductor.answers["live_migrate"]

    def slow(migration_id: int) -> None:
        begin.set()
        assert held.wait(20)
        accept(migration_id)

    world.conductor.answers["live_migrate"] = slow
    client: Any = world.services.conductor
    client.live_migrate = lambda _context, migration_id: world.conductor.answers["live_migrate"](migration_id)
    found: list[tuple[int, float]] = []
    task = RUNTIME.start("ask", lambda: found.append(act(world, "g0", MIGRATE)))
    assert begin.wait(20)
    with locked(file(world)):
        held.set()
        task.join(30)
        assert [status for status, _seconds in found] == [503]
        assert found[0][1] < PATIENCE_S + LATE_S
    world.wait_idle(world.id("g0"))  # by whoever takes it up


def test_all_the_waiting_of_a_request_has_one_bound(tmp_path: Path) -> None:
    conf = configured(tmp_path, {}, 60)
    database = Database(conf.database.connection)
    with locked(tmp_path / database.engine.url.database), patient(1.0, time.monotonic):  # type: ignore[operator]
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(exceptions.DatabaseUnavailable) as away, database.write() as session:
                session.connection().exec_driver_sql("UPDATE mutexes SET taken_at = NULL")
        assert 0.9 < time.monotonic() - began < 1.0 + LATE_S
        assert "locked" in away.value.why
    with locked(tmp_path / database.engine.url.database), patient(60.0, time.monotonic):  # type: ignore[operator]
        began = time.monotonic()
        hurry()
        with pytest.raises(exceptions.DatabaseUnavailable), database.write() as session:
            session.connection().exec_driver_sql("UPDATE mutexes SET taken_at = NULL")
        assert time.monotonic() - began < LATE_S
    database.close()


def test_who_waits_for_another_thread_has_the_same_bound(tmp_path: Path) -> None:
    conf = configured(tmp_path, {}, 60)
    database = Database(conf.database.connection)
    inside, over = threading.Event(), threading.Event()

    def write() -> None:
        with database.write():
            inside.set()
            over.wait(30)

    task = RUNTIME.start("write", write)
    assert inside.wait(10)
    began = time.monotonic()
    with patient(0.5, time.monotonic), pytest.raises(exceptions.DatabaseUnavailable) as away, database.write():
        pass
    assert time.monotonic() - began < 0.5 + LATE_S
    assert "other transactions" in away.value.why
    over.set()
    task.join(10)
    database.close()


# What happens to its file → what undoes it.


def gone(path: Path) -> Callable[[], object]:
    kept = [(each, each.rename(each.with_suffix(f"{each.suffix}.kept"))) for each in path.parent.glob(f"{path.name}*")]
    return lambda: [new.rename(old) for old, new in kept]


def overwritten(path: Path) -> Callable[[], object]:
    return _in_place_of(path, b"this is no database " * 1000)


def emptied(path: Path) -> Callable[[], object]:
    return _in_place_of(path, b"")


def damaged(path: Path) -> Callable[[], object]:
    """Its first page is right, and what it points to is not."""
    whole = path.read_bytes()
    return _in_place_of(path, whole[:4096] + b"\xa5" * (len(whole) - 4096))


def _in_place_of(path: Path, content: bytes) -> Callable[[], object]:
    undo = gone(path)
    path.write_bytes(content)

    def back() -> None:
        for each in path.parent.glob(f"{path.name}*"):
            if not each.name.endswith(".kept"):
                each.unlink()
        undo()

    return back


@pytest.mark.parametrize("sickness", [gone, overwritten, emptied, damaged])
def test_a_file_that_is_sick(world: World, caplog: pytest.LogCaptureFixture, sickness: Callable[[Path], Callable[[], object]]) -> None:
    path = file(world)
    with closing(sqlite3.connect(path)) as quiet:
        quiet.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    world.store.database.close()
    heal = sickness(path)
    for method, url, body in (
        ("GET", "/v2.1/servers", None),
        ("GET", "/v2.1/servers/detail", None),
        ("GET", f"/v2.1/servers/{world.id('g0')}", None),
        ("GET", "/v2.1/flavors", None),
        ("GET", "/v2.1/limits", None),
        ("GET", "/v2.1/os-migrations", None),
        ("GET", "/v2.1/os-services", None),
        ("GET", "/v2.1/os-hypervisors/detail", None),
        ("PUT", "/v2.1/os-services/disable", {"host": "node3", "binary": "nova-compute"}),
        ("POST", f"/v2.1/servers/{world.id('g0')}/action", MIGRATE),
        ("POST", f"/v2.1/servers/{world.id('g1')}/action", {"pause": None}),
        ("POST", f"/v2.1/servers/{world.id('g1')}/action", {"lock": None}),
    ):
        answer = world.ask(method, url, body=body)
        assert answer.status_int == 503, (method, url, answer.text)
        assert answer.headers["Retry-After"]
        assert "sqlite" not in answer.text
    said = [message for message in caplog.messages if message.startswith("The database is away: ")]
    assert len(said) == 12
    expected: dict[Any, str] = {gone: f"{path} is gone", overwritten: "file is not a database", emptied: "no such table", damaged: "malformed"}
    words = expected[sickness]
    assert all(words in message for message in said), said
    assert path.exists() == (sickness is not gone), "none is made in its place"
    heal()
    assert world.request("GET", "/v2.1/servers").status_int == 200
    assert {world.state(world.id(f"g{number}")) for number in range(4)} == {("ACTIVE", "node1", None)}
    migrates(world, "g0")
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")], caplog.text


def on_connect(engine: Engine, pragma: str) -> Callable[[], object]:
    def set_it(connection: Any, _record: Any) -> None:
        connection.execute(pragma)

    event.listen(engine, "connect", set_it)
    return lambda: event.remove(engine, "connect", set_it)


@pytest.mark.parametrize(("pragma", "words"), [("PRAGMA query_only = ON", "readonly"), ("PRAGMA max_page_count = 1", "full")])
def test_a_file_that_takes_nothing(world: World, caplog: pytest.LogCaptureFixture, pragma: str, words: str) -> None:
    heal = on_connect(world.store.database.engine, pragma)
    for number in range(1000):  # until its last page is full
        status, seconds = act(world, "g0", {("unlock" if number % 2 else "lock"): None})
        if status == 503:
            break
    assert status == 503 and seconds < PATIENCE_S + LATE_S
    assert world.request("GET", "/v2.1/servers").status_int == 200
    assert any(message.startswith("The database is away: ") and words in message for message in caplog.messages), caplog.text
    heal()
    world.do("g0", {"lock": None})
    world.do("g0", {"unlock": None})
    migrates(world, "g0")
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")], caplog.text


@pytest.mark.parametrize(
    ("content", "pragma", "words"), [(b"this is no database " * 1000, "", "file is not a database"), (None, "PRAGMA query_only = ON", "readonly")]
)
def test_one_that_cannot_be_started_with(tmp_path: Path, content: bytes | None, pragma: str, words: str) -> None:
    path = tmp_path / "livemig.sqlite"
    database = Database(f"sqlite:///{path}")
    if content is not None:
        path.write_bytes(content)
    else:
        database.upgrade()
        on_connect(database.engine, pragma)
    with pytest.raises(exceptions.DatabaseUnavailable) as away:
        database.upgrade()
        with database.write() as session:  # the first thing that each part does then
            session.connection().exec_driver_sql("UPDATE mutexes SET taken_at = NULL")
    assert words in away.value.why
    database.close()
