"""How a transfer goes: what libvirt's statistics say of its progress, from look to look. Pure.

What remains is a saw-tooth: QEMU sends it until the rest would fit into the permitted downtime, counts what the guest has dirtied meanwhile, and begins
again. The least that remains in an iteration is thus much the same in each; what tells is how much there is when one begins. A transfer that converges
has less at each beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from livemig.facts import Job, Policy

_WEIGHT = 0.2  # of a new rate against the former ones
_LESS = 0.95  # a new minimum is lower by as much as half a second between two looks may hide
_KEEPS_PACE = 0.9  # a guest that dirties its memory that much as fast as it is sent; one whose whole working set is dirty shows just the bandwidth


@dataclass(frozen=True, slots=True)
class Course:
    """`most` is what has remained at most in the `iteration` under way: what it began with. `minimum` is the least of those before, and `fruitless` how many
    iterations have ended since without a new one. Rates are smoothed, in bytes a second."""

    iteration: int = 0
    most: int = 0
    minimum: int | None = None
    fruitless: int = 0
    sent_bps: float = 0.0
    dirty_bps: float = 0.0


def observe(course: Course, job: Job) -> Course:
    """The course with one more look."""
    course = replace(course, sent_bps=_smooth(course.sent_bps, job.memory_bps), dirty_bps=_smooth(course.dirty_bps, job.memory_dirty_bps))
    if job.memory_iteration <= course.iteration:
        return replace(course, most=max(course.most, job.memory_remaining_bytes))
    begun = {"iteration": job.memory_iteration, "most": job.memory_remaining_bytes}
    if not course.iteration:
        return replace(course, **begun)
    if course.minimum is None or course.most < course.minimum * _LESS:
        return replace(course, minimum=course.most, fruitless=0, **begun)
    return replace(course, fruitless=course.fruitless + job.memory_iteration - course.iteration, **begun)


def stalled(course: Course, policy: Policy) -> bool:
    """No new minimum for so many iterations, while the guest dirties its memory as fast as it is sent."""
    return course.fruitless >= policy.stall_iterations and course.dirty_bps >= course.sent_bps * _KEEPS_PACE > 0


def _smooth(before: float, now: float) -> float:
    return before + _WEIGHT * (now - before) if before else now
