"""The checks before a migration: a table of pure functions over gathered facts.

Each returns the error it raises, or None. All are evaluated, so that the event log can hold every reason; the answer carries the first, so the order is
Nova's (nova/conductor/tasks/live_migrate.py, nova/virt/libvirt/driver.py check_can_live_migrate_*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from livemig.conductor.checks import disks, guests, hosts
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused

CHECKS: tuple[Callable[[Situation], Refused | None], ...] = (
    hosts.source_up,
    hosts.destination_known,
    hosts.not_to_self,
    hosts.destination_enabled,
    hosts.destination_up,
    hosts.same_hypervisor_type,
    hosts.destination_not_older,
    guests.runs_on_source,
    guests.not_at_destination,
    guests.memory_free,
    guests.cpu_compatible,
    disks.storage,
)


def refusals(now: Situation) -> Sequence[tuple[str, Refused]]:
    """Every check that refuses, as (its name, its error), in order."""
    return [(check.__name__, refusal) for check in CHECKS if (refusal := check(now)) is not None]
