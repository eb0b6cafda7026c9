"""The soak: four guests go about three hosts for hours' worth of migrations, with a fault at every fifth. Nothing is lost, and nothing grows.

`tox -e soak` and `tools/test --all` play it; LIVEMIG_SOAK is how many migrations, LIVEMIG_SEED what they are drawn from (1). Faults that kill the API or every
conductor are drawn in the first quarter only: afterwards the API and the first conductor live on, and what they take of memory and descriptors is compared.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from tests import report
from tests.drawn import amount
from tests.faults.cluster import RUNTIME, Cluster, Process, cluster
from tests.faults.faults import Fault, cut_link, heal_link, kill_api, kill_daemon, start_broker, start_daemon, start_database, stop_broker, stop_database
from tests.faults.stage import Look, describe, lie, look_at, rests, ticking

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]

MIGRATIONS = amount("soak")
SEED = int(os.environ.get("LIVEMIG_SEED", "1"))
GUESTS = 4
MEMORY_MIB = 96
AT_ONCE = 3  # migrations that begin together, at most
FAULT_EVERY = 5
FAULT_WITHIN_S = 4.0  # of the start of a migration
SAMPLE_EVERY = 10
TRUTH_S = 30.0
END_S = 150.0
GROWTH = 1.1  # of resident memory, from the second quarter to the last
MORE_DESCRIPTORS = 4


@dataclass(frozen=True)
class Scene:
    """A migration of the soak."""

    cluster: Cluster
    guest: Guest
    source: Host
    destination: Host


def kill_second_conductor(scene: Scene) -> None:
    scene.cluster.conductors[1].signal(signal.SIGKILL)


def kill_everything(scene: Scene) -> None:
    for process in scene.cluster.processes:
        process.signal(signal.SIGKILL)


DEADLY: tuple[Fault[Scene], ...] = (Fault("API -9", kill_api), Fault("whole service -9", kill_everything))
FAULTS: tuple[Fault[Scene], ...] = (
    Fault("a conductor -9", kill_second_conductor),
    Fault("broker restart", stop_broker, start_broker),
    Fault("database restart", stop_database, start_database),
    Fault("source libvirtd -9", partial(kill_daemon, "source"), partial(start_daemon, "source"), 1.0),
    Fault("destination libvirtd -9", partial(kill_daemon, "destination"), partial(start_daemon, "destination"), 1.0),
    Fault("migration link cut 5 s", cut_link, heal_link, 5.0),  # not the link between the daemons: see docs/faults.md, libvirt may then run a guest twice
)


@dataclass(frozen=True)
class Sample:
    """Of one process: resident memory in MiB, and open descriptors."""

    pid: int
    memory_mib: float
    descriptors: int


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three hosts."""
    lab = Lab(Path(tempfile.mkdtemp(prefix="livemig-lab-")), RUNTIME)
    try:
        lab.up(3)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def service(lab: Lab, tmp_path: Path) -> Iterator[Cluster]:
    with cluster(lab, tmp_path, AT_ONCE) as made:
        yield made


def test_soak(lab: Lab, service: Cluster) -> None:
    draw = random.Random(SEED)
    guests = {f"soak{number}": lab.add_guest(f"soak{number}", draw.choice(lab.hosts).name, memory_mib=MEMORY_MIB) for number in range(1, GUESTS + 1)}
    settle(service, guests, lambda looks: all(is_at_rest(look) for look in looks.values()), 60, "the guests to be seen")
    samples: dict[int, dict[str, Sample]] = {}
    ends: dict[str, int] = {}
    begun, faults, sampled_at = 0, 0, 0
    while begun < MIGRATIONS:
        scenes = [scene(service, guest, draw) for guest in draw.sample(list(guests.values()), draw.randint(1, AT_ONCE))][: MIGRATIONS - begun]
        began_at, before = RUNTIME.monotonic(), begun
        for each in scenes:
            service.post(each.guest.uuid, {"os-migrateLive": {"host": each.destination.name, "block_migration": "auto"}})
        begun += len(scenes)
        fault = None
        if begun // FAULT_EVERY > before // FAULT_EVERY:
            fault, faults = draw.choice(FAULTS if begun > MIGRATIONS / 4 else FAULTS + DEADLY), faults + 1
            play(fault, scenes[-1], draw.uniform(0, FAULT_WITHIN_S))
        settle(service, guests, lambda looks: not any(lie(look, False) for look in looks.values()), TRUTH_S, "the truth")
        settle(service, guests, lambda looks: all(is_at_rest(look) for look in looks.values()), END_S, "the end of all")
        looks = look_at(service, guests)
        for each in scenes:
            look = looks[each.guest.name]
            ends[look.status] = ends.get(look.status, 0) + 1
            took = f"{RUNTIME.monotonic() - began_at:.1f} s"
            print(f"{begun}: {each.guest.name} from {each.source.name} to {each.destination.name}: {look.status}, {took}{f'; {fault.name}' if fault else ''}")
            assert fault or look.status == "completed", service.events(look.migration["id"])
            assert each.guest.ticks().unbroken, each.guest.ticks()
        if fault:
            service.wait_for_hosts()
        if begun // SAMPLE_EVERY > sampled_at // SAMPLE_EVERY:
            samples[begun], sampled_at = {process.name: sample(process) for process in service.processes}, begun
            print(f"{begun}: {samples[begun]}", flush=True)
    report.keep("soak", f"seed {SEED}: {begun} migrations, {faults} faults: {ends}\n{table(samples)}")
    assert ticking(guests, (), service.wait) == set(guests)
    for guest in guests.values():
        assert guest.ticks().unbroken and len(guest.holders()) == 1
        guest.remove()
    for name in ("api", "conductor1"):
        stays_flat(name, [found[name] for at, found in samples.items() if at > MIGRATIONS / 4])


def scene(service: Cluster, guest: Guest, draw: random.Random) -> Scene:
    source = guest.where()
    assert source is not None
    return Scene(service, guest, source, draw.choice([host for host in service.lab.hosts if host != source]))


def play(fault: Fault[Scene], where: Scene, after_s: float) -> None:
    RUNTIME.sleep(after_s)
    fault.strike(where)
    RUNTIME.sleep(fault.lasts_s)
    fault.heal(where)


def is_at_rest(look: Look) -> bool:
    """It runs on one host, is shown there, and left nothing elsewhere."""
    return any(rests(look, host) for host in look.states) and set(look.states.values()) == {"running", "absent"}


def settle(service: Cluster, guests: Mapping[str, Guest], ready: object, seconds: float, what: str) -> None:
    def said() -> str:
        looks = look_at(service, guests)
        logs = "\n".join(f"{name}\n  " + "\n  ".join(service.events(look.migration["id"])) for name, look in looks.items() if look.migration)
        return f"\n{describe(looks)}\n{logs}\n{service.log()}"

    service.wait(lambda: ready(look_at(service, guests)), seconds, what, said, 0.3)  # type: ignore[operator]


def sample(process: Process) -> Sample:
    directory = Path(f"/proc/{process.pid}")
    resident = next(int(line.split()[1]) for line in (directory / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Sample(process.pid, round(resident / 1024, 1), len(list((directory / "fd").iterdir())))


def table(samples: Mapping[int, Mapping[str, Sample]]) -> str:
    names = list(next(iter(samples.values())))
    head = f"| migrations | {' | '.join(f'{name}: MiB, descriptors' for name in names)} |\n|{'---|' * (len(names) + 1)}\n"
    rows = (f"| {at} | {' | '.join(f'{found[name].memory_mib}, {found[name].descriptors}' for name in names)} |\n" for at, found in samples.items())
    return head + "".join(rows)


def stays_flat(name: str, found: list[Sample]) -> None:
    """Over the last three quarters: the last third of them is as the first."""
    assert len({each.pid for each in found}) == 1, f"{name} was started anew"
    third = max(1, len(found) // 3)
    early, late = found[:third], found[-third:]
    memory = [median(each.memory_mib for each in part) for part in (early, late)]
    descriptors = [median(each.descriptors for each in part) for part in (early, late)]
    print(f"{name}: {memory[0]} MiB, then {memory[1]}; {descriptors[0]} descriptors, then {descriptors[1]}")
    assert memory[1] <= memory[0] * GROWTH
    assert descriptors[1] <= descriptors[0] + MORE_DESCRIPTORS
