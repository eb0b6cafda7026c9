"""How much a run plays of what there is: a part that is drawn from the commit, or, with LIVEMIG_ALL=1 (`tools/test --all`), all of it.

The same commit always draws the same; the next one draws something else. LIVEMIG_DRAW stands for another commit, and LIVEMIG_<NAME> for an amount of the table
below (LIVEMIG_SIMULATION=2000). The header of every run says what was drawn from.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# How many of it: in an ordinary run, and at the most.
AMOUNTS = {
    "seeds": (1, 3),  # orders of the threads in which each conductor test is played
    "scenes": (8, 32),  # orders of the threads and transactions in which each scene of tests/conductor/test_wishes.py is played
    "simulation": (100, 10_000),  # seeds
    "faults": (2, 1_000),  # rows of the fault matrix, of five cells each
    "fuzz": (600, 20_000),  # requests made from the OpenAPI document
    "moves": (3, 60),  # migrations of a guest of the lab that dirties its memory
    "soak": (0, 200),  # migrations
}

_ROOT = Path(__file__).parent.parent
_DIFFERENT_SEEDS = 1000


def commit() -> str:
    """The commit that is checked out; "none" outside of a repository."""
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"


ALL = os.environ.get("LIVEMIG_ALL") == "1"
DRAW = os.environ.get("LIVEMIG_DRAW") or commit()


def amount(what: str) -> int:
    """How many of it this run plays."""
    return int(os.environ.get(f"LIVEMIG_{what.upper()}") or AMOUNTS[what][ALL])


def some(what: str, things: Sequence[T]) -> Sequence[T]:
    """As many of these as this run plays, in the order in which they are given."""
    return [things[at] for at in sorted(_chance(what).sample(range(len(things)), min(amount(what), len(things))))]


def numbers(what: str, different: int = _DIFFERENT_SEEDS) -> range:
    """As many numbers in a row as this run plays, from 0 to `different`; of all of them, the first."""
    count = amount(what)
    begin = 0 if ALL or count >= different else _chance(what).randrange(different - count + 1)
    return range(begin, begin + count)


def _chance(what: str) -> random.Random:
    """Each kind of choice has its own, so that a new one changes none of the others."""
    return random.Random(f"{DRAW} {what}")


def header() -> str:
    """What a run says of it."""
    if ALL:
        return "played: all that there is"
    return f"drawn from {DRAW} (LIVEMIG_DRAW={DRAW} draws the same again): conductor tests with seed {numbers('seeds')[0]}"
