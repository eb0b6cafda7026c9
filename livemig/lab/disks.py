"""Disks of guests: what they are, what is on them at first, and what must be on them later.

A guest writes blocks of 64 KiB to each of its disks, round and round: block N at N modulo the size, every 64 bytes of it a line that says `DEVICE N`.
So what an image must hold follows from the number of the last block alone, and any sector that is old, torn or from elsewhere shows.
"""

from __future__ import annotations

import glob
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from livemig.lab import storage
from livemig.lab.host import IMAGES, NAMESPACE, VOLUMES, Host
from livemig.lab.shell import LabError

BLOCK = 65536
LINE = 64
BASE = ".base"
ISO_MIB = 1
KINDS = ("local", "shared", "block", "lun", "nbd")
FILES = ("local", "shared")
WORDS = "local, shared, block, lun or nbd, then a size in MiB and, of local and shared, any of raw, backing and cdrom, joined by commas"
DEVICES = "devices"  # in the directory of a host, or of the lab: the files behind loop devices
SERVED = "served"  # in the directory of the lab: the images behind NBD

DISK = """
    <disk type='{type}' device='{kind}'>
      <driver name='qemu' type='{format}' cache='none'/>{source}<target dev='{device}' bus='{bus}'/>{more}
    </disk>"""
FILE = "<source file='{path}'/>"
DEVICE = "<source dev='{path}'/>"
NETWORK = "<source protocol='nbd' name='{name}'><host name='{address}' port='{port}'/></source>"
CONTROLLER = "<controller type='scsi' model='virtio-scsi'/>"


@dataclass(frozen=True)
class Disk:
    """A disk of a guest. `device` is its name in the domain; `inside` that in the guest.

    `kind` is one of KINDS: `local` and `shared` are image files; `block` is a block device that each host has for itself, `lun` one that all hosts have, both
    called the same on every host; `nbd` is on a server that all hosts reach.
    """

    device: str
    kind: str
    format: str
    backing: bool
    cdrom: bool
    size_mib: int

    @classmethod
    def parse(cls, words: str, at: int) -> Disk:
        """The guest's disk number `at` by its description, as `local,backing` or `lun,16`. Raises LabError."""
        kind, *more = words.split(",")
        sizes = [int(word) for word in more if word.isdigit()]
        known = {"raw", "backing", "cdrom"} if kind in FILES else set()
        cdrom, raw, backing = ("cdrom" in more), ("raw" in more or kind not in FILES), ("backing" in more)
        if kind not in KINDS or {word for word in more if not word.isdigit()} - known or len(sizes) > 1 or (backing and (raw or cdrom)):
            raise LabError(f"no kind of disk {words}: {WORDS}")
        letter = "abcdefgh"[at]
        size = next(iter(sizes), ISO_MIB if cdrom else 64)
        return cls(f"sd{letter}" if cdrom else f"vd{letter}", kind, "raw" if raw or cdrom else "qcow2", backing, cdrom, size)

    @property
    def inside(self) -> str:
        return "sr0" if self.cdrom else self.device

    def image(self, guest: str, shared: Path) -> Path:
        """Where its image is, as the guest's host sees it. A CD-ROM is the guest's own, as a config drive is: it lies in a directory of the guest's UUID."""
        if self.kind in ("block", "lun"):
            return Path(VOLUMES) / _name(guest, self.device)
        name = f"{guest}.{self.device}.{'iso' if self.cdrom else self.format}"
        return self._place(shared) / guest_uuid(guest) / name if self.cdrom else self._place(shared) / name

    def base(self, guest: str, shared: Path) -> Path:
        """Where its backing file is."""
        return self._place(shared) / f"{guest}.{self.device}{BASE}"

    def xml(self, guest: str, shared: Path, server: storage.NbdServer | None = None) -> str:
        """Its part of the domain; `server` is needed for one that is on it."""
        path = _quoted(self.image(guest, shared))
        type_, source = "file", FILE.format(path=path)
        if self.kind in ("block", "lun"):
            type_, source = "block", DEVICE.format(path=path)
        elif self.kind == "nbd":
            assert server is not None
            name = _name(guest, self.device)
            type_, source = "network", NETWORK.format(name=_quoted(name), address=server.address, port=server.port(name))
        words = {"kind": "cdrom" if self.cdrom else "disk", "bus": "scsi" if self.cdrom else "virtio", "more": "<readonly/>" if self.cdrom else ""}
        return DISK.format(type=type_, source=source, format=self.format, device=self.device, **words)

    def make(self, host: Host, guest: str, shared: Path, hosts: Sequence[Host], server: storage.NbdServer) -> None:
        """Make what it is on: files on its host, devices on all of `hosts`."""
        image, name = self.image(guest, shared), _name(guest, self.device)
        if self.kind in ("block", "lun"):
            for each in hosts:
                file = (each.base if self.kind == "block" else shared.parent) / DEVICES / name
                each.link_device(name, storage.attach(self._empty(file)))
        elif self.kind == "nbd":
            server.serve(name, self._empty(image), shared.parent / SERVED / f"{name}.log")
        elif self.cdrom:
            host.path(str(image)).parent.mkdir(exist_ok=True)
            host.path(str(image)).write_bytes(iso(guest, self.size_mib))
        else:
            self._make_file(host, image, guest, shared)

    def _make_file(self, host: Host, image: Path, guest: str, shared: Path) -> None:
        base = []
        if self.backing:
            host.path(str(self.base(guest, shared))).write_bytes(b"".join(block("base", at) for at in range(self.blocks)))
            base = ["-b", str(self.base(guest, shared)), "-F", "raw"]
        host.run("qemu-img", "create", "-q", "-f", self.format, *base, str(image), f"{self.size_mib}M")

    def _empty(self, file: Path) -> Path:
        """A file of its size, made unless it is there."""
        file.parent.mkdir(exist_ok=True)
        with file.open("ab") as opened:
            opened.truncate(self.size_mib << 20)
        return file

    def damage(self, host: Host, guest: str, shared: Path, written: int) -> list[int]:
        """Which blocks of its image on a host are not what they must be after `written` blocks; the guest must not run."""
        flat = host.base / "flat"
        shared_access = ["-U"] if self.kind == "nbd" else []  # its server has it open
        host.run("qemu-img", "convert", *shared_access, "-f", self.format, "-O", "raw", str(self.image(guest, shared)), str(flat))
        try:
            with flat.open("rb") as file:
                return [at for at, wanted in enumerate(self.content(written)) if file.read(BLOCK) != wanted]
        finally:
            flat.unlink()

    def content(self, written: int) -> Iterator[bytes]:
        """What is on it after the guest has written that many blocks."""
        for at in range(self.blocks):
            if at < written:
                yield block(self.device, at + (written - 1 - at) // self.blocks * self.blocks)
            else:
                yield block("base", at) if self.backing else bytes(BLOCK)

    @property
    def blocks(self) -> int:
        return self.size_mib * 2**20 // BLOCK

    def _place(self, shared: Path) -> Path:
        return {"local": Path(IMAGES), "shared": shared, "nbd": shared.parent / SERVED}[self.kind]


def remove(guest: str, shared: Path, hosts: Sequence[Host], server: storage.NbdServer) -> None:
    """Take all disks of a guest away, from every host."""
    server.withdraw(guest)
    places = [shared, shared.parent / SERVED]
    for host in hosts:
        places += [host.path(f"{IMAGES}/"), host.path(f"{VOLUMES}/")]
    for place in [*(host.base / DEVICES for host in hosts), shared.parent / DEVICES]:
        storage.detach(place, guest)
        places.append(place)
    for place in places:
        for file in place.glob(f"{glob.escape(guest)}.[sv]d[a-h]*"):
            file.unlink(missing_ok=True)


def guest_uuid(guest: str) -> str:
    """That of the guest of that name."""
    return str(uuid.uuid5(NAMESPACE, guest))


def block(name: str, number: int) -> bytes:
    """A block as the guest's init writes it."""
    return (f"{name} {number}".ljust(LINE - 1) + "\n").encode() * (BLOCK // LINE)


def iso(guest: str, size_mib: int = ISO_MIB) -> bytes:
    """What stands for the image of a guest's config drive."""
    return random.Random(guest).randbytes(size_mib * 2**20)


def _name(guest: str, device: str) -> str:
    return f"{guest}.{device}"


def _quoted(value: object) -> str:
    return escape(str(value), {"'": "&apos;"})
