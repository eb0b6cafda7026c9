"""Guests of the lab: their domain, their disk, their console, and where they are."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from livemig.lab.host import CONSOLES, IMAGES, NAMESPACE, Host
from livemig.lab.kernel import Boot
from livemig.lab.shell import LabError, run
from livemig.lab.ticks import Ticks, TickWatch, judge
from livemig.runtime import Runtime

DISK_MIB = 64
BOOT_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 30.0

DOMAIN = Template("""\
<domain type='$accelerator'>
  <name>$name</name>
  <uuid>$uuid</uuid>
  <memory unit='MiB'>$memory_mib</memory>
  <vcpu>$vcpus</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$kernel</kernel>
    <initrd>$initramfs</initrd>
    <cmdline>console=ttyS0 quiet loglevel=2 panic=-1 pti=on DIRTY=$dirty_mib_s DISK=$has_disk EMULATED=$emulated</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_reboot>destroy</on_reboot>
  <devices>$disk
    <serial type='file'><source path='$log' append='on'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='$console'/><target port='1'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
""")
DISK = """
    <disk type='file'><driver name='qemu' type='qcow2' cache='none'/><source file='{path}'/><target dev='vda' bus='virtio'/></disk>"""
# Where the image is, as the guest's host sees it.
IMAGE: dict[str, Callable[[str, Path], Path | None]] = {
    "none": lambda name, shared: None,
    "shared": lambda name, shared: shared / f"{name}.qcow2",
    "local": lambda name, shared: Path(IMAGES, f"{name}.qcow2"),
}


class Guest:
    """A guest of the lab, on whichever host it is."""

    def __init__(self, name: str, shared: Path, hosts: Sequence[Host], runtime: Runtime) -> None:
        self.name = name
        self.uuid = str(uuid.uuid5(NAMESPACE, name))
        self.log = shared / f"{name}.log"
        self._shared = shared
        self._hosts = hosts
        self._runtime = runtime

    def xml(self, boot: Boot, image: Path | None, memory_mib: int, vcpus: int, dirty_mib_s: int) -> str:
        """Its domain; `image` is where its disk is as its host sees it."""
        words = {
            "accelerator": accelerator(),
            "emulated": int(accelerator() == "qemu"),
            "name": self.name,
            "uuid": self.uuid,
            "memory_mib": memory_mib,
            "vcpus": vcpus,
            "dirty_mib_s": dirty_mib_s,
            "kernel": boot.kernel,
            "initramfs": boot.initramfs,
            "log": self.log,
            "console": self._console,
            "has_disk": "" if image is None else "1",
        }
        disk = "" if image is None else DISK.format(path=_quoted(image))
        return DOMAIN.substitute({key: _quoted(value) for key, value in words.items()}, disk=disk)

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

    def start(self, host: Host, boot: Boot, disk: str, memory_mib: int, vcpus: int, dirty_mib_s: int) -> None:
        """Define it on the host, start it and wait for its first tick; nothing happens when it is on some host already."""
        if not self.holders():
            self.remove()
            image = IMAGE[disk](self.name, self._shared)
            if image is not None:
                run("qemu-img", "create", "-q", "-f", "qcow2", host.path(str(image)), f"{DISK_MIB}M")
            host.virsh("define", "/dev/stdin", stdin=self.xml(boot, image, memory_mib, vcpus, dirty_mib_s))
            host.virsh("start", self.name)
        self._await(lambda: self.ticks().count > 0, BOOT_TIMEOUT_S, "does not tick")

    def set_dirty(self, mib_s: int) -> None:
        """Dirty that many MiB of memory each second from now on, wherever the guest is."""
        self._await(lambda: any(self._command(host, f"dirty {mib_s}") for host in self.holders()), COMMAND_TIMEOUT_S, "does not obey")

    def remove(self) -> None:
        """Take it away from every host, with its disks and its log."""
        for host in self._hosts:
            for verb in ("destroy", "undefine"):
                with suppress(LabError):  # not there
                    host.virsh(verb, self.name)
            for place in IMAGE.values():
                image = place(self.name, self._shared)
                if image is not None:
                    host.path(str(image)).unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)

    @property
    def _console(self) -> str:
        return f"{CONSOLES}/{self.name}"

    def _state(self, host: Host) -> str:
        try:
            return host.virsh("domstate", self.name, timeout=10).strip()
        except LabError:
            return "unknown"

    def _command(self, host: Host, command: str) -> bool:
        """Whether the guest did it; one that is just leaving or arriving may not hear it."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as console:
            console.settimeout(1.0)
            directory = os.open(host.path(CONSOLES + "/"), os.O_RDONLY)
            try:  # by a short name: a socket's address may have no more than 107 bytes
                console.connect(f"/proc/self/fd/{directory}/{self.name}")
            finally:
                os.close(directory)
            console.sendall(f"\n{command}\n".encode())
            heard = ""
            while f"ok {command}\n" not in heard.replace("\r", ""):
                heard += (received := console.recv(256).decode(errors="replace"))
                if not received:
                    return False
            return True
        return False

    def _await(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        deadline = self._runtime.monotonic() + timeout_s
        while not condition():
            if self._runtime.monotonic() > deadline or not self.holders():
                raise LabError(f"guest {self.name} {complaint}; the end of its log:\n{self._tail()}")
            self._runtime.sleep(0.05)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:]) if self.log.exists() else "(there is none)"


def accelerator() -> str:
    """`kvm` where the processor virtualizes and /dev/kvm can be opened, else `qemu`. Some machines have a /dev/kvm without the former, and QEMU fails."""
    flags = next((line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), [])
    return "kvm" if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK) else "qemu"


def _quoted(value: object) -> str:
    return escape(str(value), {"'": "&apos;"})
