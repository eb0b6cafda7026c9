"""The watched hosts: one thread per host keeps its connection; that of the conductor whose watch it is writes down, event by event, what runs there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar

from oslo_log import log

from livemig import exceptions
from livemig.conductor.agents import Agents
from livemig.conductor.asking import Asking
from livemig.conductor.spread import is_for_others, spread
from livemig.conf import HostSettings
from livemig.db.store import Store
from livemig.db.watches import Sight
from livemig.facts import Disconnected, HostEvent, ServerChanged
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Event, Mailbox, Runtime, Task

LOG = log.getLogger(__name__)

T = TypeVar("T")

CONNECTED = "Connected to host %s"  # logged when a host is followed from then on
_OTHER_URI = "the configuration has another connection_uri for it now"
_FIRST_PAUSE_S = 0.2
_DATABASE_PAUSE_S = 1.0
_LOOK_S = 5.0  # how long somebody waits who wants a server looked at
_REFRESH_S = 60.0  # free memory has no event, nor has an address that a guest has just been given
_LIVELY_S, _COMPLETE_S = 300.0, 600.0  # a host without news for so long is looked at whole only so often: a guest costs a call, and its XML
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody wants a server looked at; `done` is set when it was, or could not be."""

    uuid: str
    done: Event


@dataclass(frozen=True, slots=True)
class Yours:
    """The host's watch is this conductor's from now on."""


Letter = HostEvent | Look | Yours | None


class Watcher:
    """Keeps the connection to one host. While it owns the host's watch it follows the host, and writes down what is seen there.

    A server that somebody wants looked at is written down by any watcher. Nothing old is ever written over what is newer: each writes against the watch's
    version as it was before the host was asked (`livemig.db.watches`).

    `settled` is set once the host has been reached, or found unreachable, for the first time; `reached` while there is a connection on which it was looked at.
    """

    def __init__(self, settings: HostSettings, hypervisor: Hypervisor, store: Store, runtime: Runtime, reconnect_max: float, owner: str) -> None:
        self.settings = settings
        self.hypervisor = hypervisor
        self.settled = runtime.event()
        self.reached = runtime.event()
        self._store = store
        self._runtime = runtime
        self._reconnect_max = reconnect_max
        self._owner = owner
        self._sight: Sight | None = None  # what is known of the host; None while another conductor watches it
        self._stopping = runtime.event()
        self._news: Mailbox[Letter] = Mailbox(runtime)
        self._agents = Agents(hypervisor, runtime, self._news.put)
        self._task: Task | None = None
        self._followed = False  # by the present connection: the host has been looked at
        self._news_at = self._complete_at = float("-inf")  # when something was last heard of the host, and when it was last looked at whole
        self._said = ""  # why it is away

    def start(self) -> None:
        self._task = self._runtime.start(f"watch-{self.settings.name}", self._run)

    def own(self, version: int | None) -> None:
        """The watch is this conductor's, as of that version, or another's (None). Whoever gets it looks at the whole host."""
        if version is None:
            self._sight = None
        elif self._sight is None:
            self._sight = Sight(self.settings.name, version, self._owner)
            self._news.put(Yours())

    def change(self, settings: HostSettings) -> None:
        """Have other settings from now on. Under another URI the host is connected to anew; what uses the hypervisor meets that as a lost connection."""
        moved = settings.connection_uri != self.settings.connection_uri
        self.settings = settings
        if moved:
            self.hypervisor.uri = settings.connection_uri
            self._hear(Disconnected(_OTHER_URI))

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
        stop_listening = self.hypervisor.listen(self._hear)
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            if self._connect_and_follow():
                pause = _FIRST_PAUSE_S
            self.reached.clear()
            self.hypervisor.close()
            self._stopping.wait(pause)
            pause = min(2 * pause, self._reconnect_max)
        stop_listening()

    def _hear(self, event: HostEvent) -> None:
        if isinstance(event, Disconnected):
            self.reached.clear()
        self._news.put(event)

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

    def _follow(self) -> None:
        """Returns when the host is away, or when the watcher is to stop."""
        try:
            self.hypervisor.connect()
            news: list[Letter] = []
            while not self._stopping.is_set():
                news = self._take_down(news)
        except exceptions.HypervisorError as error:
            self._away(str(error))

    def _away(self, reason: str) -> None:
        log_it = LOG.debug if reason == self._said else LOG.warning
        log_it("Host %s is away: %s", self.settings.name, reason)
        self._said = reason
        sight = self._sight
        if sight is not None:
            self._written(sight, self._store.hosts.went_down(self.settings.name, sight))
        self.settled.set()

    def _take_down(self, news: list[Letter]) -> list[Letter]:
        """Write down what is new, and everything if it is time; then wait for the next. The connection outlives the database: jobs are watched by it."""
        for event in news:
            if isinstance(event, Disconnected):
                raise exceptions.HypervisorUnavailable(host=self.settings.name, code=0, message=f"the connection was lost: {event.reason}")
        try:
            sight = self._sight
            if not (self._looks(news) if sight is None else self._follows(sight, news)):
                return [*(look for look in news if isinstance(look, Look)), Yours()]
        except exceptions.DatabaseUnavailable:
            self._wait_for_database()
            self._complete_at = float("-inf")
            return [event for event in self._news.take(0) if isinstance(event, Disconnected)]  # else nothing: look at everything
        return self._news.take(_REFRESH_S)

    def _follows(self, sight: Sight, news: list[Letter]) -> bool:
        """As the watch's owner. False when somebody else has written about the host: everything is to be looked at anew then."""
        changed = {event.uuid for event in news if isinstance(event, ServerChanged | Look)}
        if any(isinstance(event, Yours) for event in news) or (not news and self._is_whole_look_due()):
            written = self._look_at_all(sight)
        elif not news:
            written = self._look_at_host(sight) is not None
        else:
            self._news_at = self._runtime.monotonic()
            written = not changed or self._look_at(sight, changed)
        if written:
            _done(news)
            self._agents.ask()
        return written

    def _is_whole_look_due(self) -> bool:
        now = self._runtime.monotonic()
        return not self._followed or now - self._news_at < _LIVELY_S or now - self._complete_at >= _COMPLETE_S

    def _looks(self, news: list[Letter]) -> bool:
        """As one of the others: only what somebody wants looked at, and of that only how it is."""
        self._is_reached()
        for look in news:
            while isinstance(look, Look) and not look.done.is_set() and not self._stopping.is_set():
                sight = self._store.watches.find(self.settings.name)
                said = replace(self.hypervisor.server(look.uuid), details=False)
                if self._store.servers.see(self.settings.name, [said], sight=sight and replace(sight, owner=None)):
                    look.done.set()
        return True

    def _look_at(self, sight: Sight, uuids: Iterable[str]) -> bool:
        said = [self.hypervisor.server(uuid) for uuid in sorted(uuids)]
        return self._written(sight, self._store.servers.see(self.settings.name, said, sight=sight)) is not None

    def _look_at_all(self, before: Sight) -> bool:
        sight = self._look_at_host(before)
        if sight is None:
            return False
        servers = self.hypervisor.servers()
        sight = self._written(sight, self._store.servers.see(self.settings.name, servers, complete=True, sight=sight))
        if sight is None:
            return False
        self.settled.set()
        if not self._followed:
            LOG.info(CONNECTED + " at %s", self.settings.name, self.settings.connection_uri)
            storage.sweep(self.hypervisor)
        self._is_reached()
        self._complete_at = self._runtime.monotonic()
        return not self.hypervisor.learn_processors() or self._look_at_host(sight) is not None

    def _is_reached(self) -> None:
        self._followed, self._said = True, ""
        self.settled.set()
        self.reached.set()

    def _look_at_host(self, sight: Sight) -> Sight | None:
        said = self.hypervisor.all_facts(self._runtime.now())
        return self._written(sight, self._store.hosts.came_up(self.settings.name, said, sight))

    def _written(self, sight: Sight, done: bool) -> Sight | None:
        """What the next write rests on, after one that rested on `sight`; None if it was not done: somebody else has written since, or has the watch now."""
        following: Sight | None = replace(sight, version=sight.version + 1)
        if not done:
            now = self._store.watches.find(self.settings.name)
            following = now if now is not None and now.owner == self._owner else None
        if self._sight is sight:  # else `own` knows more
            self._sight = following
        return following if done else None

    def _wait_for_database(self) -> None:
        LOG.warning("The database is away; host %s is looked at again when it is back", self.settings.name)
        self._stopping.wait(_DATABASE_PAUSE_S)


def _done(news: list[Letter]) -> None:
    for look in news:
        if isinstance(look, Look):
            look.done.set()


class Inventory:
    """The watchers of all enabled hosts. Each host has one conductor that writes down what is there; for `lease_s` after it fell silent."""

    def __init__(self, store: Store, make_watcher: Callable[[HostSettings], Watcher], runtime: Runtime, owner: str, lease_s: float) -> None:
        self._store = store
        self._make_watcher = make_watcher
        self._owner = owner
        self._lease_s = lease_s
        self._runtime = runtime
        self._watchers: dict[str, Watcher] = {}
        self._retired: dict[str, Watcher] = {}  # of former hosts that are held
        self._holds: Counter[str] = Counter()
        self._holds_lock = Lock()
        self._away: Mapping[str, Set[str]] = {}  # what each conductor did not reach at the last balance
        self._asking = Asking(runtime)

    def follow(self, settings: Mapping[str, HostSettings]) -> None:
        """Watch these hosts. One that is not among them any more is kept for as long as it is held, and is not shown or chosen meanwhile."""
        self._store.hosts.configure({name: each.address for name, each in settings.items()})
        for name, watcher in list(self._watchers.items()):
            if name not in settings:
                self._retire(name, watcher)
        new: list[Watcher] = []
        for name, wanted in settings.items():
            known = self._watchers.get(name) or self._bring_back(name)
            if known is None:
                new.append(known := self._make_watcher(wanted))
            elif known.settings != wanted:
                known.change(wanted)
            self._watchers[name] = known
        try:
            self.balance()
        finally:
            for watcher in new:
                watcher.start()

    @contextmanager
    def holding(self, *hosts: str | None) -> Iterator[None]:
        """Keep the connections to these hosts, whatever the configuration says meanwhile: something goes on there."""
        names = [name for name in hosts if name is not None]
        with self._holds_lock:
            self._holds.update(names)
        try:
            yield
        finally:
            with self._holds_lock:
                self._holds.subtract(names)
                free = [self._retired.pop(name) for name in set(names) if not self._holds[name] and name in self._retired]
            for watcher in free:
                LOG.info("Host %s is not followed any more: nothing goes on there, and enabled_hosts does not have it", watcher.settings.name)
                watcher.stop()

    def _retire(self, name: str, watcher: Watcher) -> None:
        with self._holds_lock:
            del self._watchers[name]
            held = self._holds[name] > 0
            if held:
                self._retired[name] = watcher
        if held:
            LOG.warning("Host %s is not in enabled_hosts any more; it is followed until the migrations and actions that go on there have ended", name)
            watcher.own(None)
        else:
            watcher.stop()

    def _bring_back(self, name: str) -> Watcher | None:
        """The watcher of a host that is in the configuration again."""
        with self._holds_lock:
            return self._retired.pop(name, None)

    def balance(self) -> None:
        """Say that this conductor lives and what it cannot reach, take its share of the hosts, and let go of what is more, or what only others reach."""
        watchers = dict(self._watchers)
        owned = self._store.watches.balance(self._owner, self._lease_s, watchers, self._spread, self._not_reached(watchers))
        for name, watcher in watchers.items():
            watcher.own(owned.get(name))

    def is_for_others(self, *hosts: str | None, since_balance: bool = False) -> bool:
        """Whether another conductor reaches all these hosts, and this one does not now; or also did not when it said so last, `since_balance`."""
        concerned = set(filter(None, hosts))
        mine = self._not_reached(concerned & self._away.get(self._owner, set()) if since_balance else concerned)
        return is_for_others(self._owner, concerned, {**self._away, self._owner: mine})

    def _not_reached(self, hosts: Iterable[str]) -> Set[str]:
        """Of those that were tried."""
        found = {name: self._watchers.get(name) for name in hosts}
        return {name for name, watcher in found.items() if watcher is not None and watcher.settled.is_set() and not watcher.reached.is_set()}

    def _spread(self, holders: Mapping[str, str | None], away: Mapping[str, Set[str]]) -> tuple[Sequence[str], Sequence[str]]:
        self._away = away
        return spread(self._owner, holders, away)

    def stop(self, seconds: float = _STOP_S) -> None:
        """End all connections; those that hang are left behind after so many seconds."""
        with self._holds_lock:
            watchers, self._watchers, self._retired = [*self._watchers.values(), *self._retired.values()], {}, {}
        for watcher in watchers:
            watcher.stop()
        deadline = self._runtime.monotonic() + seconds
        for watcher in watchers:
            watcher.join(max(0.0, deadline - self._runtime.monotonic()))

    def get(self, name: str) -> Watcher | None:
        """The watcher of a host in enabled_hosts."""
        return self._watchers.get(name)

    def held(self, name: str) -> Watcher | None:
        """The same, and that of a former host which is kept for what goes on there (`holding`)."""
        return self._watchers.get(name) or self._retired.get(name)

    def ask(self, name: str, question: Callable[[Hypervisor], T], seconds: float) -> T:
        """What a host says to a question, or HypervisorUnavailable, for one that is not followed too, or that does not answer in time."""
        watcher = self.held(name)
        if watcher is None:
            raise exceptions.HypervisorUnavailable(host=name, code=0, message="not one of enabled_hosts any more")
        return self._asking.ask(name, lambda: question(watcher.hypervisor), seconds)

    def wait_settled(self, seconds: float) -> None:
        """Wait until every host was tried once, for at most that long."""
        self._wait((watcher.settled for watcher in list(self._watchers.values())), seconds)

    def wait_reached(self, names: Iterable[str | None], seconds: float) -> None:
        """Wait for those of these hosts to which a connection is just being made, for at most that long: a daemon may be starting anew."""
        self._wait((watcher.reached for name in names if name is not None and (watcher := self._watchers.get(name))), seconds)

    def _wait(self, events: Iterable[Event], seconds: float) -> None:
        deadline = self._runtime.monotonic() + seconds
        for event in events:
            event.wait(max(0.0, deadline - self._runtime.monotonic()))
