"""What is done with a running migration, as transcripts."""

from __future__ import annotations

import pytest

from livemig.conductor.monitor import Abort, Action, Memory, Pause, SetDowntime, Wishes, completion_timeout_s, decide, downtime_at, downtime_step
from livemig.facts import Job, Policy

GOING = Job(outgoing=True, memory_total_bytes=2**31, memory_remaining_bytes=2**30)
NOT_YET = Job(outgoing=True)

ABORT = Abort("not completed after 1600 s (live_migration_completion_timeout)")
PAUSE = Pause("not completed after 1600 s (live_migration_completion_timeout)")

# policy, MiB of memory, and what happens: (elapsed seconds, job, actions)
TRANSCRIPTS: dict[str, tuple[Policy, int, list[tuple[float, Job, list[Action]]]]] = {
    "Nova's defaults with 2 GiB": (
        Policy(),
        2048,
        [
            (0.0, NOT_YET, []),
            (0.5, GOING, [SetDowntime(50)]),
            (1.0, GOING, []),
            (149.9, GOING, []),
            (150.0, GOING, [SetDowntime(95)]),
            (150.5, GOING, []),
            (300.0, GOING, [SetDowntime(140)]),
            (450.0, GOING, [SetDowntime(185)]),
            (600.0, GOING, [SetDowntime(230)]),
            (750.0, GOING, [SetDowntime(275)]),
            (900.0, GOING, [SetDowntime(320)]),
            (1050.0, GOING, [SetDowntime(365)]),
            (1200.0, GOING, [SetDowntime(410)]),
            (1350.0, GOING, [SetDowntime(455)]),
            (1499.5, GOING, []),
            (1500.0, GOING, [SetDowntime(500)]),
            (1600.0, GOING, []),
            (1600.5, GOING, [ABORT]),
            (1601.0, GOING, []),
            (9999.0, GOING, []),
        ],
    ),
    "force_complete": (Policy(timeout_action="force_complete"), 2048, [(1500.0, GOING, [SetDowntime(500)]), (1601.0, GOING, [PAUSE]), (1602.0, GOING, [])]),
    "nothing before QEMU sends": (Policy(), 2048, [(5000.0, NOT_YET, []), (5000.5, GOING, [SetDowntime(500), ABORT]), (5001.0, GOING, [])]),
    "taken up in the middle: only the step of now": (
        Policy(),
        2048,
        [(460.0, GOING, [SetDowntime(185)]), (599.0, GOING, []), (600.0, GOING, [SetDowntime(230)])],
    ),
    "no time-out": (Policy(completion_timeout_s=0), 2048, [(1500.0, GOING, [SetDowntime(500)]), (1e6, GOING, [])]),
    "a small guest counts as 2 GiB": (Policy(), 128, [(0.5, GOING, [SetDowntime(50)]), (149.0, GOING, []), (150.0, GOING, [SetDowntime(95)])]),
    "8 GiB take four times as long": (Policy(), 8192, [(0.5, GOING, [SetDowntime(50)]), (599.0, GOING, []), (600.0, GOING, [SetDowntime(95)])]),
    "3 steps": (
        Policy(downtime_ms=300, downtime_steps=3, downtime_delay_s=3),
        2048,
        [
            (0.0, GOING, [SetDowntime(100)]),
            (6.0, GOING, [SetDowntime(166)]),
            (12.0, GOING, [SetDowntime(233)]),
            (18.0, GOING, [SetDowntime(300)]),
            (24.0, GOING, []),
        ],
    ),
}


@pytest.mark.parametrize("case", TRANSCRIPTS)
def test_transcripts(case: str) -> None:
    policy, memory_mib, lines = TRANSCRIPTS[case]
    memory, said = Memory(), []
    for elapsed_s, job, _expected in lines:
        memory, actions = decide(policy, memory, job, memory_mib, elapsed_s, Wishes())
        said.append((elapsed_s, job, actions))
    assert said == lines


def test_an_abort_is_wanted_at_every_look_and_is_all_that_is_done() -> None:
    memory, wishes = Memory(), Wishes(abort=True, completion=True)
    for elapsed_s, job in ((0.0, NOT_YET), (0.5, GOING), (150.0, GOING), (9999.0, GOING)):
        assert decide(Policy(), memory, job, 2048, elapsed_s, wishes) == (memory, [Abort("libvirt is told to stop the job")])


def test_completion_is_wanted_at_every_look_and_waives_the_time_out() -> None:
    memory, wishes, said = Memory(), Wishes(completion=True), []
    for elapsed_s, job in ((0.0, NOT_YET), (0.5, GOING), (1.0, GOING), (9999.0, GOING), (9999.5, GOING)):
        memory, actions = decide(Policy(), memory, job, 2048, elapsed_s, wishes)
        said.append(actions)
    pause: list[Action] = [Pause("the guest is paused, for the migration to complete")]
    assert said == [[], [SetDowntime(50), *pause], pause, [SetDowntime(500), *pause], pause]


def test_downtime_never_exceeds_the_permitted_one() -> None:
    for policy in (Policy(), Policy(downtime_ms=101, downtime_steps=7), Policy(downtime_ms=100, downtime_steps=100)):
        steps = [downtime_at(policy, downtime_step(policy, 2048, elapsed)) for elapsed in range(0, 100_000, 10)]
        assert steps == sorted(steps)
        assert steps[-1] == policy.downtime_ms
        assert steps[0] == policy.downtime_ms // policy.downtime_steps


@pytest.mark.parametrize(("memory_mib", "seconds"), [(1, 1600), (2048, 1600), (2560, 2000), (16384, 12800)])
def test_time_out_follows_memory(memory_mib: int, seconds: int) -> None:
    assert completion_timeout_s(Policy(), memory_mib) == seconds
