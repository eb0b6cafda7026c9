"""The rounds: from time to time a conductor compares the hosts that it watches with the database, says what is wrong, and mends what needs no person.

Each thing is said once, in the log and in the event log of the migration that it is about; and once more when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from oslo_log import log

from livemig import exceptions
from livemig.conductor.doctor import PATIENCE_LEASES, Doctor, Hands
from livemig.conductor.inventory import Inventory
from livemig.conductor.reconciliation import Disagreement, Remedy
from livemig.db.store import Store
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Event, Runtime, Task

LOG = log.getLogger(__name__)

_ANSWER_S = 20.0
_PART = 32  # hosts that are compared at once
_BY_ITSELF = (Remedy.LOOK, Remedy.RELEASE)

Key = tuple[str, str, str | None]


class Rounds:
    """Of the conductor `owner`. `stopping` ends them."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime, owner: str, stopping: Event) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._owner = owner
        self._stopping = stopping
        self._patience_s = PATIENCE_LEASES * conf.conductor.lease_time
        self._doctor = Doctor(store, runtime, self._hypervisors, Hands(self._look), self._patience_s, _ANSWER_S, stopping.wait)
        self._said: dict[Key, Disagreement] = {}

    def start(self) -> list[Task]:
        """The thread that makes them, if they are to be made."""
        return [self._runtime.start("rounds", self._run)] if self._conf.conductor.reconcile_interval else []

    def make(self) -> None:
        """One round. Raises DatabaseUnavailable."""
        watches, hosts = self._store.watches.all(), list(self._conf.enabled_hosts)
        mine = [host for host in hosts if watches.get(host) == self._owner and self._was_looked_at(host)]
        found = {each.key: each for part in _parts(mine) for each in self._examine(part, hosts)}
        if self._stopping.is_set():
            return
        for key, each in found.items():
            self._treat(each, new=key not in self._said)
        for key in self._said.keys() - found.keys():
            LOG.info("Reconciliation: it is not so any more: %s", self._said[key].text)
        self._said = found

    def _examine(self, mine: Sequence[str], hosts: Sequence[str]) -> Iterator[Disagreement]:
        """What the watcher of these hosts is to speak of. That of the first host of all speaks of what is on none of them."""
        if not self._stopping.is_set():
            spoken_of = {None, *mine}
            yield from (each for each in self._doctor.examine(mine) if each.where in spoken_of or (hosts[0] in mine and each.where not in hosts))

    def _treat(self, found: Disagreement, new: bool) -> None:
        if found.kind.name == "twice":
            reason = f"The guest {found.says}. Nothing was done to it; a person must look."
            self._store.inspection.lose(found.server or "", reason, found.presences)
        if new:
            say: Callable[..., None] = LOG.critical if found.kind.name == "twice" else LOG.warning
            say("Reconciliation: %s. %s: %s", found.text, "By itself" if found.kind.remedy in _BY_ITSELF else "For a person", found.mend)
            if found.migration is not None:
                self._store.migrations.record(found.migration, ("reconciliation", f"{found.says}; {found.mend}"))
        if found.kind.remedy in _BY_ITSELF:
            self._doctor.mend(found)

    def _run(self) -> None:
        pause: float = self._patience_s
        while not self._stopping.wait(pause):
            self._try()
            pause = self._conf.conductor.reconcile_interval or pause

    def _try(self) -> None:
        try:
            self.make()
        except exceptions.DatabaseUnavailable:
            LOG.warning("The database is away; it is compared with the hosts next time")
        except Exception:
            LOG.exception("Reconciliation failed; it is tried again next time")

    def _hypervisors(self) -> Mapping[str, Hypervisor]:
        """Those that are connected to: whoever is away is known to be, and would only be waited for."""
        watchers = ((host, self._inventory.get(host)) for host in self._conf.enabled_hosts)
        return {host: watcher.hypervisor for host, watcher in watchers if watcher is not None and watcher.hypervisor.connected}

    def _was_looked_at(self, host: str) -> bool:
        """Or tried in vain. A thousand hosts take a minute after the start: till then their guests are not missing in the database, but not yet in it."""
        watcher = self._inventory.get(host)
        return watcher is not None and watcher.settled.is_set()

    def _look(self, host: str, server: str) -> bool:
        watcher = self._inventory.get(host)
        return watcher is not None and watcher.look(server)


def _parts(hosts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (hosts[begin : begin + _PART] for begin in range(0, len(hosts), _PART))
