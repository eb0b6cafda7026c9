"""What is done with a running migration, as transcripts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from livemig.conductor.monitor import (
    HIGHEST_DOWNTIME,
    Abort,
    Action,
    Look,
    Memory,
    Pause,
    PostCopy,
    SetDowntime,
    SetSpeed,
    Wishes,
    completion_timeout_s,
    data_gib,
    decide,
    downtime_at,
    downtime_step,
    failed,
    recalled,
)
from livemig.conf.policy import NAMED
from livemig.facts import Job, Policy, Presence
from livemig.testing.physics import MIB, PAGE, Copy, Stage

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
            (1601.0, GOING, [ABORT]),  # libvirt may not have heard
            (9999.0, GOING, [ABORT]),
        ],
    ),
    "force_complete": (
        Policy(timeout_action="force_complete"),
        2048,
        [(1500.0, GOING, [SetDowntime(500)]), (1601.0, GOING, [PAUSE]), (1602.0, GOING, [PAUSE])],
    ),
    "nothing before QEMU sends": (Policy(), 2048, [(5000.0, NOT_YET, []), (5000.5, GOING, [SetDowntime(500), ABORT]), (5001.0, GOING, [ABORT])]),
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
        memory, actions = decide(policy, memory, Look(job, elapsed_s), memory_mib, Wishes())
        said.append((elapsed_s, job, actions))
    assert said == lines


def test_an_abort_is_wanted_at_every_look_and_is_all_that_is_done() -> None:
    memory, wishes = Memory(), Wishes(abort=True, completion=True)
    for elapsed_s, job in ((0.0, NOT_YET), (0.5, GOING), (150.0, GOING), (9999.0, GOING)):
        assert decide(Policy(), memory, Look(job, elapsed_s), 2048, wishes) == (memory, [Abort("libvirt is told to stop the job")])


def test_completion_is_wanted_at_every_look_and_waives_the_time_out() -> None:
    memory, wishes, said = Memory(), Wishes(completion=True), []
    for elapsed_s, job in ((0.0, NOT_YET), (0.5, GOING), (1.0, GOING), (9999.0, GOING), (9999.5, GOING)):
        memory, actions = decide(Policy(), memory, Look(job, elapsed_s), 2048, wishes)
        said.append(actions)
    pause: list[Action] = [Pause("the guest is paused, for the migration to complete")]
    assert said == [[], [SetDowntime(50), *pause], pause, [SetDowntime(500), *pause], pause]


def test_downtime_never_exceeds_the_permitted_one() -> None:
    for policy in (Policy(), Policy(downtime_ms=101, downtime_steps=7), Policy(downtime_ms=100, downtime_steps=100)):
        steps = [downtime_at(policy, downtime_step(policy, 2.0, elapsed)) for elapsed in range(0, 100_000, 10)]
        assert steps == sorted(steps)
        assert steps[-1] == policy.downtime_ms
        assert steps[0] == policy.downtime_ms // policy.downtime_steps


# MiB of memory, GiB of copied disks, seconds
@pytest.mark.parametrize(
    ("memory_mib", "disks_gib", "seconds"),
    [(1, 0, 1600), (2048, 0, 1600), (2560, 0, 2000), (16384, 0, 12800), (2048, 1, 3200), (2048, 2, 3200), (4096, 10, 11200)],
)
def test_time_out_follows_memory_and_copied_disks(memory_mib: int, disks_gib: int, seconds: int) -> None:
    assert completion_timeout_s(Policy(), data_gib(memory_mib, disks_gib * 2**30)) == seconds


def test_time_runs_while_disks_are_copied_and_their_size_is_remembered() -> None:
    """The memory's own knobs wait for it."""
    disks = Job(outgoing=True, disk_total_bytes=2 * 2**30)
    memory, actions = decide(Policy(), Memory(), Look(disks, 3000.0), 2048, Wishes())
    assert actions == []
    memory, actions = decide(Policy(), memory, Look(GOING, 3200.0), 2048, Wishes())
    assert actions == [SetDowntime(500)]
    assert decide(Policy(), memory, Look(GOING, 3200.5), 2048, Wishes())[1] == [Abort("not completed after 3200 s (live_migration_completion_timeout)")]
    permitted = Policy(post_copy=True, timeout_action="force_complete")
    assert decide(permitted, Memory(), Look(disks, 3201.0), 2048, Wishes())[1] == [Pause("not completed after 3200 s (live_migration_completion_timeout)")]


# Whole migrations of a guest with 2 GiB, of which it uses the half, over 100 MiB/s: by policy and what it dirties (MiB/s, and from when on only 10), all that
# is done and how it ends. The copy is that of the mock; a look each half second.
ABOVE, BELOW, IDLE = 300, 60, 0


def job(copy: Copy) -> Job:
    rate = int(copy.counted_rate * MIB / PAGE) * PAGE
    sizes: dict[str, Any] = {
        "memory_total_bytes": int(copy.memory * MIB),
        "memory_remaining_bytes": int(copy.left * MIB),
        "memory_bps": int(copy.bandwidth * MIB),
    }
    return Job(outgoing=True, memory_dirty_bps=rate, memory_iteration=copy.iteration, **sizes)


def perform(action: Action, copy: Copy) -> str:
    """Do it, as libvirt would, and say it in short."""
    if isinstance(action, SetDowntime):
        copy.max_downtime = action.milliseconds / 1000
        return f"{action.milliseconds} ms{'!' if action.reason else ''}"
    if isinstance(action, Pause):
        copy.running = False
    elif isinstance(action, PostCopy):
        copy.start_post_copy()
    return type(action).__name__


def play(policy: Policy, dirty_rate: float, calm_at: float = float("inf"), **load: float) -> list[str]:
    copy = Copy(2048, dirty_rate, bandwidth=100, auto_converge=policy.auto_converge and not policy.post_copy, **{"working_set": 1024.0, **load})  # type: ignore[arg-type]
    memory, elapsed_s, said = Memory(), 0.0, list[str]()
    while copy.stage not in (Stage.CONVERGED, Stage.DONE) and "Abort" not in said[-1:]:
        copy.advance(0.5)
        elapsed_s += 0.5
        copy.dirty_rate = 10 if elapsed_s >= calm_at else dirty_rate
        presence = Presence.POST_COPY if copy.stage in (Stage.POST_COPY, Stage.DONE) else Presence.RUNNING if copy.running else Presence.MIGRATING
        memory, actions = decide(policy, memory, Look(job(copy), elapsed_s, presence), 2048, Wishes())
        said += [perform(action, copy) for action in actions if copy.running or not isinstance(action, Pause)]
    return [*said, f"{copy.stage.value} at {elapsed_s:.0f} s"]


STEPS = ["50 ms", "95 ms", "140 ms", "185 ms", "230 ms", "275 ms", "320 ms", "365 ms", "410 ms", "455 ms", "500 ms"]
PLAYS: dict[tuple[str, str], tuple[tuple[float, ...], list[str]]] = {
    ("nova", "idle"): ((IDLE,), ["50 ms", "converged at 20 s"]),
    ("nova", "below"): ((BELOW,), ["50 ms", "95 ms", "converged at 150 s"]),
    ("nova", "above"): ((ABOVE,), [*STEPS, "Abort", "pre-copy at 1600 s"]),
    ("nova", "recovers"): ((ABOVE, 100), ["50 ms", "converged at 114 s"]),
    ("minimal-downtime", "idle"): ((IDLE,), ["33 ms", "converged at 20 s"]),
    ("minimal-downtime", "below"): ((BELOW,), ["33 ms", "converged at 44 s"]),
    ("minimal-downtime", "above"): ((ABOVE,), ["33 ms", "55 ms", "converged at 170 s"]),  # slowed down
    ("minimal-downtime", "recovers"): ((ABOVE, 100), ["33 ms", "converged at 113 s"]),
    ("must-finish", "idle"): ((IDLE,), ["50 ms", "converged at 20 s"]),
    ("must-finish", "below"): ((BELOW,), ["50 ms", "95 ms", "converged at 46 s"]),
    ("must-finish", "above"): ((ABOVE,), [*STEPS[:3], "500 ms!", "1000 ms!", "2000 ms!", "4000 ms!", "PostCopy", "done at 172 s"]),
    ("must-finish", "recovers"): ((ABOVE, 100), [*STEPS[:3], "500 ms!", "1000 ms!", "converged at 112 s"]),
    ("post-copy", "idle"): ((IDLE,), ["50 ms", "converged at 20 s"]),
    ("post-copy", "below"): ((BELOW,), ["50 ms", "95 ms", "converged at 150 s"]),
    ("post-copy", "above"): ((ABOVE,), ["50 ms", "PostCopy", "done at 52 s"]),
    ("post-copy", "recovers"): ((ABOVE, 30), ["50 ms", "converged at 42 s"]),
}


@pytest.mark.parametrize("case", PLAYS, ids=" ".join)
def test_whole_migrations(case: tuple[str, str]) -> None:
    given, expected = PLAYS[case]
    assert play(Policy(**NAMED[case[0]]), *given) == expected


# policies of one's own, for a guest that dirties more than is sent
OWN: dict[str, tuple[dict[str, object], list[str]]] = {
    "abort": ({"on_stall": ("abort",)}, ["50 ms", "Abort", "pre-copy at 62 s"]),
    "later": ({"on_stall": ("abort",), "stall_iterations": 10}, ["50 ms", "Abort", "pre-copy at 133 s"]),
    "pause": ({"on_stall": ("force_complete",)}, ["50 ms", "Pause", "converged at 72 s"]),
    "force, with post-copy permitted": ({"on_stall": ("force_complete",), "post_copy": True}, ["50 ms", "PostCopy", "done at 72 s"]),
    "what is not permitted is passed over": ({"on_stall": ("post_copy", "abort")}, ["50 ms", "Abort", "pre-copy at 62 s"]),
    "the longest downtime": (
        {"on_stall": ("raise_downtime", "abort"), "downtime_ms": 100},
        ["10 ms", "100 ms!", "200 ms!", "400 ms!", "800 ms!", "Abort", "pre-copy at 180 s"],
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_stalls_by_policy(case: str) -> None:
    changes, expected = OWN[case]
    assert play(Policy(**changes), ABOVE) == expected  # type: ignore[arg-type]


def test_without_on_stall_nothing_is_done_but_by_time() -> None:
    policy, memory, copy, said = Policy(), Memory(), Copy(2048, ABOVE, 1024, 100), []
    for look in range(1, 280):
        copy.advance(0.5)
        memory, actions = decide(policy, memory, Look(job(copy), look / 2), 2048, Wishes())
        said += actions
    assert said == [SetDowntime(50)]
    assert (memory.urge, memory.stall_step) == (None, 0)


def test_a_saw_tooth_is_no_progress_and_no_stall() -> None:
    """What remains falls and rises. A guest that dirties just below the bandwidth converges, slowly: each iteration begins with less."""
    patient = Policy(downtime_ms=2000, downtime_delay_s=10**6, on_stall=("abort",))
    assert play(patient, 90, working_set=1900)[-1].startswith("converged")
    assert "Abort" in play(patient, 120, working_set=1900)


def test_the_raised_downtime_stays_when_its_steps_come() -> None:
    raised = Memory(step=1, downtime_ms=1000)
    memory, actions = decide(Policy(), raised, Look(GOING, 300.0), 2048, Wishes())
    assert (memory.step, memory.downtime_ms, actions) == (2, 1000, [])
    assert HIGHEST_DOWNTIME == 8


SWITCH = PostCopy("for the migration to complete")


@pytest.mark.parametrize(
    ("look", "memory", "action"),
    [
        (Look(GOING, 1.0), Memory(), SWITCH),
        (Look(GOING, 1.0), Memory(no_post_copy=True), Pause("the guest is paused, for the migration to complete")),
        (Look(GOING, 1.0, Presence.PAUSED), Memory(), Pause("the guest is paused, for the migration to complete")),
        (Look(GOING, 1.0, Presence.MIGRATING), Memory(), Pause("the guest is paused, for the migration to complete")),
        (Look(GOING, 1.0), Memory(urge=Abort("too late")), Abort("too late")),
        (Look(GOING, 1.0), Memory(urge=PostCopy("no progress")), SWITCH),
    ],
    ids=["permitted", "refused by libvirt", "a paused guest", "at switch-over", "already given up", "switching"],
)
def test_force_complete(look: Look, memory: Memory, action: Action) -> None:
    policy = Policy(post_copy=True)
    for _ in range(2):
        memory, actions = decide(policy, memory, look, 2048, Wishes(completion=True))
        assert actions[-1] == action


def test_time_out_with_post_copy() -> None:
    policy = Policy(post_copy=True, timeout_action="force_complete")
    _memory, actions = decide(policy, Memory(step=10), Look(GOING, 1601.0), 2048, Wishes())
    assert actions == [PostCopy("not completed after 1600 s (live_migration_completion_timeout)")]


@pytest.mark.parametrize("presence", [Presence.POST_COPY, Presence.POST_COPY_FAILED])
def test_in_post_copy_nothing_is_done(presence: Presence) -> None:
    policy = Policy(post_copy=True, on_stall=("abort",), stall_iterations=1)
    memory = Memory(urge=Abort("too late"))
    assert decide(policy, memory, Look(GOING, 9999.0, presence), 2048, Wishes(abort=True, completion=True)) == (memory, [])


def test_a_switch_that_is_not_possible_any_more_lets_the_next_be_done() -> None:
    policy = Policy(post_copy=True, on_stall=("post_copy", "abort"), completion_timeout_s=0)
    memory, copy, said = Memory(), Copy(2048, ABOVE, 1024, 100), []
    for look in range(1, 200):
        copy.advance(0.5)
        memory, actions = decide(policy, memory, Look(job(copy), look / 2), 2048, Wishes())
        for action in actions:
            memory = failed(memory, action, for_good=True)
        said += [type(action) for action in actions]
    assert said[:3] == [SetDowntime, SetDowntime, SetDowntime]  # each refused, so each is tried again
    assert said.index(PostCopy) < said.index(Abort)
    assert said.count(PostCopy) == 1


# policy's limit, shares and presences at successive looks, what libvirt is told
SPEEDS: dict[str, tuple[int, list[tuple[int | None, Presence]], list[SetSpeed]]] = {
    "none": (0, [(None, Presence.RUNNING)] * 2, []),
    "the policy's": (50, [(None, Presence.RUNNING)] * 2, []),
    "a share": (0, [(40, Presence.RUNNING)] * 2 + [(80, Presence.RUNNING), (None, Presence.RUNNING)], [SetSpeed(40), SetSpeed(80), SetSpeed(0)]),
    "a share that is the policy's": (50, [(50, Presence.RUNNING), (25, Presence.RUNNING), (None, Presence.RUNNING)], [SetSpeed(25), SetSpeed(50)]),
    "post-copy": (50, [(None, Presence.RUNNING), (None, Presence.POST_COPY)], []),
    "a share in post-copy": (
        50,
        [(20, Presence.RUNNING), (20, Presence.POST_COPY), (30, Presence.POST_COPY), (None, Presence.POST_COPY_FAILED)],
        [SetSpeed(20), SetSpeed(20, True), SetSpeed(30, True), SetSpeed(0, True)],
    ),
}


@pytest.mark.parametrize("case", SPEEDS)
def test_speeds(case: str) -> None:
    limit, looks, expected = SPEEDS[case]
    memory, said = Memory(step=10), []
    for share, presence in looks:
        memory, actions = decide(Policy(bandwidth_mib_s=limit), memory, Look(GOING, 1.0, presence, share), 2048, Wishes())
        said += actions
    assert said == expected


@pytest.mark.parametrize(("presence", "post_copy"), [(Presence.RUNNING, False), (Presence.POST_COPY, True)])
def test_who_takes_a_migration_up_tells_its_speed(presence: Presence, post_copy: bool) -> None:
    """The former conductor may have told another one, and the link have none to share any more."""
    look = Look(GOING, 1.0, presence)
    memory, actions = decide(Policy(), replace(recalled(None), step=10), look, 2048, Wishes())
    assert actions == [SetSpeed(0, post_copy)]
    assert decide(Policy(), memory, look, 2048, Wishes())[1] == []


def test_what_libvirt_refused_is_tried_again() -> None:
    look = Look(GOING, 1.0, share_mib_s=40)
    memory, actions = decide(Policy(), Memory(), look, 2048, Wishes())
    assert actions == [SetSpeed(40), SetDowntime(50)]
    for action in actions:
        memory = failed(memory, action, for_good=False)
    assert decide(Policy(), memory, look, 2048, Wishes())[1] == actions
    for other in (Abort(""), PostCopy("")):
        assert failed(memory, other, for_good=False) == memory


def test_a_share_is_told_before_the_switch() -> None:
    """From its first instant post-copy sends no more than that; where QEMU is late to switch, pre-copy's limit is told again and counts meanwhile."""
    look, policy = Look(GOING, 1.0, share_mib_s=40), Policy(post_copy=True)
    memory, actions = decide(policy, Memory(speed=SetSpeed(40), step=10), look, 2048, Wishes(completion=True))
    assert actions == [SetSpeed(40, post_copy=True), SWITCH]
    begun = replace(look, presence=Presence.POST_COPY)
    assert decide(policy, memory, begun, 2048, Wishes(completion=True))[1] == []
    assert decide(policy, memory, look, 2048, Wishes(completion=True))[1] == [SetSpeed(40), SetSpeed(40, post_copy=True), SWITCH]
