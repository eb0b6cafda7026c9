"""What is done to livemig, its broker, its database and its hypervisors: the rows of the matrix."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from livemig.lab.shell import LabError
from tests.faults.stage import Phase, Stage


@dataclass(frozen=True)
class Fault:
    """`strike` does it, `heal` undoes it `lasts_s` later. `kills`: guests that die of it; `spares`: those of which nothing is there that it could hit."""

    name: str
    strike: Callable[[Stage], object]
    heal: Callable[[Stage], object] = lambda stage: None
    lasts_s: float = 0.0
    kills: frozenset[Phase] = frozenset()
    spares: frozenset[Phase] = frozenset()
    traces: tuple[tuple[Phase, str], ...] = ()
    """What the event log of a migration must have of it."""


def kill_conductor(stage: Stage) -> None:
    stage.cluster.conductors[stage.owner()].signal(signal.SIGKILL)


def kill_api(stage: Stage) -> None:
    stage.cluster.api.signal(signal.SIGKILL)


def kill_service(stage: Stage) -> None:
    for process in stage.cluster.processes:
        process.signal(signal.SIGKILL)


def restart_in_turn(stage: Stage) -> None:
    """As an upgrade would: the next one only when the one before is back."""
    stage.cluster.signal(signal.SIGCONT)
    for process in stage.cluster.processes:
        process.restart()


def restart_broker(stage: Stage) -> None:
    stage.cluster.broker.stop()
    stage.cluster.broker.start()


def restart_database(stage: Stage) -> None:
    stage.cluster.database.stop(signal.SIGINT)
    stage.cluster.database.start()


def kill_daemon(end: str, stage: Stage) -> None:
    getattr(stage, end).kill_daemon()


def start_daemon(end: str, stage: Stage) -> None:
    getattr(stage, end).start_daemon()


def kill_guests(end: str, stage: Stage) -> None:
    host = getattr(stage, end)
    for guest in stage.guests.values():
        if host.has_guest(guest.name):
            try:
                host.kill_guest(guest.name)
            except LabError:
                assert not host.has_guest(guest.name)  # it had just ended by itself


def cut_link(stage: Stage) -> None:
    stage.source.migration_cable.cut()


def heal_link(stage: Stage) -> None:
    stage.source.migration_cable.connect()


TAKEN_UP = tuple((phase, "conductor: taken up by") for phase in (Phase.PREPARING, Phase.PRE_COPY, Phase.POST_COPY, Phase.SWITCHED))
NOT_THERE_YET = frozenset({Phase.QUEUED, Phase.PREPARING})

FAULTS: tuple[Fault, ...] = (
    Fault("conductor -9", kill_conductor),
    Fault("API -9", kill_api),
    Fault("whole service -9", kill_service, traces=TAKEN_UP),
    Fault("rolling restart", restart_in_turn, traces=TAKEN_UP[1:3]),
    Fault("broker restart", restart_broker),
    Fault("broker away 30 s", lambda stage: stage.cluster.broker.stop(), lambda stage: stage.cluster.broker.start(), 30.0),
    Fault("database restart", restart_database),
    Fault("source libvirtd -9", partial(kill_daemon, "source"), partial(start_daemon, "source"), 1.0),
    Fault("destination libvirtd -9", partial(kill_daemon, "destination"), partial(start_daemon, "destination"), 1.0),
    Fault("source QEMU -9", partial(kill_guests, "source"), kills=frozenset(Phase) - {Phase.SWITCHED}, spares=frozenset({Phase.SWITCHED})),
    Fault("destination QEMU -9", partial(kill_guests, "destination"), kills=frozenset({Phase.POST_COPY, Phase.SWITCHED}), spares=NOT_THERE_YET),
    Fault("link cut 3 s", cut_link, heal_link, 3.0),
    Fault("link cut 30 s", cut_link, heal_link, 30.0),
)
