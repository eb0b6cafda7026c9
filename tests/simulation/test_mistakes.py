"""The simulation finds every mistake that is planted in the service (tests/simulation/variants.py)."""

from __future__ import annotations

import json

import pytest

from tests.simulation.__main__ import begun
from tests.simulation.variants import VARIANTS

FOUND_BY = {  # mistake → the seed from which it is looked for: one that found it before
    "a host that is away has nothing": 3,
    "an abort is believed": 9,
    "cast without row": 2,
    "limits of one's own": 0,
    "no adoption": 0,
    "ownership by name": 0,
    "state before row": 22,
    "the source alone is asked": 11,
    "trust in the return code": 0,
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mistake", VARIANTS)
def test_a_mistake_is_found(mistake: str) -> None:
    process = begun("--variant", mistake, "--from", str(FOUND_BY[mistake]), "--seeds", "500")
    assert json.loads(process.communicate()[0].splitlines()[-1])["broken"]
