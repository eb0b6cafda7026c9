"""What to do with a running migration: a pure decision over its policy, what was done before, and what libvirt says now.

The arithmetic is Nova's (nova/virt/libvirt/migration.py downtime_steps, should_trigger_timeout_action).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from livemig.facts import Job, Policy

_LEAST_GIB = 2  # Nova counts no guest as smaller


@dataclass(frozen=True, slots=True)
class SetDowntime:
    """Permit a pause of that many milliseconds."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop it; the guest stays on the source."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the guest until its memory has moved."""

    reason: str


Action = SetDowntime | Abort | Pause

_STOP = Abort("libvirt is told to stop the job")
_HURRY = Pause("the guest is paused, for the migration to complete")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody asked of a migration under way."""

    abort: bool = False
    completion: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What was decided before. `step` is the last downtime step taken."""

    step: int = -1
    timed_out: bool = False


def decide(policy: Policy, memory: Memory, job: Job, memory_mib: int, elapsed_s: float, wishes: Wishes) -> tuple[Memory, list[Action]]:
    """The actions due now, and what to remember. Nothing but an abort is done before QEMU has begun to send.

    What is wished is due at every look, for as long as there is a job: libvirt may have been deaf to it. Whoever wants it to complete waives the time-out.
    """
    if wishes.abort:
        return memory, [_STOP]
    if not job.started:
        return memory, []
    actions: list[Action] = []
    step = downtime_step(policy, memory_mib, elapsed_s)
    if step > memory.step:
        memory = replace(memory, step=step)
        actions.append(SetDowntime(downtime_at(policy, step)))
    if wishes.completion:
        return memory, [*actions, _HURRY]
    limit = completion_timeout_s(policy, memory_mib)
    if limit and elapsed_s > limit and not memory.timed_out:
        memory = replace(memory, timed_out=True)
        reason = f"not completed after {limit} s (live_migration_completion_timeout)"
        actions.append(Pause(reason) if policy.timeout_action == "force_complete" else Abort(reason))
    return memory, actions


def downtime_step(policy: Policy, memory_mib: int, elapsed_s: float) -> int:
    """The step reached, 0 to downtime_steps; each lasts downtime_delay seconds for each GiB."""
    return min(int(elapsed_s // int(policy.downtime_delay_s * gib(memory_mib))), policy.downtime_steps)


def downtime_at(policy: Policy, step: int) -> int:
    """Milliseconds permitted at a step: from downtime / steps up to downtime."""
    base = policy.downtime_ms / policy.downtime_steps
    return int(base + (policy.downtime_ms - base) / policy.downtime_steps * step)


def completion_timeout_s(policy: Policy, memory_mib: int) -> int:
    """Seconds that the migration may take; 0 for no limit."""
    return int(policy.completion_timeout_s * gib(memory_mib))


def gib(memory_mib: int) -> float:
    return max(_LEAST_GIB, memory_mib / 1024)
