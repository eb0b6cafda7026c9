"""The checks before a migration: a table of pure functions over gathered facts.

Each returns the error it raises, or None. All are evaluated, so that the event log can hold every reason; the answer carries the first, so the order is
Nova's (nova/conductor/tasks/live_migrate.py, nova/virt/libvirt/driver.py check_can_live_migrate_*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from livemig import exceptions
from livemig.exceptions import Refused
from livemig.facts import Disk, Guest, HostFacts, Presence

NOT_ENOUGH = "There are not enough hosts available."  # Nova's


@dataclass(frozen=True, slots=True)
class End:
    """One end of a migration. `facts` is None when the host cannot be asked, `presence` is how it has the server.

    `forced_down` and `disabled` are an operator's word on it.
    """

    name: str
    known: bool = True
    forced_down: bool = False
    disabled: bool = False
    disabled_reason: str | None = None
    facts: HostFacts | None = None
    presence: Presence = Presence.UNKNOWN


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the checks look at. What could not be found out is None, and then something else already refuses.

    `shared` says of each disk path whether it is the same file on both hosts; `probe_error` why that could not be found out. `block_migration` None leaves
    it to the disks; `force` is the request's: None where the microversion has none.
    """

    server: str
    source: End
    destination: End
    block_migration: bool | None
    force: bool | None = None
    guest: Guest | None = None
    cpu_fits: bool | None = None
    shared: Mapping[str, bool] = field(default_factory=dict)
    probe_error: str | None = None


def source_up(now: Situation) -> Refused | None:
    """The source's daemon answers, and nobody forced the host down. Mend: start libvirtd (virtqemud) there, or see why livemig cannot connect to it."""
    return None if now.source.facts and not now.source.forced_down else exceptions.ComputeServiceUnavailable(host=now.source.name)


def destination_known(now: Situation) -> Refused | None:
    """The host asked for is one of enabled_hosts."""
    return None if now.destination.known else exceptions.HostNotFound(host=now.destination.name)


def not_to_self(now: Situation) -> Refused | None:
    """The destination is another host. Where a request is not forced Nova has its scheduler say so, in other words."""
    if now.source.name != now.destination.name:
        return None
    if now.force is False:
        return exceptions.NoValidHost(reason=NOT_ENOUGH)
    return exceptions.UnableToMigrateToSelf(server=now.server, host=now.source.name)


def destination_enabled(now: Situation) -> Refused | None:
    """Nobody disabled the destination, or the request is forced. Mend: enable its service, or force the migration."""
    host = now.destination
    if not host.disabled or now.force or host.name == now.source.name:
        return None
    return exceptions.NoValidHost(reason=f"Host {host.name} is disabled: {host.disabled_reason}" if host.disabled_reason else f"Host {host.name} is disabled.")


def destination_up(now: Situation) -> Refused | None:
    """The destination's daemon answers, and nobody forced the host down."""
    if now.destination.known and (now.destination.facts is None or now.destination.forced_down):
        return exceptions.ComputeServiceUnavailable(host=now.destination.name)
    return None


def same_hypervisor_type(now: Situation) -> Refused | None:
    """Both hosts run the same kind of hypervisor (virConnectGetType)."""
    source, destination = now.source.facts, now.destination.facts
    if source and destination and source.hypervisor_type != destination.hypervisor_type:
        return exceptions.InvalidHypervisorType(source=source.hypervisor_type, destination=destination.hypervisor_type)
    return None


def destination_not_older(now: Situation) -> Refused | None:
    """QEMU at the destination is at least as new as at the source (virConnectGetVersion)."""
    source, destination = now.source.facts, now.destination.facts
    if source and destination and source.hypervisor_version > destination.hypervisor_version:
        versions = {"source": dotted(source.hypervisor_version), "destination": dotted(destination.hypervisor_version)}
        return exceptions.DestinationHypervisorTooOld(**versions)
    return None


def runs_on_source(now: Situation) -> Refused | None:
    """The guest is on its source, running or paused. The database may lag behind by a moment; libvirt does not."""
    presence = now.source.presence
    if now.source.facts and (presence not in (Presence.RUNNING, Presence.PAUSED) or now.guest is None):
        return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} is {presence} on {now.source.name}")
    return None


def not_at_destination(now: Situation) -> Refused | None:
    """The destination has no guest with that UUID: one that runs might be a second copy, one that is only defined would blur the verdict. Mend: undefine it."""
    if now.destination.presence not in (Presence.ABSENT, Presence.UNKNOWN) and now.source.name != now.destination.name:
        return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} is {now.destination.presence} on {now.destination.name} too")
    return None


def memory_free(now: Situation) -> Refused | None:
    """The destination has the guest's memory free (page cache counts as free)."""
    host = now.destination.facts
    if host and now.guest and host.memory_free_mib <= now.guest.memory_mib:
        lack = f"Lack of memory(host:{host.memory_free_mib} <= instance:{now.guest.memory_mib})"
        return exceptions.MigrationPreCheckError(reason=f"Unable to migrate {now.server} to {now.destination.name}: {lack}")
    return None


def cpu_compatible(now: Situation) -> Refused | None:
    """The destination offers all that the guest's CPU has (virConnectCompareHypervisorCPU)."""
    if now.cpu_fits is False:
        return exceptions.MigrationPreCheckError(reason=f"Unacceptable CPU info: CPU doesn't have compatibility on {now.destination.name}.")
    return None


def storage(now: Situation) -> Refused | None:
    """block_migration says what the disks need: false with all of them shared, true with local ones (which livemig does not move yet); None: what they need."""
    if now.probe_error:
        return exceptions.MigrationPreCheckError(reason=f"Whether the disks are shared could not be found out: {now.probe_error}")
    if not now.guest or now.destination.facts is None:
        return None
    local = [path for path, shared in now.shared.items() if not shared]
    if now.block_migration and not local:
        return exceptions.InvalidLocalStorage(path=now.source.name, reason="Block migration can not be used with shared storage.")
    if local and now.block_migration is not False:
        return exceptions.MigrationPreCheckError(reason=f"Local disks cannot be moved by this version of livemig: {', '.join(local)}")
    if local:
        reason = f"Live migration without block migration needs every disk on shared storage; these are not: {', '.join(local)}"
        return exceptions.InvalidSharedStorage(path=now.destination.name, reason=reason)
    return None


CHECKS: tuple[Callable[[Situation], Refused | None], ...] = (
    source_up,
    destination_known,
    not_to_self,
    destination_enabled,
    destination_up,
    same_hypervisor_type,
    destination_not_older,
    runs_on_source,
    not_at_destination,
    memory_free,
    cpu_compatible,
    storage,
)


def refusals(now: Situation) -> Sequence[tuple[str, Refused]]:
    """Every check that refuses, as (its name, its error), in order."""
    return [(check.__name__, refusal) for check in CHECKS if (refusal := check(now)) is not None]


def file_paths(disks: Sequence[Disk]) -> list[str]:
    """The disks that may or may not be the same on both hosts. Network and block devices are shared by nature."""
    return [disk.path for disk in disks if disk.kind == "file" and disk.path]


def dotted(version: int) -> str:
    """libvirt's integer as people write it: 7002022 → 7.2.22."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
