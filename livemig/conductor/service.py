"""A conductor: inventory, engine and the housekeeping of leases."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from oslo_log import log

from livemig import conf as configuration
from livemig import exceptions, notifications
from livemig.conductor.announcer import Announcer
from livemig.conductor.deeds import Deeds
from livemig.conductor.engine import Engine
from livemig.conductor.inventory import Inventory, Watcher
from livemig.conductor.lease import Leases
from livemig.conductor.marks import WrittenMarks
from livemig.conductor.purging import Purging
from livemig.conductor.rounds import Rounds
from livemig.conf import HostSettings
from livemig.db.engine import patient
from livemig.db.store import Store
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.runtime import Runtime, Task

LOG = log.getLogger(__name__)

_PATIENCE_S = 5.0  # with a locked database, where a client waits: as long as the API has
_PART_S = 1.5  # of the time in which it stops: for each thing that may hang


class Conductor:
    """Everything but the RPC server, which passes on what `answers` names. `libvirt` is the module that drives the hypervisors."""

    def __init__(self, conf: Any, store: Store, libvirt: Any, runtime: Runtime) -> None:
        self._conf = conf
        self._store = store
        self._runtime = runtime
        self._libvirt = libvirt
        self._owner = f"{conf.host}:{uuid.uuid4()}"
        self._stopping = runtime.event()
        self._tasks: list[Task] = []  # housekeeping
        self._loop = EventLoop(libvirt, runtime)
        self._marks = WrittenMarks(store, conf.host)
        lease_s = conf.conductor.lease_time
        self.inventory = Inventory(store, self._watcher, runtime, self._owner, lease_s)
        self._leases = Leases(store, runtime, self._owner, lease_s)
        announcer = Announcer(store, notifications.from_conf(conf, runtime), configuration.aggregates(conf))
        self.engine = Engine(conf, store, self.inventory, runtime, self._leases, announcer)
        self.rounds = Rounds(conf, store, self.inventory, runtime, self._owner, self._stopping)
        self._purging = Purging(conf, store, runtime, self._stopping)
        deeds = Deeds(conf, store, self.inventory, runtime)
        self.answers: dict[str, Callable[..., Any]] = {
            "live_migrate": self._waited_for(self.engine.accept),
            "wake": self.engine.wake,
            "perform": self._waited_for(deeds.perform),
            "diagnostics": self._waited_for(deeds.diagnostics),
        }

    def _waited_for(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """Of one that a client waits for, and who would rather be told that the database is locked."""

        def bounded(*arguments: Any, **named: Any) -> Any:
            with patient(_PATIENCE_S, self._runtime.monotonic):
                return answer(*arguments, **named)

        return bounded

    def start(self) -> None:
        """Watch the hosts, and take up what a former life left. Raises ConfigurationError."""
        settings = configuration.hosts(self._conf)
        self._loop.start()
        self._store.migrations.release_former(self._owner)
        self._store.watches.release_former(self._owner)
        self.inventory.follow(settings)
        self._tasks = [self._runtime.start("leases", self._keep_leases), *self.rounds.start(), *self._purging.start()]
        LOG.info("Conductor %s looks after %s", self._owner, ", ".join(settings) or "no hosts: enabled_hosts is empty")

    def reload(self) -> None:
        """Follow a changed configuration; called after its files were read again."""
        self.inventory.follow(configuration.hosts(self._conf))
        self.engine.reload()

    def stop(self) -> None:
        """Let go of everything within a few seconds, whatever hangs: jobs go on in libvirt, and their leases and the hosts' watches are free for others."""
        self.engine.stop()
        self._stopping.set()
        self._leases.surrender()
        deadline = self._runtime.monotonic() + _PART_S
        for task in self._tasks:
            task.join(max(0.0, deadline - self._runtime.monotonic()))
        self._runtime.start("hand-over", self._hand_over).join(_PART_S)
        self.inventory.stop(_PART_S)
        self._loop.stop()
        LOG.info("Conductor %s stopped; migrations that run go on in libvirt", self._owner)

    def _hand_over(self) -> None:
        try:
            self._store.migrations.release(self._owner)
            self._store.watches.release(self._owner)
        except exceptions.DatabaseUnavailable:
            LOG.warning("The database is away: leases of %s will expire by themselves", self._owner)

    def _keep_leases(self) -> None:
        """Each step is tried again after a third of the lease, whatever becomes of the others."""
        while True:
            for step in (self._leases.renew, self.engine.hand_over, self.inventory.balance, self.engine.adopt):
                if not self._stopping.is_set():
                    self._keep(step)
            if self._stopping.wait(self._leases.seconds / 3):
                return

    def _keep(self, step: Callable[[], None]) -> None:
        try:
            step()
        except exceptions.DatabaseUnavailable as error:
            LOG.warning("The database is away; leases are renewed when it is back: %s", error.why)
        except Exception:
            LOG.exception("Housekeeping failed; it is tried again")

    def _watcher(self, settings: HostSettings) -> Watcher:
        group = self._conf.libvirt
        keepalive = (group.keepalive_interval, group.keepalive_count)
        hypervisor = Hypervisor(self._libvirt, settings.name, settings.connection_uri, keepalive, self._marks)
        return Watcher(settings, hypervisor, self._store, self._runtime, self._conf.conductor.reconnect_max, self._owner)
