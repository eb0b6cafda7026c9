"""The simulation: no seed breaks a promise, the same seed is the same course of events, and mistakes are found. LIVEMIG_SEEDS sets how many seeds."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.simulation.__main__ import begun, divided
from tests.simulation.variants import VARIANTS

SEEDS = int(os.environ.get("LIVEMIG_SEEDS", "40"))
ANY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FOUND_BY = {  # mistake → the seed from which it is looked for: one that found it before
    "a host that is away has nothing": 3,
    "an abort is believed": 9,
    "cast without row": 5,
    "limits of one's own": 0,
    "no adoption": 0,
    "state before row": 12,
    "the source alone is asked": 6,
    "trust in the return code": 1,
}


@pytest.mark.timeout(3600)
def test_no_seed_breaks_a_promise() -> None:
    result = divided(0, SEEDS, os.cpu_count() or 1)
    assert result["broken"] == []
    assert {"completed", "cancelled", "failed", "error"} <= set(result["ends"])


@pytest.mark.timeout(300)
def test_a_seed_is_always_the_same_course_of_events() -> None:
    """In whatever process: each has hashes, and so orders of sets, of its own."""
    one, other = (ANY.sub("UUID", process.communicate()[0]) for process in [begun("--from", "7", "--tell") for _ in range(2)])
    assert one == other
    assert one.count("migration") > 5


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mistake", VARIANTS)
def test_a_mistake_is_found(mistake: str) -> None:
    process = begun("--variant", mistake, "--from", str(FOUND_BY[mistake]), "--seeds", "500")
    assert json.loads(process.communicate()[0].splitlines()[-1])["broken"]
