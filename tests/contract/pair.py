"""A guest's source and destination as a test sees them: connections, what their events said, and a migration in the background."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.contract.worlds import GUEST, RUNTIME, World

LIFE = {0: "defined", 1: "undefined", 2: "started", 3: "suspended", 4: "resumed", 5: "stopped", 6: "shutdown"}
SOURCE, DESTINATION = "source", "destination"
SLOW = {"bandwidth": 2}
TIMEOUT_S = 120.0  # a hang
RETURN_S = 40.0  # so long a call may take that hangs now and then


class Pair:
    """The host that has the guest is the source."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.libvirt = world.libvirt
        self.events: list[tuple[Any, ...]] = []
        self._connections: list[Any] = []
        here = [self._has_guest(uri) for uri in world.uris]
        self.source_uri, self.destination_uri = world.uris if here[0] else world.uris[::-1]
        self.reconnect()

    @property
    def PLAIN(self) -> int:
        return int(self.libvirt.VIR_MIGRATE_LIVE | self.libvirt.VIR_MIGRATE_PEER2PEER)

    @property
    def MOVE(self) -> int:
        """The guest is defined on the destination and no longer on the source."""
        return int(self.PLAIN | self.libvirt.VIR_MIGRATE_PERSIST_DEST | self.libvirt.VIR_MIGRATE_UNDEFINE_SOURCE)

    def open(self, uri: str) -> Any:
        connection = self.libvirt.open(uri)
        connection.setKeepAlive(2, 3)
        self._connections.append(connection)
        return connection

    def reconnect(self) -> None:
        self.source, self.destination = self.open(self.source_uri), self.open(self.destination_uri)
        self.guest = self.source.lookupByName(GUEST)
        self._watch(self.source, SOURCE)
        self._watch(self.destination, DESTINATION)

    def close(self) -> None:
        for connection in self._connections:
            with suppress(self.libvirt.libvirtError):
                connection.close()

    def _has_guest(self, uri: str) -> bool:
        connection = self.open(uri)
        return any(domain.name() == GUEST and domain.isActive() for domain in connection.listAllDomains(0))

    def _watch(self, connection: Any, side: str) -> None:
        def hear(*news: Any) -> None:
            if news[1:2] != ("iteration",) or self.events[-1:] != [news[:2]]:
                self.events.append(news[:2] if news[1:2] == ("iteration",) else news)

        libvirt = self.libvirt
        connection.registerCloseCallback(lambda _c, reason, _o: hear(side, "closed", reason), None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda _c, _d, event, detail, _o: hear(side, LIFE[event], detail), None)
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, lambda _c, _d, number, _o: hear(side, "iteration", number), None
        )
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, lambda _c, _d, stats, _o: hear(side, "completed", frozenset(stats)), None
        )

    def of(self, side: str) -> list[tuple[Any, ...]]:
        """What one side said, in its order; iterations in a row count once."""
        return [event[1:] for event in self.events if event[0] == side]

    def names(self, side: str) -> list[tuple[Any, ...]]:
        """The same without the contents of statistics, and iterations in a row as one: how many there are depends on how busy the machine is."""
        names = [event[:1] if event[0] == "completed" else event for event in self.of(side)]
        return [name for name, before in zip(names, [None, *names], strict=False) if name != ("iteration",) or before != name]

    def until(self, ready: Callable[[], Any]) -> Any:
        """Wait for something that no single event tells."""
        deadline = RUNTIME.monotonic() + TIMEOUT_S
        while not (found := ready()):
            assert RUNTIME.monotonic() < deadline, self.events
            RUNTIME.sleep(0.01)
        return found

    def heard(self, *event: Any) -> None:
        self.until(lambda: event in self.events)

    def migrate(self, flags: int | None = None, **parameters: Any) -> Call:
        """Begin in the background."""
        given = {name.replace("__", "."): value for name, value in parameters.items()}
        return Call(self, self.MOVE if flags is None else flags, given)

    def slow(self, flags: int = 0) -> Call:
        """Begin one that lasts, and let it get as far as copying memory."""
        call = self.migrate(self.MOVE | flags, bandwidth=2)
        self.until(lambda: self.guest.jobStats().get("memory_total", 0))
        self.heard(SOURCE, "iteration")
        return call

    def state(self, side: str) -> tuple[int, int] | None:
        """(state, reason); None when that side does not have the guest."""
        connection = self.source if side == SOURCE else self.destination
        try:
            state, reason = connection.lookupByName(GUEST).state()
        except self.libvirt.libvirtError as error:
            assert error.get_error_code() == self.libvirt.VIR_ERR_NO_DOMAIN, error
            return None
        return state, reason

    def code(self, function: Callable[..., Any], *args: Any) -> int | None:
        """The error code with which a call fails; None when it does not."""
        try:
            function(*args)
        except self.libvirt.libvirtError as error:
            code: int = error.get_error_code()
            return code
        return None


class Call:
    """migrateToURI3 in a thread."""

    def __init__(self, pair: Pair, flags: int, parameters: dict[str, Any]) -> None:
        self._pair = pair
        self._code: int | None = None
        connection = pair.open(pair.source_uri)
        self._task = RUNTIME.start("migrate", self._run, connection.lookupByName(GUEST), flags, parameters)

    def _run(self, guest: Any, flags: int, parameters: dict[str, Any]) -> None:
        self._code = self._pair.code(guest.migrateToURI3, self._pair.destination_uri, parameters, flags)

    def has_returned(self) -> bool:
        """False when it does not come back within a long time."""
        self._task.join(RETURN_S)
        return not self._task.is_alive()

    def result(self) -> int | None:
        """Its error code, None for success, once it has returned."""
        assert self.has_returned()
        return self._code
