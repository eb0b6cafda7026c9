"""libvirt's domain states and job statistics in livemig's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livemig.facts import Job, Presence

# (state, reason) by name, and what it means here; (state, None) is for every reason not named (libvirt/libvirt-domain.h).
_STATES: dict[tuple[str, str | None], Presence] = {
    ("VIR_DOMAIN_NOSTATE", None): Presence.RUNNING,
    ("VIR_DOMAIN_RUNNING", None): Presence.RUNNING,
    ("VIR_DOMAIN_RUNNING", "VIR_DOMAIN_RUNNING_POSTCOPY_FAILED"): Presence.POST_COPY_FAILED,
    ("VIR_DOMAIN_BLOCKED", None): Presence.RUNNING,
    ("VIR_DOMAIN_PAUSED", None): Presence.PAUSED,
    ("VIR_DOMAIN_PAUSED", "VIR_DOMAIN_PAUSED_MIGRATION"): Presence.MIGRATING,
    ("VIR_DOMAIN_PAUSED", "VIR_DOMAIN_PAUSED_STARTING_UP"): Presence.MIGRATING,
    ("VIR_DOMAIN_PAUSED", "VIR_DOMAIN_PAUSED_POSTCOPY"): Presence.POST_COPY,
    ("VIR_DOMAIN_PAUSED", "VIR_DOMAIN_PAUSED_POSTCOPY_FAILED"): Presence.POST_COPY_FAILED,
    ("VIR_DOMAIN_SHUTDOWN", None): Presence.RUNNING,
    ("VIR_DOMAIN_SHUTOFF", None): Presence.SHUT_OFF,
    ("VIR_DOMAIN_CRASHED", None): Presence.CRASHED,
    ("VIR_DOMAIN_PMSUSPENDED", None): Presence.SUSPENDED,
}

_LIFECYCLE = ("DEFINED", "UNDEFINED", "STARTED", "SUSPENDED", "RESUMED", "STOPPED", "SHUTDOWN", "PMSUSPENDED", "CRASHED")


class Words:
    """The tables of one libvirt module. Reasons that an older libvirt does not know are left out."""

    def __init__(self, libvirt: Any) -> None:
        self._states = {
            (getattr(libvirt, state), None if reason is None else getattr(libvirt, reason)): presence
            for (state, reason), presence in _STATES.items()
            if reason is None or hasattr(libvirt, reason)
        }
        self._events = {getattr(libvirt, f"VIR_DOMAIN_EVENT_{name}"): _details(libvirt, name) for name in _LIFECYCLE}
        self._none = libvirt.VIR_DOMAIN_JOB_NONE
        self._completed = libvirt.VIR_DOMAIN_JOB_COMPLETED
        self._outgoing = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        self._migrations = (self._outgoing, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)

    def presence(self, state: int, reason: int) -> Presence:
        return self._states.get((state, reason)) or self._states.get((state, None), Presence.UNKNOWN)

    def stats(self, stats: Mapping[str, Any]) -> Presence:
        """Of a domain's statistics (virConnectGetAllDomainStats, VIR_DOMAIN_STATS_STATE)."""
        return self.presence(stats.get("state.state", -1), stats.get("state.reason", -1))

    def lifecycle(self, event: int, detail: int) -> str:
        """Such as "resumed (migrated)"."""
        name, details = self._events.get(event, (f"event {event}", {}))
        return f"{name} ({details.get(detail, detail)})"

    def job(self, stats: Mapping[str, Any]) -> Job | None:
        """A migration's statistics; None for no job, or another kind of job."""
        kind = stats.get("type", self._none)
        if kind == self._none or stats.get("operation", self._outgoing) not in self._migrations:
            return None
        completed = kind == self._completed
        return Job(
            outgoing=stats.get("operation", self._outgoing) == self._outgoing,
            completed=completed,
            elapsed_ms=stats.get("time_elapsed", 0),
            downtime_ms=stats.get("downtime") if completed else None,
            memory_bps=stats.get("memory_bps", 0),
            memory_dirty_bps=stats.get("memory_dirty_rate", 0) * stats.get("memory_page_size", 4096),
            memory_iteration=stats.get("memory_iteration", 0),
            **{f"{name}_bytes": stats.get(name, 0) for name in _COUNTERS},
        )


_COUNTERS = ("memory_total", "memory_processed", "memory_remaining", "disk_total", "disk_processed", "disk_remaining")


def _details(libvirt: Any, event: str) -> tuple[str, dict[int, str]]:
    prefix = f"VIR_DOMAIN_EVENT_{event}_"
    names = {name: getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix)}
    return event.lower(), {value: name[len(prefix) :].lower().replace("_", " ") for name, value in names.items()}
