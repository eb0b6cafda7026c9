"""What the machine lacks for a lab, all at once."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from livemig.lab import kernel
from livemig.lab.shell import succeeds

COMMANDS = {
    "bash": "bash",
    "hostname": "hostname",
    "ip": "iproute2",
    "tc": "iproute2",
    "ss": "iproute2",
    "mount": "mount",
    "losetup": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "libvirtd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "cpio": "cpio",
    "openssl": "openssl",
    "ssh": "openssh-client",
    "dropbear": "dropbear-bin",
    "virt-ssh-helper": "libvirt-daemon",
}
FETCHING = {"apt-get": "apt", "apt-cache": "apt", "dpkg": "dpkg"}
DRIVER = "*/libvirt/connection-driver/libvirt_driver_qemu.so"
# Tried inside namespaces that end with the command, so nothing is left of the attempt.
FEATURES = {
    "mount, UTS and network namespaces": "true",
    "bridges": "ip link add probe0 type bridge",
    "veth pairs": "ip link add probe0 type veth peer name probe1",
    "rate limits (tc tbf)": "ip link add probe0 type veth peer name probe1 && tc qdisc add dev probe0 root tbf rate 1mbit burst 64kb latency 200ms",
}


def missing() -> list[str]:
    """One line for each thing that is missing; [] when a lab can be made here."""
    lacks = [*missing_rights(), *_packages()]
    return lacks or list(_features())


def missing_rights() -> list[str]:
    """What even looking at a lab, or taking it away, needs."""
    return [] if os.geteuid() == 0 else ["root: run it with sudo"]


def _packages() -> Iterator[str]:
    if platform.machine() != "x86_64":
        yield f"an x86_64 machine (this is {platform.machine()})"
    commands = COMMANDS if kernel.is_cached() else COMMANDS | FETCHING
    for command, package in commands.items():
        if shutil.which(command) is None:
            yield f"command {command}: apt-get install {package}"
    if not any(Path("/usr/lib").glob(DRIVER)):
        yield "libvirt's driver for QEMU: apt-get install libvirt-daemon-driver-qemu"
    if not Path("/etc/libvirt").is_dir():
        yield "directory /etc/libvirt: apt-get install libvirt-daemon-system"
    if not kernel.BUSYBOX.exists() or b"/ld-linux" in kernel.BUSYBOX.read_bytes()[:4096]:
        yield f"a static {kernel.BUSYBOX}: apt-get install busybox-static"


def _features() -> Iterator[str]:
    for feature, attempt in FEATURES.items():
        if not succeeds("unshare", "--mount", "--uts", "--net", "--propagation", "private", "sh", "-c", attempt):
            yield f"kernel feature: {feature} (in a container, the right to use it)"
