"""Asks the hosts, compares what they say with the database, and applies the remedies that need no person. What it finds is `reconciliation`'s."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from livemig import exceptions
from livemig.conductor.reconciliation import KINDS, Answer, Disagreement, Remedy, compare, defined_elsewhere
from livemig.db.store import Store
from livemig.hypervisor import definitions, roll
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Runtime, Task

PATIENCE_LEASES = 3  # whatever nobody has taken up by then nobody will
_AGAIN_S = 3.0  # what is gone by the second look was just under way
_MOST = 16  # hosts asked at once
_TRIES = 5
_CLOCKS_S = 2.0  # by which two clocks may differ


def _leave(_host: str, _home: str, _server: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Hands:
    """What a doctor may do. Each returns False when it was not done, and may raise a HypervisorError.

    `look(host, server)` has a server looked at and written down; `undefine(host, home, server)` removes a definition from a host where its guest,
    whose home is elsewhere, does not run.
    """

    look: Callable[[str, str], bool]
    undefine: Callable[[str, str, str], bool] = _leave


class Doctor:
    """`hypervisors` are those that can be asked now, by host. An open migration that nobody has held for `patience_s` is forsaken.

    A host that has not answered after `answer_s` counts as one that cannot be asked.
    """

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        hypervisors: Callable[[], Mapping[str, Hypervisor]],
        hands: Hands,
        patience_s: float,
        answer_s: float,
        wait: Callable[[float], object],
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._hypervisors = hypervisors
        self._hands = hands
        self._patience_s = patience_s
        self._answer_s = answer_s
        self._wait = wait
        self._asking: dict[str, Task] = {}  # those that hang stay here

    def examine(self, hosts: Collection[str] | None = None) -> list[Disagreement]:
        """What all hosts say against all rows; or, for `hosts`, what they say against the rows of their servers. Whatever is found is looked at twice.

        Raises DatabaseUnavailable.
        """
        answers = self.ask(self._hypervisors() if hosts is None else hosts)
        first = self._compare(hosts, answers)
        if not first:
            return []
        self._wait(_AGAIN_S)
        answers |= self.ask({host for found in first for host in found.hosts} & set(self._hypervisors()))
        before = {found.key for found in first}
        return [found for found in self._compare(hosts, answers) if found.key in before]

    def mend(self, found: Disagreement) -> bool:
        """Do what needs no person. False when there is nothing of the kind, or it could not be done.

        Raises HypervisorError and DatabaseUnavailable.
        """
        if found.server is None:
            return False
        if found.kind.remedy is Remedy.LOOK:
            return self._look(found.server, found.hosts)
        if found.kind.remedy is Remedy.UNDEFINE:
            host, home = str(found.facts["host"]), str(found.facts["shown"])
            return self._hands.undefine(host, home, found.server) and self._look(found.server, [host])
        return found.kind.remedy is Remedy.RELEASE and self._store.inspection.release(found.server)

    def _look(self, server: str, hosts: Iterable[str]) -> bool:
        looked = [self._hands.look(host, server) for host in hosts if host in self._hypervisors()]
        return all(looked)

    def ask(self, hosts: Iterable[str]) -> dict[str, Answer]:
        """Each in a thread of its own; a few at a time."""
        names = sorted(hosts)
        parts = [names[begin : begin + _MOST] for begin in range(0, len(names), _MOST)]
        return {host: answer for part in parts for host, answer in self._ask(part).items()}

    def _ask(self, hosts: Sequence[str]) -> Mapping[str, Answer]:
        hypervisors = self._hypervisors()
        said: dict[str, Answer] = {}
        tasks = {host: self._ask_one(hypervisors[host], said) for host in hosts if host in hypervisors}
        deadline = self._runtime.monotonic() + self._answer_s
        for task in tasks.values():
            task.join(max(0.0, deadline - self._runtime.monotonic()))
        self._asking = {host: task for host, task in (self._asking | tasks).items() if task.is_alive()}
        late = {host: Answer(None, hypervisors[host].uri, f"no answer within {self._answer_s:g} s") for host in tasks}
        return {host: Answer(None, reason="not connected") for host in hosts} | late | dict(said)

    def _ask_one(self, hypervisor: Hypervisor, said: dict[str, Answer]) -> Task:
        """One that still hangs from the last time is not asked again."""

        def call() -> None:
            try:
                said[hypervisor.name] = Answer(roll.call(hypervisor), hypervisor.uri)
            except exceptions.HypervisorError as error:
                said[hypervisor.name] = Answer(None, hypervisor.uri, str(error))

        return self._asking.get(hypervisor.name) or self._runtime.start(f"roll-{hypervisor.name}", call)

    def _compare(self, hosts: Collection[str] | None, answers: Mapping[str, Answer]) -> list[Disagreement]:
        said = {uuid for answer in answers.values() for uuid in answer.roll or ()}
        rows = self._store.inspection.rows(self._patience_s, hosts, said, defined_elsewhere(answers))
        return compare(rows, answers, whole=hosts is None)


def of_database(store: Store) -> list[Disagreement]:
    """What is wrong with the database itself. While its tables are at another revision nothing else can be said."""
    there, newest = store.inspection.revision()
    if there != newest:
        return [Disagreement(KINDS["revision"], "database:", {"there": there, "newest": newest})]
    ahead = store.inspection.clock_ahead_s()
    return [Disagreement(KINDS["clock"], "database:", {"ahead": ahead})] if abs(ahead) > _CLOCKS_S else []


def own_hands(store: Store, hypervisors: Mapping[str, Hypervisor]) -> Hands:
    """Those of somebody without watchers, beside those that there may be: what is newer than a look is not written over."""

    def look(host: str, server: str) -> bool:
        with _connected(hypervisors[host]):
            return any(_look(store, hypervisors[host], server) for _ in range(_TRIES))

    def undefine(host: str, home: str, server: str) -> bool:
        with _connected(hypervisors[host]), _connected(hypervisors[home]):
            if store.servers.get(server).task_state is not None or not definitions.is_at_home(hypervisors[home], server):
                return False
            definitions.forget(hypervisors[host], server)
            return True

    return Hands(look, undefine)


@contextmanager
def _connected(hypervisor: Hypervisor) -> Iterator[None]:
    hypervisor.connect()
    try:
        yield
    finally:
        hypervisor.close()


def _look(store: Store, hypervisor: Hypervisor, server: str) -> bool:
    """False when somebody else was faster, or no conductor knows the host yet. What only a watcher can know (a guest agent's word) is left as it is."""
    sight = store.watches.find(hypervisor.name)
    said = hypervisor.server(server)
    known = store.inspection.knows(server)
    return sight is not None and store.servers.see(hypervisor.name, [replace(said, details=said.details and not known)], sight=replace(sight, owner=None))
