"""Deliberately broken versions of the service, one mistake each: that the simulation finds them shows that it could find others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import update

from livemig.api import server_actions
from livemig.conductor import admission, attempt, disks, knobs, verdict
from livemig.conductor.verdict import Verdict
from livemig.db import models
from livemig.db.migrations import MIGRATABLE, MIGRATING, Migrations
from livemig.facts import Outcome, Presence
from livemig.paths import above
from livemig.states import Status
from livemig.testing.fleet import guest_uuid

Mistake = tuple[object, str, Callable[..., Any]]  # where, the name there, and what stands for it


def _trust_in_the_return_code() -> Mistake:
    """What migrateToURI3 says is the verdict (Launchpad bug 1414065)."""

    def verdict(self: Any) -> tuple[Outcome, dict[str, Presence]]:
        if self._error is None:
            return Outcome(Status.COMPLETED, self._destination.name), {}
        return Outcome(Status.FAILED, self._source.name, str(self._error)), {}

    return attempt.Attempt, "_verdict", verdict


def _cast_without_row() -> Mistake:
    """The message is the work, as it is Nova's."""
    right = server_actions._begin_and_wake

    def begin(request: Any, server: Any, wanted: Any) -> None:
        if not request.services.conductor._broker.loses():
            right(request, server, wanted)

    return server_actions, "_begin_and_wake", begin


def _no_adoption() -> Mistake:
    """What a conductor held when it died is nobody's."""
    return Migrations, "orphans", lambda _self: []


def _limits_of_ones_own() -> Mistake:
    """A conductor counts only what it starts itself."""
    right = admission.choose

    def choose(queued: Any, _admitted: Any, limits: Any) -> Any:
        return right(queued, [], limits)

    return admission, "choose", choose


def _a_host_that_is_away_has_nothing() -> Mistake:
    """Who cannot be asked is taken to say no."""
    right = verdict.judge

    def judge(source: Presence, destination: Presence, post_copy: bool = False) -> Verdict:
        source, destination = (Presence.ABSENT if each is Presence.UNKNOWN else each for each in (source, destination))
        return right(source, destination, post_copy)

    return attempt, "judge", judge


def _the_source_alone_is_asked() -> Mistake:
    """As in Nova (nova/virt/libvirt/migration.py, find_job_type)."""

    def judge(source: Presence, _destination: Presence, _post_copy: bool = False) -> Verdict:
        return Verdict.COMPLETED if source in (Presence.ABSENT, Presence.SHUT_OFF) else Verdict.ON_SOURCE

    return attempt, "judge", judge


def _an_abort_is_believed() -> Mistake:
    """Who asked libvirt to abort takes it as done."""
    right = knobs.Knobs._abort

    def abort(self: Any, action: Any) -> None:
        right(self, action)
        migration = self._journal._migration
        self._journal._store.migrations.finish(migration, Outcome(Status.CANCELLED, migration.source, action.reason), None)

    return knobs.Knobs, "_abort", abort


def _state_before_row() -> Mistake:
    """The server is marked in one transaction and the migration written in another (nova/compute/api.py, live_migrate)."""
    right = Migrations.begin

    def begin(self: Any, server: str, *rest: Any) -> Any:
        free = (models.Server.uuid == server, models.Server.task_state.is_(None), models.Server.vm_state.in_(MIGRATABLE))
        with self._database.write() as session:
            marked = session.execute(update(models.Server).where(*free).values(task_state=MIGRATING)).rowcount
        if marked:
            with self._database.write() as session:
                session.execute(update(models.Server).where(models.Server.uuid == server).values(task_state=None))
        return right(self, server, *rest)

    return Migrations, "begin", begin


def _ownership_by_name() -> Mistake:
    """What lies in a directory that is called like the guest is the guest's own."""
    right = disks.is_own

    def is_own(path: str, server: str) -> bool:
        return right(path, server) or any(guest_uuid(name) == server for name in above(path))

    return disks, "is_own", is_own


VARIANTS: Mapping[str, Callable[[], Mistake]] = {
    "trust in the return code": _trust_in_the_return_code,
    "cast without row": _cast_without_row,
    "no adoption": _no_adoption,
    "limits of one's own": _limits_of_ones_own,
    "a host that is away has nothing": _a_host_that_is_away_has_nothing,
    "the source alone is asked": _the_source_alone_is_asked,
    "an abort is believed": _an_abort_is_believed,
    "state before row": _state_before_row,
    "ownership by name": _ownership_by_name,
}


@contextmanager
def broken(variant: str) -> Iterator[None]:
    """For as long as it lasts the service has that mistake."""
    place, name, wrong = VARIANTS[variant]()
    right = getattr(place, name)
    setattr(place, name, wrong)
    try:
        yield
    finally:
        setattr(place, name, right)
