"""What is somebody else's, or may be, stays where it is: on real hypervisors, with look-alikes of what livemig makes and moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from livemig.lab.guests import Guest
from livemig.lab.host import IMAGES, Host
from livemig.lab.shell import LabError
from livemig.records import LeftFile
from tests.lab.stage import Stage

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
ISOS = "/var/lib/libvirt/isos"
POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
CD_ROM = """
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{path}'/><target dev='sdz' bus='sata'/><readonly/></disk>
</devices>"""
OTHER = """
<domain type='qemu'><name>other</name><memory>1024</memory><os><type>hvm</type></os>
<devices><disk type='file'><driver name='qemu' type='{kind}'/><source file='{path}'/><target dev='vda'/></disk></devices></domain>"""


def with_cd_rom(guest: Guest, host: Host, path: str) -> None:
    """Have it in the drive from the start."""
    xml = host.virsh("dumpxml", "--inactive", guest.name).replace("</devices>", CD_ROM.format(path=path))
    host.virsh("destroy", guest.name)
    guest.log.write_text("")
    host.virsh("define", "/dev/stdin", stdin=xml)
    host.virsh("start", guest.name)


def notes(stage: Stage) -> list[dict[str, Any]]:
    """What the doctor tells of that is no disagreement; it finds no other."""
    command = [str(Path(sys.executable).with_name("livemig-manage")), "--config-file", str(stage.service.config), "doctor", "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=240, check=False)
    found: list[dict[str, Any]] = json.loads(ended.stdout)["disagreements"]
    assert ended.returncode == 0 and all(each["note"] for each in found), found
    return found


@contextmanager
def removed(*paths: Path) -> Iterator[None]:
    """Afterwards these are gone."""
    try:
        yield
    finally:
        for path in paths:
            subprocess.run(["rm", "-rf", str(path)], check=True)


def test_a_guest_that_is_called_like_the_directory_of_an_installation_cd(stage: Stage) -> None:
    """The CD is at the destination afterwards, and at the source as before; the doctor tells of it as long as no guest there has it in its drive."""
    places = [host.path(f"{ISOS}/") for host in stage.lab.hosts]
    with removed(*places), stage.guest("isos", "local,raw,16", memory_mib=128) as guest:
        node1 = stage.lab.host("node1")
        places[0].mkdir()
        (places[0] / "debian-12.iso").write_bytes(b"an installation CD" * 4096)
        with_cd_rom(guest, node1, f"{ISOS}/debian-12.iso")
        stage.service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
        stage.wait_for_ticks(guest, "node1")
        stage.move(guest)
        stage.wait(lambda: not stage.last(guest).untidy, guest, "the source to be tidy")
        assert not guest.image("local,raw,16", 0, node1).exists()
        assert [(place / "debian-12.iso").read_bytes() for place in places] == [b"an installation CD" * 4096] * 2
        assert stage.last(guest).files == (LeftFile("node1", f"{ISOS}/debian-12.iso", "kept"),)
        assert f"{ISOS}/debian-12.iso stays on node1: nothing proves that it is the guest's own" in stage.story(guest)
        [told] = notes(stage)
        assert (told["kind"], told["safe"], told["hosts"]) == ("kept", False, ["node1"])
        stage.move(guest)
        assert notes(stage) == [], "the guest has it in its drive there, and so has none but it at the other"
        assert (places[1] / "debian-12.iso").exists()


def test_a_pool_of_an_administrators_that_is_called_like_ours(stage: Stage) -> None:
    """Persistent, started with its host, and active: it is so after livemig has connected, and has moved a guest by way of other pools."""
    host = stage.lab.host("node1")
    data = host.path("/var/lib/libvirt/data/")
    with removed(data):
        data.mkdir()
        (data / "accounts.raw").write_bytes(b"somebody's")
        host.virsh("pool-define", "/dev/stdin", stdin=POOL.format(name="livemig-data", path="/var/lib/libvirt/data"))
        host.virsh("pool-create", "/dev/stdin", stdin=POOL.format(name="livemig-scratch", path=ISOS.replace("isos", "consoles")))
        try:
            host.virsh("pool-autostart", "livemig-data")
            host.virsh("pool-start", "livemig-data")
            with stage.reconnected(host):
                host.kill_daemon()
                host.start_daemon()
            with stage.guest("pools", "local,raw,16", "local,cdrom", memory_mib=128) as guest:
                stage.begin(guest)
                stage.end(guest)
                stage.wait(lambda: not stage.last(guest).untidy, guest, "the source to be tidy")
                info = host.virsh("pool-info", "livemig-data")
                assert [line.split()[-1] for line in info.splitlines() if line.startswith(("State", "Persistent", "Autostart"))] == ["running", "yes", "yes"]
                assert (data / "accounts.raw").read_bytes() == b"somebody's"
                assert set(host.virsh("pool-list", "--all", "--name").split()) == {"livemig-data", "livemig-scratch"}
                assert [each["kind"] for each in notes(stage)] == ["pool", "pool"]
                host.virsh("pool-destroy", "livemig-data")
                host.virsh("pool-undefine", "livemig-data")
                host.virsh("pool-destroy", "livemig-scratch")
        finally:
            for verb in ("pool-destroy", "pool-undefine"):
                for pool in ("livemig-data", "livemig-scratch"):
                    with suppress(LabError):  # not there
                        host.virsh(verb, pool)


HIDDEN = {
    "by a link": ("ln -s {image} {alias}", "raw"),
    "by a linked directory": ("ln -s {directory} {alias}.d; true", "raw"),
    "by another name": ("ln {image} {alias}", "raw"),
    "as a backing file of one that is off": ("qemu-img create -q -f qcow2 -b {image} -F raw {alias}", "qcow2"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_a_guest_that_refers_to_a_file_in_another_way(stage: Stage, way: str) -> None:
    """It is defined at the source, and its disk is the one that moves: what it refers to stays."""
    command, kind = HIDDEN[way]
    words = "local,raw,16"
    with stage.guest("hidden", words, memory_mib=128) as guest:
        host = stage.lab.host("node1")
        image, place = f"{IMAGES}/{guest.image(words, 0, host).name}", host.path("/var/lib/libvirt/aliases/")
        alias = "/var/lib/libvirt/aliases/alias"
        with removed(place):
            place.mkdir()
            host.run("sh", "-c", command.format(image=image, alias=alias, directory=IMAGES))
            path = f"{alias}.d/{Path(image).name}" if "directory" in way else alias
            host.virsh("define", "/dev/stdin", stdin=OTHER.format(path=path, kind=kind))
            try:
                stage.move(guest)
                stage.wait(lambda: not stage.last(guest).untidy, guest, "the source to be tidy")
                assert guest.image(words, 0, host).exists()
                shown = image if kind == "qcow2" else path
                assert f"{image} stays on node1: guest other refers to it as {shown}" in stage.story(guest), stage.story(guest)
                assert stage.last(guest).files == (LeftFile("node1", image, "kept"),)
                assert notes(stage) == []
            finally:
                host.virsh("undefine", "other")
            [told] = notes(stage)
            assert told["remedy"] == f"if nobody needs it there: rm {image}, on node1"
            guest.image(words, 0, host).unlink()
            assert notes(stage) == []
