"""The roll of a host: every guest that it has, and which of them libvirt moves just now. It is called to be compared with what is written down."""

from __future__ import annotations

from typing import Any

from livemig.facts import Presence
from livemig.hypervisor.connection import Hypervisor
from livemig.whereabouts import BETWEEN, Sighting

_AT_REST = (Presence.SHUT_OFF, Presence.CRASHED, Presence.ABSENT, Presence.UNKNOWN)


def call(host: Hypervisor) -> dict[str, Sighting]:
    """By UUID. It has a connection of its own, since one guest whose QEMU hangs may hold it up: it takes a call for each guest that is on.

    Raises a HypervisorError.
    """
    libvirt = host.libvirt
    with host.apart() as connection:
        stats = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
        saved = {domain.UUIDString() for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)}
        return {domain.UUIDString(): _sighting(host, domain, state, domain.UUIDString() in saved) for domain, state in stats}


def _sighting(host: Hypervisor, domain: Any, stats: dict[str, Any], saved: bool) -> Sighting:
    presence = host.words.stats(stats)
    presence = Presence.SAVED if saved and presence is Presence.SHUT_OFF else presence
    return Sighting(domain.UUIDString(), domain.name(), presence, presence not in _AT_REST and _is_moving(host, domain, presence, stats))


def _is_moving(host: Hypervisor, domain: Any, presence: Presence, stats: dict[str, Any]) -> bool:
    """An incoming guest is not asked about its job: libvirt answers when it has come. Nor is one whose QEMU may hang."""
    if presence in BETWEEN or (presence is Presence.RUNNING and stats.get("state.reason") == host.libvirt.VIR_DOMAIN_RUNNING_POSTCOPY):
        return True
    try:
        return host.words.job(domain.jobStats(0)) is not None
    except host.libvirt.libvirtError:
        return False  # it has gone, or is busy with something else
