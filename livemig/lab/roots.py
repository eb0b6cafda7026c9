"""Root folders: what hosts of other releases than the machine's own run.

One is made of Debian's packages, unpacked and not installed, and kept in the user's cache as `roots/NAME-KEY`. The key stands for the packages with
their versions, and for how they are unpacked. A link `roots/NAME` tells which one is taken. It changes by `fetch` alone, so a lab that is made again has the
same and asks no mirror.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from livemig.lab import kernel, registry
from livemig.lab.apt import UNPACK, Archive, machine_mirror
from livemig.lab.shell import LabError, run

OWN = "own"
QEMU = "qemu-system-x86_64"
BASE = (
    *("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "qemu-system-x86", "qemu-utils"),
    *("bash", "coreutils", "debianutils", "hostname", "iproute2", "libc-bin", "mount", "util-linux"),
    *("dropbear-bin", "openssh-client"),
    *("ovmf", "swtpm", "swtpm-tools"),  # 12 of 83 MB; guests with UEFI or a TPM need them
)
SPLIT = tuple(f"libvirt-daemon-driver-{name}" for name in ("interface", "network", "nodedev", "secret", "storage"))  # packages of their own since Debian 13


@dataclass(frozen=True)
class Release:
    """What the mirror has: a suite, and the packages that a host needs of it."""

    suite: str
    packages: tuple[str, ...]


RELEASES = {
    "debian12": Release("bookworm", BASE),
    "debian13": Release("trixie", BASE + SPLIT),
    "sid": Release("sid", BASE + SPLIT),
}
COMMANDS = ("bash", "dropbear", "ip", "libvirtd", "mount", "qemu-img", QEMU, "sleep", "ssh", "virsh", "virt-ssh-helper", "which")
LINKS = {"sh": "bash", "which": "which.debianutils"}  # made by maintainer scripts, which are not run
DRIVERS = ("interface", "network", "qemu", "storage")
LIBRARIES = ("usr/lib/*", "usr/lib64", "usr/lib")
MERGED = ("bin", "sbin", "lib", "lib64")
ORIGIN = "origin"
PACKAGES = "packages"


@dataclass(frozen=True)
class Root:
    """What a host runs. `name` is what was asked for; `path` is the root folder, None for the machine's own."""

    name: str
    path: Path | None = None

    @property
    def libvirt_cache(self) -> Path:
        """Where libvirtd of hosts with this root keeps what it found out about QEMU, at a price of seconds; it checks itself whether that still holds."""
        if self.path is None:
            return kernel.cache() / "libvirt"
        return kernel.cache() / f"libvirt-{_digest(str(self.path))}"

    def qemu_version(self) -> tuple[int, ...]:
        """The version of its QEMU, as (10, 0, 13). Raises LabError."""
        program = Path(shutil.which(QEMU) or QEMU) if self.path is None else self.path / "usr/bin" / QEMU
        return _qemu_version(self.path, program.stat().st_mtime_ns if program.exists() else 0)


@cache
def _qemu_version(root: Path | None, _changed_ns: int) -> tuple[int, ...]:
    """Asked again when the program has changed: its answer takes a tenth of a second."""
    enter = [] if root is None else ["chroot", str(root)]
    return tuple(int(part) for part in re.findall(r"\d+", run(*enter, QEMU, "--version").partition("version ")[2].split()[0]))


def directory() -> Path:
    """Where root folders are kept."""
    return kernel.cache() / "roots"


def cached(name: str) -> Root | None:
    """The root folder of that name that was fetched, if any."""
    try:
        found = directory() / os.readlink(directory() / name)
    except OSError:
        return None
    return Root(name, found / "files") if found.is_dir() else None


def versions(root: Root) -> dict[str, str]:
    """The packages of a fetched root folder with their versions."""
    assert root.path is not None
    parts = [line.split("_") for line in (root.path.parent / PACKAGES).read_text().splitlines()]
    return {part[0]: part[1].replace("%3a", ":") for part in parts}


def find(name: str) -> Root:
    """The root by what is asked for: `own`, a name of RELEASES (fetched, if it was not yet), or a directory. Raises LabError, which names what is missing."""
    if name == OWN:
        return Root(OWN)
    if "/" in name:
        return _given(Path(name).resolve())
    _check_machine()
    root = cached(name)
    return fetch(name) if root is None or root.path is None or lacks(root.path) else root


def check_name(name: str) -> str:
    """The name, if hosts can have such a root. Raises LabError."""
    if name != OWN and "/" not in name and name not in RELEASES:
        raise LabError(f"no kind of host {name}: {', '.join([OWN, *RELEASES])}, or a directory with a root folder")
    return name


def fetch(name: str, mirror: str = "") -> Root:
    """Ask the mirror (default: the machine's own) for the packages of today, and take a root folder of them from now on. It is made, unless it is there."""
    release = RELEASES.get(name)
    if release is None:
        raise LabError(f"no release {name} to fetch; there are: {', '.join(RELEASES)}")
    with registry.locked(directory()):
        _sweep()
        work = Path(tempfile.mkdtemp(dir=directory(), prefix=kernel.WORKSHOP))
        try:
            archive = Archive(work, mirror or machine_mirror(), release.suite)
            files = archive.look(release.packages)
            made = f"{name}-{_digest(' '.join(files), UNPACK, str(LINKS))}"
            if not (directory() / made).exists():
                _make(archive, release.packages, files, work / "root", directory() / made)
            (work / "link").symlink_to(made)
            (work / "link").rename(directory() / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _forget(path for path in _all(name) if path.name != made and path / "files" not in _used())
    root = cached(name)
    assert root is not None
    return root


def remove(name: str) -> None:
    """Take what is cached of a release away. Raises LabError when a lab has hosts of it."""
    if name not in RELEASES:
        raise LabError(f"no release {name}; there are: {', '.join(RELEASES)}")
    with registry.locked(directory()):
        _sweep()
        used = _used()
        if users := {str(used[path / "files"]) for path in _all(name) if path / "files" in used}:
            raise LabError(f"{name} is used by the lab in {', '.join(sorted(users))}")
        (directory() / name).unlink(missing_ok=True)
        _forget(_all(name))


def remembered(base: Path) -> Root | None:
    """What the host with its files in `base` was made of; None when nothing was decided yet."""
    try:
        name, path = (base / ORIGIN).read_text().splitlines()
    except FileNotFoundError:
        return None
    return Root(name, Path(path) if path else None)


def remember(base: Path, root: Root) -> None:
    """Decide what a host is made of. This comes first of all that is made for it."""
    base.mkdir(parents=True, exist_ok=True)
    new = base / f"{ORIGIN}.new"
    new.write_text(f"{root.name}\n{root.path or ''}\n")
    new.rename(base / ORIGIN)


def lacks(path: Path) -> list[str]:
    """What a directory lacks to be the root folder of a host; [] when nothing."""
    found = [f"the directory {path}"] if not path.is_dir() else []
    found += [f"/{name} as a link into /usr" for name in MERGED if (path / name).exists() and not (path / name).is_symlink()]
    found += [f"command {name}" for name in COMMANDS if not any(os.path.lexists(path / place / name) for place in ("usr/bin", "usr/sbin"))]
    plugins = [f"{place}/libvirt/connection-driver/libvirt_driver_{{}}.so" for place in LIBRARIES]
    found += [f"libvirt's driver {name}" for name in DRIVERS if not any(any(path.glob(plugin.format(name))) for plugin in plugins)]
    return found + [f"/{name}" for name in ("etc/ld.so.cache",) if not (path / name).exists()]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _given(path: Path) -> Root:
    _check_machine()
    if lacking := lacks(path):
        raise LabError(f"{path} cannot be the root folder of a host, it lacks: {', '.join(lacking)}")
    return Root(str(path), path)


def _check_machine() -> None:
    """A host gets the /usr of its root folder in place of the machine's, which therefore has to have all programs there."""
    if apart := [f"/{name}" for name in MERGED if Path("/", name).exists() and not Path("/", name).is_symlink()]:
        raise LabError(f"only {OWN} hosts can be made on this machine: {', '.join(apart)} is not a link into /usr")


def _make(archive: Archive, packages: Sequence[str], files: Sequence[str], work: Path, target: Path) -> None:
    root = work / "files"
    for name in MERGED:  # links first: packages have files below either name
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    archive.unpack(packages, root)
    for link, command in LINKS.items():
        if not os.path.lexists(root / "usr/bin" / link):
            (root / "usr/bin" / link).symlink_to(command)
    run("ldconfig", "-r", root)
    if lacking := lacks(root):
        raise LabError(f"the packages of {target.name} make no host, this is lacking: {', '.join(lacking)}")
    (work / PACKAGES).write_text("".join(f"{name}\n" for name in files))
    work.rename(target)


def _all(name: str) -> list[Path]:
    """All root folders of a name, whichever their versions."""
    return [path for path in directory().glob(f"{name}-*") if path.is_dir()]


def _used() -> dict[Path, Path]:
    """Root folders that hosts have, with the directory of a lab each."""
    found = {}
    for lab in registry.directories():
        for base in lab.glob("node*"):
            root = remembered(base)
            if root is not None and root.path is not None:
                found[root.path] = lab
    return found


def _sweep() -> None:
    for left in directory().glob(f"{kernel.WORKSHOP}*"):  # by somebody who was killed at it
        shutil.rmtree(left)


def _forget(paths: Iterator[Path] | Sequence[Path]) -> None:
    for path in paths:
        shutil.rmtree(Root("", path / "files").libvirt_cache, ignore_errors=True)
        gone = directory() / f"{kernel.WORKSHOP}{path.name}"  # renamed first: half a root folder is none
        path.rename(gone)
        shutil.rmtree(gone)
