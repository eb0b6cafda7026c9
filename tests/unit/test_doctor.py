"""livemig-manage doctor: what it prints, what it mends, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg
from sqlalchemy import text, update

from livemig import context
from livemig.cli import manage
from livemig.db import models
from livemig.db.engine import newest_revision
from livemig.db.store import Store
from livemig.facts import HostFacts, MigrationRequest, Policy, Presence, ServerFacts
from livemig.testing.fleet import guest_uuid
from tests.here import FLEET, Here
from tests.unit.rows import take_all

WEB = guest_uuid("web")
SAID = HostFacts("", "QEMU", 7_002_022, 9_000_000, 16, 65536, 60000)
SEEN = ServerFacts(WEB, "web", Presence.RUNNING)


def examined(here: Here, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status, and what was printed."""
    cfg.CONF.reset()
    status = manage.main([*here.arguments, "doctor", *arguments])
    return status, capsys.readouterr().out


@pytest.fixture
def world(here: Here, capsys: pytest.CaptureFixture[str]) -> Store:
    """The database of two hosts, both up, with a conductor alive, and web where it is: on a."""
    cfg.CONF.reset()
    manage.main([*here.arguments, "db", "sync"])
    store = here.store()
    store.hosts.configure(dict.fromkeys("ab", "192.0.2.1"))
    store.watches.balance("one:1", 600, "ab", take_all)
    for host in "ab":
        store.hosts.came_up(host, SAID)
    store.servers.see("a", [SEEN])
    capsys.readouterr()
    return store


def test_all_is_well(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    assert examined(here, capsys) == (0, "The database and the hosts agree.\n")
    status, printed = examined(here, capsys, "--json")
    assert (status, json.loads(printed)) == (0, {"disagreements": [], "left": 0})


def elsewhere(world: Store) -> None:
    """web is shown where it is not."""
    world.servers.see("a", [], complete=True)
    world.servers.see("b", [SEEN])


def test_a_server_that_is_shown_elsewhere(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    elsewhere(world)
    told = f"server {WEB} (web) is shown on b, and is running on a"
    assert examined(here, capsys) == (1, f"{told} => have its hosts looked at again [--fix]\n1 disagreement, 1 left.\n")
    assert examined(here, capsys, "--fix") == (0, f"{told} => mended\n1 disagreement, 0 left.\n")
    assert world.servers.get(WEB).host == "a"
    assert examined(here, capsys, "--fix")[0] == 0


def test_what_is_left_to_a_person_and_what_is_not(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    here.fleet.write_text(FLEET.replace("{name: b}", "{name: b, up: false}"))
    world.servers.see("a", [], complete=True)
    status, printed = examined(here, capsys, "--fix", "--json")
    found = json.loads(printed)
    assert (status, found["left"]) == (1, 2)
    assert [(each["kind"], each["safe"], each["mended"]) for each in found["disagreements"]] == [
        ("unknown", True, True),
        ("unreachable", False, False),
        ("up", False, False),
    ]
    assert found["disagreements"][0] == {
        "kind": "unknown",
        "text": f"server {WEB} (web) is running on a, and the database does not know it",
        "remedy": "have a looked at again",
        "note": False,
        "safe": True,
        "mended": True,
        "error": None,
        "server": WEB,
        "migration": None,
        "hosts": ["a"],
    }


def test_a_host_that_no_conductor_has_taken_in_is_not_written_about(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    here.write(["a", "b", "c"])
    here.fleet.write_text("hosts: [{name: a}, {name: b}, {name: c}]\nguests: [{name: web, host: a}, {name: db, host: c}]\n")
    status, printed = examined(here, capsys, "--fix")
    assert status == 1 and "2 disagreements, 2 left." in printed
    assert "host c is in enabled_hosts here, and no conductor has taken it in" in printed
    assert world.servers.count() == 1


def test_a_definition_that_libvirt_keeps(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    """web has moved from b to a by livemig, and is defined on b still, where it cannot be undefined: the doctor passes on why."""
    here.fleet.write_text(
        "hosts: [{name: a}, {name: b, unsupported: [undefineFlags]}]\n"
        f"guests: [{{name: web, host: a}}, {{name: web, uuid: {WEB}, host: b, state: shutoff}}]\n"
    )
    world.migrations.begin(WEB, MigrationRequest("a", False), Policy(), context.system(), 0)
    over: dict[str, Any] = {"status": "completed", "source": "b", "destination": "a", "active_server_uuid": None}
    with world.database.write() as session:
        session.execute(update(models.Migration).values(**over))
        session.execute(update(models.Server).values(task_state=None))
    world.servers.see("b", [ServerFacts(WEB, "web", Presence.SHUT_OFF)])
    told = f"server {WEB} (web) is still defined on b, from which livemig has moved it to a => virsh -c qemu+tcp://b/system undefine web [--fix]"
    assert examined(here, capsys) == (1, f"{told}\n1 disagreement, 1 left.\n")
    status, printed = examined(here, capsys, "--fix")
    assert status == 1 and printed.startswith(f"{told} (b: this function is not supported")
    here.fleet.write_text(here.fleet.read_text().replace(", unsupported: [undefineFlags]", ""))
    assert examined(here, capsys, "--fix")[0] == 0


# What lies about on hosts


def test_a_pool_that_looks_like_ours_is_told_of_and_left_alone(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    """It may be an administrator's: a check of a monitoring is content."""
    here.fleet.write_text(f"{FLEET}directories: [{{path: /data, host: b, pool: livemig-data}}]\n")
    virsh = "virsh -c qemu+tcp://b/system"
    told = "host b has a pool livemig-data, which looks like what version 0.1 left => if no other livemig is at work there:"
    line = f"{told} {virsh} pool-destroy livemig-data; {virsh} pool-undefine livemig-data [you]\n"
    for arguments in ((), ("--fix",)):
        assert examined(here, capsys, *arguments) == (0, f"{line}The database and the hosts agree. 1 thing to look at.\n")
    status, printed = examined(here, capsys, "--json")
    found = json.loads(printed)
    assert (status, found["left"], [(each["kind"], each["note"], each["safe"]) for each in found["disagreements"]]) == (0, 0, [("pool", True, False)])


# A person's word


def ended(here: Here, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    cfg.CONF.reset()
    status = manage.main([*here.arguments, "migration", "end", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err.splitlines()[-1] if said.err else ""


def test_a_migration_is_ended_by_a_persons_word(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    migration = world.migrations.begin(WEB, MigrationRequest("b", False), Policy(), context.system(), 0)
    with world.database.write() as session:
        session.execute(update(models.Migration).values(status="running", destination="b"))
    assert ended(here, capsys, "1", "--on", "a")[::2] == (
        1,
        "Migration 1 was not ended. Both hosts can be asked: how it ends is what they say, and a conductor writes it down.",
    )
    assert ended(here, capsys, "7", "--lost")[::2] == (1, "There is no migration 7.")
    here.fleet.write_text(FLEET.replace("{name: b}", "{name: b, up: false}"))
    assert ended(here, capsys, "1", "--on", "a")[:2] == (0, "Migration 1 ended: failed. Ended by hand: b is gone for good.\n")
    assert world.servers.get(WEB).task_state is None
    assert world.migrations.get(migration.id).status == "failed"


# When nothing can be said


def test_tables_of_another_revision(here: Here, capsys: pytest.CaptureFixture[str], world: Store) -> None:
    with world.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    told = f"database: the tables are at revision 0001, and this version of livemig needs {newest_revision()} => livemig-manage db sync [you]"
    assert examined(here, capsys) == (1, f"{told}\n1 disagreement, 1 left.\n")


def test_no_tables_at_all(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the tables are at revision None" in examined(here, capsys)[1]


@pytest.mark.parametrize("more", ["[database]\nconnection = sqlite:////proc/nowhere.sqlite\nmax_retries = 0\n", "[mock]\nfleet =\n"])
def test_it_cannot_look(here: Here, capsys: pytest.CaptureFixture[str], world: Store, more: str) -> None:
    here.fleet = Path()
    here.write(["a"], more=more)
    assert examined(here, capsys) == (2, "")
