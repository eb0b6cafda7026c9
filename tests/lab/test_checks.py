"""One thing is broken at the destination, on real daemons: the answer says so, and nothing has changed. Mended, the guest moves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from livemig.lab.guests import Guest
from livemig.lab.host import Host
from tests.lab.stage import Stage

pytestmark = [pytest.mark.lab]
BRIDGE = "guests0"
EMULATOR = "/usr/bin/qemu-system-x86_64"
NETWORK = f"<network><name>guests</name><forward mode='bridge'/><bridge name='{BRIDGE}'/></network>"
NICS = f"""
    <interface type='bridge'><source bridge='{BRIDGE}'/><model type='virtio'/></interface>
    <interface type='network'><source network='guests'/><model type='virtio'/></interface>
</devices>"""
OTHER = "<domain type='qemu'><name>{name}</name>{uuid}<memory>1024</memory><os><type>hvm</type></os></domain>"


@dataclass(frozen=True)
class Fault:
    """What is done to the destination, undone afterwards, and what the answer says."""

    name: str
    spoil: Callable[[Stage, Host, Guest], object]
    mend: Callable[[Stage, Host, Guest], object]
    words: str


def define(host: Host, text: str) -> None:
    host.virsh("define", "/dev/stdin", stdin=text)


def hide_emulator(host: Host) -> None:
    """Its daemon starts, and can say nothing."""
    host.run("mount", "--bind", "/dev/null", EMULATOR)
    host.stop_daemon()
    host.start_daemon()


def show_emulator(stage: Stage, host: Host) -> None:
    host.run("umount", EMULATOR)
    with stage.reconnected(host):
        host.stop_daemon()
        host.start_daemon()


def bridge(host: Host, verb: str) -> None:
    host.run("ip", "link", verb, BRIDGE, *(["type", "bridge"] if verb == "add" else []))


FAULTS = [
    Fault(
        "another guest of that name",
        lambda _stage, host, guest: define(host, OTHER.format(name=guest.name, uuid="")),
        lambda _stage, host, guest: host.virsh("undefine", guest.name),
        "another guest that is called checked",
    ),
    Fault(
        "the guest itself, not running",
        lambda _stage, host, guest: define(host, OTHER.format(name=guest.name, uuid=f"<uuid>{guest.uuid}</uuid>")),
        lambda _stage, host, guest: host.virsh("undefine", guest.name),
        "on node2 too",
    ),
    Fault(
        "no memory to spare",
        lambda stage, _host, _guest: stage.configure("[host:node2]\nreserved_host_memory_mb = 10000000"),
        lambda stage, _host, _guest: stage.configure(),
        "Lack of memory",
    ),
    Fault(
        "no bridge of that name",
        lambda _stage, host, _guest: bridge(host, "del"),
        lambda _stage, host, _guest: bridge(host, "add"),
        f"node2 has no network interface or bridge {BRIDGE}",
    ),
    Fault(
        "a network that is not active",
        lambda _stage, host, _guest: host.virsh("net-destroy", "guests"),
        lambda _stage, host, _guest: host.virsh("net-start", "guests"),
        "node2 has no active network guests",
    ),
    Fault(
        "no room for the disk",
        lambda _stage, host, _guest: host.run("mount", "-t", "tmpfs", "-o", "size=8m", "none", "/var/lib/libvirt/images"),
        lambda _stage, host, _guest: host.run("umount", "/var/lib/libvirt/images"),
        "Disk of instance is too large",
    ),
    Fault(
        "no emulator",
        lambda _stage, host, _guest: hide_emulator(host),
        lambda stage, host, _guest: show_emulator(stage, host),
        "node2 is unavailable at this time",
    ),
    Fault("no daemon", lambda _stage, host, _guest: host.kill_daemon(), lambda _stage, host, _guest: host.start_daemon(), "node2 is unavailable at this time"),
]


@pytest.fixture(scope="module")
def module_guest(module_stage: Stage) -> Iterator[Guest]:
    """A guest on node1, with a local disk and two interfaces."""
    node1, node2 = module_stage.lab.hosts[:2]
    for host in (node1, node2):
        bridge(host, "add")
        host.virsh("net-define", "/dev/stdin", stdin=NETWORK)
        host.virsh("net-start", "guests")
    guest = module_stage.lab.add_guest("checked", "node1", ["local,backing,16"], 128)
    node1.virsh("destroy", guest.name)
    define(node1, node1.virsh("dumpxml", "--inactive", guest.name).replace("</devices>", NICS))
    guest.log.write_text("")
    node1.virsh("start", guest.name)
    module_stage.service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    yield guest
    guest.remove()
    for host in (node1, node2):
        host.virsh("net-destroy", "guests")
        host.virsh("net-undefine", "guests")
        bridge(host, "del")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_is_broken_at_the_destination(stage: Stage, module_guest: Guest, fault: Fault) -> None:
    guest, node2 = module_guest, stage.lab.host("node2")
    fault.spoil(stage, node2, guest)
    try:
        status, _headers, body = stage.service.live_migrate(guest.uuid, "node2", block_migration=True)
        assert status == 400, (body, stage.story(guest))
        assert re.search(fault.words, body.decode()), body
    finally:
        fault.mend(stage, node2, guest)
    assert stage.service.state(guest.uuid) == ("ACTIVE", "node1")
    assert [host.name for host in guest.holders()] == ["node1"]
    assert stage.lab.leftovers() == []


def test_mended_it_moves(stage: Stage, module_guest: Guest) -> None:
    stage.wait_for_hosts()
    stage.move(module_guest)
