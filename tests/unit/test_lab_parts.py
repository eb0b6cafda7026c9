"""What can be said of the lab without one."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from xml.etree import ElementTree

import pytest

from livemig.lab import cli, kernel, preflight, registry
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.kernel import Boot
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError, run
from livemig.runtime import ThreadRuntime


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of two hosts that nobody has made."""
    monkeypatch.setattr(registry, "ROOT", tmp_path / "claims")
    made = Lab(tmp_path / "lab", ThreadRuntime())
    for part in ("node1", "node2", "node10", "shared"):
        (made.directory / part).mkdir(parents=True)
    registry.claim(made.directory, range(4, 5))
    return made


def test_config(lab: Lab) -> None:
    assert lab.config().startswith(
        "[DEFAULT]\nenabled_hosts = node1,node2,node10\n"
        "\n[host:node1]\nconnection_uri = qemu+tcp://10.98.4.1/system\nlive_migration_inbound_addr = 10.98.4.1\n"
        "\n[host:node2]\nconnection_uri = qemu+tcp://10.98.4.2/system\nlive_migration_inbound_addr = 10.98.4.2\n"
    )


def test_names_of_a_host(lab: Lab) -> None:
    host = lab.host("node2")
    assert (host.cable.namespace, host.cable.outside, host.cable.bridge) == ("lm4n2", "lm4v2", "lm4br")
    assert host.path("/var/lib/libvirt/images/a") == lab.directory / "node2/lib/images/a"
    assert host.path("/srv/a") == Path("/srv/a")
    assert host.uuid == Host(lab.directory, 4, 2, ThreadRuntime()).uuid != lab.host("node1").uuid


def test_domain() -> None:
    guest = Guest("a", Path("/srv/it's <here>"), [], ThreadRuntime())
    text = guest.xml(Boot(Path("/k"), Path("/i")), Path("/var/lib/libvirt/images/a.qcow2"), memory_mib=128, vcpus=2, dirty_mib_s=7)
    domain = ElementTree.fromstring(text)
    assert domain.findtext("memory") == "128"
    assert domain.findtext("vcpu") == "2"
    assert "DIRTY=7 DISK=1" in str(domain.findtext("os/cmdline"))
    assert domain.find("devices/serial/source").attrib == {"path": "/srv/it's <here>/a.log", "append": "on"}
    assert domain.find("devices/disk/source").attrib == {"file": "/var/lib/libvirt/images/a.qcow2"}
    assert domain.findtext("uuid") == guest.uuid == Guest("a", Path("/srv"), [], ThreadRuntime()).uuid


def test_domain_without_disk() -> None:
    text = Guest("a", Path("/srv"), [], ThreadRuntime()).xml(Boot(Path("/k"), Path("/i")), None, 128, 1, 0)
    assert ElementTree.fromstring(text).find("devices/disk") is None


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (lambda lab: lab.host("node3"), "no host node3; there are: node1, node2, node10"),
        (lambda lab: lab.guest("a"), "no guest a; there are: none"),
        (lambda lab: lab.add_guest("a b"), "no name for a guest"),
        (lambda lab: lab.add_guest("a", disk="floppy"), "no kind of disk floppy; there are: none, shared, local"),
        (lambda lab: lab.up(hosts=0), "1 to 200 hosts"),
        (lambda lab: lab.host("node1").virsh("list"), "node1 is not up; 'livemig-lab up' mends that"),
    ],
)
def test_complaints(lab: Lab, action, complaint: str) -> None:
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
