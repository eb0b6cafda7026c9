"""What to do with a running migration: a pure decision over its policy, what was done before, and what libvirt says now.

The arithmetic of time is Nova's (nova/virt/libvirt/migration.py: downtime_steps, should_trigger_timeout_action; driver.py: _live_migration_data_gb).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from livemig.conductor.course import Course, observe, stalled
from livemig.facts import Job, Policy, Presence

T = TypeVar("T")

_LEAST_GIB = 2  # Nova counts no guest, and no disk, as smaller
_GIB = 2**30
_MIB = 2**20
HIGHEST_DOWNTIME = 8  # times the policy's downtime: so far it is raised for a guest that makes no progress
IN_POST_COPY = (Presence.POST_COPY, Presence.POST_COPY_FAILED)  # how a source has a guest that runs on the destination


@dataclass(frozen=True, slots=True)
class SetDowntime:
    """Permit a pause of that many milliseconds."""

    milliseconds: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SetSpeed:
    """Send that many MiB/s at most, 0 for no limit; `post_copy` says which of libvirt's two limits is meant."""

    mib_s: int
    post_copy: bool = False


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop it; the guest stays on the source."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the guest until its memory has moved."""

    reason: str


@dataclass(frozen=True, slots=True)
class PostCopy:
    """Let the guest go on at the destination; the rest of its memory follows."""

    reason: str


Action = SetDowntime | SetSpeed | Abort | Pause | PostCopy

_STOP = Abort("libvirt is told to stop the job")
_URGES: Mapping[str, type[Abort | Pause | PostCopy]] = {kind.__name__: kind for kind in (Abort, Pause, PostCopy)}
_HURRY = Pause("the guest is paused, for the migration to complete")
_SWITCH = "for the migration to complete"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody asked of a migration under way."""

    abort: bool = False
    completion: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What was decided before.

    `step` is the last downtime step taken and `downtime_ms` what is permitted now; `speed` is the limit that libvirt was told last, None for what the
    policy says. `urge` is what must be done from now on at every look until it has come about: to abort, to complete (Pause), or only to switch
    (PostCopy). `stall_step` is the place in the policy's on_stall.
    """

    step: int = -1
    downtime_ms: int = 0
    speed: SetSpeed | None = None
    timed_out: bool = False
    urge: Abort | Pause | PostCopy | None = None
    stall_step: int = 0
    no_post_copy: bool = False  # libvirt does not let this job switch
    disk_bytes: int = 0
    course: Course = field(default_factory=Course)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a migration: the job, how the source has the guest, seconds since the start, and its share of a limited link (MiB/s) if it has one."""

    job: Job
    elapsed_s: float
    presence: Presence = Presence.RUNNING
    share_mib_s: int | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    policy: Policy
    look: Look
    memory_mib: int
    wishes: Wishes


_Decision = tuple[Memory, list[Action]]


def decide(policy: Policy, memory: Memory, look: Look, memory_mib: int, wishes: Wishes) -> _Decision:
    """The actions due now, and what to remember. Nothing but an abort is done before anything is sent, and nothing at all, but for its speed, in post-copy.

    What is wished is due at every look, for as long as there is a job: libvirt may have been deaf to it. Whoever wants it to complete waives the time-out.
    """
    case = _Case(policy, look, memory_mib, wishes)
    if look.presence in IN_POST_COPY:
        return _speed(case, memory)
    if wishes.abort:
        return memory, [_STOP]
    if not look.job.begun:
        return memory, []
    memory = replace(memory, course=observe(memory.course, look.job), disk_bytes=max(memory.disk_bytes, look.job.disk_total_bytes))
    actions: list[Action] = []
    for rule in (_speed, _downtime, _time_out, _no_progress, _urge):
        memory, due = rule(case, memory)
        actions += due
    return memory, actions


_NOT_KNOWN = SetSpeed(-1)  # so it is to be told, whatever it is


def remembered(memory: Memory) -> dict[str, Any]:
    """For the migration's row: whoever takes it up goes on from there. What libvirt was told of its speed is not a part of it: he tells it anew."""
    urge = memory.urge and {"kind": type(memory.urge).__name__, "reason": memory.urge.reason}
    return {**asdict(replace(memory, speed=None)), "urge": urge}


def recalled(saved: Mapping[str, Any] | None) -> Memory:
    """As `remembered` made it, by this version of livemig or by another that knew fewer or more."""
    if not saved:
        return Memory(speed=_NOT_KNOWN)
    urge = saved.get("urge")
    course = _made(Course, saved.get("course") or {})
    made = {"urge": _URGES[urge["kind"]](urge["reason"]) if urge else None, "course": course, "speed": _NOT_KNOWN}
    return _made(Memory, {**saved, **made})


def _made(kind: type[T], saved: Mapping[str, Any]) -> T:
    return kind(**{field.name: saved[field.name] for field in fields(kind) if field.name in saved})  # type: ignore[arg-type]


def failed(memory: Memory, action: Action, for_good: bool) -> Memory:
    """What to remember when libvirt has refused an action; `for_good` says that it always will for this job."""
    if isinstance(action, SetDowntime):
        return replace(memory, step=-1, downtime_ms=0)
    if isinstance(action, SetSpeed):
        return replace(memory, speed=_NOT_KNOWN)
    if isinstance(action, PostCopy) and for_good:
        return replace(memory, no_post_copy=True)
    return memory


def _speed(case: _Case, memory: Memory) -> _Decision:
    """The share of the link; else the policy's limit, which is one of pre-copy, as in Nova: in post-copy the guest waits for its memory."""
    post_copy = case.look.presence in IN_POST_COPY
    own = SetSpeed(0 if post_copy else case.policy.bandwidth_mib_s, post_copy)
    wanted = own if case.look.share_mib_s is None else SetSpeed(case.look.share_mib_s, post_copy)
    told = memory.speed if memory.speed and (memory.speed == _NOT_KNOWN or memory.speed.post_copy == post_copy) else own
    return (memory, []) if wanted == told else (replace(memory, speed=wanted), [wanted])


def _downtime(case: _Case, memory: Memory) -> _Decision:
    """Nova's steps; what was raised for want of progress is not taken back by them."""
    step = downtime_step(case.policy, data_gib(case.memory_mib, memory.disk_bytes), case.look.elapsed_s)
    if not case.look.job.started or step <= memory.step:
        return memory, []
    permitted = downtime_at(case.policy, step)
    if permitted <= memory.downtime_ms:
        return replace(memory, step=step), []
    return replace(memory, step=step, downtime_ms=permitted), [SetDowntime(permitted)]


def _time_out(case: _Case, memory: Memory) -> _Decision:
    limit = completion_timeout_s(case.policy, data_gib(case.memory_mib, memory.disk_bytes))
    if not limit or case.look.elapsed_s <= limit or memory.timed_out or case.wishes.completion:
        return memory, []
    reason = f"not completed after {limit} s (live_migration_completion_timeout)"
    urge = Pause(reason) if case.policy.timeout_action == "force_complete" else Abort(reason)
    return replace(memory, timed_out=True, urge=urge), []


def _no_progress(case: _Case, memory: Memory) -> _Decision:
    """The next of on_stall that is possible; then the guest has as many iterations again to show progress."""
    if case.wishes.completion or isinstance(memory.urge, Abort | Pause) or not stalled(memory.course, case.policy):
        return memory, []
    reason = _no_progress_text(memory.course)
    memory = replace(memory, course=replace(memory.course, fruitless=0))
    for step in range(memory.stall_step, len(case.policy.on_stall)):
        decision = _ON_STALL[case.policy.on_stall[step]](case, replace(memory, stall_step=step), reason)
        if decision is not None:
            return decision
    return replace(memory, stall_step=len(case.policy.on_stall)), []


def _no_progress_text(course: Course) -> str:
    rates = f"{course.dirty_bps / _MIB:.0f} MiB/s dirtied, {course.sent_bps / _MIB:.0f} MiB/s sent"
    return f"no new minimum in {course.fruitless} iteration{'s' * (course.fruitless > 1)}: {rates} (live_migration_on_stall)"


def _raise_downtime(case: _Case, memory: Memory, reason: str) -> _Decision | None:
    """To the policy's full downtime at once, then doubled each time."""
    full = case.policy.downtime_ms
    longer = full if memory.downtime_ms < full else 2 * memory.downtime_ms
    if longer > HIGHEST_DOWNTIME * full:
        return None
    return replace(memory, downtime_ms=longer), [SetDowntime(longer, reason)]


def _switch(case: _Case, memory: Memory, reason: str) -> _Decision | None:
    return (replace(memory, stall_step=memory.stall_step + 1, urge=PostCopy(reason)), []) if _can_switch(case, memory) else None


def _force(_case: _Case, memory: Memory, reason: str) -> _Decision:
    return replace(memory, urge=Pause(reason)), []


def _give_up(_case: _Case, memory: Memory, reason: str) -> _Decision:
    return replace(memory, urge=Abort(reason)), []


_ON_STALL: Mapping[str, Callable[[_Case, Memory, str], _Decision | None]] = {
    "raise_downtime": _raise_downtime,
    "post_copy": _switch,
    "force_complete": _force,
    "abort": _give_up,
}


def _urge(case: _Case, memory: Memory) -> _Decision:
    """Nova's force complete: post-copy if it is permitted and possible, else the guest is paused."""
    urge = memory.urge
    if case.wishes.completion and not isinstance(urge, Abort):
        urge = _HURRY
    if isinstance(urge, Pause | PostCopy) and _can_switch(case, memory):
        return _bounded(case, memory, PostCopy(_SWITCH if urge == _HURRY else urge.reason))
    return memory, [] if urge is None or isinstance(urge, PostCopy) else [urge]


def _bounded(case: _Case, memory: Memory, switch: PostCopy) -> _Decision:
    """Told before the switch: until the next look a link that is shared would be used up."""
    if case.look.share_mib_s is None:
        return memory, [switch]
    speed = SetSpeed(case.look.share_mib_s, post_copy=True)
    return replace(memory, speed=speed), [speed, switch]


def _can_switch(case: _Case, memory: Memory) -> bool:
    return case.policy.post_copy and not memory.no_post_copy and case.look.job.started and case.look.presence is Presence.RUNNING


def downtime_step(policy: Policy, gib: float, elapsed_s: float) -> int:
    """The step reached, 0 to downtime_steps; each lasts downtime_delay seconds for each GiB."""
    return min(int(elapsed_s // int(policy.downtime_delay_s * gib)), policy.downtime_steps)


def downtime_at(policy: Policy, step: int) -> int:
    """Milliseconds permitted at a step: from downtime / steps up to downtime."""
    base = policy.downtime_ms / policy.downtime_steps
    return int(base + (policy.downtime_ms - base) / policy.downtime_steps * step)


def completion_timeout_s(policy: Policy, gib: float) -> int:
    """Seconds that the migration may take; 0 for no limit."""
    return int(policy.completion_timeout_s * gib)


def data_gib(memory_mib: int, disk_bytes: int) -> float:
    """What is to be moved, as Nova counts it. libvirt tells the size of the disks that are copied as one sum, which counts as one disk."""
    return max(_LEAST_GIB, memory_mib / 1024) + (max(_LEAST_GIB, disk_bytes / _GIB) if disk_bytes else 0)
