"""The commands as processes that are told to stop while something hangs: they finish what they can, hand everything over, and are gone within ten seconds."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from livemig.cli.wiring import END_S, LATE, READ_AGAIN
from livemig.testing.fleet import guest_uuid
from tests.here import FLEET, RUNTIME, Here

WEB = guest_uuid("web")
HANGS_S = 60.0  # the process ends itself after END_S, but a busy machine may be slow to begin
HUNG = FLEET.replace("{name: b}", "{name: b, hung: true}")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@contextmanager
def process(here: Here, command: str, ready: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """It is killed in the end if it lives."""
    with (here.directory / "output").open("wb") as output:
        started = subprocess.Popen([str(Path(sys.executable).with_name(command)), *here.arguments], stdout=output, stderr=output)
    try:
        here.wait(ready)
        yield started
    finally:
        started.kill()
        started.wait()


def end(started: subprocess.Popen[bytes]) -> int:
    """Its exit status. Raises TimeoutExpired when it hangs."""
    started.send_signal(signal.SIGTERM)
    return started.wait(HANGS_S)


def ask(here: Here, path: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{here.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as fault:
        return fault.code, fault.read().decode()


def asking(here: Here, path: str, body: object) -> list[tuple[int, str] | Exception]:
    """Gets the answer, or what came instead of one."""
    answers: list[tuple[int, str] | Exception] = []

    def run() -> None:
        try:
            answers.append(ask(here, path, body))
        except OSError as error:
            answers.append(error)

    RUNTIME.start("ask", run)
    return answers


def rows(here: Here, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(here.database.removeprefix("sqlite:///"))) as database:
        return database.execute(query).fetchall()


def up(here: Here) -> bool:
    return (here.directory / "state").is_dir() and len(here.get("/servers")["servers"]) == 1


def handed_over(here: Here) -> bool:
    return rows(here, "SELECT * FROM conductors") == [] and rows(here, "SELECT * FROM migrations WHERE lease_owner IS NOT NULL") == []


def test_the_last_resort_leaves_a_second_of_the_ten() -> None:
    assert END_S <= 9


def test_a_request_under_way_is_answered(here: Here) -> None:
    here.fleet.write_text(FLEET + "latency_s: 0.05\n")
    with process(here, "livemig-all", lambda: up(here)) as started:
        body = {"os-migrateLive": {"host": "b", "block_migration": False, "disk_over_commit": False}}
        answers = asking(here, f"/servers/{WEB}/action", body)
        here.wait(lambda: rows(here, "SELECT id FROM migrations"))
        assert not answers
        assert end(started) == 0
        here.wait(lambda: answers)
        assert answers == [(202, "")]
        assert handed_over(here)


def test_a_hypervisor_that_hangs(here: Here) -> None:
    """A stop of the guest is just being asked for, at a host that does not answer."""
    with process(here, "livemig-all", lambda: up(here)) as started:
        here.fleet.write_text(FLEET.replace("{name: a}", "{name: a, hung: true}"))
        started.send_signal(signal.SIGHUP)
        here.wait(lambda: READ_AGAIN in (here.directory / "output").read_text())
        answers = asking(here, f"/servers/{WEB}/action", {"pause": None})
        RUNTIME.sleep(0.5)
        assert not answers
        assert end(started) == 0
        assert handed_over(here)


def test_a_hypervisor_that_hangs_from_the_start(here: Here) -> None:
    here.fleet.write_text(HUNG)
    with process(here, "livemig-all", lambda: up(here)) as started:
        assert end(started) == 0
        assert LATE not in (here.directory / "output").read_text()
        assert handed_over(here)


def test_a_database_that_is_locked(here: Here) -> None:
    with process(here, "livemig-all", lambda: up(here)) as started, closing(sqlite3.connect(here.database.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        RUNTIME.sleep(1)
        assert end(started) == 0


@pytest.mark.parametrize("command", ["livemig-conductor", "livemig-api"])
def test_a_database_that_never_answers(here: Here, command: str) -> None:
    """It takes the connection and says nothing: libpq waits in C, where no handler of Python's runs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(HANGS_S)
        port = silent.getsockname()[1]
        here.write(["a", "b"], more=f"[database]\nconnection = postgresql+psycopg2://nobody@127.0.0.1:{port}/nothing\n")
        ready = (lambda: True) if command == "livemig-conductor" else (lambda: here.get("/"))
        with process(here, command, ready) as started:
            answers = asking(here, f"/servers/{WEB}/action", {"pause": None}) if command == "livemig-api" else []
            with silent.accept()[0]:
                RUNTIME.sleep(0.2)
                assert end(started) == 0
                assert all(each[0] == 503 for each in answers if isinstance(each, tuple))  # libpq gives up after five seconds
