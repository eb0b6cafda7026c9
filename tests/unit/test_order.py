"""How tests are divided and drawn."""

from __future__ import annotations

import pytest

from tests import drawn
from tests.order import scope


@pytest.mark.parametrize(
    ("test", "together"),
    [
        ("tests/unit/test_db.py::test_ends[failed-queued]", "tests/unit/test_db.py"),
        ("tests/lab/test_disks.py::TestClass::test_it", "tests/lab/test_disks.py"),
        ("tests/clients/test_osc_migrate.py::test_it[password]", "tests/clients[password]"),
        ("tests/clients/test_roles.py::test_it[http_basic-reader]", "tests/clients[http_basic]"),
        ("tests/clients/test_document.py::test_it", "tests/clients/test_document.py"),
        ("tests/contract/test_calls.py::test_it[mock]", "tests/contract[mock]"),
        ("tests/contract/test_power.py::test_it[lab-2]", "tests/contract[lab]"),
    ],
)
def test_what_stands_on_one_stage_is_run_in_one_process(test: str, together: str) -> None:
    assert scope(test) == together


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An ordinary run, of a known commit, whatever this one is."""
    for name in drawn.AMOUNTS:
        monkeypatch.delenv(f"LIVEMIG_{name.upper()}", raising=False)
    monkeypatch.setattr(drawn, "ALL", False)
    monkeypatch.setattr(drawn, "DRAW", "0123456789ab")
    return monkeypatch


def test_a_commit_always_draws_the_same_and_another_one_something_else(draw: pytest.MonkeyPatch) -> None:
    one = drawn.numbers("simulation", 10_000)
    assert len(one) == 100 and one == drawn.numbers("simulation", 10_000)
    drawn_faults = drawn.some("faults", "abcdefghij")
    assert len(drawn_faults) == 2 and drawn_faults == sorted(drawn_faults)
    draw.setattr(drawn, "DRAW", "ba9876543210")
    assert drawn.numbers("simulation", 10_000) != one
    assert "ba9876543210" in drawn.header()


def test_all_of_it_is_all_of_it(draw: pytest.MonkeyPatch) -> None:
    draw.setattr(drawn, "ALL", True)
    assert drawn.numbers("simulation", 10_000) == range(10_000)
    assert drawn.some("faults", "abcdefghij") == list("abcdefghij")


def test_an_amount_may_be_given(draw: pytest.MonkeyPatch) -> None:
    draw.setenv("LIVEMIG_SEEDS", "7")
    assert len(drawn.numbers("seeds")) == 7
