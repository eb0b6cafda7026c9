"""Where the database and the hypervisors disagree, judged from both. Pure.

Events keep the two in step; this finds what no event has told. Nothing here moves, stops or starts a guest, and no remedy does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from livemig.db.files import KEPT
from livemig.db.inspection import MigrationRow, Rows, ServerRow
from livemig.facts import Presence
from livemig.states import FINAL, SENDING, Status
from livemig.whereabouts import LIVE, SHOWN, Sighting, found_again, where


class Remedy(Enum):
    """What may be done about it without a person."""

    LOOK = "the hosts are looked at again, and the server's row follows them"
    RELEASE = "the server is let go of, and follows its hosts"
    UNDEFINE = "the definition is removed"
    NONE = "left to a person"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to disagree. `says` and `mend` are templates over the facts of the case; `mend` is for a person, where there is no remedy.

    A `note` is no disagreement: a person may look at it, and may leave it as it is.
    """

    name: str
    says: str
    mend: str
    remedy: Remedy = Remedy.NONE
    note: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        # Servers
        Kind("gone", "is shown on {shown}, and no host has it", "have the hosts looked at again; its row goes then", Remedy.LOOK),
        Kind("unknown", "is {presence} on {host}, and the database does not know it", "have {host} looked at again", Remedy.LOOK),
        Kind("elsewhere", "is shown on {shown}, and is {presence} on {host}", "have its hosts looked at again", Remedy.LOOK),
        Kind("state", "is {presence} on {host}, and is shown {state}", "have {host} looked at again", Remedy.LOOK),
        Kind("stale", "is {presence} on {host}, and was last seen there {before}", "have {host} looked at again", Remedy.LOOK),
        Kind("twice", "lives on {hosts}", "find out which of them is the right one (its disks!), and end the other: virsh -c {uri} destroy {domain}"),
        Kind("lost", "was given up as lost, and is {places}", "see what is left of it; it is shown again as it is once it lives on one host and on no other"),
        Kind("found", "was given up as lost, and is {places}", "have its hosts looked at again", Remedy.LOOK),
        Kind("foreign", "is moved by libvirt from or to {hosts}, and not by livemig", "wait for its end: virsh -c {uri} domjobinfo {domain}"),
        Kind("left", "is still defined on {host}, from which livemig has moved it to {shown}", "virsh -c {uri} undefine {domain}", Remedy.UNDEFINE),
        Kind("defined", "is defined on {host} as well, and runs on {shown}", "if nobody needs it there: virsh -c {uri} undefine {domain}"),
        Kind("stuck", "is shown MIGRATING, and no migration has it", "let it go", Remedy.RELEASE),
        # Migrations
        Kind("over", "ended as {status}, and still counts as its server's", "let the server go", Remedy.RELEASE),
        Kind("forsaken", "is {status}, and no conductor holds it; its guest is {places}", "start a conductor, which takes the migration up"),
        Kind("undecided", "is {status}, and {host} cannot be asked", "bring {host} back; if it is gone for good: livemig-manage migration end"),
        Kind("unconfigured", "is {status}, and {host} is not in enabled_hosts", "put {host} into enabled_hosts again, and have conductors read it (SIGHUP)"),
        Kind("files", "ended as {status}, and {files} are still to be removed", "bring the host back, and configure it; conductors try it again by themselves"),
        Kind("aside", "lost its guest; {files} were made or used for it, and nobody removes them", "remove by hand what the guest does not need"),
        # Hosts and conductors
        Kind("unreachable", "cannot be asked: {reason}", "virsh -c {uri} list"),
        Kind("down", "answers, and is shown as down", "see in the log of its conductor why that cannot reach it"),
        Kind("up", "cannot be asked from here, and is shown as up", "see whether that is so for this machine only"),
        Kind("unheard", "is in enabled_hosts here, and no conductor has taken it in", "start a conductor, or have it read its configuration again (SIGHUP)"),
        Kind("dismissed", "is not in enabled_hosts here, and the conductors watch it", "have all machines read the same configuration (SIGHUP)"),
        Kind("former", "is not in enabled_hosts any more, and {count} servers are shown on it", "put it into enabled_hosts again, or move them by hand"),
        Kind("silent", "fell silent without another to replace it", "start it again, or another one"),
        Kind("alone", "no conductor lives (open migrations: {count})", "start a conductor"),
        Kind("revision", "the tables are at revision {there}, and this version of livemig needs {newest}", "livemig-manage db sync"),
        # What lies about on hosts
        Kind("kept", "has left {file} on {host}, since it is not provably livemig's to remove", "if nobody needs it there: {command}", note=True),
        Kind("pool", "has a pool {pool}, which looks like what version 0.1 left", "if no other livemig is at work there: {command}", note=True),
        Kind("probe", "has {volume}, which looks like what version 0.1 left", "if no other livemig is at work there: {command}", note=True),
        # The database
        Kind("clock", "the database's clock is {ahead:+.1f} s ahead of this machine's", "have both synchronized"),
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host says: the guests that it has, by UUID; None when it cannot be asked, for a `reason`. `uri` is where a person asks it."""

    roll: Mapping[str, Sighting] | None
    uri: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`hosts` are those to be looked at. `where` says which host's watcher is to speak of it; None: whoever finds it."""

    kind: Kind
    subject: str
    facts: Mapping[str, object] = field(default_factory=dict)
    server: str | None = None
    migration: int | None = None
    hosts: tuple[str, ...] = ()
    where: str | None = None
    presences: Mapping[str, Presence] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str | None]:
        """The same for the same disagreement, found again."""
        return self.kind.name, self.subject, self.where

    @property
    def says(self) -> str:
        return self.kind.says.format(**self.facts)

    @property
    def text(self) -> str:
        return f"{self.subject} {self.says}".strip()

    @property
    def mend(self) -> str:
        return self.kind.mend.format(**self.facts)


Answers = Mapping[str, Answer]


def compare(rows: Rows, answers: Answers, whole: bool = True) -> list[Disagreement]:
    """All disagreements between the rows and the answers; without what concerns hosts and conductors as a `whole` where only some hosts were asked."""
    claimed = {migration.server: migration for migration in rows.migrations if migration.open}
    uuids = sorted({*rows.servers, *(uuid for answer in answers.values() for uuid in answer.roll or ())})
    found = [each for uuid in uuids if uuid not in claimed for each in _server(_Case(uuid, rows, answers))]
    found += [each for migration in rows.migrations for each in _migration(migration, rows, answers)]
    return [*found, *_hosts(rows, answers), *_conductors(rows)] if whole else found


def defined_elsewhere(answers: Answers) -> set[str]:
    """Servers that are defined in one place and live in another: why that is so is asked of the migrations."""
    living, defined = (
        {uuid for answer in answers.values() for uuid, seen in (answer.roll or {}).items() if seen.presence in rank} for rank in (LIVE, {Presence.SHUT_OFF})
    )
    return living & defined


class _Case:
    """One server that does not migrate: its row, and how the hosts have it. Of hosts that were not asked the last sighting counts.

    `silent` are those of which nothing is known: they did not answer, are shown as down, or are not configured any more.
    """

    def __init__(self, uuid: str, rows: Rows, answers: Answers) -> None:
        self.uuid = uuid
        self.row: ServerRow | None = rows.servers.get(uuid)
        self.moved = rows.moved
        self.uris = {host: answer.uri for host, answer in answers.items()}
        self.before = rows.sightings.get(uuid, {})
        self.asked = {host for host, answer in answers.items() if answer.roll is not None}
        self.seen = {host: answer.roll[uuid] for host, answer in answers.items() if answer.roll and uuid in answer.roll}
        unasked = {host: presence for host, presence in self.before.items() if host not in self.asked}
        self.presences = unasked | {host: sighting.presence for host, sighting in self.seen.items()}
        down = {host for host in {*rows.hosts, *self.before, *self._shown()} - self.asked if not rows.hosts.get(host)}
        self.silent = down | set(answers) - self.asked
        self.living = sorted(host for host, presence in self.presences.items() if presence in LIVE)
        self.moving = sorted(host for host, sighting in self.seen.items() if sighting.moving)

    def _shown(self) -> list[str]:
        return [self.row.host] if self.row else []

    def says(self, kind: str, host: str, **facts: object) -> Disagreement:
        name = self.row.name if self.row else self.seen[host].name
        known = {"host": host, "uri": self.uris.get(host, ""), "domain": name, "shown": "".join(self._shown())}
        known |= {"presence": self.presences.get(host, Presence.ABSENT), "places": _places(self.presences)}
        concerned = tuple(sorted({*self._shown(), *self.before, *self.seen}))
        return Disagreement(KINDS[kind], f"server {self.uuid} ({name})", known | facts, self.uuid, None, concerned, host, self.presences)


def _server(case: _Case) -> Iterator[Disagreement]:
    """The first rule that has something to say; then what is left over of it elsewhere."""
    for rule in _RULES:
        found = rule(case)
        if found:
            yield from found
            break
    yield from _definitions(case)


def _stuck(case: _Case) -> list[Disagreement]:
    return [case.says("stuck", case.row.host)] if case.row and case.row.migrating else []


def _twice(case: _Case) -> list[Disagreement]:
    """An old sighting of a host that cannot be asked proves nothing."""
    hosts = [host for host in case.living if host not in case.silent]
    return [replace(case.says("twice", hosts[0], hosts=" and ".join(hosts)), where=None)] if len(hosts) > 1 else []


def _lost(case: _Case) -> list[Disagreement]:
    if case.row is None or not case.row.lost:
        return []
    return [case.says("found" if found_again(case.presences) and not case.silent else "lost", case.row.host)]


def _foreign(case: _Case) -> list[Disagreement]:
    return [case.says("foreign", case.moving[0], hosts=" and ".join(case.moving))] if case.moving else []


def _place(case: _Case) -> list[Disagreement]:
    at = where(case.row.host if case.row else None, case.presences)
    if case.row is None:
        return [case.says("unknown", at)] if at in case.seen else []
    if at is None:
        return [] if case.silent else [case.says("gone", case.row.host)]
    return [case.says("elsewhere", at)] if at != case.row.host else _state(case, case.row)


def _state(case: _Case, row: ServerRow) -> list[Disagreement]:
    vm_state, power_state = SHOWN[case.presences[row.host]]
    if row.host in case.asked and ((vm_state != row.vm_state and not row.condemned) or power_state != row.power_state):
        return [case.says("state", row.host, state=row.vm_state)]
    old = ((host, case.before.get(host, Presence.ABSENT), case.presences.get(host, Presence.ABSENT)) for host in sorted(case.asked))
    return [case.says("stale", host, before=before) for host, before, now in old if before != now]


_RULES: tuple[Callable[[_Case], list[Disagreement]], ...] = (_stuck, _twice, _lost, _foreign, _place)


def _definitions(case: _Case) -> Iterator[Disagreement]:
    """What is defined beside the one place where it lives. livemig has left it if its last migration went from there to here."""
    if len(case.living) != 1 or case.moving or (case.row and case.row.lost):
        return
    for host, sighting in sorted(case.seen.items()):
        if sighting.presence is Presence.SHUT_OFF:
            ours = case.moved.get(case.uuid) == (host, case.living[0]) and case.living[0] in case.asked
            kind = "left" if ours else "defined"
            yield case.says(kind, host, shown=case.living[0])


def _migration(migration: MigrationRow, rows: Rows, answers: Answers) -> Iterator[Disagreement]:
    ends = [migration.source, *filter(None, [migration.destination])]
    files = [file for file in migration.files if file.after != KEPT]

    def says(kind: str, **facts: object) -> Disagreement:
        known = {"status": migration.status, "host": migration.source, "files": ", ".join(f"{file.path} on {file.host}" for file in files)}
        subject = f"migration {migration.id} of server {migration.server}"
        return Disagreement(KINDS[kind], subject, known | facts, migration.server, migration.id, (), migration.source)

    if migration.status in FINAL:
        if migration.open:
            yield says("over")
        elif files and migration.forsaken:
            yield says("files" if migration.untidy else "aside")
        return
    presences = {host: presence_of(answers[host], migration.server) for host in ends if host in answers}
    yield from (says("unconfigured", host=host) for host in ends if host not in rows.hosts)
    if migration.status in SENDING:
        yield from (says("undecided", host=host) for host, presence in presences.items() if presence is Presence.UNKNOWN)
    if migration.forsaken and migration.status is not Status.QUEUED:
        yield says("forsaken", places=_places(presences))


def presence_of(answer: Answer, server: str) -> Presence:
    """How a host has a server; UNKNOWN if it cannot be asked."""
    if answer.roll is None:
        return Presence.UNKNOWN
    return answer.roll[server].presence if server in answer.roll else Presence.ABSENT


def _places(presences: Mapping[str, Presence]) -> str:
    told = [f"{presence} on {host}" for host, presence in sorted(presences.items()) if presence is not Presence.ABSENT]
    return ", ".join(told) or "nowhere"


def _hosts(rows: Rows, answers: Answers) -> Iterator[Disagreement]:
    def says(kind: str, host: str, **facts: object) -> Disagreement:
        return Disagreement(KINDS[kind], f"host {host}", facts, hosts=(host,), where=host)

    for host, answer in sorted(answers.items()):
        up = rows.hosts.get(host)
        if up is None:
            yield says("unheard", host)
        if answer.roll is None:
            yield says("unreachable", host, reason=answer.reason, uri=answer.uri)
        if up is not None and up != (answer.roll is not None):
            yield says("up" if up else "down", host)
    yield from (says("dismissed", host) for host in sorted(set(rows.hosts) - set(answers)))
    shown = [row.host for row in rows.servers.values()]
    yield from (says("former", host, count=shown.count(host)) for host in sorted(rows.former) if host in shown and host not in answers)


def _conductors(rows: Rows) -> Iterator[Disagreement]:
    if any(rows.conductors.values()):
        return
    yield from (Disagreement(KINDS["silent"], f"conductor {owner}") for owner in rows.conductors)
    yield Disagreement(KINDS["alone"], "", {"count": sum(migration.open for migration in rows.migrations)})
