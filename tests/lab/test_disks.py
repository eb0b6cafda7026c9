"""Disks that move with their guest, on real hypervisors.

LIVEMIG_PATTERN_RUNS=20 has the test of the pattern run so many times in a row; docs/lab.md has the command.
"""

from __future__ import annotations

import hashlib
import os

import pytest

from livemig.lab.disks import iso
from livemig.lab.guests import Guest
from livemig.states import Status
from tests.lab.places import host_of
from tests.lab.stage import RUNTIME, Stage

pytestmark = [pytest.mark.lab]
RUNS = range(int(os.environ.get("LIVEMIG_PATTERN_RUNS", "1")))
EVERYTHING = ("local,backing,16", "local,raw,16", "shared,16")


@pytest.mark.parametrize(
    "disks",
    [("shared,raw,16",), ("local,backing,16",), ("local,raw,16",), ("local,16", "shared,16"), ("local,cdrom",)],
    ids=lambda disks: " and ".join(disks).replace(",", " "),
)
def test_it_moves_with_its_disks(stage: Stage, disks: tuple[str, ...]) -> None:
    """All that it has is with it, nothing but a backing file is left behind, and it can go back."""
    with stage.guest("disks", *disks, memory_mib=128) as guest:
        stage.move(guest)
        node1, node2 = stage.lab.hosts[:2]
        for at, words in enumerate(disks):
            assert guest.image(words, at, node2).exists()
            assert guest.image(words, at, node1).exists() == words.startswith("shared")
        if "cdrom" in disks[-1]:
            assert guest.checksum("sr0") == hashlib.md5(iso(guest.name)).hexdigest()
        if "backing" in disks[0]:
            stage.move(guest)  # its backing file is there already


@pytest.mark.parametrize("run", RUNS)
def test_a_pattern_written_meanwhile(stage: Stage, run: int) -> None:
    """A guest that writes to its disks all the time: afterwards each block is what it says it wrote last."""
    with stage.guest("pattern", *EVERYTHING, memory_mib=128) as guest:
        before = write_at_full_speed(guest)
        stage.move(guest)
        after = {device: guest.stop_writing(device) for device in before}
        host = host_of(guest)
        host.virsh("destroy", guest.name)
        for at, (device, written) in enumerate(after.items()):
            assert guest.damage(EVERYTHING[at], at, host, written) == []
            assert written > before[device] + 10


def write_at_full_speed(guest: Guest) -> dict[str, int]:
    """How many blocks each disk has had when it begins."""
    devices = [f"vd{'abc'[at]}" for at in range(len(EVERYTHING))]
    written = {device: guest.stop_writing(device) for device in devices}  # answered once it has begun to write at all
    for device in devices:
        guest.write(device, 0)
    RUNTIME.sleep(1)
    return written


@pytest.mark.parametrize("end", ["aborted", "the destination dies"])
def test_one_that_does_not_move_after_all_keeps_its_disks(stage: Stage, end: str) -> None:
    """What was made for it at the destination is taken away."""
    with stage.guest("stays", "local,backing,16", "local,cdrom", memory_mib=128) as guest:
        node1, node2 = stage.lab.hosts[:2]
        node1.slow(60)
        guest.write("vda", 0)
        migration = stage.under_way(guest)
        if end == "aborted":
            assert stage.abort(migration) == 202
        else:
            node2.kill_daemon()
            RUNTIME.sleep(1)
            node2.start_daemon()
        stage.end(guest, Status.CANCELLED if end == "aborted" else Status.FAILED)
        node1.heal()
        stage.wait(lambda: stage.lab.leftovers() == [], guest, "the destination to be tidy")
        written = guest.stop_writing("vda")
        node1.virsh("destroy", guest.name)
        assert guest.damage("local,backing,16", 0, node1, written) == []


def test_what_nova_refuses(stage: Stage) -> None:
    with stage.guest("refused", "local", memory_mib=128) as guest:
        stage.begin(guest, block_migration=False)
        stage.end(guest, Status.ERROR)
        assert "is not on shared storage" in stage.story(guest), stage.story(guest)
        there = guest.image("local", 0, stage.lab.host("node2"))
        there.write_text("somebody's")
        stage.begin(guest)
        stage.end(guest, Status.ERROR)
        assert there.read_text() == "somebody's"
        there.unlink()
        stage.move(guest)
    with stage.guest("refused", "shared", memory_mib=128) as guest:
        stage.begin(guest, block_migration=True)
        stage.end(guest, Status.ERROR)
        assert "is not on local storage" in stage.story(guest), stage.story(guest)
