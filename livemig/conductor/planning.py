"""What libvirt is told, from what is known. Pure; the flags follow from the plan in the libvirt gate."""

from __future__ import annotations

from dataclasses import replace

from livemig.conductor import disks
from livemig.conductor.checks.situation import Situation
from livemig.conductor.disks import Way
from livemig.conf import HostSettings, bracketed
from livemig.facts import Plan, Policy, Presence

_JUDGED = frozenset({"file", "block", "network"})  # the kinds of disk that the checks speak for; a volume, for one, may be a local file
_DROPS_CACHE = 4_000_000  # QEMU 4.0: the destination drops its page cache of shared files, so that every cache mode is safe


def plan(situation: Situation, destination: HostSettings, policy: Policy) -> Plan:
    """A peer-to-peer live migration (Nova's flags: nova/virt/libvirt/driver.py, _parse_migration_flags).

    A transient guest stays transient. A paused one cannot go on at the destination, so post-copy is dropped for it. libvirt is told to
    copy disks only if there are any to be copied, and which: without a list it would copy them all.
    """
    guest = situation.guest
    assert guest is not None
    return replace(
        resumption(destination, policy),
        persistent=guest.persistent,
        shared_files=_rest_is_shared(situation) and _drop_cache(situation),
        post_copy=policy.post_copy and situation.source.presence is not Presence.PAUSED,
        bandwidth_mib_s=policy.bandwidth_mib_s,
        switchover_bandwidth_mib_s=policy.switchover_bandwidth_mib_s,
        migrate_disks=disks.targets(guest, situation.shared),
    )


def resumption(destination: HostSettings, policy: Policy) -> Plan:
    """What an interrupted post-copy is resumed with: all that the destination and the policy say, which a conductor knows that did not begin it.

    migrate_uri is given only where the destination has an address for it, else libvirt asks the destination; a tunnel has none of its own.
    """
    address = destination.inbound_address
    auto_converge = policy.auto_converge and not policy.post_copy  # as in Nova
    return Plan(
        destination_uri=destination.migration_uri,
        migrate_uri=f"tcp://{bracketed(address)}" if address and not policy.tunnelled else None,
        persistent=True,
        post_copy=True,
        auto_converge=auto_converge,
        auto_converge_initial=policy.auto_converge_initial if auto_converge else 0,
        auto_converge_increment=policy.auto_converge_increment if auto_converge else 0,
        parallel_connections=policy.parallel_connections,
        tls=policy.tls,
        tunnelled=policy.tunnelled,
        compression=policy.compression,
        zero_copy=policy.zero_copy,
    )


def _rest_is_shared(situation: Situation) -> bool:
    """Whether libvirt may be told that nothing is unsafe: of a kind of disk that nobody has looked at it judges better itself.

    What is copied, or only read, it does not take for unsafe.
    """
    there_are = situation.guest.disks if situation.guest else ()
    rest = [disk for disk in there_are if disks.way(disk, situation.shared) is Way.SHARED and disk.kind == "file"]
    return bool(rest) and all(disk.kind in _JUDGED for disk in there_are)


def _drop_cache(situation: Situation) -> bool:
    ends = (situation.source.facts, situation.destination.facts)
    return all(facts is not None and facts.hypervisor_version >= _DROPS_CACHE for facts in ends)
