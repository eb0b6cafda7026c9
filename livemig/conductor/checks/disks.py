"""Whether the disks can be moved as was asked."""

from __future__ import annotations

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused


def storage(now: Situation) -> Refused | None:
    """block_migration says what the disks need: false with all of them shared, true with local ones (which livemig does not move yet); None: what they need.
    Mend: ask for the other kind of migration, or leave it to livemig (`auto`)."""
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
