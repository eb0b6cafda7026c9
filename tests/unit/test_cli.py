"""The commands, in this process: what they print, what they refuse, how they start, reload and stop."""

from __future__ import annotations

import gc
import json
import os
import signal
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from livemig import conf as configuration
from livemig import context
from livemig.cli import all as livemig_all
from livemig.cli import api, conductor, manage, wiring
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.facts import HostFacts, MigrationRequest, Policy, Presence, ServerFacts
from livemig.hypervisor import driver
from livemig.testing.fleet import guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.here import FLEET, HOST, RUNTIME, Here, managed, synced


def run_until(main: Callable[[list[str]], int], here: Here, deed: Callable[[], None]) -> int:
    """Run a command in this thread until `deed` is done in another, then end it with SIGTERM."""
    failures: list[BaseException] = []

    def act() -> None:
        try:
            deed()
        except BaseException as failure:  # noqa: BLE001 - raised below
            failures.append(failure)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    RUNTIME.start("deed", act)
    try:
        status = main(here.arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    with warnings.catch_warnings():  # waitress leaves its sockets to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    if failures:
        raise failures[0]
    return status


# livemig-manage


def test_db_sync_makes_the_tables_and_may_be_repeated(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert managed(here, capsys, "db", "sync") == "The tables are at the newest revision.\n"
    assert here.store().servers.count() == 0


def test_what_manage_lists(here: Here, capsys: pytest.CaptureFixture[str], runtime: VirtualRuntime) -> None:
    managed(here, capsys, "db", "sync")
    store = Store(Database(here.database), runtime)
    store.hosts.configure(dict.fromkeys(["a", "b"], "192.0.2.1"))
    store.hosts.came_up("a", HostFacts("a", "QEMU", 7_002_022, 9_000_000, 16, 65536, 60000))
    store.servers.see("a", [ServerFacts("web", "web", Presence.RUNNING), ServerFacts("db", "db", Presence.RUNNING)])
    for server, host in [("web", "b"), ("db", None)]:
        store.migrations.begin(server, MigrationRequest(host, False), Policy(), context.system(), 60)
    assert managed(here, capsys, "host", "list") == (
        "a  up  QEMU 7.2.22, libvirt 9.0.0  16 CPUs  60000 of 65536 MiB free\nb  down   0.0.0, libvirt 0.0.0  0 CPUs  0 of 0 MiB free\n"
    )
    assert managed(here, capsys, "migration", "list") == (
        "1  accepted  web  a -> b  since 2026-01-01 00:00:00\n2  accepted  db  a -> ?  since 2026-01-01 00:00:00\n"
    )
    assert managed(here, capsys, "migration", "events", "1") == "2026-01-01 00:00:00.000000  status        accepted: from a to b\n"


def test_the_queue_as_a_table_and_as_json(here: Here, capsys: pytest.CaptureFixture[str], runtime: VirtualRuntime) -> None:
    managed(here, capsys, "db", "sync")
    assert managed(here, capsys, "queue") == "" and managed(here, capsys, "queue", "--json") == "[]\n"
    store = Store(Database(here.database), runtime)
    for server in ("web", "db"):
        store.servers.see("a", [ServerFacts(server, server, Presence.RUNNING)])
        migration = store.migrations.begin(server, MigrationRequest(None, False), Policy(), context.system(), 60)
        runtime.sleep(1)
        store.migrations.queue(migration, "api", "to b", "b")
    store.queue.admit("us:1", 60, lambda queued, _admitted: ([], {queued[0].id: "a sends 1 of 1"}))
    assert managed(here, capsys, "queue") == (
        "1  1  web  a -> b  since 2026-01-01T00:00:01Z  a sends 1 of 1\n2  2  db  a -> b  since 2026-01-01T00:00:02Z  to be looked at\n"
    )
    first = {"position": 1, "id": 1, "server": "web", "source": "a", "destination": "b", "since": "2026-01-01T00:00:01Z", "waits_for": "a sends 1 of 1"}
    assert json.loads(managed(here, capsys, "queue", "--json"))[0] == first


@pytest.mark.parametrize("arguments", [[], ["host"], ["host", "remove"], ["migration", "events"], ["migration", "events", "one"]], ids=" ".join)
def test_manage_says_how_it_is_used(here: Here, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        manage.main([*here.arguments, *arguments])
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_database_that_is_away_is_one_line(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.write(["a"], more="[database]\nconnection = sqlite:////proc/nowhere.sqlite\nmax_retries = 0\n")
    cfg.CONF.reset()
    assert manage.main([*here.arguments, "host", "list"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("livemig: ")]
    assert "The database is unavailable" in line and "unable to open database file" in line


@pytest.mark.parametrize("main", [livemig_all.main, conductor.main], ids=["all", "conductor"])
def test_a_damaged_database_ends_the_command(here: Here, capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int]) -> None:
    path = Path(here.database.removeprefix("sqlite:///"))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"this is no database " * 1000)
    said = refused(main, here, capsys)
    assert said == ("livemig: The database is unavailable at this time. Nothing was changed; try again later. ((sqlite3.DatabaseError) file is not a database)")


# What the services refuse


def refused(main: Callable[[list[str]], int], here: Here, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(here.arguments) == 1
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("main", [livemig_all.main, conductor.main], ids=["all", "conductor"])
def test_a_host_without_a_uri_ends_the_command(here: Here, capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int]) -> None:
    synced(here, capsys)
    here.write(["a"], groups="")
    assert refused(main, here, capsys) == "livemig: [host:a] connection_uri is missing"


def test_no_fleet(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.fleet = Path()
    here.write(["a"], more="[mock]\nfleet =\n")
    assert refused(livemig_all.main, here, capsys) == "livemig: [mock] fleet is missing: the YAML file of the simulated fleet"


def test_a_public_address_without_authentication(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.write(["a"], more="[api]\nlisten_host = 0.0.0.0\n")
    assert refused(livemig_all.main, here, capsys) == "livemig: [api] auth_strategy noauth serves loopback addresses only, not 0.0.0.0"


@pytest.mark.parametrize("main", [livemig_all.main, api.main, conductor.main], ids=["all", "api", "conductor"])
def test_a_configuration_file_that_is_missing(here: Here, capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int]) -> None:
    (here.directory / "livemig.conf").unlink()
    assert "Failed to find some config files" in refused(main, here, capsys)


def test_the_driver_is_the_configured_one(here: Here) -> None:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    assert wiring.libvirt(conf, RUNTIME) is driver.load()
    conf.set_override("driver", "mock", group="libvirt")
    with pytest.raises(configuration.ConfigurationError, match="fleet is missing"):
        wiring.libvirt(conf, RUNTIME)


# The services


def test_all_in_one_process_serves_reloads_and_stops(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def deed() -> None:
        here.wait(lambda: here.get("/servers")["servers"])
        seen.append(here.get("/servers/" + guest_uuid("web"))["server"]["OS-EXT-SRV-ATTR:host"])
        store = here.store()
        here.wait(lambda: [host.up for host in store.hosts.all()] == [True, True])
        here.fleet.write_text(FLEET.replace("{name: b}", "{name: b, up: false}"))
        os.kill(os.getpid(), signal.SIGHUP)
        here.wait(lambda: [host.up for host in store.hosts.all()] == [True, False])
        here.write(["a"])
        os.kill(os.getpid(), signal.SIGHUP)
        here.wait(lambda: [host.name for host in store.hosts.all()] == ["a"])
        here.write(["a", "c"], groups=HOST.format("a"))
        os.kill(os.getpid(), signal.SIGHUP)
        RUNTIME.sleep(0.3)
        seen.append([host.name for host in store.hosts.all()])
        seen.append(len(here.get("/servers")["servers"]))
        store.database.close()

    assert run_until(livemig_all.main, here, deed) == 0
    assert seen == ["a", ["a"], 1]
    said = "".join(capsys.readouterr())
    assert said.count("Reading the configuration again") == 3
    assert said.count("The configuration could not be read again; the former one stays in force") == 1
    with pytest.raises(urllib.error.URLError):
        here.get("/")


def test_the_api_alone(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    synced(here, capsys)

    def deed() -> None:
        here.wait(lambda: here.get("/")["versions"])
        assert here.get("/servers") == {"servers": []}

    assert run_until(api.main, here, deed) == 0


def test_a_conductor_alone(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    synced(here, capsys)

    def deed() -> None:
        store = here.store()
        here.wait(lambda: store.servers.count() == 1)
        store.database.close()

    assert run_until(conductor.main, here, deed) == 0
