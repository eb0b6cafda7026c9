"""What is done to livemig, its broker, its database and its hypervisors: the rows of the matrix."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from livemig.lab.host import Host
from livemig.lab.shell import LabError
from tests.faults.cluster import Cluster
from tests.faults.stage import SENDING, Phase, Stage


class Scene(Protocol):
    """Where a migration goes on."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def source(self) -> Host: ...
    @property
    def destination(self) -> Host: ...


S = TypeVar("S", bound=Scene)


@dataclass(frozen=True)
class Fault(Generic[S]):
    """`strike` does it, `heal` undoes it `lasts_s` later. `kills`: guests that die of it; `spares`: those of which nothing is there that it could hit.

    `traces`: what the event logs of migrations must have of it; one that is `missed` may begin after its end, and is completed then.
    `strike` may return those that another conductor must have taken up.
    """

    name: str
    strike: Callable[[S], Collection[Phase] | None]
    heal: Callable[[S], object] = lambda stage: None
    lasts_s: float = 0.0
    kills: frozenset[Phase] = frozenset()
    spares: frozenset[Phase] = frozenset()
    traces: Mapping[Phase, str] = field(default_factory=dict)
    missed: frozenset[Phase] = frozenset()


def kill_conductor(stage: Stage) -> Collection[Phase]:
    """The one that has the most."""
    owned = stage.owned()
    victim = max(stage.cluster.conductors, key=lambda conductor: len(owned[conductor.name]))
    victim.signal(signal.SIGKILL)
    return owned[victim.name]


def kill_api(stage: Scene) -> None:
    stage.cluster.api.signal(signal.SIGKILL)


def kill_service(stage: Stage) -> Collection[Phase]:
    owned = stage.owned()
    for process in stage.cluster.processes:
        process.signal(signal.SIGKILL)
    return [phase for phases in owned.values() for phase in phases]


def restart_in_turn(stage: Stage) -> None:
    """As an upgrade would: the next one only when the one before is back."""
    stage.cluster.signal(signal.SIGCONT)
    for process in stage.cluster.processes:
        process.restart()


def kill_broker(stage: Scene) -> None:
    stage.cluster.broker.stop(signal.SIGKILL)


def stop_broker(stage: Scene) -> None:
    stage.cluster.broker.stop()


def start_broker(stage: Scene) -> None:
    stage.cluster.broker.start()


def stop_database(stage: Scene) -> None:
    stage.cluster.database.stop(signal.SIGINT)


def start_database(stage: Scene) -> None:
    stage.cluster.database.start()


def kill_daemon(end: str, stage: Scene) -> None:
    getattr(stage, end).kill_daemon()


def start_daemon(end: str, stage: Scene) -> None:
    getattr(stage, end).start_daemon()


def kill_guests(end: str, stage: Stage) -> None:
    host = getattr(stage, end)
    for guest in stage.guests.values():
        if host.has_guest(guest.name):
            try:
                host.kill_guest(guest.name)
            except LabError:
                assert not host.has_guest(guest.name)  # it had just ended by itself


def cut_link(stage: Scene) -> None:
    stage.source.migration_cable.cut()


def heal_link(stage: Scene) -> None:
    stage.source.migration_cable.connect()


TAKEN_UP = "conductor: taken up by"
NOT_THERE_YET = frozenset({Phase.QUEUED, Phase.PREPARING})

FAULTS: tuple[Fault[Stage], ...] = (
    Fault("conductor -9", kill_conductor),
    Fault("API -9", kill_api),
    Fault("whole service -9", kill_service),
    Fault("rolling restart", restart_in_turn, traces=dict.fromkeys((Phase.PRE_COPY, Phase.POST_COPY), TAKEN_UP)),
    Fault("broker restart", stop_broker, start_broker),
    Fault("broker away 30 s", kill_broker, start_broker, 30.0),
    Fault("database restart", stop_database, start_database),
    Fault("source libvirtd -9", partial(kill_daemon, "source"), partial(start_daemon, "source"), 1.0, traces=dict.fromkeys(SENDING, "source: connection lost")),
    Fault(
        "destination libvirtd -9",
        partial(kill_daemon, "destination"),
        partial(start_daemon, "destination"),
        1.0,
        traces=dict.fromkeys(SENDING, "destination: connection lost"),
    ),
    Fault(
        "source QEMU -9",
        partial(kill_guests, "source"),
        kills=frozenset(Phase) - {Phase.SWITCHED},
        spares=frozenset({Phase.SWITCHED}),
        traces={Phase.QUEUED: "is shut off on", Phase.PRE_COPY: "source: stopped (failed)", Phase.POST_COPY: "source: stopped (failed)"},
    ),
    Fault(
        "destination QEMU -9",
        partial(kill_guests, "destination"),
        kills=frozenset({Phase.POST_COPY, Phase.SWITCHED}),
        spares=NOT_THERE_YET,
        traces=dict.fromkeys((Phase.PRE_COPY, Phase.POST_COPY), "destination: stopped (failed)"),
    ),
    Fault("link cut 3 s", cut_link, heal_link, 3.0),
    Fault("link cut 30 s", cut_link, heal_link, 30.0, traces=dict.fromkeys(NOT_THERE_YET, "unable to connect to server"), missed=NOT_THERE_YET),
)
