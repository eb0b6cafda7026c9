"""What of a guest cannot leave its host, and what may not be the same at another. The kinds are those of `livemig.hypervisor.bound`.

What libvirt 9.0 refuses is in qemuMigrationSrcIsAllowed; launchSecurity, 3D acceleration and a mounted 9p file system QEMU refuses itself, late. A TPM of the
host is refused by neither, and would be another one at the destination.
"""

from __future__ import annotations

from collections.abc import Mapping

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused

# Kind of device: what it is, and what to do.
CANNOT_MOVE: Mapping[str, tuple[str, str]] = {
    "hostdev": ("a device of the host (PCI, mdev, SCSI)", "detach it; a PCI network card with `<teaming type='transient'>` may stay"),
    "interface hostdev": ("a network interface that is a PCI device of the host", "detach it, or give it `<teaming type='transient'>`"),
    "interface vdpa": ("a vDPA network interface", "detach it"),
    "filesystem virtiofs": ("a directory of the host by virtiofs", "detach it"),
    "filesystem": ("a directory of the host by 9p", "detach it: QEMU refuses while the guest has it mounted, which nobody can see from outside"),
    "shmem": ("shared memory that is not migrated: legacy ivshmem, or a role other than master", "detach it"),
    "transient disk": ("a transient disk", "start the guest without it"),
    "block job": ("a disk that is just being copied", "wait for its end, or end it (`virsh blockjob --abort`)"),
    "invtsc": ("the CPU feature invtsc without a frequency for the TSC", "name one: `<timer name='tsc' frequency='…'/>`"),
    "launchSecurity": ("memory that is encrypted (SEV) or otherwise sealed in the host", "nothing helps: such a guest stays"),
    "3D acceleration": ("a display with 3D acceleration", "start the guest without it"),
    "tpm passthrough": ("the TPM of the host", "give the guest an emulated one"),
}

# Kind of device: what it is, and what may happen.
RISKY: Mapping[str, tuple[str, str]] = {
    "hostdev usb": ("a USB device of the host", "it is unplugged, and another of the same kind is plugged in if the destination has one"),
    "interface vhostuser": ("a vhost-user network interface", "the start fails if nobody serves its socket at the destination"),
    "character device": ("a serial, parallel or channel device in a file or device of the host", "it goes on in what has the same path at the destination"),
    "socket": ("a device that connects to a socket of the host", "the start fails if nobody listens there at the destination"),
    "boot file": ("a kernel, initrd or firmware", "the start fails if there is no such file at the destination"),
    "vsock": ("a vsock device with a fixed CID", "the start fails if a guest of the destination has it; connections break in any case"),
    "memory device": ("a memory device in a file of the host", "the start fails if there is no such file at the destination"),
    "input device": ("an input device of the host", "the start fails if there is no such device at the destination"),
    "arguments": ("arguments for QEMU that libvirt does not know", "nobody can say whether they fit the destination"),
    "address": ("a display or console that listens on an address", "the start fails if the destination does not have it"),
}


def devices_movable(now: Situation) -> Refused | None:
    """The guest has nothing that cannot leave its host: devices of the host, its directories, and what QEMU does not migrate. What that is has a table
    of its own. Mend: as is said there."""
    found = [device for device in now.guest.devices if device.kind in CANNOT_MOVE] if now.guest else []
    if found:
        named = "; ".join(" ".join(filter(None, (CANNOT_MOVE[device.kind][0], device.what and f"({device.what})"))) for device in found)
        return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} has what cannot be migrated: {named}")
    return None


def tpm_possible(now: Situation) -> Refused | None:
    """The destination can emulate a TPM, if the guest has an emulated one. Mend: install swtpm there, and restart libvirtd (virtqemud)."""
    backends = now.offer.tpm_backends
    if now.guest and backends is not None and "emulator" not in backends and any(device.kind == "tpm emulator" for device in now.guest.devices):
        return exceptions.MigrationPreCheckError(reason=f"{now.destination.name} cannot emulate the TPM of instance {now.server}")
    return None
