"""Disks of guests: what they are, what is on them at first, and what must be on them later.

A guest writes blocks of 64 KiB to each of its disks, round and round: block N at N modulo the size, every 64 bytes of it a line that says `DEVICE N`.
So what an image must hold follows from the number of the last block alone, and any sector that is old, torn or from elsewhere shows.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from livemig.lab.host import IMAGES, NAMESPACE, Host
from livemig.lab.shell import LabError

BLOCK = 65536
LINE = 64
BASE = ".base"
ISO_MIB = 1
WORDS = "local or shared, then any of raw, backing, cdrom and a size in MiB, joined by commas"

FILE = """
    <disk type='file' device='{kind}'>
      <driver name='qemu' type='{format}' cache='none'/><source file='{path}'/><target dev='{device}' bus='{bus}'/>{more}
    </disk>"""
CONTROLLER = "<controller type='scsi' model='virtio-scsi'/>"


@dataclass(frozen=True)
class Disk:
    """A disk of a guest. `device` is its name in the domain; `inside` that in the guest."""

    device: str
    shared: bool
    format: str
    backing: bool
    cdrom: bool
    size_mib: int

    @classmethod
    def parse(cls, words: str, at: int) -> Disk:
        """The guest's disk number `at` by its description, as `local,backing` or `shared,raw,16`. Raises LabError."""
        where, *more = words.split(",")
        sizes = [int(word) for word in more if word.isdigit()]
        known = {"raw", "backing", "cdrom"}
        cdrom, raw, backing = ("cdrom" in more), ("raw" in more), ("backing" in more)
        if where not in ("local", "shared") or {word for word in more if not word.isdigit()} - known or len(sizes) > 1 or (backing and (raw or cdrom)):
            raise LabError(f"no kind of disk {words}: {WORDS}")
        letter = "abcdefgh"[at]
        size = next(iter(sizes), ISO_MIB if cdrom else 64)
        return cls(f"sd{letter}" if cdrom else f"vd{letter}", where == "shared", "raw" if raw or cdrom else "qcow2", backing, cdrom, size)

    @property
    def inside(self) -> str:
        return "sr0" if self.cdrom else self.device

    def image(self, guest: str, shared: Path) -> Path:
        """Where its image is, as the guest's host sees it. A CD-ROM is the guest's own, as a config drive is: it lies in a directory of the guest's UUID."""
        name = f"{guest}.{self.device}.{'iso' if self.cdrom else self.format}"
        return self._place(shared) / guest_uuid(guest) / name if self.cdrom else self._place(shared) / name

    def base(self, guest: str, shared: Path) -> Path:
        """Where its backing file is."""
        return self._place(shared) / f"{guest}.{self.device}{BASE}"

    def xml(self, path: str) -> str:
        """Its part of the domain; `path` is quoted already."""
        words = {"kind": "cdrom" if self.cdrom else "disk", "bus": "scsi" if self.cdrom else "virtio", "more": "<readonly/>" if self.cdrom else ""}
        return FILE.format(path=path, format=self.format, device=self.device, **words)

    def make(self, host: Host, guest: str, shared: Path) -> None:
        """Make its files on a host."""
        image = self.image(guest, shared)
        if self.cdrom:
            host.path(str(image)).parent.mkdir(exist_ok=True)
            host.path(str(image)).write_bytes(iso(guest, self.size_mib))
            return
        base = []
        if self.backing:
            host.path(str(self.base(guest, shared))).write_bytes(b"".join(block("base", at) for at in range(self.blocks)))
            base = ["-b", str(self.base(guest, shared)), "-F", "raw"]
        host.run("qemu-img", "create", "-q", "-f", self.format, *base, str(image), f"{self.size_mib}M")

    def damage(self, host: Host, guest: str, shared: Path, written: int) -> list[int]:
        """Which blocks of its image on a host are not what they must be after `written` blocks; the guest must not run."""
        flat = host.base / "flat"
        host.run("qemu-img", "convert", "-f", self.format, "-O", "raw", str(self.image(guest, shared)), str(flat))
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
        return shared if self.shared else Path(IMAGES)


def guest_uuid(guest: str) -> str:
    """That of the guest of that name."""
    return str(uuid.uuid5(NAMESPACE, guest))


def block(name: str, number: int) -> bytes:
    """A block as the guest's init writes it."""
    return (f"{name} {number}".ljust(LINE - 1) + "\n").encode() * (BLOCK // LINE)


def iso(guest: str, size_mib: int = ISO_MIB) -> bytes:
    """What stands for the image of a guest's config drive."""
    return random.Random(guest).randbytes(size_mib * 2**20)
