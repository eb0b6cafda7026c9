"""Five guests on one host, each in another phase of its migration to the other host at the same moment.

All means are real: the queue is full, a CD-ROM is copied over a slow link, memory is sent at a low speed. The guest that has just switched over is caught by
stopping both conductors (SIGSTOP) before it does, so that nobody of livemig knows of it yet when the fault strikes.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from livemig.db.files import FAILED
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.shell import LabError
from livemig.states import FINAL
from tests.faults.cluster import Cluster

PLACES = 4  # for migrations that leave the source: the fifth is queued
SLOW = "[libvirt]\nlive_migration_link_bandwidth = 6\n"  # MiB/s for the three guests that send their memory, each of which has some 50 MiB that are not zero
POST_COPY_MIB_S = "1"
CD_ROM = ("local,cdrom,16",)
K = TypeVar("K")
CD_ROM_MBIT = 10  # of the link over which it is copied
MEMORY_MIB = 128
ENDED = {status.value for status in FINAL}


class Phase(str, Enum):
    """How far a migration is when the fault strikes."""

    QUEUED = "queued"
    PREPARING = "preparing"
    PRE_COPY = "pre-copy"
    POST_COPY = "post-copy"
    SWITCHED = "just after switch-over"

    def __str__(self) -> str:
        return self.value


SENDING = (Phase.PRE_COPY, Phase.POST_COPY, Phase.SWITCHED)
STATUSES = {Phase.QUEUED: "queued", Phase.PREPARING: "preparing", Phase.PRE_COPY: "running", Phase.POST_COPY: "running (post-copy)", Phase.SWITCHED: "running"}


@dataclass(frozen=True)
class Look:
    """A guest at one moment: what the API says of it, and how the hosts have it, by host. `migration` is its latest."""

    server: Mapping[str, Any]
    migration: Mapping[str, Any]
    states: Mapping[Host, str]

    @property
    def running(self) -> list[Host]:
        return [host for host, state in self.states.items() if state == "running"]

    @property
    def left_behind(self) -> list[Host]:
        """Where there is nothing but its definition."""
        return [host for host, state in self.states.items() if state == "shut off" and self.running]

    @property
    def status(self) -> str:
        return str(self.migration.get("status"))

    @property
    def host(self) -> str | None:
        """Where the API shows it."""
        return self.server.get("OS-EXT-SRV-ATTR:host")

    @property
    def task_state(self) -> str | None:
        return self.server.get("OS-EXT-STS:task_state")


class Stage:
    """The guests by their phase. Each round begins with all of them on `source`, which is another host from round to round."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.source, self.destination = cluster.lab.hosts[:2]
        self.guests: dict[Phase, Guest] = {}
        self._made = 0

    def assemble(self) -> None:
        """All five on the source, where most of them are already: the others are moved there, those that are lost replaced."""
        ends = (self.source, self.destination)
        self.source, self.destination = sorted(ends, key=lambda host: sum(guest.holders() != [host] for guest in self.guests.values()))
        missing = [phase for phase in Phase if phase not in self.guests]
        with ThreadPoolExecutor(len(Phase)) as threads:
            for phase, guest in zip(missing, threads.map(self._make, missing), strict=True):
                self.guests[phase] = guest
        for guest in self.guests.values():
            if guest.holders() != [self.source]:
                self.move(guest, self.source)
        self._wait(lambda looks: all(rests(look, self.source) for look in looks.values()), 60, "all guests to be on the source")

    def rehearse(self) -> None:
        """Bring each guest into its phase; both conductors are stopped then."""
        self.cluster.configure(SLOW)
        for phase in SENDING:
            self.move(self.guests[phase], self.destination)
        self._wait(lambda looks: all(looks[phase].server.get("progress") for phase in SENDING), 40, "memory to be sent")
        post_copy = self.guests[Phase.POST_COPY]
        self.source.virsh("migrate-setspeed", "--postcopy", post_copy.name, POST_COPY_MIB_S)
        self.cluster.post(f"{post_copy.uuid}/migrations/{self.looks()[Phase.POST_COPY].migration['id']}", {"force_complete": None})
        self.source.slow(CD_ROM_MBIT)
        self.move(self.guests[Phase.PREPARING], self.destination)
        self._wait(lambda looks: self._is_copied(looks) and _is(looks, Phase.POST_COPY), 30, "post-copy, and the CD-ROM to be copied")
        self.move(self.guests[Phase.QUEUED], self.destination)
        self._wait(lambda looks: _is(looks, Phase.QUEUED), 20, "the queue")
        self.cluster.signal(signal.SIGSTOP)
        with suppress(LabError):  # it may be there already
            self.source.virsh("migrate-setspeed", self.guests[Phase.SWITCHED].name, "4096")
        self._wait(lambda looks: looks[Phase.SWITCHED].running == [self.destination], 20, "the switch-over")

    def missed(self) -> list[Phase]:
        """The phases in which their guests are not."""
        looks = self.looks()
        return [phase for phase in Phase if not _is(looks, phase)]

    def release(self) -> None:
        """Everything may go on at full speed."""
        for host in self.cluster.lab.hosts:
            host.heal()
        self.cluster.configure()
        with suppress(LabError):  # it is through
            self.source.virsh("migrate-setspeed", "--postcopy", self.guests[Phase.POST_COPY].name, "4096")

    def end(self, dead: Collection[Phase]) -> None:
        """The round is over: who died is taken away."""
        for phase in dead:
            self.guests.pop(phase).remove()

    def owned(self) -> Mapping[str, list[Phase]]:
        """Whose leases each conductor has, by its name. One that is queued is admitted by anybody, and taken up by nobody."""
        phases = {guest.uuid: phase for phase, guest in self.guests.items() if phase is not Phase.QUEUED}
        found: dict[str, list[Phase]] = {conductor.name: [] for conductor in self.cluster.conductors}
        for server, owner in self.cluster.lease_owners().items():
            if server in phases:
                found[owner.partition(":")[0]].append(phases[server])
        return found

    def move(self, guest: Guest, host: Host) -> None:
        self.cluster.post(guest.uuid, {"os-migrateLive": {"host": host.name, "block_migration": "auto"}})

    def looks(self) -> dict[Phase, Look]:
        """Each guest as it is now."""
        return look_at(self.cluster, self.guests)

    def _make(self, phase: Phase) -> Guest:
        self._made += 1
        return self.cluster.lab.add_guest(
            f"{phase.value.replace(' ', '-')}{self._made}", self.source.name, CD_ROM if phase is Phase.PREPARING else (), MEMORY_MIB
        )

    def _is_copied(self, looks: Mapping[Phase, Look]) -> bool:
        """Its making at the destination has begun."""
        if not _is(looks, Phase.PREPARING):
            return False
        files = self.cluster.store.migrations.get(looks[Phase.PREPARING].migration["id"]).files
        return any(file.host == self.destination.name and file.after == FAILED and not file.path.endswith("/") for file in files)

    def _wait(self, ready: Any, seconds: float, what: str) -> None:
        self.cluster.wait(lambda: ready(self.looks()), seconds, what, lambda: f"\n{describe(self.looks())}")


def look_at(cluster: Cluster, guests: Mapping[K, Guest]) -> dict[K, Look]:
    """Each of these guests as it is now. A host that does not answer has all its guests as "unknown"."""
    servers, migrations = cluster.shown()
    states = {host: _states(host) for host in cluster.lab.hosts}
    return {
        key: Look(
            servers.get(guest.uuid, {}),
            migrations.get(guest.uuid, {}),
            {host: "unknown" if found is None else found.get(guest.name, "absent") for host, found in states.items()},
        )
        for key, guest in guests.items()
    }


def ticking(guests: Mapping[K, Guest], dead: Collection[object], wait: Any) -> set[K]:
    """Whose guests run, by what they say themselves, once all but the dead have said so."""
    before = {key: guest.ticks().count for key, guest in guests.items()}

    def going() -> set[K]:
        return {key for key, guest in guests.items() if guest.ticks().count > before[key] + 3}

    with suppress(AssertionError):
        wait(lambda: going() >= set(before) - set(dead), 60, "all that live")
    return going()


def describe(looks: Mapping[K, Look]) -> str:
    return "\n".join(f"{key}: {look.status}, {look.server.get('status')} on {look.host}, {dict(look.states)}" for key, look in looks.items())


def _is(looks: Mapping[Phase, Look], phase: Phase) -> bool:
    return looks[phase].status == STATUSES[phase]


def rests(look: Look, host: Host) -> bool:
    shown = (look.server.get("status"), look.host, look.task_state)
    return shown == ("ACTIVE", host.name, None) and look.running == [host] and look.migration.get("status", "completed") in ENDED


def lie(look: Look, dead: bool) -> str | None:
    """What the API says that is not so."""
    status, host = look.server.get("status"), look.host
    if dead:
        return None if status in ("SHUTOFF", "ERROR", None) else f"it is dead, and shown {status}"
    names = [each.name for each in look.running]
    if len(names) > 1:
        return f"it runs on {names}"
    if status == "MIGRATING":
        return None if look.status not in ENDED and (not names or host in (names[0], look.migration["source_compute"])) else f"it runs on {names}"
    return None if status == "ACTIVE" and [host] == names else f"it is shown {status} on {host}, and runs on {names}"


def _states(host: Host) -> dict[str, str] | None:
    """How a host has its guests, by what its daemon says."""
    try:
        lines = host.virsh("list", "--all", timeout=10).splitlines()
    except LabError:
        return None
    return {words[1]: " ".join(words[2:]) for line in lines if len(words := line.split()) > 2}
