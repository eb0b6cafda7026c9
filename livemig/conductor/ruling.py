"""A person's word in place of that of a host which will never be asked again. Without it a migration from or to such a host stays undecided for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livemig.conductor.reconciliation import Answer, Answers, presence_of
from livemig.db.store import Store
from livemig.facts import Outcome, Presence
from livemig.records import Migration
from livemig.states import FINAL, SENDING, Status
from livemig.whereabouts import LIVE

_GIVEN_UP = "Given up by hand: a host is gone for good."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the word is not taken."""

    reason: str


def rule(migration: Migration, on: str | None, presences: Mapping[str, Presence], moving: bool) -> Outcome | Refusal:
    """How a migration ends whose guest is said to be `on` one of its hosts, or to be lost (None). Pure.

    `presences` are both hosts' own words, UNKNOWN for one that cannot be asked; `moving` says that a host that can be asked still has a job.
    """
    if migration.status in FINAL:
        return Refusal(f"It has ended: {migration.status}.")
    if migration.status not in SENDING:
        return Refusal("libvirt was not told of it yet: it can be aborted.")
    if Presence.UNKNOWN not in presences.values():
        return Refusal("Both hosts can be asked: how it ends is what they say, and a conductor writes it down.")
    if moving:
        return Refusal("libvirt still moves it.")
    if on is None:
        alive = [host for host, presence in presences.items() if presence in LIVE]
        return Refusal(f"It lives on {alive[0]}.") if alive else Outcome(Status.ERROR, migration.source, _GIVEN_UP, lost=True)
    if presences.get(on) not in LIVE:
        return Refusal(f"It does not live on {on} ({presences.get(on, 'which is none of its hosts')}).")
    if on == migration.destination:
        return Outcome(Status.COMPLETED, on)
    if migration.status is Status.POST_COPY:
        return Refusal(f"It was in post-copy, which has no way back to {on}.")
    return Outcome(Status.FAILED, on, f"Ended by hand: {migration.destination} is gone for good.")


def end(store: Store, answers: Answers, migration: Migration, on: str | None) -> Outcome | Refusal:
    """End a migration by a person's word, if it may be; what came of it. Its conductor lets go of it then.

    Should the other host come back with the guest after all, it is found to live twice.
    """
    ends = {host: answers.get(host, Answer(None)) for host in (migration.source, migration.destination) if host}
    presences = {host: presence_of(answer, migration.server_uuid) for host, answer in ends.items()}
    moving = any(answer.roll[migration.server_uuid].moving for answer in ends.values() if answer.roll and migration.server_uuid in answer.roll)
    ruled = rule(migration, on, presences, moving)
    if isinstance(ruled, Refusal):
        return ruled
    if ruled.lost:
        store.files.set_aside(migration.id)
    store.migrations.record(migration.id, ("by hand", f"the guest is on {on}" if on else "the guest is lost"))
    said = {host: Presence.ABSENT if presence is Presence.UNKNOWN else presence for host, presence in presences.items()}
    return ruled if store.migrations.finish(migration, ruled, None, said) else Refusal("It has ended meanwhile.")
