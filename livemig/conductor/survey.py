"""Gathers what the checks look at, from both hosts. All of a migration's questions before it starts are asked here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from livemig import exceptions
from livemig.conductor.checks.situation import End, Situation, file_paths
from livemig.conductor.inventory import Inventory
from livemig.db.hosts import Hosts
from livemig.facts import Guest, HostFacts
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.storage import same_directory
from livemig.records import Migration


class Survey:
    """One migration's facts. The source is asked once, each destination when it is looked at."""

    def __init__(self, inventory: Inventory, hosts: Hosts, migration: Migration) -> None:
        self._inventory = inventory
        self._hosts = hosts
        self._migration = migration
        self._source = self._end(migration.source)
        self._guest = self._read_guest()

    def situation(self, destination: str) -> Situation:
        """The facts for moving the server to `destination`. A host that cannot be asked shows as such; nothing is raised for it."""
        migration = self._migration
        source = self._source
        end = source if destination == migration.source else self._end(destination)
        now = Situation(migration.server_uuid, source, end, migration.block_migration, migration.force, self._guest)
        if self._guest is None or source.facts is None or end.facts is None or end is source:
            return now
        try:
            now = replace(now, cpu_fits=self._hypervisor(destination).runs_cpu(self._guest))
            return replace(now, shared=self._shared(self._guest, destination))
        except exceptions.HypervisorError as error:
            return replace(now, probe_error=str(error))

    def _end(self, name: str) -> End:
        watcher = self._inventory.get(name)
        if watcher is None:
            return End(name, known=False)
        word = self._hosts.named([name]).get(name)
        return End(
            name,
            forced_down=word is not None and word.forced_down,
            disabled=word is not None and word.disabled,
            disabled_reason=word.disabled_reason if word else None,
            facts=_facts(watcher.hypervisor),
            presence=watcher.hypervisor.presence(self._migration.server_uuid),
        )

    def _read_guest(self) -> Guest | None:
        if self._source.facts is None:
            return None
        try:
            return self._hypervisor(self._migration.source).guest(self._migration.server_uuid)
        except exceptions.HypervisorError:
            return None  # it is gone, or the host is: another check says so

    def _shared(self, guest: Guest, destination: str) -> dict[str, bool]:
        directories = {path: str(PurePosixPath(path).parent) for path in file_paths(guest.disks)}
        ends = (self._hypervisor(self._migration.source), self._hypervisor(destination))
        same = {directory: same_directory(*ends, directory) for directory in sorted(set(directories.values()))}
        return {path: same[directory] for path, directory in directories.items()}

    def _hypervisor(self, name: str) -> Hypervisor:
        watcher = self._inventory.get(name)
        if watcher is None:
            raise exceptions.HypervisorUnavailable(host=name, code=0, message="not one of enabled_hosts any more")
        return watcher.hypervisor


def _facts(hypervisor: Hypervisor) -> HostFacts | None:
    try:
        return hypervisor.facts()
    except exceptions.HypervisorError:
        return None
