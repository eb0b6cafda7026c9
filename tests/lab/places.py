"""Where guests of the lab are."""

from __future__ import annotations

from livemig.lab.guests import Guest
from livemig.lab.host import Host


def host_of(guest: Guest) -> Host:
    """The host that a guest is on. Fails when it is on none."""
    host = guest.where()
    assert host is not None, f"guest {guest.name} is on no host"
    return host
