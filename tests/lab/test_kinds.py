"""What guests of the lab can have beside files: block devices, images on a server, a TPM, UEFI; and a directory that is mounted read-only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from livemig.lab.firmware import STATES, VARIABLES
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError, run
from livemig.runtime import ThreadRuntime

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
RUNTIME = ThreadRuntime()
MOVE = ("migrate", "--live", "--p2p", "--persistent", "--undefinesource")


@contextmanager
def passing(lab: Lab, name: str, *disks: str, tpm: bool = False, uefi: bool = False) -> Iterator[Guest]:
    guest = lab.add_guest(name, "node1", disks, 192, tpm=tpm, uefi=uefi)
    try:
        yield guest
    finally:
        guest.remove()
    assert lab.leftovers() == []


def move(guest: Guest, source: Host, target: Host, *options: str) -> None:
    source.virsh(*MOVE, *options, guest.name, target.uri, timeout=120)
    assert guest.holders() == [target]


def wait_for_ticks(guest: Guest, more: int = 15) -> None:
    wanted, deadline = guest.ticks().count + more, RUNTIME.monotonic() + 60
    while guest.ticks().count < wanted:
        assert RUNTIME.monotonic() < deadline
        RUNTIME.sleep(0.05)
    assert guest.ticks().unbroken, guest.ticks()


def loops() -> list[str]:
    return [loop["back-file"] for loop in json.loads(run("losetup", "--list", "--json", "--output", "BACK-FILE") or "{}").get("loopdevices", [])]


@pytest.mark.parametrize(
    ("words", "type_", "options"),
    [
        ("block,16", "block", ("--copy-storage-all",)),
        ("lun,16", "block", ()),
        ("nbd,16", "network", ()),
    ],
    ids=lambda value: value.partition(",")[0] if isinstance(value, str) else "",
)
def test_a_disk_that_is_no_file(lab: Lab, words: str, type_: str, options: tuple[str, ...]) -> None:
    """The guest writes to it and reads it back before and after a migration, and what is on it then is what it says it wrote."""
    node1, node2 = lab.hosts
    with passing(lab, f"on-{words.partition(',')[0]}", words) as guest:
        assert f"<disk type='{type_}' device='disk'>" in node1.virsh("dumpxml", guest.name)
        guest.write("vda", 0.01)
        wait_for_ticks(guest)
        move(guest, node1, node2, *options)
        wait_for_ticks(guest)
        written = guest.stop_writing("vda")
        assert written > 10
        node2.virsh("destroy", guest.name)
        assert guest.damage(words, 0, node2, written) == []
        assert bool(guest.damage(words, 0, node1, written)) == words.startswith("block"), "each host has a device of its own of that name"
    assert not any(str(lab.directory) in file for file in loops())


def test_devices_of_one_name_on_each_host(lab: Lab) -> None:
    node1, node2 = lab.hosts
    with passing(lab, "named", "block,16", "lun,16") as guest:
        own, common = ([host.run("readlink", "-f", f"/var/lib/libvirt/vg0/named.{name}").strip() for host in (node1, node2)] for name in ("vda", "vdb"))
        assert own[0] != own[1] and common[0] == common[1]
        assert all(host.run("blockdev", "--getsize64", own[0]).strip() == str(16 << 20) for host in (node1, node2))
        wait_for_ticks(guest)


def test_a_lab_takes_its_devices_and_servers_away(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", RUNTIME)
    lab.up(["debian13"])
    try:
        lab.add_guest("last", "node1", ["block,16", "nbd,16"], 192)
        assert sum(str(lab.directory) in file for file in loops()) == 1
    finally:
        lab.down()
    assert not any(str(lab.directory) in file for file in loops())
    assert not lab.directory.exists()


def test_a_directory_that_is_mounted_read_only(lab: Lab) -> None:
    """On one host: a guest whose image is there cannot come to it, and stays where it is."""
    node1, node2 = lab.hosts
    with passing(lab, "read-only", "shared,16") as guest:
        image = str(guest.image("shared,16", 0, node2))
        node2.read_only(lab.shared)
        node2.read_only(lab.shared)
        try:
            with pytest.raises(LabError, match="Read-only file system"):
                node2.run("touch", image)
            node1.run("touch", image)
            with pytest.raises(LabError, match="Read-only file system"):
                node1.virsh(*MOVE, "--unsafe", guest.name, node2.uri)
            assert guest.holders() == [node1]
        finally:
            node2.writable(lab.shared)
        node2.writable(lab.shared)
        move(guest, node1, node2, "--unsafe")
        wait_for_ticks(guest)


@pytest.mark.parametrize(("tpm", "uefi"), [(True, False), (False, True), (True, True)], ids=["tpm", "uefi", "both"])
def test_firmware(labs: Callable[[tuple[str, ...]], Lab], tpm: bool, uefi: bool) -> None:
    """It moves. libvirt leaves its variables behind, and not its TPM; both go with the guest."""
    lab = labs(("debian13", "debian13"))
    node1, node2 = lab.hosts
    with passing(lab, "firm", tpm=tpm, uefi=uefi) as guest:
        assert ("<tpm model='tpm-crb'>" in node1.virsh("dumpxml", guest.name)) == tpm
        variables, states = ([host.path(path) for host in lab.hosts] for path in (f"{VARIABLES}/firm_VARS.fd", f"{STATES}/{guest.uuid}"))
        assert ([path.exists() for path in variables], [path.exists() for path in states]) == ([uefi, False], [tpm, False])
        move(guest, node1, node2)
        wait_for_ticks(guest)
        assert [any(process.program == "swtpm" for process in host.processes()) for host in lab.hosts] == [False, tpm]
        assert ([path.exists() for path in variables], [path.exists() for path in states]) == ([uefi, uefi], [False, tpm])
    assert not any(path.exists() for path in [*variables, *states])


def test_firmware_that_a_host_lacks(labs: Callable[[tuple[str, ...]], Lab]) -> None:
    lab = labs(("own", "own"))
    host = lab.hosts[0]
    lacks = [package for command, package in (("swtpm", "swtpm"), ("swtpm_setup", "swtpm-tools")) if not host.run("sh", "-c", f"command -v {command} || true")]
    if not lacks:
        pytest.skip("this machine has all that it needs")
    with pytest.raises(LabError, match=f"node1 .own. lacks {', '.join(lacks)} for such a guest: apt-get install"):
        lab.add_guest("bare", tpm=True)
