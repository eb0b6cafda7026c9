"""Which queued migrations may start, and what the others wait for: the limits, as a pure function over the rows of all conductors.

The oldest of all goes first. The others go by the host that will be busy longest, as that is what the whole takes; those alike, and so all of a source where
destinations have no limit, by age. Nobody starves: if later ones have taken a place that the oldest needs, the other place that it needs is kept for it until
one of them ends; and whoever waits is the oldest one day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from livemig.conf import Limits
from livemig.records import Place


@dataclass(slots=True)
class _Gate:
    """One limit: which migrations hold its places, and for which the next free ones are kept."""

    limit: int
    text: str
    holders: list[int] = field(default_factory=list)
    kept_for: list[int] = field(default_factory=list)
    awaited: int = 0  # by so many that wait

    @property
    def rounds(self) -> float:
        """For how many migrations, one after the other, this limit will be what holds up."""
        return (len(self.holders) + self.awaited) / self.limit if self.limit else 0.0

    @property
    def full(self) -> bool:
        return 0 < self.limit <= len(self.holders) + len(self.kept_for)

    def overtook(self, number: int) -> bool:
        """Whether one that came later holds a place here, and nobody before this one is to have it."""
        return sum(holder > number for holder in self.holders) > len(self.kept_for)

    @property
    def sentence(self) -> str:
        kept = f", the next is migration {self.kept_for[0]}" if len(self.holders) < self.limit else ""
        return self.text.format(len(self.holders), self.limit) + kept


class _Gates:
    """All limits, made as they are met; what is admitted has its places."""

    def __init__(self, limits: Limits, admitted: Sequence[Place]) -> None:
        self._limits = limits
        self._total = _Gate(limits.total, "{} of {} migrations in all")
        self._outgoing: dict[str, _Gate] = {}
        self._incoming: dict[str, _Gate] = {}
        for place in admitted:
            _take(self.of(place), place.id)

    def of(self, place: Place) -> tuple[_Gate, _Gate, _Gate]:
        """In all, at the source, at the destination."""
        limits = self._limits
        outgoing = _gate(self._outgoing, place.source, limits.outgoing_of, limits.outgoing, "{} sends {{}} of {{}}".format)
        incoming = _gate(self._incoming, place.destination, limits.incoming_of, limits.incoming, "{} receives {{}} of {{}}".format)
        return self._total, outgoing, incoming


def _gate(gates: dict[str, _Gate], host: str, own: Mapping[str, int], limit: int, text: Callable[[str], str]) -> _Gate:
    if host not in gates:
        gates[host] = _Gate(own.get(host, limit), text(host))
    return gates[host]


def choose(queued: Sequence[Place], admitted: Sequence[Place], limits: Limits) -> tuple[list[int], dict[int, str]]:
    """The numbers of those that start, and what each of the others waits for. `queued` are in the order of their requests."""
    gates = _Gates(limits, admitted)
    starting: list[int] = []
    waiting: dict[int, str] = {}
    for place in _ordered(queued, gates):
        needed = gates.of(place)
        full = [gate for gate in needed if gate.full]
        if not full:
            _take(needed, place.id)
            starting.append(place.id)
            continue
        waiting[place.id] = full[0].sentence
        if place is queued[0] and all(gate.overtook(place.id) for gate in full):
            _keep(needed[1:], place.id)
    return sorted(starting), waiting


def stranded(queued: Sequence[Place], admitted: Sequence[Place], limits: Limits) -> tuple[list[int], dict[str, str]]:
    """The numbers of those that may go anywhere and that only their destination's limit holds up, as many as could start elsewhere; and the destinations that
    have no place free, with what is said of them."""
    gates = _Gates(limits, admitted)
    found: list[int] = []
    full = {place.destination: gate.sentence for place in (*queued, *admitted) if (gate := gates.of(place)[2]).full}
    for place in queued:
        total, outgoing, incoming = gates.of(place)
        if place.anywhere and incoming.full and not outgoing.full and not total.full:
            _take((total, outgoing), place.id)
            found.append(place.id)
    return found, full


def after(queued: Sequence[Place], admitted: Sequence[Place], started: Collection[int]) -> tuple[Sequence[Place], Sequence[Place]]:
    """Who is queued and who has his place, once these have started."""
    return [place for place in queued if place.id not in started], [*admitted, *(place for place in queued if place.id in started)]


def _ordered(queued: Sequence[Place], gates: _Gates) -> list[Place]:
    """The oldest, then the others by the busiest of their two hosts."""
    for place in queued:
        for gate in gates.of(place):
            gate.awaited += 1
    rounds = {place.id: max(gate.rounds for gate in gates.of(place)[1:]) for place in queued}
    return [*queued[:1], *sorted(queued[1:], key=lambda place: (-rounds[place.id], place.id))]


def _take(gates: Sequence[_Gate], number: int) -> None:
    for gate in gates:
        gate.holders.append(number)


def _keep(gates: Sequence[_Gate], number: int) -> None:
    """Not in all: whoever ends at one of the hosts frees a place there too, for the oldest that can start."""
    for gate in gates:
        gate.kept_for.append(number)
