"""What libvirt leaves to be done once a guest has arrived: that it starts with its new host, and that its old one forgets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from oslo_log import log

from livemig import exceptions
from livemig.facts import Presence
from livemig.hypervisor import autostart, definitions
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration
from livemig.whereabouts import LIVE

LOG = log.getLogger(__name__)


def settle(migration: Migration, source: Hypervisor, destination: Hypervisor, presences: Mapping[str, Presence]) -> Iterator[tuple[str, str]]:
    """Do it, and yield what the event log has of it. What fails is only told: the guest runs."""
    uuid = migration.server_uuid
    if migration.autostart:
        yield _told(migration, _AUTOSTART, lambda: autostart.start_with_host(destination, uuid))
    # The source had a definition, so libvirt was told to remove it there; it has not if its daemon was killed in post-copy.
    if presences.get(source.name) is Presence.SHUT_OFF and presences.get(destination.name) in LIVE:
        yield _told(migration, _DEFINITION, lambda: _forget(source, destination, uuid))


# Kind of line in the event log, what it says when it is done, and when it fails.
_AUTOSTART = ("autostart", "set at the destination", "could not be set at the destination")
_DEFINITION = ("source", "the definition left behind is removed", "a definition is left behind")


def _forget(source: Hypervisor, destination: Hypervisor, uuid: str) -> None:
    if not definitions.is_at_home(destination, uuid):
        raise exceptions.HypervisorError(host=destination.name, code=0, message="the guest has no definition here, so its last one is kept")
    with suppress(exceptions.DomainNotFound):  # libvirt has come to it meanwhile
        definitions.forget(source, uuid)


def _told(migration: Migration, words: tuple[str, str, str], step: Callable[[], None]) -> tuple[str, str]:
    kind, done, failed = words
    try:
        step()
    except exceptions.HypervisorError as error:
        LOG.warning("Migration %s of server %s: %s: %s: %s", migration.uuid, migration.server_uuid, kind, failed, error)
        return kind, f"{failed}: {error}"
    return kind, done
