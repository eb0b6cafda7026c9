"""Who is told what of a migration: Nova's notifications, in Nova's order (nova/compute/manager.py, _do_live_migration, _post_live_migration, _rollback_*).

What is told stands in no transaction: a conductor that dies may tell something twice, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from oslo_log import log

from livemig import exceptions
from livemig.db.store import Store
from livemig.facts import Outcome
from livemig.notifications import Notifications
from livemig.records import Aggregate, Migration, Server
from livemig.states import Status

LOG = log.getLogger(__name__)

_ZONE = "nova"  # Nova's [DEFAULT] default_availability_zone
_AT_DESTINATION = ("pre", "post_dest", "rollback_dest")  # all else is told in the source's name


class Announcer:
    """`notifications` is None when nobody wants to be told; nothing is looked up then."""

    def __init__(self, store: Store, notifications: Notifications | None, aggregates: Sequence[Aggregate]) -> None:
        self._store = store
        self._notifications = notifications
        self._zones = {host: aggregate.zone for aggregate in reversed(aggregates) if aggregate.zone for host in aggregate.hosts}

    def look(self, migration: Migration) -> Server | None:
        """The server as it is now; None if nobody needs to know, or it cannot be found out."""
        if self._notifications is None:
            return None
        try:
            return self._store.servers.get(migration.server_uuid)
        except exceptions.LivemigError as error:
            LOG.warning("Nobody was told of migration %s of server %s: %s", migration.uuid, migration.server_uuid, error)
            return None

    def tell(self, migration: Migration, *phases: str) -> None:
        """Each phase, such as pre.start, with the server as it is now."""
        self._tell(migration, self.look(migration), phases)

    def not_begun(self, migration: Migration, fault: str | None = None) -> None:
        """It was refused, or aborted, when pre.start was told already."""
        server = self.look(migration)
        self._tell(migration, server, ["rollback.start"])
        self._tell(migration, server, ["rollback.end"], fault)

    def ended(self, migration: Migration, outcome: Outcome, before: Server | None) -> None:
        """It came to its end, which is in the database; `before` is the server as it was there until then."""
        after = self.look(migration)
        if outcome.status is Status.COMPLETED:
            self._tell(migration, before, ["post.start", "post_dest.start"])
            self._tell(migration, after, ["post_dest.end", "post.end"])
            return
        cleaned = [] if outcome.lost else ["rollback_dest.start", "rollback_dest.end"]
        self._tell(migration, before, ["rollback.start", *cleaned])
        self._tell(migration, after, ["rollback.end"], None if outcome.status is Status.CANCELLED else outcome.reason)

    def _tell(self, migration: Migration, server: Server | None, phases: Sequence[str], fault: str | None = None) -> None:
        if self._notifications is None or server is None:
            return
        for phase in phases:
            host = migration.destination if phase.partition(".")[0] in _AT_DESTINATION else migration.source
            self._notifications.send(f"live_migration_{phase}", host or migration.source, server, migration, self._zones.get(server.host, _ZONE), fault)
