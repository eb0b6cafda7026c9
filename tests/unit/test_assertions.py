"""tools/assertions.py finds what a test has lost, and only that."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "assertions.py"
    spec = importlib.util.spec_from_file_location("assertions", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BEFORE = {
    "tests/test_a.py": """
def check(x): assert x
def twice(x): check(x); check(x)
def test_one(): assert 1; assert 2
def test_two():
    with pytest.raises(ValueError): f()
    twice(3)
class Tests:
    def test_three(self): assert 3, check(4)
"""
}
CHANGES: dict[str, tuple[str, str, list[str]]] = {
    "nothing": ("", "", []),
    "one of two": ("assert 1; assert 2", "assert 1", ["tests/test_a.py::test_one: 2 before, 1 now"]),
    "a helper's call": ("    twice(3)", "    pass", ["tests/test_a.py::test_two: 2 before, 1 now"]),
    "a raises": ("with pytest.raises(ValueError): f()", "f()", ["tests/test_a.py::test_two: 2 before, 1 now"]),
    "a whole test": ("def test_one(): assert 1; assert 2", "", ["tests/test_a.py::test_one: 2 before, and gone"]),
    "in a class": ("assert 3, check(4)", "pass", ["tests/test_a.py::Tests.test_three: 1 before, 0 now"]),
    "in a helper": ("check(x); check(x)", "check(x)", ["helper twice: 2 before, 1 now"]),
    "another name": ("test_one", "test_other", []),
    "another name, and fewer": (
        "test_one(): assert 1; assert 2",
        "test_other(): assert 1",
        ["tests/test_a.py::test_one: 2 before, and gone"],
    ),
    "more": ("assert 1; assert 2", "assert 1; assert 2; check(3)", []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_lost(tool: ModuleType, change: str) -> None:
    old, new, expected = CHANGES[change]
    after = {path: text.replace(old, new) for path, text in BEFORE.items()}
    assert list(tool.lost(tool.counts(BEFORE.items()), tool.counts(after.items()))) == expected


def test_a_test_may_move(tool: ModuleType) -> None:
    after = {"tests/test_b.py": BEFORE["tests/test_a.py"]}
    assert list(tool.lost(tool.counts(BEFORE.items()), tool.counts(after.items()))) == []
