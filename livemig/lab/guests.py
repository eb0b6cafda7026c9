"""Guests of the lab: their domain, their console, and where they are."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from livemig.lab import disks as guest_disks
from livemig.lab import firmware
from livemig.lab.disks import CONTROLLER, Disk, guest_uuid
from livemig.lab.host import CONSOLES, IMAGES, Host
from livemig.lab.kernel import Boot
from livemig.lab.shell import LabError
from livemig.lab.storage import NbdServer
from livemig.lab.ticks import Ticks, TickWatch, judge
from livemig.runtime import Runtime

BOOT_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 30.0
MENDED = (10,)  # QEMU 10.0 was seen to keep the writes that 7.2 loses (docs/lab.md); what is between was not tried
GUARD = "pti=on STIR=1"

DOMAIN = Template("""\
<domain type='$accelerator'>
  <name>$name</name>
  <uuid>$uuid</uuid>
  <memory unit='MiB'>$memory_mib</memory>
  <vcpu>$vcpus</vcpu>
  <os$firmware>
    <type arch='x86_64' machine='q35'>hvm</type>$unsigned
    <kernel>$kernel</kernel>
    <initrd>$initramfs</initrd>
    <cmdline>console=ttyS0 quiet loglevel=2 nosoftlockup panic=-1 DIRTY=$dirty_mib_s DISKS=$inside $guard</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_reboot>destroy</on_reboot>
  <devices>$disks
    <serial type='file'><source path='$log' append='on'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='$console'/><target port='1'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>$tpm
  </devices>
</domain>
""")


class Guest:
    """A guest of the lab, on whichever host it is."""

    def __init__(self, name: str, shared: Path, hosts: Sequence[Host], runtime: Runtime) -> None:
        self.name = name
        self.uuid = guest_uuid(name)
        self.log = shared / f"{name}.log"
        self._shared = shared
        self._hosts = hosts
        self._runtime = runtime

    def xml(self, boot: Boot, disks: Sequence[Disk], memory_mib: int, vcpus: int, dirty_mib_s: int, tpm: bool = False, uefi: bool = False) -> str:
        """Its domain."""
        words = {
            "accelerator": accelerator(),
            "guard": GUARD if loses_writes(self._hosts) else "",
            "name": self.name,
            "uuid": self.uuid,
            "memory_mib": memory_mib,
            "vcpus": vcpus,
            "dirty_mib_s": dirty_mib_s,
            "kernel": boot.kernel,
            "initramfs": boot.initramfs,
            "log": self.log,
            "console": self._console,
            "inside": ",".join(disk.inside for disk in disks),
        }
        server = self._server() if any(disk.kind == "nbd" for disk in disks) else None
        parts = [disk.xml(self.name, self._shared, server) for disk in disks] + [CONTROLLER for disk in disks if disk.cdrom][:1]
        made = {"disks": "".join(parts), "tpm": firmware.TPM if tpm else "", "firmware": firmware.UEFI if uefi else ""}
        made["unsigned"] = firmware.UNSIGNED if uefi else ""
        return DOMAIN.substitute({key: _quoted(value) for key, value in words.items()}, **made)

    def ticks(self) -> Ticks:
        """What its ticks say since it was started."""
        return judge(self.log.read_text(errors="replace")) if self.log.exists() else judge("")

    def watch(self) -> TickWatch:
        """Follow its ticks by the machine's clock from now on."""
        return TickWatch(self.log, self._runtime)

    def where(self) -> Host | None:
        """The host it is on; while it migrates, the one that says it runs there. None when there is none at the moment."""
        holders = self.holders()
        return holders[0] if len(holders) == 1 else next((host for host in holders if self._state(host) == "running"), None)

    def holders(self) -> list[Host]:
        """Hosts with a QEMU for it, running or not: two while it migrates."""
        return [host for host in self._hosts if host.has_guest(self.name)]

    def start(
        self, host: Host, boot: Boot, disks: Sequence[Disk], memory_mib: int, vcpus: int, dirty_mib_s: int, tpm: bool = False, uefi: bool = False
    ) -> None:
        """Define it on the host, start it and wait for its first tick; nothing happens when it is on some host already."""
        if not self.holders():
            firmware.check(host, tpm, uefi)
            self.remove()
            for disk in disks:
                disk.make(host, self.name, self._shared, self._hosts, self._server())
            host.virsh("define", "/dev/stdin", stdin=self.xml(boot, disks, memory_mib, vcpus, dirty_mib_s, tpm, uefi))
            host.virsh("start", self.name)
        self._await(lambda: self.ticks().count > 0, BOOT_TIMEOUT_S, "does not tick")

    def set_dirty(self, mib_s: int) -> None:
        """Dirty that many MiB of memory each second from now on, wherever the guest is."""
        self._tell(f"dirty {mib_s}")

    def write(self, device: str, pause_s: float) -> None:
        """Write a block to a disk after each such pause from now on; it is 1 s at first."""
        self._tell(f"write {device} {round(pause_s * 1e6)}")

    def stop_writing(self, device: str) -> int:
        """Write nothing to a disk from now on; how many blocks have been written, all of them safely."""
        return int(self._tell(f"stop {device}"))

    def checksum(self, device: str) -> str:
        """The MD5 sum of what the guest reads from a disk, not out of its memory."""
        return self._tell(f"sum {device}")

    def image(self, words: str, at: int, host: Host) -> Path:
        """The image of its disk number `at`, described as to `Lab.add_guest`, as it is called on a host."""
        return host.path(str(Disk.parse(words, at).image(self.name, self._shared)))

    def damage(self, words: str, at: int, host: Host, written: int) -> list[int]:
        """Which blocks of such a disk on a host are not what they must be, `stop_writing` having said `written`; the guest must not run any more."""
        return Disk.parse(words, at).damage(host, self.name, self._shared, written)

    def remove(self) -> None:
        """Take it away from every host, with its disks and its log."""
        for host in self._hosts:
            for verb in (["destroy"], ["undefine", "--nvram"]):
                with suppress(LabError):  # not there
                    host.virsh(*verb, self.name)
            firmware.remove(host, self.name, self.uuid)
        if self._hosts:
            guest_disks.remove(self.name, self._shared, self._hosts, self._server())
        for place in (self._shared, *(host.path(f"{IMAGES}/") for host in self._hosts)):
            shutil.rmtree(place / self.uuid, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    @property
    def _console(self) -> str:
        return f"{CONSOLES}/{self.name}"

    def _server(self) -> NbdServer:
        return NbdServer(self._hosts[0].index, self._runtime)

    def _state(self, host: Host) -> str:
        try:
            return host.virsh("domstate", self.name, timeout=10).strip()
        except LabError:
            return "unknown"

    def _tell(self, command: str) -> str:
        """What the guest answers to a command, wherever it is."""
        answers: list[str] = []

        def asked() -> bool:
            for host in self.holders():
                answers.extend(self._command(host, command))
            return bool(answers)

        self._await(asked, COMMAND_TIMEOUT_S, "does not obey")
        return answers[0]

    def _command(self, host: Host, command: str) -> list[str]:
        """What it answers, if it hears: one that is just leaving or arriving may not."""
        answer = re.compile(rf"^ok {re.escape(command)} ?(.*)\n", re.MULTILINE)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as console:
            console.settimeout(5.0)
            directory = os.open(host.path(CONSOLES + "/"), os.O_RDONLY)
            try:  # by a short name: a socket's address may have no more than 107 bytes
                console.connect(f"/proc/self/fd/{directory}/{self.name}")
            finally:
                os.close(directory)
            console.sendall(f"\n{command}\n".encode())
            heard = ""
            while received := console.recv(256).decode(errors="replace").replace("\r", ""):
                heard += received
                if found := answer.search(heard):
                    return [found[1]]
        return []

    def _await(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        deadline = self._runtime.monotonic() + timeout_s
        while not condition():
            if self._runtime.monotonic() > deadline or not self.holders():
                raise LabError(f"guest {self.name} {complaint}; the end of its log:\n{self._tail()}")
            self._runtime.sleep(0.05)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:]) if self.log.exists() else "(there is none)"


def loses_writes(hosts: Sequence[Host]) -> bool:
    """Whether a guest that migrates among these hosts needs to be guarded against an emulator that loses its writes: one such host is enough."""
    return accelerator() == "qemu" and any(host.root.qemu_version() < MENDED for host in hosts)


def accelerator() -> str:
    """`kvm` where the processor virtualizes and /dev/kvm can be opened, else `qemu`. Some machines have a /dev/kvm without the former, and QEMU fails."""
    flags = next((line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), [])
    return "kvm" if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK) else "qemu"


def _quoted(value: object) -> str:
    return escape(str(value), {"'": "&apos;"})
