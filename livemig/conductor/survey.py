"""Gathers what the checks look at, from both hosts. All of a migration's questions before it starts are asked here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from oslo_log import log

from livemig import exceptions
from livemig.conductor import disks
from livemig.conductor.checks.situation import End, Situation
from livemig.conductor.inventory import Inventory
from livemig.db.hosts import Hosts
from livemig.facts import Guest, HostFacts, Offer, Storage
from livemig.hypervisor import capabilities, storage
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration

LOG = log.getLogger(__name__)

LONG_S, SHORT_S = 30.0, 10.0  # how long one host is waited for that must answer, and one of several that may
_CPU_OF_HOST = ("host-passthrough", "maximum")


class Survey:
    """One migration's facts. The source is asked once, each destination when it is looked at. A host that does not answer in time is as one that is down."""

    def __init__(self, inventory: Inventory, hosts: Hosts, migration: Migration) -> None:
        self._inventory = inventory
        self._hosts = hosts
        self._migration = migration
        self._source = self._end(migration.source)
        self._guest: Guest | None = None
        with suppress(exceptions.HypervisorUnavailable):
            self._source, self._guest = inventory.ask(migration.source, self._look_at_source, LONG_S)

    def situation(self, destination: str, seconds: float = LONG_S) -> Situation:
        """The facts for moving the server to `destination`. A host that cannot be asked shows as such; nothing is raised for it."""
        migration = self._migration
        source = self._source
        end = source if destination == migration.source else self._end(destination)
        now = Situation(migration.server_uuid, source, end, migration.block_migration, migration.force, self._guest, policy=migration.policy)
        now = replace(now, disk_over_commit=migration.disk_over_commit)
        if end is source or not end.known:
            return now
        try:
            return self._inventory.ask(destination, lambda _hypervisor: self._look_at(now), seconds)
        except exceptions.HypervisorUnavailable:
            return now

    def _look_at(self, now: Situation) -> Situation:
        """… once the destination was found, and the source."""
        destination = now.destination.name
        end = self._met(now.destination, self._hypervisor(destination))
        now = replace(now, destination=end)
        if self._guest is None or now.source.facts is None or end.facts is None:
            return now
        try:
            offer = self._offer(self._guest, destination)
            now = replace(now, offer=offer, **({} if offer.unknown else self._cpu(self._guest, destination)))
            now = replace(now, shared=self._shared(self._guest, destination))
            return replace(now, storage=self._storage(now.shared, destination))
        except exceptions.HypervisorUnavailable as error:
            return _without(now, error.kwargs["host"])
        except exceptions.HypervisorError as error:
            return replace(now, probe_error=str(error))

    def _end(self, name: str) -> End:
        """What is known of a host without asking it."""
        watcher = self._inventory.get(name)
        if watcher is None:
            return End(name, known=False)
        word = self._hosts.named([name]).get(name)
        return End(
            name,
            forced_down=word is not None and word.forced_down,
            disabled=word is not None and word.disabled,
            disabled_reason=word.disabled_reason if word else None,
            reserved_memory_mib=watcher.settings.reserved_memory_mib,
            address=watcher.settings.address,
            reserved_disk_mib=watcher.settings.reserved_disk_mib,
        )

    def _met(self, end: End, hypervisor: Hypervisor) -> End:
        return replace(end, facts=_facts(hypervisor), presence=hypervisor.presence(self._migration.server_uuid))

    def _look_at_source(self, hypervisor: Hypervisor) -> tuple[End, Guest | None]:
        end = self._met(self._source, hypervisor)
        if end.facts is None:
            return end, None
        try:
            return end, hypervisor.guest(self._migration.server_uuid)
        except exceptions.HypervisorUnavailable:
            return replace(end, facts=None), None
        except exceptions.HypervisorError:
            return end, None  # it is gone: another check says so

    def _offer(self, guest: Guest, destination: str) -> Offer:
        offer = capabilities.offer(self._hypervisor(destination), guest)
        for question in offer.unasked:
            LOG.debug("Migration %s: not judged, since %s does not tell: %s", self._migration.uuid, destination, question)
        return offer

    def _cpu(self, guest: Guest, destination: str) -> dict[str, Any]:
        """Whether the guest's CPU fits. libvirt has an answer for a CPU model only: for a guest with the CPU of its host it is asked about what that one is."""
        found: dict[str, Any] = {}
        if guest.cpu_mode in _CPU_OF_HOST:
            ends = [capabilities.machine(self._hypervisor(name), guest) for name in (self._migration.source, destination)]
            if not all(end and end.host_model for end in ends):
                return {}
            guest = replace(guest, cpu_xml=ends[0].host_model if ends[0] else "")
            found = {"cpu_models": tuple(end.cpu_model for end in ends if end)}
        try:
            return {**found, "cpu_fits": self._hypervisor(destination).runs_cpu(guest)}
        except exceptions.HypervisorUnavailable:
            raise
        except exceptions.HypervisorError as error:
            return {**found, "cpu_fits": False, "cpu_error": str(error)}

    def _shared(self, guest: Guest, destination: str) -> dict[str, bool]:
        directories = {path: str(PurePosixPath(path).parent) for path in disks.files(guest.disks)}
        ends = (self._hypervisor(self._migration.source), self._hypervisor(destination))
        same = {directory: storage.same_directory(*ends, directory, self._migration.uuid) for directory in sorted(set(directories.values()))}
        return {path: same[directory] for path, directory in directories.items()}

    def _storage(self, shared: Mapping[str, bool], destination: str) -> Storage | None:
        """What both hosts have of the files that are not shared; nobody is asked if there are none."""
        local = [path for path, same in shared.items() if not same]
        if not local:
            return None
        images, *_space = storage.look(self._hypervisor(self._migration.source), local, self._migration.uuid)
        return Storage(images, *storage.look(self._hypervisor(destination), local, self._migration.uuid))

    def _hypervisor(self, name: str) -> Hypervisor:
        watcher = self._inventory.get(name)
        if watcher is None:
            raise exceptions.HypervisorUnavailable(host=name, code=0, message="not one of enabled_hosts any more")
        return watcher.hypervisor


def _without(now: Situation, host: str) -> Situation:
    """What is left to say when a host went away while it was asked."""
    if host == now.source.name:
        return replace(now, source=replace(now.source, facts=None))
    return replace(now, destination=replace(now.destination, facts=None))


def _facts(hypervisor: Hypervisor) -> HostFacts | None:
    try:
        return hypervisor.facts()
    except exceptions.HypervisorError:
        return None
