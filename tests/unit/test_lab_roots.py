"""Root folders from a mirror, with commands that stand in for apt and dpkg."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from livemig.lab import cli, kernel, registry, roots
from livemig.lab.apt import complaint, machine_mirror
from livemig.lab.lab import Lab
from livemig.lab.roots import COMMANDS, DRIVERS, RELEASES, Root
from livemig.lab.shell import LabError
from livemig.runtime import ThreadRuntime

INDEX = range(registry.MOST + 3, registry.MOST + 4)  # no lab of this machine has it
APT = """\
echo "$@" >> {place}/calls
case "$*" in
*"update --print-uris") cat {place}/sources ;;
*" update") test ! -e {place}/broken || {{ cat {place}/broken >&2; exit 100; }} ;;
*--print-uris*) cat {place}/offered ;;
*) config=$(echo "$*" | sed 's/.*-c \\([^ ]*\\) .*/\\1/')
   touch "$(sed -n 's/^Dir::Cache::archives "\\(.*\\)";/\\1/p' "$config")/one.deb" ;;
esac
"""
SOURCES = """\
'http://security.example/debian-security/dists/bookworm-security/InRelease' security_InRelease 0
'http://mirror.example/debian/dists/bookworm/InRelease' mirror_InRelease 0
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror_Packages 0
"""
OFFERED = """\
Reading package lists...
'http://m/qemu.deb' qemu-system-x86_1%3a{}_amd64.deb 1 SHA256:0
'http://m/v.deb' libvirt-daemon_11.3.0-3_amd64.deb 1 SHA256:0
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-ins are: an apt that offers one package, in which there is all that a host needs."""
    make_root(tmp_path / "package")
    (tmp_path / "sources").write_text(SOURCES)
    (tmp_path / "offered").write_text(OFFERED.format("10.0.13"))
    stand_ins = {
        "apt-get": APT.format(place=tmp_path),
        "dpkg-deb": f"tar -c -C {tmp_path}/package .",
        "ldconfig": 'touch "$2/etc/ld.so.cache"',
    }
    (tmp_path / "bin").mkdir()
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "ROOT", tmp_path / "claims")
    return tmp_path


def make_root(path: Path) -> Path:
    for file in (*(f"usr/bin/{name}" for name in COMMANDS), *(f"usr/lib64/libvirt/connection-driver/libvirt_driver_{name}.so" for name in DRIVERS)):
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).touch()
    (path / "etc").mkdir()
    return path


def calls(mirror: Path) -> list[str]:
    return (mirror / "calls").read_text().splitlines() if (mirror / "calls").exists() else []


def test_fetched_once(mirror: Path) -> None:
    left = roots.directory() / f"{kernel.WORKSHOP}left-by-a-killed-one"
    left.mkdir(parents=True)
    assert roots.cached("debian13") is None
    root = roots.find("debian13")
    assert root.path is not None and root.path.parent.name.startswith("debian13-")
    assert roots.lacks(root.path) == []
    assert (root.path / "usr/bin/sh").is_symlink() and (root.path / "lib64").readlink() == Path("usr/lib64")
    assert roots.versions(root) == {"libvirt-daemon": "11.3.0-3", "qemu-system-x86": "1:10.0.13"}
    asked = len(calls(mirror))
    assert roots.find("debian13") == roots.cached("debian13") == root
    assert len(calls(mirror)) == asked, "the mirror is not asked again"
    assert sorted(path.name for path in roots.directory().iterdir()) == ["debian13", root.path.parent.name]


def test_the_machine_is_left_alone(mirror: Path) -> None:
    """Each call of apt that does anything has a state of its own, and the machine's mirror."""
    roots.fetch("sid")
    looked, *done = calls(mirror)
    assert looked == "update --print-uris"
    assert len(done) == 3
    for call in done:
        assert call.startswith(f"-q -c {roots.directory()}/{kernel.WORKSHOP}")
        assert "--download-only" in call or call.endswith(" update")


def test_the_same_packages_are_not_unpacked_again_and_newer_ones_are(mirror: Path) -> None:
    first = roots.fetch("debian13")
    assert first.path is not None
    (first.path / "mark").touch()
    assert roots.fetch("debian13") == first and (first.path / "mark").exists()
    (mirror / "offered").write_text(OFFERED.format("10.0.14"))
    second = roots.fetch("debian13")
    assert second != first and second == roots.cached("debian13")
    assert not first.path.exists(), "nobody uses it"


def test_a_root_folder_in_use_is_kept(mirror: Path) -> None:
    first = roots.fetch("debian13")
    assert first.path is not None
    base = mirror / "lab/node1"
    assert roots.remembered(base) is None
    roots.remember(base, first)
    assert roots.remembered(base) == first
    registry.claim(mirror / "lab", INDEX)
    (mirror / "offered").write_text(OFFERED.format("10.0.14"))
    roots.fetch("debian13")
    assert first.path.exists()
    with pytest.raises(LabError, match=f"debian13 is used by the lab in {mirror}/lab"):
        roots.remove("debian13")
    registry.release(mirror / "lab")
    roots.remove("debian13")
    assert list(roots.directory().iterdir()) == []
    assert roots.cached("debian13") is None


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("E: The repository 'http://m trixie Release' does not have a Release file.", "the mirror http://m has no suite trixie"),
        ("E: Failed to fetch http://m/InRelease  400  Bad Request", "the mirror http://m refuses suite trixie"),
        ("E: Failed to fetch http://m/InRelease  Temporary failure resolving 'm'", "the mirror http://m cannot be reached"),
        ("E: Unable to locate package swtpm", "suite trixie of http://m has no package swtpm"),
        ("E: Package 'ovmf' has no installation candidate", "suite trixie of http://m has no package ovmf"),
        ("W: GPG error: http://m trixie InRelease: NO_PUBKEY 78DBA3BC47EF2265", "debian-archive-keyring is missing or too old"),
        ("E: Write error - write (28: No space left on device)", "there is no room"),
        ("E: Something else", "apt-get on suite trixie of http://m: E: Something else"),
    ],
)
def test_what_is_missing_is_named(said: str, means: str) -> None:
    assert complaint(f"env LC_ALL=C apt-get -q -c /c update: {said}", "http://m", "trixie").endswith(f"{said})") or "Something" in said
    text = complaint(f"env LC_ALL=C apt-get -q -c /c update: Reading package lists...\n{said}", "http://m", "trixie")
    assert means in text and said in text


def test_a_failed_fetch_leaves_nothing(mirror: Path) -> None:
    (mirror / "broken").write_text("E: The repository 'http://mirror.example/debian sid Release' does not have a Release file.\n")
    with pytest.raises(LabError, match=r"the mirror http://mirror\.example/debian has no suite sid"):
        roots.find("sid")
    (mirror / "broken").unlink()
    (mirror / "package/usr/bin/virsh").unlink()
    with pytest.raises(LabError, match="lacking: command virsh"):
        roots.find("sid")
    assert list(roots.directory().iterdir()) == []


def test_no_mirror_and_no_apt(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_mirror() == "http://mirror.example/debian"
    (mirror / "sources").write_text("'http://archive.ubuntu.com/ubuntu/dists/noble/InRelease' a 0\n")
    with pytest.raises(LabError, match="no mirror of Debian: give the address of one with --mirror"):
        roots.fetch("sid")
    roots.fetch("sid", "http://other.example/debian")
    monkeypatch.setenv("PATH", str(mirror / "none"))
    with pytest.raises(LabError, match="command apt-get is missing: apt-get install apt"):
        roots.fetch("debian13")
    with pytest.raises(LabError, match="no release debian99"):
        roots.fetch("debian99")


def test_a_directory_of_another_distribution(mirror: Path) -> None:
    given = make_root(mirror / "fedora")
    with pytest.raises(LabError, match=r"it lacks: /etc/ld\.so\.cache"):
        roots.find(str(given))
    (given / "etc/ld.so.cache").touch()
    assert roots.find(str(given)) == Root(str(given), given)
    (given / "usr/bin/qemu-img").unlink()
    (given / "usr/lib64/libvirt/connection-driver/libvirt_driver_storage.so").unlink()
    (given / "bin").mkdir()
    with pytest.raises(LabError, match="it lacks: /bin as a link into /usr, command qemu-img, libvirt's driver storage"):
        roots.find(str(given))
    with pytest.raises(LabError, match="it lacks: the directory"):
        roots.find(str(mirror / "none"))


def test_what_hosts_run_is_decided_once(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(mirror / "lab", ThreadRuntime())
    with pytest.raises(LabError, match="no kind of host debian99: own, debian12, debian13, sid, or a directory"):
        lab.up(["own", "debian99"])
    (lab.directory / "node1").mkdir(parents=True)
    registry.claim(lab.directory, INDEX)
    assert lab.host("node1").root == Root("own"), "as it was before there were others"
    roots.remember(lab.directory / "node1", Root("own"))
    with pytest.raises(LabError, match="node1 is own and stays so while the lab is there, not debian13"):
        lab.up(["debian13"])


def test_the_command(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["roots"]) == 0
    assert capsys.readouterr().out.count("not fetched yet") == len(RELEASES)
    assert cli.main(["roots", "fetch", "debian13"]) == 0
    path = capsys.readouterr().out.strip()
    assert cli.main(["roots"]) == 0
    assert f"debian13   trixie     libvirt 11.3.0-3, QEMU 1:10.0.13, in {path}\n" in capsys.readouterr().out
    assert cli.main(["roots", "remove", "debian13"]) == 0
    assert cli.main(["roots"]) == 0
    assert capsys.readouterr().out.count("not fetched yet") == len(RELEASES)
