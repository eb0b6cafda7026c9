"""What can be said of the lab without one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from livemig.lab import cli, guests, kernel, preflight, registry, roots
from livemig.lab.certificates import Authority
from livemig.lab.disks import Disk
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.kernel import Boot
from livemig.lab.lab import Lab
from livemig.lab.processes import Process
from livemig.lab.shell import LabError, run
from livemig.lab.ssh import Keys, passwd
from livemig.runtime import ThreadRuntime

FACTS = (("source", "file"), ("driver", "type"), ("target", "dev"))
WRONG = ("floppy", "local,tape", "local,1,2", "local,raw,backing")


INDEX = registry.MOST + 4  # no lab of this machine has it


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of two hosts that nobody has made."""
    monkeypatch.setattr(registry, "ROOT", tmp_path / "claims")
    made = Lab(tmp_path / "lab", ThreadRuntime())
    for part in ("node1", "node2", "node10", "shared"):
        (made.directory / part).mkdir(parents=True)
    registry.claim(made.directory, range(INDEX, INDEX + 1))
    return made


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the machine a QEMU of some version."""

    def install(version: str) -> None:
        program = tmp_path / version / "qemu-system-x86_64"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version} (Debian 1:{version}+dfsg)'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(("version", "guarded"), [("7.2.22", True), ("9.2.0", True), ("10.0.13", False), ("11.1.3", False)])
def test_guards_for_an_emulator_that_loses_writes(lab: Lab, qemu: Callable[[str], None], version: str, guarded: bool) -> None:
    qemu(version)
    guarded = guarded and guests.accelerator() == "qemu"
    assert lab.host("node1").root.qemu_version() == tuple(map(int, version.split(".")))
    assert ("\n[libvirt]\nlive_migration_downtime = 900\nlive_migration_downtime_steps = 3\n" in lab.config()) == guarded
    domain = lab._guest("a").xml(Boot(Path("/k"), Path("/i")), [], 128, 1, 0)
    assert [word in domain for word in ("pti=on", "STIR=1")] == [guarded, guarded]


def test_one_host_that_loses_writes_is_enough(lab: Lab, qemu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest may come to it."""
    qemu("10.0.13")
    assert not guests.loses_writes(lab.hosts)
    folder = tmp_path / "old"
    roots.remember(lab.directory / "node2", roots.Root("old", folder))
    (tmp_path / "chroot").write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n")
    (tmp_path / "chroot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert guests.loses_writes(lab.hosts) == (guests.accelerator() == "qemu")


def test_config(lab: Lab, qemu: Callable[[str], None]) -> None:
    qemu("10.0.13")
    assert lab.config().startswith(
        "[DEFAULT]\nenabled_hosts = node1,node2,node10\n"
        "\n[host:node1]\nconnection_uri = qemu+tcp://10.98.204.1/system\nlive_migration_inbound_addr = 10.98.204.1\n"
        "\n[host:node2]\nconnection_uri = qemu+tcp://10.98.204.2/system\nlive_migration_inbound_addr = 10.98.204.2\n"
    )


def test_names_of_a_host(lab: Lab) -> None:
    host = lab.host("node2")
    assert (host.cable.namespace, host.cable.outside, host.cable.bridge) == ("lm204n2", "lm204v2", "lm204br")
    assert host.path("/var/lib/libvirt/images/a") == lab.directory / "node2/lib/images/a"
    assert host.path("/srv/a") == Path("/srv/a")
    assert host.uuid == Host(lab.directory, INDEX, 2, ThreadRuntime()).uuid != lab.host("node1").uuid


def found(element: ElementTree.Element, path: str) -> ElementTree.Element:
    child = element.find(path)
    assert child is not None, path
    return child


def test_domain() -> None:
    guest = Guest("a", Path("/srv/it's <here>"), [], ThreadRuntime())
    disks = [Disk.parse(words, at) for at, words in enumerate(("local,backing", "shared,raw,16", "local,cdrom"))]
    text = guest.xml(Boot(Path("/k"), Path("/i")), disks, memory_mib=128, vcpus=2, dirty_mib_s=7)
    domain = ElementTree.fromstring(text)
    assert domain.findtext("memory") == "128"
    assert domain.findtext("vcpu") == "2"
    assert "DIRTY=7 DISKS=vda,vdb,sr0" in str(domain.findtext("os/cmdline"))
    assert found(domain, "devices/serial/source").attrib == {"path": "/srv/it's <here>/a.log", "append": "on"}
    parts = [(disk.get("device"), *(found(disk, child).get(key) for child, key in FACTS)) for disk in domain.iter("disk")]
    assert parts == [
        ("disk", "/var/lib/libvirt/images/a.vda.qcow2", "qcow2", "vda"),
        ("disk", "/srv/it's <here>/a.vdb.raw", "raw", "vdb"),
        ("cdrom", f"/var/lib/libvirt/images/{guest.uuid}/a.sdc.iso", "raw", "sdc"),
    ]
    assert [disk.find("readonly") is not None for disk in domain.iter("disk")] == [False, False, True]
    assert domain.findtext("uuid") == guest.uuid == Guest("a", Path("/srv"), [], ThreadRuntime()).uuid


def test_disks_that_are_no_files() -> None:
    guest = Guest("a", Path("/srv"), [], ThreadRuntime())
    disks = [Disk.parse(words, at) for at, words in enumerate(("block", "lun,16"))]
    domain = ElementTree.fromstring(guest.xml(Boot(Path("/k"), Path("/i")), disks, 128, 1, 0, tpm=True, uefi=True))
    found = [(disk.get("type"), disk.find("source"), disk.find("driver")) for disk in domain.iter("disk")]
    assert [(kind, source.get("dev"), driver.get("type")) for kind, source, driver in found if source is not None and driver is not None] == [
        ("block", "/var/lib/libvirt/vg0/a.vda", "raw"),
        ("block", "/var/lib/libvirt/vg0/a.vdb", "raw"),
    ]
    system, tpm = domain.find("os"), domain.find("devices/tpm/backend")
    assert system is not None and system.get("firmware") == "efi" and tpm is not None and tpm.get("version") == "2.0"


def test_domain_without_disk() -> None:
    text = Guest("a", Path("/srv"), [], ThreadRuntime()).xml(Boot(Path("/k"), Path("/i")), [], 128, 1, 0)
    assert ElementTree.fromstring(text).find("devices/disk") is None


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (lambda lab: lab.host("node3"), "no host node3; there are: node1, node2, node10"),
        (lambda lab: lab.guest("a"), "no guest a; there are: none"),
        (lambda lab: lab.add_guest("a b"), "no name for a guest"),
        *[
            (lambda lab, words=words: lab.add_guest("a", disks=[words]), f"no kind of disk {words}: ")
            for words in ("floppy", "local,tape", "local,1,2", "local,raw,backing", "block,raw", "lun,backing", "nbd,cdrom")
        ],
        (lambda lab: lab.up(hosts=0), "1 to 200 hosts"),
        (lambda lab: lab.host("node1").virsh("list"), "node1 is not up; 'livemig-lab up' mends that"),
    ],
)
def test_complaints(lab: Lab, action: Callable[[Lab], object], complaint: str) -> None:
    with pytest.raises(LabError) as raised:
        action(lab)
    assert complaint in str(raised.value)


def test_other_peoples_directory(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for action in (Lab.up, Lab.down):
        with pytest.raises(LabError):
            action(Lab(tmp_path, ThreadRuntime()))
    with pytest.raises(LabError, match="cannot see"):
        Lab("/run/lab", ThreadRuntime()).up()
    assert (tmp_path / "thesis.tex").exists()


def test_everything_is_missing_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(kernel, "BUSYBOX", tmp_path / "busybox")
    monkeypatch.setattr(preflight, "DRIVER", "no such file")
    lacks = preflight.missing()
    assert len(lacks) == 2 + len(preflight.COMMANDS) + len(preflight.FETCHING) + 2
    assert "command virsh: apt-get install libvirt-clients" in lacks
    assert "root: run it with sudo" in lacks


def test_a_cached_kernel_needs_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "livemig/kernel").mkdir(parents=True)
    (tmp_path / "livemig/kernel/vmlinuz").touch()
    assert any("apt-get:" in line for line in preflight.missing()), "it has not all modules"
    (tmp_path / f"livemig/kernel/{kernel.MODULES[-1]}.ko").touch()
    assert not any("apt-get:" in line for line in preflight.missing())


def test_missing_is_said_by_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(preflight, "missing", lambda: ["root: run it with sudo", "command tc: apt-get install iproute2"])
    assert cli.main(["up"]) == 2
    assert capsys.readouterr().err == "This machine lacks:\n  root: run it with sudo\n  command tc: apt-get install iproute2\n"


def test_what_a_command_says() -> None:
    assert run("cat", stdin="word") == "word"
    for words, complaint in ((("no-such-command",), "not found"), (("sh", "-c", "echo no >&2; exit 3"), "no"), (("false",), "exit status 1")):
        with pytest.raises(LabError, match=complaint):
            run(*words)
    with pytest.raises(LabError, match="within"):
        run("sleep", "5", timeout=0.05)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (0, ["base 0", "base 1", "base 15"]),
        (1, ["vda 0", "base 1", "base 15"]),
        (16, ["vda 0", "vda 1", "vda 15"]),
        (18, ["vda 16", "vda 17", "vda 15"]),
        (48, ["vda 32", "vda 33", "vda 47"]),
    ],
)
def test_what_a_disk_must_hold(written: int, wanted: list[str]) -> None:
    content = list(Disk.parse("local,backing,1", 0).content(written))
    assert [content[at].split(b" \n")[0].rstrip().decode().split("\n")[0].strip() for at in (0, 1, 15)] == wanted
    assert {len(block) for block in content} == {65536}
    assert all(len(set(block.splitlines())) == 1 for block in content)


def test_a_disk_without_a_backing_file_is_empty_at_first() -> None:
    assert list(Disk.parse("local,raw,1", 0).content(15))[15] == bytes(65536)


def test_uris_and_the_other_network(lab: Lab, qemu: Callable[[str], None]) -> None:
    qemu("10.0.13")
    node2 = lab.host("node2")
    assert node2.uris == {
        "tcp": "qemu+tcp://10.98.204.2/system",
        "tls": f"qemu+tls://10.98.204.2/system?pkipath={lab.directory}/certificates",
        "ssh": f"qemu+ssh://root@10.98.204.2/system?command={lab.directory}/ssh/ssh",
    }
    assert (node2.migration_cable.outside, node2.migration_cable.bridge, node2.migration_cable.address) == ("lm204m2", "lm204bm", "10.99.204.2")
    text = lab.config("tls", "migration")
    assert f"\n[host:node2]\nconnection_uri = {node2.uris['tls']}\nlive_migration_inbound_addr = 10.99.204.2\n" in text


def test_certificates(tmp_path: Path) -> None:
    for name in ("authority", "stranger"):
        Authority(tmp_path / name).certify(tmp_path / "node1", "node1", ("10.98.0.1", "fd99::1"))
        verify = ["openssl", "verify", "-purpose", "sslserver", "-verify_ip", "fd99:0:0::1", "-CAfile"]
        assert run(*verify, tmp_path / "node1/ca-cert.pem", tmp_path / "node1/server-cert.pem").endswith("OK\n")
    with pytest.raises(LabError):
        run(*verify, tmp_path / "authority/certificate.pem", tmp_path / "node1/server-cert.pem")


def test_keys_are_made_once(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.ensure()
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    keys.ensure()
    keys.admit(tmp_path / "home")
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before
    assert (tmp_path / "home/.ssh/authorized_keys").read_bytes() == before["key.pub"]
    assert f"\nroot:x:0:0:root:{tmp_path}/home:" in f"\n{passwd(tmp_path / 'home')}"


LEADERLESS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print(flush=True)
ctypes.CDLL(None).syscall(60, 0)
"""


def test_a_process_is_alive_until_its_last_thread_has_ended() -> None:
    """Its locks are."""
    with subprocess.Popen([sys.executable, "-c", LEADERLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        where = Path("/proc/self/ns/net").stat()
        process = Process(child.pid, (), (where.st_dev, where.st_ino))
        while "State:\tZ" not in Path(f"/proc/{child.pid}/status").read_text():  # its first thread's
            pass
        assert process.is_alive()
        child.stdin.close()
        assert child.wait(30) == 0
        assert not process.is_alive()
