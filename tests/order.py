"""How tests are divided among processes that run them side by side (pytest-xdist): by file, what takes long first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# What takes more than half a minute, the longest first: begun last it would be waited for.
LONG = (
    "tests/simulation/test_simulation.py",
    "tests/faults/test_faults.py",
    "tests/lab/test_doctor.py",
    "tests/lab/test_disks.py",
    "tests/faults/test_clusters.py",
    "tests/contract",
    "tests/simulation/test_mistakes.py",
    "tests/lab",
    "tests/clients",
    "tests/conductor",
    "tests/api/test_schemathesis.py",
)
# Tests of clients, and of the contract, stand on one stage for each way to log in, and for each pair of hosts: these belong together, and not the files.
STAGED = re.compile(r"(?P<place>tests/(?:clients|contract))/.*\[(?P<stage>none|http_basic|password|lab|debian13|mock)\b")


def scope(test: str) -> str:
    """What a test, by its node id, has to be run together with."""
    if staged := STAGED.match(test):
        return f"{staged['place']}[{staged['stage']}]"
    return test.partition("::")[0]


def sort(items: list[pytest.Item]) -> None:
    """Put first what takes long."""
    items.sort(key=lambda item: next((at for at, place in enumerate(LONG) if item.nodeid.startswith(place)), len(LONG)))


class ByScope(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """A process takes one scope after the other, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
