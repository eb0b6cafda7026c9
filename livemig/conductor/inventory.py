"""The watched hosts: one thread per host keeps its connection and writes down, event by event, what runs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oslo_log import log

from livemig import exceptions
from livemig.conductor.agents import Agents
from livemig.conf import HostSettings
from livemig.db.store import Store
from livemig.facts import Disconnected, HostEvent, ServerChanged
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Event, Mailbox, Runtime, Task

LOG = log.getLogger(__name__)

_FIRST_PAUSE_S = 0.2
_DATABASE_PAUSE_S = 1.0
_LOOK_S = 5.0  # how long somebody waits who wants a server looked at
_REFRESH_S = 60.0  # free memory has no event


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody wants a server looked at; `done` is set when it was, or could not be."""

    uuid: str
    done: Event


class Watcher:
    """Follows one host, and is the only one to write down what is seen there: of two writers the slower could put back what was so before.

    `settled` is set once it has been reached, or found unreachable, for the first time."""

    def __init__(self, settings: HostSettings, hypervisor: Hypervisor, store: Store, runtime: Runtime, reconnect_max: float) -> None:
        self.settings = settings
        self.hypervisor = hypervisor
        self.settled = runtime.event()
        self._store = store
        self._runtime = runtime
        self._reconnect_max = reconnect_max
        self._stopping = runtime.event()
        self._news: Mailbox[HostEvent | Look | None] = Mailbox(runtime)
        self._agents = Agents(hypervisor, runtime, self._news.put)
        self._task: Task | None = None
        self._followed = False  # by the present connection: the host has been looked at
        self._said = ""  # why it is away

    def start(self) -> None:
        self._task = self._runtime.start(f"watch-{self.settings.name}", self._run)

    def stop(self) -> None:
        """Stop following; the connection is closed by the watcher's own thread, which may hang in a call to a host that is away."""
        self._stopping.set()
        self._news.put(None)

    def look(self, uuid: str, seconds: float = _LOOK_S) -> bool:
        """Have a server looked at and written down, and wait for it at most that long. False when it was not in time: it is done a little later."""
        look = Look(uuid, self._runtime.event())
        self._news.put(look)
        return look.done.wait(seconds)

    def join(self, seconds: float) -> None:
        if self._task is not None:
            self._task.join(seconds)

    def _run(self) -> None:
        stop_listening = self.hypervisor.listen(self._news.put)
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            if self._connect_and_follow():
                pause = _FIRST_PAUSE_S
            self.hypervisor.close()
            self._stopping.wait(pause)
            pause = min(2 * pause, self._reconnect_max)
        stop_listening()

    def _connect_and_follow(self) -> bool:
        """False when the host could not be reached, or does not say what there is on it."""
        try:
            self._news.take(0)
            self._followed = False
            self._follow()
        except exceptions.DatabaseUnavailable:
            self._wait_for_database()
        except Exception:
            LOG.exception("Following host %s failed; it is connected to again", self.settings.name)
        return self._followed

    def _away(self, reason: str) -> None:
        log_it = LOG.debug if reason == self._said else LOG.warning
        log_it("Host %s is away: %s", self.settings.name, reason)
        self._said = reason
        self._store.hosts.went_down(self.settings.name)
        self.settled.set()

    def _look_at_all(self) -> None:
        self._look_at_host()
        self._store.servers.see(self.settings.name, self.hypervisor.servers(), complete=True)
        self.settled.set()
        if not self._followed:
            LOG.info("Connected to host %s at %s", self.settings.name, self.settings.connection_uri)
            storage.sweep(self.hypervisor)
        self._followed, self._said = True, ""
        if self.hypervisor.learn_processors():
            self._look_at_host()

    def _look_at_host(self) -> None:
        self._store.hosts.came_up(self.settings.name, self.hypervisor.all_facts(self._runtime.now()))

    def _follow(self) -> None:
        """Returns when the host is away, or when the watcher is to stop."""
        try:
            self.hypervisor.connect()
            news: list[HostEvent | Look | None] = []
            while not self._stopping.is_set():
                news = self._take_down(news)
        except exceptions.HypervisorError as error:
            self._away(str(error))

    def _take_down(self, news: list[HostEvent | Look | None]) -> list[HostEvent | Look | None]:
        """Write down what is new, everything if `news` is empty; then wait for the next. The connection outlives the database: jobs are watched by it."""
        for event in news:
            if isinstance(event, Disconnected):
                raise exceptions.HypervisorUnavailable(host=self.settings.name, code=0, message=f"the connection was lost: {event.reason}")
        changed = {event.uuid for event in news if isinstance(event, ServerChanged | Look)}
        try:
            if changed:
                self._store.servers.see(self.settings.name, [self.hypervisor.server(uuid) for uuid in sorted(changed)])
                for look in news:
                    if isinstance(look, Look):
                        look.done.set()
            elif not news:
                self._look_at_all()
        except exceptions.DatabaseUnavailable:
            self._wait_for_database()
            return [event for event in self._news.take(0) if isinstance(event, Disconnected)]  # else nothing: look at everything
        self._agents.ask()
        return self._news.take(_REFRESH_S)

    def _wait_for_database(self) -> None:
        LOG.warning("The database is away; host %s is looked at again when it is back", self.settings.name)
        self._stopping.wait(_DATABASE_PAUSE_S)


class Inventory:
    """The watchers of all enabled hosts."""

    def __init__(self, store: Store, make_watcher: Callable[[HostSettings], Watcher]) -> None:
        self._store = store
        self._make_watcher = make_watcher
        self._watchers: dict[str, Watcher] = {}

    def follow(self, settings: Mapping[str, HostSettings]) -> None:
        """Watch exactly these hosts; one whose settings changed is connected to anew."""
        self._store.hosts.configure({name: each.address for name, each in settings.items()})
        for name, watcher in list(self._watchers.items()):
            if settings.get(name) != watcher.settings:
                del self._watchers[name]
                watcher.stop()
        for name, wanted in settings.items():
            if name not in self._watchers:
                self._watchers[name] = self._make_watcher(wanted)
                self._watchers[name].start()

    def stop(self) -> None:
        watchers, self._watchers = list(self._watchers.values()), {}
        for watcher in watchers:
            watcher.stop()
        for watcher in watchers:
            watcher.join(2)

    def get(self, name: str) -> Watcher | None:
        return self._watchers.get(name)

    def wait_settled(self, seconds: float) -> None:
        """Wait until every host was tried once, for at most that long for each that is not."""
        for watcher in list(self._watchers.values()):
            watcher.settled.wait(seconds)
