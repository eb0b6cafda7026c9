"""Whether the destination has the networks that the guest is plugged in to."""

from __future__ import annotations

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused

_HOSTS = ("bridge", "direct")  # types of interface whose source is a device of the host


def networks_active(now: Situation) -> Refused | None:
    """The libvirt networks of the guest's interfaces are active at the destination. Mend: define the network there under the same name, and start it
    (`virsh net-define`, `virsh net-start`, `virsh net-autostart`)."""
    return _lacks(now, "active network", _plugged(now, "network"), now.offer.networks)


def interfaces_there(now: Situation) -> Refused | None:
    """The bridges of the guest's interfaces, and the devices of its macvtap ones, exist at the destination. Not judged where libvirt has no driver for
    interfaces. Mend: make a bridge of that name there, in the network that the guest is in."""
    return _lacks(now, "network interface or bridge", _plugged(now, *_HOSTS), now.offer.interfaces)


def addresses_there(now: Situation) -> Refused | None:
    """The guest's display and consoles do not listen on an address which is the source's own: QEMU could not bind it at the destination. Mend: have them
    listen on 0.0.0.0 or on loopback; that takes effect when the guest is started anew."""
    own = {now.source.address, now.source.name} - {now.destination.address, now.destination.name}
    found = [device.what for device in now.guest.devices if device.kind == "address" and device.what in own] if now.guest else []
    if found:
        reason = f"Instance {now.server} listens on {', '.join(found)}, which is an address of {now.source.name} alone"
        return exceptions.MigrationPreCheckError(reason=reason)
    return None


def _plugged(now: Situation, *kinds: str) -> list[str]:
    return [plug.name for plug in now.guest.plugs if plug.kind in kinds] if now.guest else []


def _lacks(now: Situation, what: str, wanted: list[str], found: frozenset[str] | None) -> Refused | None:
    missing = [name for name in wanted if found is not None and name not in found]
    if missing:
        return exceptions.MigrationPreCheckError(reason=f"{now.destination.name} has no {what} {', '.join(missing)}, which instance {now.server} uses")
    return None
