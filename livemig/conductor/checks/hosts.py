"""Whether the two hosts will do, whatever the guest."""

from __future__ import annotations

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused

NOT_ENOUGH = "There are not enough hosts available."  # Nova's


def source_up(now: Situation) -> Refused | None:
    """The source's daemon answers, and nobody forced the host down. Mend: start libvirtd (virtqemud) there, or see why livemig cannot connect to it."""
    return None if now.source.facts and not now.source.forced_down else exceptions.ComputeServiceUnavailable(host=now.source.name)


def destination_known(now: Situation) -> Refused | None:
    """The host asked for is one of enabled_hosts. Mend: look at its spelling, or add it there."""
    return None if now.destination.known else exceptions.HostNotFound(host=now.destination.name)


def not_to_self(now: Situation) -> Refused | None:
    """The destination is another host. Where a request is not forced Nova has its scheduler say so, in other words. Mend: name another host, or none."""
    if now.source.name != now.destination.name:
        return None
    if now.force is False:
        return exceptions.NoValidHost(reason=NOT_ENOUGH)
    return exceptions.UnableToMigrateToSelf(server=now.server, host=now.source.name)


def destination_enabled(now: Situation) -> Refused | None:
    """Nobody disabled the destination, or the request is forced. A source may be disabled: so it is drained. Mend: enable its service, or force the
    migration."""
    host = now.destination
    if not host.disabled or now.force or host.name == now.source.name:
        return None
    return exceptions.NoValidHost(reason=f"Host {host.name} is disabled: {host.disabled_reason}" if host.disabled_reason else f"Host {host.name} is disabled.")


def destination_up(now: Situation) -> Refused | None:
    """The destination's daemon answers, and nobody forced the host down. Mend: as for the source."""
    if now.destination.known and (now.destination.facts is None or now.destination.forced_down):
        return exceptions.ComputeServiceUnavailable(host=now.destination.name)
    return None


def same_hypervisor_type(now: Situation) -> Refused | None:
    """Both hosts run the same kind of hypervisor (virConnectGetType). Mend: choose another destination."""
    source, destination = now.source.facts, now.destination.facts
    if source and destination and source.hypervisor_type != destination.hypervisor_type:
        return exceptions.InvalidHypervisorType(source=source.hypervisor_type, destination=destination.hypervisor_type)
    return None


def destination_not_older(now: Situation) -> Refused | None:
    """QEMU at the destination is at least as new as at the source (virConnectGetVersion). Mend: upgrade the destination first."""
    source, destination = now.source.facts, now.destination.facts
    if source and destination and source.hypervisor_version > destination.hypervisor_version:
        versions = {"source": dotted(source.hypervisor_version), "destination": dotted(destination.hypervisor_version)}
        return exceptions.DestinationHypervisorTooOld(**versions)
    return None


def dotted(version: int) -> str:
    """libvirt's integer as people write it: 7002022 → 7.2.22."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
