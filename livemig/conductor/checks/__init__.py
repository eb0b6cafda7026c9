"""The checks before a migration: a table of pure functions over gathered facts.

Each returns the error it raises, or None; its docstring says what it means, and how to mend it (docs/checks.md has the same). All are evaluated, so that the
event log can hold every reason; the answer carries the first. Nova's own come first, in Nova's order (nova/conductor/tasks/live_migrate.py,
nova/virt/libvirt/driver.py check_can_live_migrate_*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from livemig.conductor.checks import devices, disks, features, guests, hosts, machines, networks, resources
from livemig.conductor.checks.notes import notes as notes
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
    resources.memory_free,
    machines.cpu_compatible,
    disks.storage,
    disks.disks_movable,
    disks.images_known,
    disks.directories_there,
    disks.images_not_there,
    disks.read_only_images_same,
    disks.disk_free,
    features.combinable,
    features.features_there,
    features.features_sound,
    guests.name_free,
    guests.no_snapshots,
    devices.devices_movable,
    machines.emulator_known,
    machines.domain_type_known,
    machines.machine_known,
    machines.vcpus_possible,
    devices.tpm_possible,
    resources.huge_pages_free,
    resources.processors_there,
    resources.numa_nodes_there,
    networks.networks_active,
    networks.interfaces_there,
    networks.addresses_there,
)


def refusals(now: Situation) -> Sequence[tuple[str, Refused]]:
    """Every check that refuses, as (its name, its error), in order."""
    return [(check.__name__, refusal) for check in CHECKS if (refusal := check(now)) is not None]
