"""What libvirt is told, from what is known. Pure; the flags follow from the plan in the libvirt gate."""

from __future__ import annotations

from livemig.conductor.checks.situation import Situation, file_paths
from livemig.conf import HostSettings, bracketed
from livemig.facts import Plan, Policy

_JUDGED = frozenset({"file", "block", "network"})  # the kinds of disk that the checks speak for; a volume, for one, may be a local file
_DROPS_CACHE = 4_000_000  # QEMU 4.0: the destination drops its page cache of shared files, so that every cache mode is safe


def plan(situation: Situation, destination: HostSettings, policy: Policy) -> Plan:
    """A peer-to-peer live migration (Nova's flags: nova/virt/libvirt/driver.py, _parse_migration_flags).

    A transient guest stays transient. migrate_uri is given only where the destination has an address for it, else libvirt asks the destination.
    """
    guest = situation.guest
    assert guest is not None
    address = destination.inbound_address
    return Plan(
        destination_uri=destination.migration_uri,
        migrate_uri=f"tcp://{bracketed(address)}" if address else None,
        persistent=guest.persistent,
        shared_files=_all_shared(situation) and _drop_cache(situation),
        bandwidth_mib_s=policy.bandwidth_mib_s,
        auto_converge=policy.auto_converge,
    )


def _all_shared(situation: Situation) -> bool:
    """Whether libvirt may be told that nothing is unsafe: of a kind of disk that nobody has looked at it judges better itself."""
    disks = situation.guest.disks if situation.guest else ()
    return bool(file_paths(disks)) and all(situation.shared.values()) and all(disk.kind in _JUDGED for disk in disks)


def _drop_cache(situation: Situation) -> bool:
    ends = (situation.source.facts, situation.destination.facts)
    return all(facts is not None and facts.hypervisor_version >= _DROPS_CACHE for facts in ends)
