"""Where a server goes: the host that the request names, or the first, by weight, that the checks let it go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from livemig import exceptions
from livemig.conductor import scheduling
from livemig.conductor.checks import notes, refusals
from livemig.conductor.checks.hosts import NOT_ENOUGH
from livemig.conductor.checks.situation import End, Situation
from livemig.conductor.inventory import Inventory
from livemig.conductor.survey import SHORT_S, Survey
from livemig.db.store import Store
from livemig.exceptions import Refused
from livemig.facts import Offer
from livemig.records import Migration, Usage
from livemig.runtime import Runtime

_NAMED = 20  # so many hosts are named one by one
_LONGEST = 300  # characters of one host's reason
_FRESH_S = 5.0  # a sum over all servers is used again so long: it only weighs, and a host's free memory is as old as the last look at it

Check = tuple[str, Refused]


class Chooser:
    """Everything it finds goes into the migration's event log."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._summed: tuple[float, Mapping[str, Usage]] | None = None  # when, and what

    def choose(self, migration: Migration, refused: Mapping[str, str] | None = None) -> Situation:
        """The situation at the destination that will be used. `refused` are hosts that need not be asked, and why. Raises what refuses it."""
        if migration.requested_host is not None:
            return self.confirm(migration, migration.requested_host)
        survey = self._survey(migration)
        reasons = dict(refused or {})
        for tries, name in enumerate(self._candidates(migration, reasons)):
            self._tried_enough(migration, tries, reasons)
            situation = survey.situation(name, SHORT_S)
            checks = self._checks(migration, situation)
            if not checks:
                return situation
            _raise_hopeless(situation, checks)
            reasons[name] = str(checks[0][1])
        raise exceptions.NoValidHost(reason=_host_by_host(NOT_ENOUGH, reasons))

    def confirm(self, migration: Migration, host: str, known: Situation | None = None) -> Situation:
        """The situation at one host; `known`, if it is fresh, is not asked for again. Raises what refuses it."""
        self._keep_apart(migration, host)
        if known is not None:
            return known
        situation = self._survey(migration).situation(host)
        checks = self._checks(migration, situation)
        if checks:
            raise checks[0][1]
        return situation

    def _survey(self, migration: Migration) -> Survey:
        return Survey(self._inventory, self._store.hosts, migration)

    def _candidates(self, migration: Migration, reasons: dict[str, str]) -> Sequence[str]:
        """The hosts to ask, in their order; `reasons` gets those that are not asked. One query each for hosts, servers (mostly none), migrations and groups."""
        server = self._store.servers.get(migration.server_uuid)
        groups = [self._store.servers.members(server, key) for key in (scheduling.AFFINITY, scheduling.ANTI_AFFINITY)]
        hosts = [host for host in self._store.hosts.states() if host.name != migration.source and host.name not in reasons]
        moves = self._store.queue.moves(migration.id)
        found = scheduling.candidates(hosts, self._usage(), moves, migration.tried, *groups)
        filtered = {each.host.name: why for each in found if (why := scheduling.refused(each))}
        reasons |= filtered
        order = scheduling.weighed([each for each in found if each.host.name not in filtered], self._multipliers())
        self._store.migrations.record(migration.id, *_told(filtered, order))
        return [name for _weight, name in order]

    def _usage(self) -> Mapping[str, Usage]:
        now = self._runtime.monotonic()
        if self._summed is None or now - self._summed[0] > _FRESH_S:
            self._summed = now, self._store.hosts.usage()
        return self._summed[1]

    def _multipliers(self) -> dict[str, float]:
        return {option: self._conf.filter_scheduler[option] for option in scheduling.WEIGHTS}

    def _tried_enough(self, migration: Migration, tries: int, reasons: Mapping[str, str]) -> None:
        """Nova's limit (nova/conductor/tasks/live_migrate.py, _check_not_over_max_retries)."""
        most = self._conf.migrate_max_retries
        if 0 <= most < tries:
            words = f"Exceeded max scheduling retries {most} for instance {migration.server_uuid} during live migration."
            raise exceptions.MaxRetriesExceeded(reason=_host_by_host(words, reasons))

    def _checks(self, migration: Migration, situation: Situation) -> Sequence[Check]:
        name = situation.destination.name
        checks = refusals(situation)
        lines = [("check", f"{name}: {check}: {error}") for check, error in checks]
        risks = [("note", f"{name}: {note}") for note in notes(situation)]
        self._store.migrations.record(migration.id, *(lines or [("check", f"{name}: every check passed"), *risks]))
        return checks

    def _keep_apart(self, migration: Migration, host: str) -> None:
        """A host that is named and forced is taken as it is, as in Nova. Raises NoValidHost."""
        if migration.requested_host is not None and migration.force is not False:
            return
        members = self._store.servers.members(self._store.servers.get(migration.server_uuid), scheduling.ANTI_AFFINITY)
        crowd = scheduling.crowd(scheduling.foes_at(host, members, migration.id))
        if crowd:
            self._store.migrations.record(migration.id, ("check", f"{host}: {crowd}"))
            raise exceptions.NoValidHost(reason=f"{NOT_ENOUGH} {host}: {crowd}")


def _raise_hopeless(situation: Situation, checks: Sequence[Check]) -> None:
    """Raise a check's error if it would be so at any destination: it is about the guest, its source or the request alone."""
    nowhere = replace(situation, destination=End("", known=False), offer=Offer(), cpu_fits=None, shared={}, storage=None, probe_error=None)
    anywhere = {name for name, _refusal in refusals(nowhere)}
    for name, refusal in checks:
        if name in anywhere:
            raise refusal


def _told(filtered: Mapping[str, str], order: Sequence[tuple[float, str]]) -> list[tuple[str, str]]:
    """Lines for the event log: hosts that are not asked by their reason, and the order of the others with their weights."""
    lines = [("choice", f"not asked, {reason}: {_bounded(sorted(n for n in filtered if filtered[n] == reason))}") for reason in sorted({*filtered.values()})]
    weights = _bounded([f"{name} ({weight:.2f})" for weight, name in order])
    return [*lines, ("choice", f"hosts by weight: {weights}" if order else "no host is left to be asked")]


def _host_by_host(words: str, reasons: Mapping[str, str]) -> str:
    return " ".join(filter(None, [words, _bounded([f"{host}: {_short(reason)}" for host, reason in sorted(reasons.items())], "; ")]))


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…"


def _bounded(words: Iterable[str], by: str = ", ") -> str:
    """So many that it can be read, and how many more there are."""
    every = list(words)
    more = len(every) - _NAMED
    return by.join(every[:_NAMED]) + (f"{by}and {more} more" if more > 0 else "")
