"""Hosts of other releases than the machine's own, in one lab with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.lab import roots
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError
from livemig.runtime import ThreadRuntime
from tests.lab.stage import Stage

pytestmark = pytest.mark.lab
RUNTIME = ThreadRuntime()
HOSTS = ("own", "debian13", "debian13")
UP_S = 10.0
MOVE = ("migrate", "--live", "--p2p", "--persistent", "--undefinesource")


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    """node1 is the machine's own; node2 and node3 are Debian 13, from one root folder."""
    lab = Lab(Path(tempfile.mkdtemp(prefix="livemig-lab-")), RUNTIME)
    try:
        lab.up(HOSTS)
        yield lab
        assert lab.leftovers() == []
    finally:
        lab.down()


def test_hosts_run_what_was_asked_for(mixed: Lab) -> None:
    own, one, other = mixed.hosts
    assert [host.root.name for host in mixed.hosts] == list(HOSTS)
    assert [entry["root"] for entry in mixed.status()["hosts"]] == list(HOSTS)
    for host in (one, other):
        assert host.run("cat", "/etc/debian_version").startswith("13")
        version = ".".join(map(str, host.root.qemu_version()))
        assert f"QEMU {version}\n" in host.virsh("version")
        with pytest.raises(LabError, match="Read-only file system"):
            host.run("mkdir", "/usr/mark")
    assert one.run("stat", "-c", "%d %i", "/usr/bin/virsh") == other.run("stat", "-c", "%d %i", "/usr/bin/virsh")
    assert own.run("stat", "-c", "%i", "/etc/passwd") != one.run("stat", "-c", "%i", "/etc/passwd")
    for way, uri in own.uris.items():
        assert one.virsh("-c", uri, "hostname").strip() == own.name
        assert own.virsh("-c", one.uris[way], "hostname").strip() == one.name


def test_up_again_is_quick_and_asks_no_mirror(mixed: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "apt-get"
    shim.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 1\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = [(host.name, host.root, host.daemon_pid()) for host in mixed.hosts]
    mixed.up()
    assert [(host.name, host.root, host.daemon_pid()) for host in mixed.hosts] == before, "what they run is remembered"
    with pytest.raises(LabError, match="node1 is own and stays so while the lab is there, not debian13"):
        mixed.up(["debian13"])
    another = Lab(tmp_path / "lab", RUNTIME)
    begin = RUNTIME.monotonic()
    try:
        another.up(["own", "debian13"])
        assert RUNTIME.monotonic() - begin < UP_S
    finally:
        another.down()
    assert not (tmp_path / "asked").exists()


def test_a_directory_in_place_of_a_name(tmp_path: Path) -> None:
    root = roots.find("debian13")
    lab = Lab(tmp_path / "lab", RUNTIME)
    try:
        lab.up([str(root.path)])
        [host] = lab.hosts
        assert host.root.name == str(root.path)
        assert host.virsh("hostname").strip() == "node1"
        lab.up([str(root.path)])
        with pytest.raises(LabError, match="it lacks: "):
            lab.up([str(root.path), str(tmp_path)])
    finally:
        lab.down()


def test_a_guest_moves_from_release_to_release(mixed: Lab) -> None:
    own, one, other = mixed.hosts
    guest = mixed.add_guest("traveller", own.name)
    try:
        for source, target in ((own, one), (one, other), (other, own)):
            source.virsh(*MOVE, guest.name, target.uri)
            assert guest.where() == target
        assert guest.ticks().unbroken
    finally:
        guest.remove()


def test_a_request_moves_a_guest_to_a_newer_release(mixed: Lab, tmp_path: Path) -> None:
    stage = Stage(mixed, tmp_path)
    try:
        with stage.guest("upgraded") as guest:
            migration = stage.move(guest)
            assert (migration.source, migration.destination) == ("node1", "node2")
    finally:
        stage.service.stop()
