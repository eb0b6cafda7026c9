"""Which conductor watches which host, and that nobody writes old facts about a host over newer ones.

A watch has no expiry of its own: it is its owner's for as long as that conductor's heartbeat has not expired, so one row is renewed for a thousand hosts.

The version of a watch is raised by whoever writes facts about its host, or takes the watch. Facts are written only if the version is still that of the moment
before the host was asked: what somebody learned before he was frozen is not written any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.orm import Session

from livemig.db import models
from livemig.db.clock import Clock
from livemig.db.conductors import former_lives, lock
from livemig.db.engine import Database, retried

_PART = 500  # names in one statement

Spread = Callable[[Mapping[str, str | None], Mapping[str, Set[str]]], tuple[Collection[str], Collection[str]]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was known of a host before it was asked: its watch's `version`; with an `owner`, only the owner of the watch may write what he sees."""

    host: str
    version: int
    owner: str | None


class Watches:
    """The watches of all hosts, and the heartbeats of conductors."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @retried
    def balance(self, owner: str, seconds: float, hosts: Collection[str], spread: Spread, away: Collection[str] = ()) -> Mapping[str, int]:
        """`owner` lives for `seconds` more, and cannot reach the hosts that are `away`. Under one lock for all conductors, it takes and lets go what
        `spread(holders, away)` says: who of the living watches each of `hosts`, and which hosts each of the living does not reach.

        Returns the hosts that it watches now, with their versions.
        """
        with self._database.write() as session:
            lock(session, "watches", self._clock)
            living = self._beat(session, owner, seconds, away)
            watches = _watches(session, hosts)
            holders = {host: holder if holder in living else None for host, (holder, _version) in watches.items()}
            mine = [host for host, holder in holders.items() if holder == owner]
            take, let_go = spread(holders, living)
            _give(session, take, owner)
            _give(session, let_go, None)
            return {host: watches[host][1] + (host in take) for host in (set(mine) | set(take)) - set(let_go)}

    def _beat(self, session: Session, owner: str, seconds: float, away: Collection[str]) -> Mapping[str, Set[str]]:
        """Whoever lives now, and what each cannot reach."""
        table = models.Base.metadata.tables["conductors"]
        beat = {"expires_at": self._clock.later(session, seconds), "away": sorted(away)}
        if not session.execute(update(table).where(table.c.owner == owner).values(beat)).rowcount:  # type: ignore[attr-defined]
            session.execute(insert(table).values(owner=owner, **beat))
        found = session.execute(select(table.c.owner, table.c.away, table.c.expires_at < self._clock.now(session)).order_by(table.c.owner)).all()
        dead = [other for other, _away, expired in found if expired and other != owner]
        if dead:
            session.execute(delete(table).where(table.c.owner.in_(dead)))
        return {other: set(theirs or ()) for other, theirs, _expired in found if other not in dead}

    def find(self, host: str) -> Sight | None:
        """Its version and owner now; None for a host that was never configured."""
        watch = models.Watch
        with self._database.read() as session:
            row = session.execute(select(watch.version, watch.owner).where(watch.host == host)).one_or_none()
            return None if row is None else Sight(host, row.version, row.owner)

    def all(self) -> Mapping[str, str | None]:
        """Who watches each host."""
        with self._database.read() as session:
            return {row.host: row.owner for row in session.execute(select(models.Watch.host, models.Watch.owner).order_by(models.Watch.host))}

    def release(self, owner: str) -> None:
        """`owner` is about to stop: its hosts are free for others."""
        self._release(models.Conductor.owner == owner)

    def release_former(self, owner: str) -> None:
        """Former lives of `owner` are over."""
        self._release(*former_lives(owner, models.Conductor.owner))

    @retried
    def _release(self, *whose: ColumnElement[bool]) -> None:
        with self._database.write() as session:
            session.execute(delete(models.Conductor).where(*whose))


def may_write(session: Session, sight: Sight | None) -> bool:
    """The first statement of a transaction that writes facts about a host: whether nobody has written since it was asked. None asks for nothing."""
    if sight is None:
        return True
    watch = models.Watch
    rule = [watch.host == sight.host, watch.version == sight.version]
    if sight.owner is not None:
        rule.append(watch.owner == sight.owner)
    return bool(session.execute(update(watch).where(*rule).values(version=watch.version + 1)).rowcount)  # type: ignore[attr-defined]


def _watches(session: Session, hosts: Collection[str]) -> dict[str, tuple[str | None, int]]:
    """Owner and version of each host's watch, by name; those that are missing are made."""
    watch = models.Watch
    found = {host: (owner, version) for host, owner, version in session.execute(select(watch.host, watch.owner, watch.version))}
    missing = [{"host": host, "owner": None, "version": 0} for host in sorted(hosts) if host not in found]
    if missing:
        session.execute(insert(models.Base.metadata.tables["watches"]), missing)
    return {host: found.get(host, (None, 0)) for host in sorted(hosts)}


def _give(session: Session, hosts: Iterable[str], owner: str | None) -> None:
    names, watch = sorted(hosts), models.Watch
    for begin in range(0, len(names), _PART):
        part = names[begin : begin + _PART]
        session.execute(update(watch).where(watch.host.in_(part)).values(owner=owner, version=watch.version + 1))
