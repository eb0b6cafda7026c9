"""The kernel and the initramfs that guests boot: fetched and made once, then kept in the user's cache.

The kernel is the one of Debian's linux-image-cloud-amd64, fetched by apt-get and only unpacked: nothing is installed. The initramfs is busybox, the
modules for disks and the lab's own init.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from livemig.lab import registry
from livemig.lab.shell import LabError, run

PACKAGE = "linux-image-cloud-amd64"
# In the order in which they have to be loaded; those from scsi_common on are for a CD-ROM.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("scsi_common", "scsi_mod", "cdrom", "sr_mod", "virtio_scsi"),
)
WORKSHOP = "making-"
BUSYBOX = Path("/bin/busybox")
INIT = Path(__file__).with_name("guest") / "init"


@dataclass(frozen=True)
class Boot:
    """What a guest boots."""

    kernel: Path
    initramfs: Path


def cache() -> Path:
    """The directory that outlives every lab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "livemig"


def is_cached() -> bool:
    return all(os.path.exists(cache() / "kernel" / name) for name in ("vmlinuz", f"{MODULES[-1]}.ko"))  # False, too, where one may not look


def prepare() -> Boot:
    """The kernel and the initramfs, from the cache or made now."""
    with registry.locked(cache()):
        for left in cache().glob(f"{WORKSHOP}*"):  # by somebody who was killed at it
            shutil.rmtree(left)
        return _prepare()


def _prepare() -> Boot:
    if not is_cached():
        _fetch_kernel()
    kernel = cache() / "kernel"
    ingredients = {"bin/busybox": BUSYBOX, "init": INIT} | {f"modules/{at:02}-{name}.ko": kernel / f"{name}.ko" for at, name in enumerate(MODULES)}
    recipe = hashlib.sha256(b"".join(name.encode() + path.read_bytes() for name, path in ingredients.items())).hexdigest()[:16]
    initramfs = cache() / f"initramfs-{recipe}"
    if not initramfs.exists():
        _make_initramfs(ingredients, initramfs)
    return Boot(kernel / "vmlinuz", initramfs)


def _fetch_kernel() -> None:
    with _workshop() as work:
        package = _concrete_package()
        # The sandbox user of apt may not write into our directory, and needs no sandbox to put one file there.
        run("sh", "-c", 'cd "$1" && apt-get -q -o APT::Sandbox::User=root download "$2"', "sh", work, package, timeout=600)
        run("dpkg", "-x", *work.glob("*.deb"), work / "package", timeout=120)
        made = work / "kernel"
        made.mkdir()
        for name in MODULES:
            (made / f"{name}.ko").write_bytes(_module(work / "package", name))
        shutil.copy(next((work / "package" / "boot").glob("vmlinuz-*")), made / "vmlinuz")
        shutil.rmtree(cache() / "kernel", ignore_errors=True)
        made.rename(cache() / "kernel")


def _concrete_package() -> str:
    """The name that the package without a version stands for today."""
    words = run("apt-cache", "depends", PACKAGE).split()
    found = [word for word in words if word.startswith("linux-image-")]
    if len(found) < 2:
        raise LabError(f"apt knows no package {PACKAGE}: run 'apt-get update', or see the sources of apt")
    return found[1]


def _module(package: Path, name: str) -> bytes:
    found = next(package.rglob(f"{name}.ko*"), None)
    if found is None:
        raise LabError(f"the kernel package has no module {name}")
    packed = found.read_bytes()
    return lzma.decompress(packed) if found.suffix == ".xz" else packed


def _make_initramfs(ingredients: dict[str, Path], target: Path) -> None:
    with _workshop() as work:
        tree = work / "tree"
        for name, source in ingredients.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tree / name)
            (tree / name).chmod(0o755)
        for name in ("proc", "dev", "tmp"):
            (tree / name).mkdir()
        run("sh", "-c", 'cd "$1" && find . | cpio -o -H newc --quiet > ../initramfs', "sh", tree)
        (work / "initramfs").rename(target)


@contextmanager
def _workshop() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=cache(), prefix=WORKSHOP) as work:
        yield Path(work)
