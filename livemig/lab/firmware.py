"""Guests with UEFI, and with a TPM: their part of the domain, and what their host needs for it."""

from __future__ import annotations

import shutil

from livemig.lab.host import Host
from livemig.lab.shell import LabError

VARIABLES = "/var/lib/libvirt/qemu/nvram"
STATES = "/var/lib/libvirt/swtpm"
UEFI = " firmware='efi'"
# Nobody has signed the lab's kernel.
UNSIGNED = """
    <firmware><feature name='secure-boot' enabled='no'/><feature name='enrolled-keys' enabled='no'/></firmware>"""
TPM = """
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"""
# What is looked for by a shell on the host, and the Debian package that has it.
NEEDED = {
    "tpm": (("command -v swtpm", "swtpm"), ("command -v swtpm_setup", "swtpm-tools")),
    "uefi": (("ls /usr/share/qemu/firmware/*x86_64*", "ovmf"),),
}


def remove(host: Host, name: str, uuid: str) -> None:
    """Take away what a guest's firmware has kept on a host: libvirt leaves the variables of a guest that has migrated away."""
    host.path(f"{VARIABLES}/{name}_VARS.fd").unlink(missing_ok=True)
    shutil.rmtree(host.path(f"{STATES}/{uuid}"), ignore_errors=True)


def check(host: Host, tpm: bool, uefi: bool) -> None:
    """Raises LabError where the host lacks what such a guest needs, and says what."""
    wanted = [each for name, asked in (("tpm", tpm), ("uefi", uefi)) if asked for each in NEEDED[name]]
    lacking = [package for attempt, package in wanted if not host.run("sh", "-c", f"{attempt} 2> /dev/null || true").strip()]
    if lacking:
        raise LabError(f"{host.name} ({host.root.name}) lacks {', '.join(lacking)} for such a guest: apt-get install {' '.join(lacking)}, or take another host")
