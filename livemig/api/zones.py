"""Which availability zone a host is in: that of the first configured aggregate that has the host and names one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livemig.records import Aggregate

DEFAULT = "nova"  # Nova's ([DEFAULT] default_availability_zone)


def of_hosts(aggregates: Sequence[Aggregate]) -> Mapping[str, str]:
    """Zones by host; hosts in none are left out, and are in DEFAULT."""
    return {host: aggregate.zone for aggregate in reversed(aggregates) if aggregate.zone for host in aggregate.hosts}


def hosts_in(aggregates: Sequence[Aggregate], zone: str, hosts: Sequence[str]) -> tuple[str, ...]:
    """Those of `hosts` that are in a zone."""
    zones = of_hosts(aggregates)
    return tuple(host for host in hosts if zones.get(host, DEFAULT) == zone)
