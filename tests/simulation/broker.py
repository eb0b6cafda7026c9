"""A broker that loses, delays and repeats messages, and may be away: what `livemig.rpc` is between real processes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from livemig import context, exceptions
from livemig.conductor.service import Conductor
from livemig.testing.runtime import VirtualRuntime
from tests.simulation.process import Process

CALL_TIMEOUT_S = 10.0


class Remote(Exception):
    """What a conductor raised that is no error of livemig's."""


class Broker:
    """Knows the conductors that listen."""

    def __init__(self, runtime: VirtualRuntime, chance: random.Random) -> None:
        self.away = False
        self.lossy = False
        self.listening: dict[Process, Conductor] = {}
        self._runtime = runtime
        self._chance = chance

    def loses(self) -> bool:
        return self.away or (self.lossy and self._chance.random() < 0.3)

    def delay_s(self) -> float:
        return self._chance.choice((0.0, 0.1, 3.0)) if self.lossy else 0.0

    def repeats(self) -> bool:
        return self.lossy and self._chance.random() < 0.2

    def take(self) -> tuple[Process, Conductor] | None:
        """One of those that listen."""
        able = [(process, conductor) for process, conductor in self.listening.items() if process.alive]
        return self._chance.choice(able) if able else None


class Client:
    """`livemig.rpc.ConductorClient` of one API process."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process

    def live_migrate(self, _context: context.RequestContext, migration_id: int) -> None:
        self._call("live_migrate", exceptions.ConductorUnavailable, migration_id)

    def perform(self, _context: context.RequestContext, server_uuid: str, host: str, deed: str) -> None:
        self._call("perform", exceptions.OutcomeUnknown, server_uuid, host, deed)

    def wake(self, _context: context.RequestContext, migration_id: int) -> None:
        for _ in range(1 + self._broker.repeats()):
            if not self._broker.loses():
                self._process.start("cast", self._cast, migration_id)

    def _cast(self, migration_id: int) -> None:
        self._process.sleep(self._broker.delay_s())
        taken = self._broker.take()
        if taken:
            process, conductor = taken
            process.start("wake", _quietly, conductor.answers["wake"], migration_id)

    def _call(self, what: str, unanswered: type[exceptions.Unavailable], *arguments: Any) -> None:
        self._process.sleep(0)
        if self._broker.away:
            raise exceptions.ConductorUnavailable
        taken = None if self._broker.loses() else self._broker.take()
        answer: list[BaseException | None] = []
        arrived = self._process.event()

        def reply(error: BaseException | None) -> None:
            if not self._broker.loses():
                answer.append(error)
                arrived.set()

        if taken:
            process, conductor = taken
            process.start(what, _answer, conductor.answers[what], arguments, reply)
        if not arrived.wait(CALL_TIMEOUT_S):
            raise unanswered
        if answer[0] is not None:
            raise answer[0]


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], reply: Callable[[BaseException | None], None]) -> None:
    try:
        function(*arguments)
    except exceptions.LivemigError as error:
        reply(error)
    except Exception as error:  # noqa: BLE001 - as oslo.messaging does
        reply(Remote(repr(error)))
    else:
        reply(None)


def _quietly(function: Callable[..., Any], *arguments: Any) -> None:
    """As a server of oslo.messaging: what a cast raises is logged, and that is all."""
    try:
        function(*arguments)
    except Exception:  # noqa: BLE001
        return
