"""What the fault matrix and the soak stand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livemig.lab.lab import Lab
from tests.drawn import amount

collect_ignore = [] if amount("soak") else ["soak.py"]


@pytest.fixture(scope="session")
def lab(labs: Callable[[tuple[str, ...]], Lab]) -> Lab:
    """Two hosts of the machine's own release: with Debian 13's libvirt (11.3) post-copy is refused, which is one of the phases that are struck."""
    return labs(("own", "own"))
