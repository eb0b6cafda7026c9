"""A process of the service that can be killed at any moment at which it waits, asks the database, the broker or a hypervisor."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.orm import Session

from livemig import exceptions
from livemig.testing.connection import virConnect
from livemig.testing.fleet import Fleet
from livemig.testing.libvirt import Libvirt
from livemig.testing.remote import uri_parts
from livemig.testing.runtime import VirtualEvent, VirtualRuntime, VirtualTask


class Killed(BaseException):
    """Ends every thread of a process that was killed."""


class Process:
    """`livemig.runtime.Runtime` for the threads of one process."""

    def __init__(self, runtime: VirtualRuntime, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.skew = timedelta()  # of its machine's wall clock
        self._runtime = runtime
        self._libvirts: list[DyingLibvirt] = []

    def __repr__(self) -> str:
        return f"<Process {self.name}>"

    def kill(self) -> None:
        """Not another line of it has an effect; its connections are closed."""
        self.alive = False
        for libvirt in self._libvirts:
            libvirt.die()

    def check(self) -> None:
        """Go no further while it is frozen, nor once it is dead."""
        if self.frozen and self.alive:
            self._runtime.wait_until(lambda: not self.frozen or not self.alive, None)
        if not self.alive:
            raise Killed

    def now(self) -> datetime:
        return self._runtime.now() + self.skew

    def monotonic(self) -> float:
        return self._runtime.monotonic()

    def event(self) -> ProcessEvent:
        return ProcessEvent(self, self._runtime)

    def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        self._runtime.wait_until(lambda: not self.alive or self.monotonic() >= until, seconds)
        self.check()

    def start(self, name: str, function: Callable[..., Any], *args: Any) -> VirtualTask:
        self.check()
        task = self._runtime.start(f"{self.name}/{name}", self._run, function, args)
        self.check()
        return task

    def libvirt(self, fleet: Fleet) -> DyingLibvirt:
        """Its `libvirt` module."""
        self._libvirts.append(DyingLibvirt(fleet, self))
        return self._libvirts[-1]

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.check()
            function(*args)
        except Killed:
            pass


class ProcessEvent(VirtualEvent):
    """An event whose waiters die with their process."""

    def __init__(self, process: Process, runtime: VirtualRuntime) -> None:
        super().__init__(runtime)
        self._process = process

    def is_set(self) -> bool:
        self._process.check()
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        self._runtime.wait_until(lambda: self._flag or not self._process.alive, timeout)
        return self.is_set()


class DyingConnection(virConnect):
    """A connection whose calls end with their process."""

    def reach(self, function: str) -> None:
        self._libvirt._process.check()
        try:
            super().reach(function)
        finally:
            self._libvirt._process.check()

    def isAlive(self) -> int:
        self._libvirt._process.check()
        return super().isAlive()


class DyingLibvirt(Libvirt):
    """The mock of libvirt in one process."""

    def __init__(self, fleet: Fleet, process: Process) -> None:
        super().__init__(fleet, process.name)
        self._process = process

    def open(self, name: str | None = None) -> Any:
        self._process.check()
        _scheme, address, port = uri_parts(name or "")
        host = self.fleet.connectable(self.origin, address, port)
        self.fleet.wait(lambda: not host.hung or not self._process.alive)
        self._process.check()
        with self.fleet.lock:
            return DyingConnection(self, host, name or "")

    def die(self) -> None:
        """Close every connection, and let the event loop's thread find out."""
        for host in self.fleet.hosts.values():
            for connection in list(host.connections):
                if connection._libvirt is self:
                    connection.close()
        self.loop.post(lambda: None)


class Outages:
    """What ails the database at the moment, for everybody. Once in a while a connection breaks just before or just after the commit."""

    def __init__(self, chance: random.Random) -> None:
        self.database_away = False
        self.flaky = False
        self._chance = chance

    def strike(self) -> None:
        if self.database_away or (self.flaky and self._chance.random() < 0.02):
            raise exceptions.DatabaseUnavailable


class Transactions(Protocol):
    """`livemig.db.engine.Database`, as far as a store needs it."""

    def write(self) -> AbstractContextManager[Session]: ...
    def read(self) -> AbstractContextManager[Session]: ...


class ProcessDatabase:
    """The one database, as a process sees it: others go on before each of its transactions, and it may be away."""

    def __init__(self, database: Transactions, process: Process, outages: Outages) -> None:
        self._database = database
        self._process = process
        self._outages = outages

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._process.sleep(0)
        self._outages.strike()
        with self._database.write() as session:
            yield session
        self._outages.strike()

    @contextmanager
    def read(self) -> Iterator[Session]:
        self._process.sleep(0)
        self._outages.strike()
        with self._database.read() as session:
            yield session
