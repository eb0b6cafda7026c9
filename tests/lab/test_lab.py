"""The lab itself, on the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from livemig.lab import cli, network, registry
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError, run
from livemig.runtime import ThreadRuntime
from tests.lab.places import host_of

pytestmark = pytest.mark.lab
RUNTIME = ThreadRuntime()
PLAIN = ("migrate", "--live", "--p2p", "--persistent", "--undefinesource")


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Guest]:
    """A guest for the tests of this file; it may be on any host when a test begins."""
    made = lab.add_guest("ticker")
    yield made
    made.remove()


@contextmanager
def passing_guest(lab: Lab, disk: str) -> Iterator[Guest]:
    made = lab.add_guest(f"with-{disk}-disk", "node1", [disk])
    try:
        yield made
    finally:
        made.remove()


def migrate(guest: Guest, lab: Lab, *options: str) -> Host:
    """To the host where it is not; that host."""
    source = guest.where()
    assert source is not None
    target = next(host for host in lab.hosts if host.name != source.name)
    source.virsh(*PLAIN, *options, guest.name, target.uri)
    assert host_of(guest).name == target.name
    return target


def wait_for_ticks(guest: Guest, more: int) -> None:
    wanted = guest.ticks().count + more
    deadline = RUNTIME.monotonic() + 60
    while guest.ticks().count < wanted:
        assert RUNTIME.monotonic() < deadline
        RUNTIME.sleep(0.05)


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = [(host.name, host.uri, host.daemon_pid()) for host in lab.hosts]
    lab.up()
    assert [(host.name, host.uri, host.daemon_pid()) for host in lab.hosts] == before
    assert [host.virsh("hostname").strip() for host in lab.hosts] == ["node1", "node2"]


def test_hosts_reach_each_other_and_are_reached(lab: Lab) -> None:
    one, other = lab.hosts
    assert set(one.uris) == {"tcp", "tls", "ssh"}
    for way, uri in one.uris.items():
        assert run("virsh", "-q", "-c", uri, "hostname").strip() == one.name
        assert one.virsh("-c", other.uris[way], "hostname").strip() == other.name


def test_what_is_left_behind_is_found(lab: Lab) -> None:
    before = lab.leftovers()
    node1, node2 = lab.hosts
    made = node2.path("/var/lib/libvirt/images/half-made.qcow2")
    made.touch()
    (lab.shared / "probe").touch()
    node1.virsh("pool-create", "/dev/stdin", stdin="<pool type='dir'><name>probing</name><target><path>/var/lib/libvirt/images</path></target></pool>")
    node1.virsh("define", "/dev/stdin", stdin="<domain type='qemu'><name>stray</name><memory>1024</memory><os><type>hvm</type></os></domain>")
    try:
        found = ["pool probing on node1", "domain stray on node1", f"file {made}", f"file {lab.shared}/probe"]
        assert set(lab.leftovers()) - set(before) == set(found)
    finally:
        node1.virsh("pool-destroy", "probing")
        node1.virsh("undefine", "stray")
        made.unlink()
        (lab.shared / "probe").unlink()
    assert lab.leftovers() == before


def test_migrations_leave_the_ticks_unbroken(lab: Lab, guest: Guest) -> None:
    with guest.watch() as watch:
        for _ in range(3):
            target = migrate(guest, lab)
            wait_for_ticks(guest, 3)
    assert guest.ticks().unbroken
    assert watch.longest_gap_s < 5
    assert host_of(lab.add_guest(guest.name, "node1")).name == target.name, "a guest that runs stays where it is"


def test_guest_outlives_its_daemon(lab: Lab, guest: Guest) -> None:
    host = host_of(guest)
    before = host.daemon_pid()
    host.kill_daemon()
    assert host.daemon_pid() is None
    assert host_of(guest).name == host.name
    wait_for_ticks(guest, 3)
    host.start_daemon()
    assert host.daemon_pid() not in (None, before)
    assert host.virsh("domstate", guest.name).strip() == "running"
    host.stop_daemon()
    lab.up()
    assert host.virsh("domstate", guest.name).strip() == "running"
    assert guest.ticks().unbroken


def test_dirties_memory_on_demand(lab: Lab, guest: Guest) -> None:
    host = host_of(guest)
    guest.set_dirty(16)
    # So slow that the first pass takes several seconds: the rate is known from then on. It is then aborted, for an emulated guest that dirties its
    # memory is not sure to survive the move (docs/lab.md).
    job = subprocess.Popen(["virsh", "-q", "-c", host.uri, *PLAIN, "--bandwidth", "16", guest.name, lab.host(other(host)).uri], stderr=subprocess.DEVNULL)
    try:
        rate = 0.0
        while not rate and job.poll() is None:
            RUNTIME.sleep(0.1)
            rate = dirty_rate_mib_s(host, guest)
            assert rate == 0.0 or guest.where() == host, "it runs on the source, though both hosts have a QEMU for it"
        assert 8 < rate < 24
    finally:
        guest.set_dirty(0)
        host.virsh("domjobabort", guest.name)
        job.wait(30)
    assert guest.ticks().unbroken


def other(host: Host) -> str:
    return {"node1": "node2", "node2": "node1"}[host.name]


def dirty_rate_mib_s(host: Host, guest: Guest) -> float:
    with suppress(LabError):  # not there any more
        for line in host.virsh("domjobinfo", guest.name).splitlines():
            if line.startswith("Dirty rate:"):
                return int(line.split()[2]) / 256
    return 0.0


def test_shared_disk(lab: Lab) -> None:
    with passing_guest(lab, "shared") as guest:
        migrate(guest, lab, "--unsafe")
        wait_for_ticks(guest, 20)
        assert guest.ticks().unbroken


def test_local_disk(lab: Lab) -> None:
    with passing_guest(lab, "local") as guest:
        here, there = (guest.image("local", 0, host) for host in lab.hosts)
        assert here.exists()
        assert not there.exists()
        run("qemu-img", "create", "-q", "-f", "qcow2", there, "64M")
        migrate(guest, lab, "--copy-storage-all")
        wait_for_ticks(guest, 20)
        assert guest.ticks().unbroken
    assert not here.exists() and not there.exists()


def test_link(lab: Lab) -> None:
    one, other = lab.hosts
    one.cut()
    assert one.cable.state() == "cut"
    with pytest.raises(LabError):
        run("virsh", "-q", "-c", one.uri, "hostname", timeout=1)
    assert one.virsh("hostname").strip() == "node1", "by its own console it is still reached"
    one.heal()
    assert one.cable.state() == "up"
    assert other.virsh("-c", one.uri, "hostname").strip() == "node1"
    one.slow(8)
    assert one.cable.state() == "slow (8 Mbit/s)"
    assert seconds_to_send(one, other, 1) > 0.6
    assert seconds_to_send(other, one, 1) > 0.6
    one.heal()
    assert one.cable.state() == "up"
    assert seconds_to_send(one, other, 64) < 30, "it would take a minute at 8 Mbit/s"


def seconds_to_send(source: Host, target: Host, mib: int) -> float:
    """How long that much takes from one host to the other."""
    receive = "import socket; s = socket.create_server(('{}', 7)); print(flush=True); c = s.accept()[0]\nwhile c.recv(65536): pass"
    send = "import socket; s = socket.create_connection(('{}', 7)); s.sendall(bytes({})); s.shutdown(1); s.recv(1)"
    inside = ["ip", "netns", "exec"]
    receiver = subprocess.Popen([*inside, target.cable.namespace, sys.executable, "-c", receive.format(target.address)], stdout=subprocess.PIPE, text=True)
    with receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        begin = RUNTIME.monotonic()
        run(*inside, source.cable.namespace, sys.executable, "-c", send.format(target.address, mib << 20))
        return RUNTIME.monotonic() - begin


def test_killed_guest(lab: Lab) -> None:
    guest = lab.add_guest("victim", "node2", memory_mib=192)
    assert [found.name for found in lab.guests if found.name == "victim"] == ["victim"]
    host = host_of(guest)
    host.kill_guest("victim")
    assert guest.where() is None
    with pytest.raises(LabError, match="no QEMU of guest victim on node2"):
        host.kill_guest("victim")
    with pytest.raises(LabError, match="guest victim does not obey"):
        guest.set_dirty(1)
    guest.remove()
    assert "victim" not in host.virsh("list", "--all", "--name")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lab(*words: str) -> str:
        assert cli.main(["--dir", str(tmp_path / "lab"), *words]) == 0
        return capsys.readouterr().out

    try:
        assert "node1 qemu+tcp://" in lab("up", "--hosts", "1")
        lab("up", "--hosts", "3")
        lab("guest", "add", "a", "--host", "node3", "--disk", "shared", "--disk", "local,raw,16", "--memory", "192", "--dirty", "1")
        lab("guest", "dirty", "a", "2")
        lab("link", "node2", "slow", "8")
        status = json.loads(lab("status", "--json"))
        assert [host["link"] for host in status["hosts"]] == ["up", "slow (8 Mbit/s)", "up"]
        assert [(guest["name"], guest["host"]) for guest in status["guests"]] == [("a", "node3")]
        assert "on node3" in lab("status")
        assert "unbroken" in lab("guest", "ticks", "a")
        lab("link", "node2", "cut")
        lab("link", "node2", "heal")
        assert "enabled_hosts = node1,node2,node3" in lab("config")
        assert "connection_uri = qemu+ssh://" in lab("config", "--transport", "ssh", "--network", "migration")
        lab("guest", "remove", "a")
        assert cli.main(["--dir", str(tmp_path / "lab"), "guest", "ticks", "a"]) == 1
        index = Lab(tmp_path / "lab", RUNTIME).index
    finally:
        lab("down")
    assert traces(tmp_path / "lab", index) == []
    assert "down" in lab("status")
    lab("down")


def traces(directory: Path, index: int | None) -> list[str]:
    """Everything on this machine that has to do with that lab: links, namespaces, processes with its mounts, files, its claim."""
    found = [link["ifname"] for link in json.loads(run("ip", "-j", "link")) if link["ifname"].startswith((f"lm{index}br", f"lm{index}v"))]
    found += [] if index is None else network.namespaces(index)
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            if f"{directory}/" in mounts.read_text():
                found.append(str(mounts))
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{directory}/" in words.read_text(errors="replace"):
                found.append(f"{words}: {words.read_text(errors='replace')}")
    found += [str(path) for path in (directory, registry.ROOT / str(index)) if path.exists()]
    return found


def test_the_only_lab_of_a_machine(tmp_path: Path) -> None:
    """Where no lab was before, /run is afterwards as it was: looked at from a mount namespace with a /run of its own."""
    steps = [
        "umount -R /run/netns 2> /dev/null; mount -t tmpfs none /run && mkdir /run/mount /run/lock",
        '"$@" up --hosts 1 > /dev/null && ls /run/livemig-lab /run/netns && "$@" down',
        'ls /run; ! grep " /run/netns " /proc/self/mountinfo',
    ]
    lab = [sys.executable, "-m", "livemig.lab.cli", "--dir", str(tmp_path / "lab")]
    out = run("unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps), "sh", *lab)
    assert "/run/netns:\nlm" in out
    assert out.endswith("\nlock\nmount\n")


# Stands before each command that livemig-lab calls, counts, and kills it at the wanted one.
SHIM = """#!/bin/sh
export PATH={path}
n=$(($(cat {count}) + 1)); echo $n > {count}
[ $n != {victim} ] || kill -9 $(cat {pid})
exec {name} "$@"
"""


@pytest.fixture
def killed(tmp_path: Path) -> Callable[..., bool]:
    """`livemig-lab`, killed when it calls its command number `victim`; whether it came that far."""
    shims = tmp_path / "shims"
    shims.mkdir()
    environment = os.environ | {"PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def call(victim: int, directory: Path, *words: str) -> bool:
        (shims / "count").write_text("0\n")
        for name in ("ip", "tc", "nsenter", "unshare", "setsid", "qemu-img"):
            text = SHIM.format(victim=victim, name=name, path=os.environ["PATH"], count=shims / "count", pid=shims / "pid")
            (shims / name).write_text(text)
            (shims / name).chmod(0o755)
        note = ["sh", "-c", 'echo $$ > "$1"; shift; exec "$@"', "sh", str(shims / "pid")]
        lab = [sys.executable, "-m", "livemig.lab.cli", "--dir", str(directory), *words]
        return subprocess.run([*note, *lab], env=environment, capture_output=True, check=False).returncode == -9

    return call


@pytest.mark.parametrize("victim", [int(word) for word in os.environ.get("LIVEMIG_LAB_KILL_AT", "6,12,19,27,38,50").split(",")])
def test_killed_in_the_middle_of_up(tmp_path: Path, killed: Callable[..., bool], victim: int) -> None:
    lab = Lab(tmp_path / "lab", RUNTIME)
    index = None
    try:
        assert killed(victim, lab.directory, "up")
        lab.up()
        index = lab.index
        assert [host.virsh("hostname").strip() for host in lab.hosts] == ["node1", "node2"]
        assert [host.cable.state() for host in lab.hosts] == ["up", "up"]
    finally:
        lab.down()
    assert traces(lab.directory, index) == []


@pytest.mark.parametrize("victim", [9, 15, 21])
def test_down_after_a_killed_up_and_a_killed_down(tmp_path: Path, killed: Callable[..., bool], victim: int) -> None:
    lab = Lab(tmp_path / "lab", RUNTIME)
    in_time = killed(victim, lab.directory, "up")
    index = lab.index
    in_time = killed(2, lab.directory, "down") and in_time
    lab.down()
    assert in_time
    assert traces(lab.directory, index) == []


@pytest.mark.parametrize("victim", [int(word) for word in os.environ.get("LIVEMIG_LAB_KILL_GUEST_AT", "9").split(",")])
def test_killed_while_adding_a_guest(lab: Lab, killed: Callable[..., bool], victim: int) -> None:
    assert killed(victim, lab.directory, "guest", "add", "late", "--disk", "local")
    guest = lab.add_guest("late", disks=["local"])
    assert guest.where() == lab.host("node1")
    wait_for_ticks(guest, 12)
    assert guest.ticks().unbroken
    guest.remove()
