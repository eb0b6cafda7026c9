"""Whether the destination can run such a machine: emulator, domain type, machine type, processors."""

from __future__ import annotations

from collections.abc import Callable

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused
from livemig.facts import Guest


def cpu_compatible(now: Situation) -> Refused | None:
    """The destination offers all that the guest's CPU has (virConnectCompareHypervisorCPU). For a guest with the CPU of its host that is all that
    the source's CPU has. Mend: choose a host with such a CPU, or give the guest a CPU model that all hosts have; that takes effect when it is started anew."""
    if now.cpu_fits is False:
        why = f" {now.cpu_error}" if now.cpu_error else ""
        return exceptions.MigrationPreCheckError(reason=f"Unacceptable CPU info: CPU doesn't have compatibility on {now.destination.name}.{why}")
    return None


def emulator_known(now: Situation) -> Refused | None:
    """The destination has the guest's emulator at the same path, and it is one for the guest's architecture (virConnectGetDomainCapabilities). Mend: install
    QEMU there, or make a link at that path."""
    return _known(now, "emulator", lambda guest: guest.emulator)


def domain_type_known(now: Situation) -> Refused | None:
    """The destination can run guests of that domain type: a kvm guest needs a host that has KVM. Mend: load the module kvm_intel or kvm_amd there, and
    have virtualization switched on in the firmware."""
    return _known(now, "domain type", lambda guest: guest.domain_type)


def machine_known(now: Situation) -> Refused | None:
    """The destination's QEMU knows the guest's machine type. Mend: install a QEMU there that has it, not older than the source's and of the same
    distribution, or start the guest anew with a machine type that both have."""
    return _known(now, "machine type", lambda guest: guest.machine)


def vcpus_possible(now: Situation) -> Refused | None:
    """The destination's QEMU can give such a machine as many vCPUs as the guest may have. Mend: lower the guest's maximum, which takes effect when it is
    started anew, or install a QEMU that can."""
    most = now.offer.most_vcpus
    if now.guest and most is not None and now.guest.vcpus > most:
        reason = f"{now.destination.name} gives a machine {now.guest.machine} at most {most} vCPUs; instance {now.server} may have {now.guest.vcpus}"
        return exceptions.MigrationPreCheckError(reason=reason)
    return None


def _known(now: Situation, what: str, value: Callable[[Guest], str]) -> Refused | None:
    if now.guest is None or now.offer.unknown != what:
        return None
    reason = f"{now.destination.name} does not know the guest's {what} {value(now.guest)}: {now.offer.unknown_text}"
    return exceptions.MigrationPreCheckError(reason=reason)
