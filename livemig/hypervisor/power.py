"""What is done to a guest beside migrating it: stop, start, save, restore. A guest's wrong state is a NoJob, libvirt's "operation invalid"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livemig import exceptions
from livemig.facts import Presence
from livemig.hypervisor.connection import Hypervisor


def start(host: Hypervisor, uuid: str) -> None:
    """Start a guest that is shut off; from its managed save image if it has one (virDomainCreate)."""
    with host.apart() as connection:
        connection.lookupByUUIDString(uuid).create()


def save(host: Hypervisor, uuid: str) -> None:
    """Write a guest's memory to the host's disk and stop it (virDomainManagedSave)."""
    with host.apart() as connection:
        connection.lookupByUUIDString(uuid).managedSave(0)


def restore(host: Hypervisor, uuid: str) -> None:
    """Have a saved guest run again. One that was paused when it was saved comes back paused (as if it were migrating, libvirt 9.0 says), and is resumed."""
    with host.apart() as connection:
        domain = connection.lookupByUUIDString(uuid)
        if not domain.hasManagedSaveImage():
            raise wrong_state(host, "there is no saved memory")
        domain.create()
        state, _reason = domain.state()
        if state == host.libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()


def wake(host: Hypervisor, uuid: str) -> None:
    """End a sleep that the guest began itself (virDomainPMWakeup)."""
    _tell(host, uuid, lambda domain: domain.pMWakeup(0))


def shutdown(host: Hypervisor, uuid: str) -> None:
    """Ask the guest to shut down; it may take its time, or take no notice. Raises NoJob for a transient guest: nothing would be left of it."""
    with host.apart() as connection:  # an agent may be waited for
        _kept(host, connection.lookupByUUIDString(uuid)).shutdown()


def destroy(host: Hypervisor, uuid: str) -> None:
    """Switch a guest off. Raises NoJob for a transient guest: nothing would be left of it."""
    _tell(host, uuid, lambda domain: _kept(host, domain).destroy())


def reboot(host: Hypervisor, uuid: str) -> None:
    """Ask the guest to boot again; it may take no notice (virDomainReboot)."""
    with host.apart() as connection:  # an agent may be waited for
        connection.lookupByUUIDString(uuid).reboot(0)


def restart(host: Hypervisor, uuid: str) -> None:
    """Switch a guest off, if it is on, and on again, as Nova reboots hard (nova/virt/libvirt/driver.py, _hard_reboot).

    Only so does it run by its present definition. A transient guest has none, and is reset instead. Saved memory is thrown away, as Nova does.
    """
    with host.apart() as connection:
        domain = connection.lookupByUUIDString(uuid)
        if not domain.isPersistent():
            domain.reset(0)
            return
        if domain.isActive():
            domain.destroy()
        domain.createWithFlags(host.libvirt.VIR_DOMAIN_START_FORCE_BOOT)


def run(host: Hypervisor, uuid: str) -> int | None:
    """libvirt's number of the guest's present run, another at each start; None when it does not run (virDomainGetID)."""
    with host.use() as connection:
        number = int(connection.lookupByUUIDString(uuid).ID())
    return number if number > 0 else None


def wrong_state(host: Hypervisor, message: str) -> exceptions.NoJob:
    return exceptions.NoJob(host=host.name, code=host.libvirt.VIR_ERR_OPERATION_INVALID, message=message)


def _tell(host: Hypervisor, uuid: str, deed: Callable[[Any], object]) -> None:
    with host.use() as connection:
        deed(connection.lookupByUUIDString(uuid))


def _kept(host: Hypervisor, domain: Any) -> Any:
    """A domain that stays when it is off."""
    if not domain.isPersistent():
        raise wrong_state(host, "the guest is transient: it would be gone for good")
    return domain


WAKING: dict[Presence, Callable[[Hypervisor, str], None]] = {Presence.SAVED: restore, Presence.SUSPENDED: wake}
"""How a guest is brought back, by how it sleeps."""
