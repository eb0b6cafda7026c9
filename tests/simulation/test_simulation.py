"""The simulation: no seed breaks a promise, and the same seed is the same course of events."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests import report
from tests.drawn import numbers
from tests.simulation.__main__ import begun, divided

SEEDS = numbers("simulation", 10_000)
ANY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.timeout(3600)
def test_no_seed_breaks_a_promise() -> None:
    result = divided(SEEDS.start, len(SEEDS), os.cpu_count() or 1)
    report.keep("simulation", json.dumps(result))
    assert result["broken"] == []
    assert {"completed", "cancelled", "failed", "error"} <= set(result["ends"])


@pytest.mark.timeout(300)
def test_a_seed_is_always_the_same_course_of_events() -> None:
    """In whatever process: each has hashes, and so orders of sets, of its own."""
    one, other = (ANY.sub("UUID", process.communicate()[0]) for process in [begun("--from", "7", "--tell") for _ in range(2)])
    assert one == other
    assert one.count("migration") > 5
