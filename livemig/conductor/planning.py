"""What libvirt is told, from what is known. Pure; the flags follow from the plan in the libvirt gate."""

from __future__ import annotations

from livemig.conf import HostSettings, bracketed
from livemig.facts import Guest, Plan, Policy


def plan(guest: Guest, destination: HostSettings, policy: Policy) -> Plan:
    """A peer-to-peer live migration (Nova's flags: nova/virt/libvirt/driver.py, _parse_migration_flags).

    A transient guest stays transient. migrate_uri is given only where the destination has an address for it, else libvirt asks the destination.
    """
    address = destination.inbound_address
    return Plan(
        destination_uri=destination.migration_uri,
        migrate_uri=f"tcp://{bracketed(address)}" if address else None,
        persistent=guest.persistent,
        bandwidth_mib_s=policy.bandwidth_mib_s,
        auto_converge=policy.auto_converge,
    )
