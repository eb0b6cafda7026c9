"""What is done to a server beside migrating it: each of Nova's server actions that is plainly libvirt's.

The API has found that the server's state permits it; libvirt is the judge of what it really is. Nobody touches a guest that is being moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oslo_log import log

from livemig import exceptions
from livemig.conductor.inventory import Inventory
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.diagnostics import Diagnostics
from livemig.facts import Disconnected, HostEvent, Presence
from livemig.hypervisor import power
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.diagnostics import diagnose
from livemig.runtime import Mailbox, Runtime
from livemig.whereabouts import BETWEEN, SHOWN

LOG = log.getLogger(__name__)

_PATIENCE_S = 30.0  # for the first answer of a host; what is then done there takes as long as it takes


class Deeds:
    """Does what DEEDS names, on hosts that the inventory watches."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._stops: dict[str, Stop] = {}  # the last one of each server whose guest is waited for

    def perform(self, server_uuid: str, host: str, deed: str) -> None:
        """Do it, and take down how the server is then. It takes the place of a stop that still waits for the guest.

        Raises KeyError for what is not in DEEDS, ServerInvalidState when libvirt finds the guest in another state, or on its way, ServerNotFound when it is
        gone, HypervisorError for anything else.
        """
        what, asked_at = DEEDS[deed], self._runtime.monotonic()
        hypervisor = self._at_home(server_uuid, host, what.action)
        if self._runtime.monotonic() - asked_at > self._conf.api.conductor_timeout:
            raise exceptions.OutcomeUnknown  # who asked has been told so: a conductor that was frozen meanwhile surprises nobody
        self._stops.pop(server_uuid, None)
        try:
            what.do(self, hypervisor, server_uuid)
        except exceptions.DomainNotFound as error:  # it has left meanwhile
            raise self._gone(server_uuid, host, what.action) from error
        except exceptions.NoJob as error:
            LOG.info("Server %s: cannot %s: %s", server_uuid, what.action, error)
            raise self._refused(hypervisor, server_uuid, what.action) from error
        finally:
            self._look(hypervisor, server_uuid)

    def diagnostics(self, server_uuid: str, host: str) -> Diagnostics:
        """What the server uses now. Raises as `perform`."""
        action = "get_diagnostics"
        hypervisor = self._at_home(server_uuid, host, action)
        try:
            return diagnose(hypervisor, server_uuid)
        except exceptions.DomainNotFound as error:  # it has left meanwhile
            raise self._gone(server_uuid, host, action) from error
        except exceptions.NoJob as error:
            raise self._refused(hypervisor, server_uuid, action) from error

    def resume(self, hypervisor: Hypervisor, uuid: str) -> None:
        """From whatever it sleeps in."""
        wake = power.WAKING.get(hypervisor.server(uuid).presence)
        if wake is None:
            raise power.wrong_state(hypervisor, "the guest is not suspended")
        wake(hypervisor, uuid)

    def stop(self, hypervisor: Hypervisor, uuid: str) -> None:
        """Ask the guest to shut down, and switch it off if it has not after [libvirt] shutdown_timeout; nobody waits for that."""
        patience_s = self._conf.libvirt.shutdown_timeout
        run = power.run(hypervisor, uuid)
        if not patience_s or run is None:
            power.destroy(hypervisor, uuid)
            return
        stop = Stop(hypervisor, uuid, run, self._runtime, patience_s, self._last_asked(uuid))
        try:
            power.shutdown(hypervisor, uuid)
        except BaseException:
            stop.end()
            raise
        self._stops[uuid] = stop
        self._runtime.start(f"stop-{uuid}", self._see_off, stop)

    def _see_off(self, stop: Stop) -> None:
        """In a thread of its own: wait for a guest to go, and switch it off if it does not."""
        try:
            with self._inventory.holding(stop.hypervisor.name):
                if not stop.wait() and self._stops.get(stop.uuid) is stop:
                    self._switch_off(stop)
        except exceptions.LivemigError as error:
            LOG.warning("Server %s did not shut down, and was not switched off: %s", stop.uuid, error)
        finally:
            stop.end()
            if self._stops.get(stop.uuid) is stop:
                del self._stops[stop.uuid]

    def _switch_off(self, stop: Stop) -> None:
        self._at_home(stop.uuid, stop.hypervisor.name, "stop")  # it may have been moved, or be just moving
        if self._store.servers.get(stop.uuid).task_state is not None:
            raise exceptions.ServerInvalidState(server=stop.uuid, action="stop", attribute="task_state", state="migrating")
        if self._last_asked(stop.uuid) != stop.asked:
            raise exceptions.ServerInvalidState(server=stop.uuid, action="stop", attribute="task_state", state="asked for something else")
        LOG.info("Server %s did not shut down in time and is switched off", stop.uuid)
        power.destroy(stop.hypervisor, stop.uuid)
        self._look(stop.hypervisor, stop.uuid)

    def _last_asked(self, uuid: str) -> int | None:
        """The number of the last deed that was asked of a server, of any conductor."""
        found = self._store.actions.find(Selection({"server_uuid": uuid, "action": _NAMES}, sort=(("id", "desc"),), limit=1))
        return found[0].id if found else None

    def _at_home(self, uuid: str, host: str, action: str) -> Hypervisor:
        """The hypervisor, on which the guest is and does not move. Raises ServerInvalidState, ServerNotFound or HypervisorUnavailable."""

        def find(hypervisor: Hypervisor) -> Hypervisor:
            presence = hypervisor.presence(uuid)
            if presence is Presence.UNKNOWN:
                raise exceptions.HypervisorUnavailable(host=host, code=0, message="the host cannot be asked")
            if presence is Presence.ABSENT:
                raise self._gone(uuid, host, action)
            if presence in BETWEEN or hypervisor.job(uuid) is not None:  # an incoming guest is asked for no job: it would block
                raise exceptions.ServerInvalidState(server=uuid, action=action, attribute="task_state", state="migrating")
            return hypervisor

        return self._inventory.ask(host, find, _PATIENCE_S)

    def _refused(self, hypervisor: Hypervisor, uuid: str, action: str) -> exceptions.LivemigError:
        """What libvirt finds the guest in, when that is not a state for it."""
        try:
            presence = hypervisor.server(uuid).presence
        except exceptions.DomainNotFound:
            return self._gone(uuid, hypervisor.name, action)
        if presence in BETWEEN:
            return exceptions.ServerInvalidState(server=uuid, action=action, attribute="task_state", state="migrating")
        return exceptions.ServerInvalidState(server=uuid, action=action, attribute="vm_state", state=SHOWN[presence][0])

    def _gone(self, uuid: str, host: str, action: str) -> exceptions.LivemigError:
        """Why a guest is not where whoever asks has been told: it moves, or has just moved; or it is gone, and its server's row soon will be."""
        server = self._store.servers.get(uuid)
        if server.task_state is None and server.host == host:
            return exceptions.ServerNotFound(server=uuid)
        return exceptions.ServerInvalidState(server=uuid, action=action, attribute="task_state", state="migrating")

    def _look(self, hypervisor: Hypervisor, uuid: str) -> None:
        """Have it taken down how the guest is, so that the answer finds it shown."""
        watcher = self._inventory.held(hypervisor.name)
        if watcher is None or not watcher.look(uuid):
            LOG.warning("Server %s is shown as it was until host %s is looked at again", uuid, hypervisor.name)


class Stop:
    """One guest that was asked to shut down, by the action `asked`: waits for it by its events. `end()` ends the listening."""

    def __init__(self, hypervisor: Hypervisor, uuid: str, run: int, runtime: Runtime, patience_s: float, asked: int | None) -> None:
        self.hypervisor = hypervisor
        self.uuid = uuid
        self.asked = asked
        self._run = run
        self._runtime = runtime
        self._deadline = runtime.monotonic() + patience_s
        self._news: Mailbox[HostEvent] = Mailbox(runtime)
        self.end = hypervisor.listen(self._hear)

    def wait(self) -> bool:
        """Whether this run of the guest ended in time."""
        while not self._is_over():
            left = self._deadline - self._runtime.monotonic()
            if left <= 0:
                return False
            self._news.take(left)
        return True

    def _hear(self, event: HostEvent) -> None:
        if isinstance(event, Disconnected) or event.uuid == self.uuid:
            self._news.put(event)

    def _is_over(self) -> bool:
        try:
            return power.run(self.hypervisor, self.uuid) != self._run
        except exceptions.DomainNotFound:
            return True
        except exceptions.HypervisorError:
            return False  # it is asked again at the next news, or when time is up


@dataclass(frozen=True, slots=True)
class Deed:
    """`action` is Nova's word for it (nova/api/openstack/compute/*.py), as refusals name it."""

    action: str
    do: Callable[[Deeds, Hypervisor, str], None]


DEEDS: dict[str, Deed] = {
    "pause": Deed("pause", lambda _deeds, hypervisor, uuid: hypervisor.pause(uuid)),
    "unpause": Deed("unpause", lambda _deeds, hypervisor, uuid: hypervisor.resume(uuid)),
    "suspend": Deed("suspend", lambda _deeds, hypervisor, uuid: power.save(hypervisor, uuid)),
    "resume": Deed("resume", Deeds.resume),
    "start": Deed("start", lambda _deeds, hypervisor, uuid: power.start(hypervisor, uuid)),
    "stop": Deed("stop", Deeds.stop),
    "reboot_soft": Deed("reboot", lambda _deeds, hypervisor, uuid: power.reboot(hypervisor, uuid)),
    "reboot_hard": Deed("reboot", lambda _deeds, hypervisor, uuid: power.restart(hypervisor, uuid)),
}
_NAMES = tuple({deed.action for deed in DEEDS.values()})
