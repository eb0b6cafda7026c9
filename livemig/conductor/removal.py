"""Removes files of migrations from hosts: what is in the journal (`livemig.db.files`), is proven to be no loss, and is not used by any domain of the host.

Whatever is in doubt stays, and the journal has it as kept: the event log says why, and the doctor tells of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from oslo_log import log

from livemig import exceptions
from livemig.conductor import disks
from livemig.conductor.inventory import Inventory
from livemig.conductor.lease import Leases
from livemig.db.files import FAILED, KEPT, PROVEN, unproven
from livemig.db.store import Store
from livemig.facts import Disk
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.records import LeftFile, Migration
from livemig.states import Status

LOG = log.getLogger(__name__)


class Removal:
    """It removes files of migrations that `leases` holds. Raises Lapsed, in the middle of everything, once one has lapsed."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, leases: Leases) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._leases = leases
        self._owner = leases.owner
        self._said: set[tuple[int, str]] = set()

    def prove(self, migration: Migration) -> bool:
        """Judge which of the source's files may be removed, and write it down. False when that cannot be told now, since the destination is away.

        It is asked once, right after the end: a guest may soon be somewhere else.
        """
        open_ = unproven(migration)
        made = {file.path for file in migration.files if file.host == migration.destination and file.after == FAILED}
        if migration.status is not Status.COMPLETED or not (open_ or made):
            return True
        try:
            there = self._disks_at_destination(migration)
            images, *_space = storage.look(self.hypervisor(migration.destination or ""), sorted(_files(open_) | made), migration.uuid)
        except exceptions.HypervisorUnavailable as error:
            self.note_once(migration, f"{listed(open_)} cannot be removed from {migration.source} now, and will be later: {error}")
            return False
        judged = {file: disks.evidence(file.path, migration.server_uuid, made, images, there) for file in (*open_, *self._read_only(migration, made, there))}
        why = {file: disks.why_it_stays(evidence) for file, evidence in judged.items()}
        for file, reason in why.items():
            if reason is not None:
                self.note(migration, f"{file.path} stays on {file.host}: {reason}")
        proven = [file for file, reason in why.items() if reason is None]
        self._store.files.prove(migration.id, self._owner, proven, [file for file in why if file not in proven])
        return True

    def _read_only(self, migration: Migration, made: Collection[str], there: Iterable[Disk]) -> list[LeftFile]:
        """What else was copied: images that the guest only reads. Backing files are nobody's, and stay without a word."""
        if not self._conf.libvirt.live_migration_remove_source_disks:
            return []
        open_ = _files(unproven(migration))
        paths = {disk.path for disk in there if disk.path and disk.kind == "file" and disk.read_only and disk.path in made}
        return [LeftFile(migration.source, path, KEPT) for path in sorted(paths - open_)]

    def _disks_at_destination(self, migration: Migration) -> tuple[Disk, ...]:
        """The guest's disks there; none when it is not there any more. Raises HypervisorUnavailable."""
        try:
            return self.hypervisor(migration.destination or "").guest(migration.server_uuid).disks
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.HypervisorError:
            return ()

    def remove(self, migration: Migration, files: Sequence[LeftFile]) -> tuple[set[LeftFile], set[LeftFile]]:
        """Remove files; those that could not be, for now, and those that stay. Of the source's only what is proven is touched."""
        left, kept = {file for file in files if file.host == migration.source and file.after != PROVEN}, set[LeftFile]()
        files = [file for file in files if file not in left]
        for host in dict.fromkeys(file.host for file in files):
            for all_, some in zip((left, kept), self._remove_from(migration, host, [file for file in files if file.host == host]), strict=True):
                all_ |= some
        return left, kept

    def _remove_from(self, migration: Migration, host: str, files: Sequence[LeftFile]) -> tuple[set[LeftFile], set[LeftFile]]:
        left, kept = set(files), set[LeftFile]()
        try:
            hypervisor = self.hypervisor(host)
            if not hypervisor.connected:
                raise exceptions.HypervisorUnavailable(host=host, code=0, message="not connected")
            mine = self._store.files.remove(migration.id, self._owner, files)
            left = set(mine)
            users = storage.used(hypervisor, [file.path for file in mine], migration.uuid)
            for file in sorted(mine, key=lambda file: file.path.endswith("/")):  # directories last
                self._leases.of(migration.id).check()
                if file.path in users:
                    self.note(migration, f"{file.path} stays on {file.host}: {users[file.path].why}")
                    kept |= set() if file.path.endswith("/") else {file}
                else:
                    self._remove_one(migration, hypervisor, file)
                left.discard(file)
        except (exceptions.HypervisorError, exceptions.Refused) as error:
            self.note_once(migration, f"{listed(left)} cannot be removed from {host} now, and will be later: {error}")
        return left, kept

    def _remove_one(self, migration: Migration, hypervisor: Hypervisor, file: LeftFile) -> None:
        if file.path.endswith("/"):
            removed = storage.remove_directory(hypervisor, file.path.rstrip("/"), migration.uuid)
        else:
            removed = storage.remove(hypervisor, file.path, migration.uuid)
        if removed:
            self.note(migration, f"{file.path} was removed from {file.host}")

    def hypervisor(self, host: str) -> Hypervisor:
        """Raises HypervisorUnavailable for one that is not watched any more."""
        watcher = self._inventory.held(host)
        if watcher is None:
            raise exceptions.HypervisorUnavailable(host=host, code=0, message="not one of enabled_hosts any more")
        return watcher.hypervisor

    def note(self, migration: Migration, text: str) -> None:
        """Say in the log and the event log what is done with its disks."""
        LOG.info("Migration %s of server %s: disks: %s", migration.uuid, migration.server_uuid, text)
        self._store.migrations.record(migration.id, ("disks", text))

    def note_once(self, migration: Migration, text: str) -> None:
        if (migration.id, text) not in self._said:
            self._said.add((migration.id, text))
            self.note(migration, text)


def listed(files: Iterable[LeftFile]) -> str:
    """Their paths, for people."""
    return ", ".join(sorted(file.path for file in files))


def _files(files: Iterable[LeftFile]) -> set[str]:
    return {file.path for file in files if not file.path.endswith("/")}
