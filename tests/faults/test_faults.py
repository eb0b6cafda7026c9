"""The fault matrix: each fault strikes five guests at once, each in another phase of its migration, on real hypervisors, RabbitMQ and PostgreSQL.

For each cell: who was not killed runs, once; no tick is lost or comes twice; the API tells the truth within 30 s of healing; the migration ends, and its event
log has a trace of the fault. An ordinary run plays two rows, drawn from the commit; `tox -e faults` plays all.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import pytest

from livemig.lab.lab import Lab
from tests import report
from tests.drawn import some
from tests.faults.cluster import RUNTIME, cluster
from tests.faults.faults import FAULTS, TAKEN_UP, Fault
from tests.faults.stage import ENDED, PLACES, Look, Phase, Stage, describe, lie, rests, ticking

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

TRUTH_S = 30.0
END_S = 150.0
CHOSEN: Sequence[Fault[Stage]] = some("faults", FAULTS)
Matrix = dict[str, dict[Phase, str]]


@pytest.fixture(scope="module")
def stage(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with cluster(lab, tmp_path_factory.mktemp("cluster"), PLACES) as made:
        stage = Stage(made)
        try:
            yield stage
        finally:
            for guest in stage.guests.values():
                guest.remove()


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    """What became of the guests, by fault."""
    found: Matrix = {}
    yield found
    report.keep("fault matrix", table(found))


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name)
def test_fault(stage: Stage, matrix: Matrix, fault: Fault[Stage]) -> None:
    set_the_stage(stage)
    traces = {**fault.traces, **dict.fromkeys(fault.strike(stage) or (), TAKEN_UP)}
    stage.cluster.signal(signal.SIGCONT)
    RUNTIME.sleep(fault.lasts_s)
    fault.heal(stage)
    stage.release()
    settle(stage, lambda looks: not any(lie(look, phase in fault.kills) for phase, look in looks.items()), TRUTH_S, "the truth")
    settle(stage, lambda looks: all(has_ended(look, phase in fault.kills) for phase, look in looks.items()), END_S, "the end of all")
    looks = stage.looks()
    stories = {phase: stage.cluster.events(look.migration["id"]) for phase, look in looks.items()}
    for phase, story in stories.items():
        print(f"{fault.name}, {phase.value}:", *story[-12:], sep="\n  ")
    going = ticking(stage.guests, fault.kills, stage.cluster.wait)
    assert set(Phase) - going == fault.kills
    for phase, guest in stage.guests.items():
        ticks = guest.ticks()
        assert ticks.unbroken, f"{phase}: {ticks}"
        assert phase in fault.kills or len(guest.holders()) == 1
    for phase, trace in traces.items():
        met = phase not in fault.missed or looks[phase].status != "completed"
        assert not met or any(trace in event for event in stories[phase]), f"{trace}: {stories[phase]}"
    assert not any(look.left_behind for phase, look in looks.items() if phase not in fault.kills)
    matrix[fault.name] = {phase: outcome(fault, phase, look) for phase, look in looks.items()}
    stage.end(fault.kills)


def set_the_stage(stage: Stage) -> None:
    """All five in their phases; where a moment was missed, all of it is tried once more."""
    missed: list[Phase] | str = ""
    for _ in range(4):
        stage.assemble()
        try:
            stage.rehearse()
            if not (missed := stage.missed()):
                return
        except AssertionError as error:
            missed = str(error)
        stage.cluster.signal(signal.SIGCONT)
        stage.release()
        settle(stage, lambda looks: all(has_ended(look, False) for look in looks.values()), END_S, "the end of a rehearsal")
    pytest.fail(f"never were all in their phases: {missed}\n{describe(stage.looks())}")


def settle(stage: Stage, ready: object, seconds: float, what: str) -> None:
    def said() -> str:
        looks = stage.looks()
        logs = "\n".join(f"{phase.value}\n  " + "\n  ".join(stage.cluster.events(look.migration["id"])) for phase, look in looks.items() if look.migration)
        return f"\n{describe(looks)}\n{logs}\n{stage.cluster.log()}"

    stage.cluster.wait(lambda: ready(stage.looks()), seconds, what, said, 0.5)  # type: ignore[operator]


def has_ended(look: Look, dead: bool) -> bool:
    if dead:
        return look.status in ENDED and look.task_state is None
    return any(rests(look, host) for host in look.states)


def outcome(fault: Fault[Stage], phase: Phase, look: Look) -> str:
    if phase in fault.spares:
        return f"nothing to hit; {look.status}"
    if phase in fault.kills:
        return f"killed; {look.status}, shown {look.server.get('status')}"
    return look.status


def table(matrix: Matrix) -> str:
    head = f"| fault | {' | '.join(phase.value for phase in Phase)} |\n|{'---|' * (len(Phase) + 1)}\n"
    return head + "".join(f"| {name} | {' | '.join(cells[phase] for phase in Phase)} |\n" for name, cells in matrix.items())
