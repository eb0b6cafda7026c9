"""Queued migrations that may go anywhere, and whose destination has no place free while another host has: they are queued for that one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from oslo_log import log

from livemig import exceptions
from livemig.conductor import admission
from livemig.conductor.checks.situation import Situation
from livemig.conductor.choosing import Chooser
from livemig.conf import Limits
from livemig.db.store import Store
from livemig.records import Place
from livemig.runtime import Runtime
from livemig.states import Status

LOG = log.getLogger(__name__)


class Redirection:
    """`found(migration, situation)` is told of each that was queued anew. What a search finds out holds until another host has a place free."""

    def __init__(self, store: Store, chooser: Chooser, runtime: Runtime, found: Callable[[int, Situation], None]) -> None:
        self._store = store
        self._chooser = chooser
        self._runtime = runtime
        self._found = found
        self._searching: set[int] = set()
        self._in_vain: dict[int, frozenset[str]] = {}  # the hosts that had no place free when no other host would do

    def look(self, queued: Sequence[Place], admitted: Sequence[Place], limits: Limits) -> None:
        """Begin a search for each of `queued` that could start elsewhere, in a thread of its own: hosts are asked."""
        if not limits.incoming and not any(limits.incoming_of.values()):
            return
        numbers, full = admission.stranded(queued, admitted, limits)
        self._in_vain = {place.id: self._in_vain[place.id] for place in queued if place.id in self._in_vain}
        if not numbers or not set(self._store.hosts.names()) - full.keys():
            return
        for number in numbers:
            if number not in self._searching and not (number in self._in_vain and self._in_vain[number] <= full.keys()):
                self._searching.add(number)
                self._runtime.start(f"redirect-{number}", self._search, number, full)

    def _search(self, number: int, full: Mapping[str, str]) -> None:
        try:
            self._redirect(number, full)
        except exceptions.Unavailable:
            pass  # the next look begins again
        except exceptions.LivemigError:
            self._in_vain[number] = frozenset(full)
        except Exception:
            LOG.exception("Migration %s: the search for another destination failed; the next look begins again", number)
        finally:
            self._searching.discard(number)

    def _redirect(self, number: int, full: Mapping[str, str]) -> None:
        """Raises what refuses the other hosts."""
        migration = self._store.migrations.get(number)
        reason = full.get(migration.destination or "")
        if migration.status is not Status.QUEUED or reason is None:
            return
        situation = self._chooser.choose(migration, full)
        if self._store.queue.redirect(migration, situation.destination.name, reason):
            self._found(number, situation)
