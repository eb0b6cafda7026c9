"""Whether the guest is one that can move, and has its place at the destination."""

from __future__ import annotations

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused
from livemig.facts import Presence


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
