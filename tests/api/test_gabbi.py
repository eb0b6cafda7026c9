"""The wire contract, as YAML: tests/api/gabbits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gabbi.driver import (
    py_test_generator,
    test_pytest,  # noqa: F401 - the test function that pytest calls
)

from tests.api import fixtures


def pytest_generate_tests(metafunc: Any) -> None:
    py_test_generator(
        str(Path(__file__).parent / "gabbits"),
        intercept=fixtures.application,
        fixture_module=fixtures,
        metafunc=metafunc,
        test_loader_name=__name__,
        safe_yaml=True,
    )
