"""Asks guest agents for addresses, apart from everything else: an agent is a program in the guest, and may never answer.

No time-out is set for that: libvirt's (virDomainAgentSetResponseTimeout) would stay with the guest, and hold for whoever freezes its file systems.
"""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log

from livemig import exceptions
from livemig.facts import HostEvent, ServerChanged
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Runtime, Task

LOG = log.getLogger(__name__)

_LONG_S = 30.0  # a thread that is at work for longer waits for an agent that hangs
_MOST = 3  # threads that may hang


class Agents:
    """Of one host. `tell` hears of each server whose agent had something new to say."""

    def __init__(self, hypervisor: Hypervisor, runtime: Runtime, tell: Callable[[HostEvent], None]) -> None:
        self._hypervisor = hypervisor
        self._runtime = runtime
        self._tell = tell
        self._tasks: dict[Task, float] = {}  # since when each is at work
        self._being_asked: set[str] = set()

    def ask(self) -> None:
        """After a look at the host: have those asked that may know more. It does not wait. Whoever still waits for his turn is asked after the next look."""
        now = self._runtime.monotonic()
        self._tasks = {task: since for task, since in self._tasks.items() if task.is_alive()}
        wanted = self._hypervisor.addresses.unasked() - self._being_asked
        at_work = any(now - since < _LONG_S for since in self._tasks.values())
        if wanted and not at_work and len(self._tasks) < _MOST:
            self._tasks[self._runtime.start(f"agents-{self._hypervisor.name}", self._ask, sorted(wanted))] = now

    def _ask(self, uuids: list[str]) -> None:
        began = self._runtime.monotonic()
        for uuid in uuids:
            if self._runtime.monotonic() - began >= _LONG_S:
                return  # others have taken over
            self._being_asked.add(uuid)
            try:
                if self._hypervisor.ask_agent(uuid):
                    self._tell(ServerChanged(uuid, "addresses changed"))
            except exceptions.HypervisorError as error:
                LOG.debug("The agent of server %s: %s", uuid, error)
            finally:
                self._being_asked.discard(uuid)
