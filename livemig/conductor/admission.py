"""Which queued migrations may start, and what the others wait for: the limits, as a pure function over the rows of all conductors.

Oldest first. One that a limit holds up holds up nobody who needs other places. It cannot starve for that: where later ones have taken a place that it
needs, the other place that it needs is kept for it until one of them ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """All limits, made as they are met."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = _Gate(limits.total, "{} of {} migrations in all")
        self._outgoing: dict[str, _Gate] = {}
        self._incoming: dict[str, _Gate] = {}

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
    """The numbers of those that start, and what each of the others waits for. `queued` are in their order."""
    gates = _Gates(limits)
    starting: list[int] = []
    waiting: dict[int, str] = {}
    for place in admitted:
        _take(gates.of(place), place.id)
    for place in queued:
        needed = gates.of(place)
        full = [gate for gate in needed if gate.full]
        if not full:
            _take(needed, place.id)
            starting.append(place.id)
            continue
        waiting[place.id] = full[0].sentence
        if all(gate.overtook(place.id) for gate in full):
            _keep(needed[1:], place.id)
    return starting, waiting


def _take(gates: Sequence[_Gate], number: int) -> None:
    for gate in gates:
        gate.holders.append(number)


def _keep(gates: Sequence[_Gate], number: int) -> None:
    """Not in all: whoever ends at one of the hosts frees a place there too, for the oldest that can start."""
    for gate in gates:
        gate.kept_for.append(number)
