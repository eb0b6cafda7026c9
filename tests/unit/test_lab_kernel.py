"""Fetching the kernel and making the initramfs, with commands that stand in for apt and dpkg."""

from __future__ import annotations

import lzma
import os
import shutil
from pathlib import Path

import pytest

from livemig.lab import kernel
from livemig.lab.kernel import MODULES
from livemig.lab.shell import LabError

DEPENDS = """linux-image-cloud-amd64
  Depends: linux-image-6.1.0-1-cloud-amd64
  Depends: linux-base
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-ins are: apt with one package, and dpkg which unpacks a kernel whose first module is packed."""
    package = tmp_path / "package"
    (package / "boot").mkdir(parents=True)
    (package / "boot/vmlinuz-6.1.0-1-cloud-amd64").write_bytes(b"kernel")
    first, *others = MODULES
    (package / f"{first}.ko.xz").write_bytes(lzma.compress(b"first module"))
    for name in others:
        (package / f"{name}.ko").write_bytes(name.encode())
    (tmp_path / "depends").write_text(DEPENDS)
    stand_ins = {
        "apt-cache": f'cat "{tmp_path}/depends"',
        "apt-get": f'echo "$@" >> "{tmp_path}/calls"; touch one.deb',
        "dpkg": f'test -f "$2" && cp -r "{package}" "$3"',
    }
    (tmp_path / "bin").mkdir()
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"busybox")
    monkeypatch.setattr(kernel, "BUSYBOX", busybox)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio")


@needs_cpio
def test_fetched_and_made_once(commands: Path) -> None:
    assert not kernel.is_cached()
    (commands / "cache/livemig/making-left-by-a-killed-one").mkdir(parents=True)
    boot = kernel.prepare()
    assert boot.kernel.read_bytes() == b"kernel"
    assert (boot.kernel.parent / f"{MODULES[0]}.ko").read_bytes() == b"first module"
    archive = boot.initramfs.read_bytes()
    assert all(f"modules/{at:02}-{name}.ko".encode() in archive for at, name in enumerate(MODULES))
    assert b"first module" in archive
    assert kernel.INIT.read_bytes() in archive
    assert kernel.prepare() == boot
    assert len((commands / "calls").read_text().splitlines()) == 1
    assert sorted(path.name for path in kernel.cache().iterdir()) == [boot.initramfs.name, "kernel"]


@needs_cpio
def test_another_busybox_makes_another_initramfs(commands: Path) -> None:
    before = kernel.prepare()
    (commands / "busybox").write_bytes(b"newer")
    after = kernel.prepare()
    assert after.kernel == before.kernel
    assert after.initramfs != before.initramfs


def test_apt_knows_no_kernel(commands: Path) -> None:
    (commands / "depends").write_text("")
    with pytest.raises(LabError, match="apt-get update"):
        kernel.prepare()


def test_module_is_not_there(commands: Path) -> None:
    (commands / "package/virtio_blk.ko").unlink()
    with pytest.raises(LabError, match="no module virtio_blk"):
        kernel.prepare()
    assert not kernel.is_cached()
