"""livemig-manage doctor on real hypervisors: what somebody did with virsh while livemig was down, what a migration has left, what somebody moves just now."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.lab.guests import Guest
from tests.lab.stage import RUNTIME, Stage

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture
def guest(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """One that livemig has never moved."""
    with stage.guest(request.node.name.removeprefix("test_")[:30]) as guest:
        yield guest
        stage.lab.host("node1").heal()


def doctor(stage: Stage, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what was found."""
    command = [str(Path(sys.executable).with_name("livemig-manage")), "--config-file", str(stage.service.config), "doctor", "--json", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=240, check=False)
    found: list[dict[str, Any]] = json.loads(ended.stdout)["disagreements"]
    return ended.returncode, found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in found]


def by_hand(stage: Stage, guest: Guest, *flags: str) -> list[str]:
    """A move to the other host by virsh."""
    return ["migrate", "--live", "--p2p", *flags, guest.name, stage.other(guest).uri]


def test_nothing_is_found_where_all_is_well(stage: Stage, guest: Guest) -> None:
    stage.move(guest)
    assert doctor(stage) == (0, [])


def test_what_was_done_by_hand_while_livemig_was_down(stage: Stage, guest: Guest) -> None:
    source, destination = guest.where(), stage.other(guest)
    assert source is not None
    stage.service.stop()
    source.virsh(*by_hand(stage, guest, "--persistent"))
    status, found = doctor(stage, "--fix")
    assert (status, sorted(kinds(found))) == (1, ["alone", "defined", "elsewhere"]), found
    assert [each["mended"] for each in found if each["kind"] == "elsewhere"] == [True]
    [kept] = [each for each in found if each["kind"] == "defined"]
    assert kept["remedy"] == f"if nobody needs it there: virsh -c {source.uri} undefine {guest.name}"
    source.virsh("undefine", guest.name)
    assert kinds([each for each in doctor(stage, "--fix")[1] if not each["mended"]]) == ["alone"]
    stage.service.start()
    assert stage.service.state(guest.uuid) == ("ACTIVE", destination.name)  # before any host has been looked at
    stage.wait_for_hosts()
    stage.wait_for_ticks(guest, destination.name)


def test_a_definition_that_a_migration_has_left(stage: Stage, guest: Guest) -> None:
    source = guest.where()
    assert source is not None
    xml = source.virsh("dumpxml", "--inactive", guest.name)
    migration = stage.move(guest)
    source.virsh("define", "/dev/stdin", stdin=xml)
    stage.wait(lambda: kinds(doctor(stage)[1]) == ["left"], guest, "the definition to be found")
    status, [left] = doctor(stage, "--fix")
    assert (status, left["mended"]) == (0, True), left
    assert guest.name not in source.virsh("list", "--all", "--name").split()
    assert stage.service.state(guest.uuid) == ("ACTIVE", migration.destination)
    stage.move(guest)


def test_a_move_by_hand_is_told_of_and_left_alone(stage: Stage, guest: Guest) -> None:
    source, destination = guest.where(), stage.other(guest)
    assert source is not None
    source.slow(20)
    moving = RUNTIME.start("by-hand", source.virsh, *by_hand(stage, guest, "--persistent", "--undefinesource"))
    stage.wait(lambda: "Outgoing" in source.virsh("domjobinfo", guest.name), guest, "the job")
    status, found = doctor(stage, "--fix")
    assert (status, kinds(found)) == (1, ["foreign"]), found
    assert found[0]["text"] == f"server {guest.uuid} ({guest.name}) is moved by libvirt from or to node1 and node2, and not by livemig"
    assert moving.is_alive()
    source.heal()
    moving.join(60)
    stage.service.wait_seen(guest.uuid, ("ACTIVE", destination.name))
    stage.wait_for_ticks(guest, destination.name)
    assert doctor(stage) == (0, [])


def test_a_daemon_that_is_away_is_a_finding(stage: Stage, guest: Guest) -> None:
    host = stage.other(guest)
    with stage.reconnected(host):
        host.stop_daemon()
        status, found = doctor(stage)
        assert status == 1 and "unreachable" in kinds(found) and set(kinds(found)) <= {"unreachable", "up"}, found
        host.start_daemon()
    stage.wait(lambda: doctor(stage) == (0, []), guest, "all to be well")
