"""Tests that stand alone: no file of tests has a fixture from another, checked on the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Trees = Mapping[str, ast.Module]  # by the module's name


def is_fixture(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)


def fixtures(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_fixture(node)}


def imported_fixtures(trees: Trees) -> Iterator[str]:
    """A fixture is used where pytest finds it: in its own file, or below its conftest.py. An import would hide where it comes from, and what it shares."""
    known = {module: fixtures(tree) for module, tree in trees.items()}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                yield from (f"{module} imports {node.module}.{each.name}" for each in node.names if each.name in known.get(node.module or "", ()))


def fixtures_elsewhere(trees: Trees) -> Iterator[str]:
    """Fixtures stand in files of tests and in conftest.py, where pytest finds them without an import."""
    for module, tree in trees.items():
        has_tests = any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in tree.body)
        if not has_tests and not module.endswith(".conftest"):
            yield from (f"{module} has the fixture {each}" for each in sorted(fixtures(tree)))


def imports_of_conftest(trees: Trees) -> Iterator[str]:
    """What others import is no part of a conftest.py."""
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".conftest"):
                yield f"{module} imports from {node.module}"


RULES = (imported_fixtures, fixtures_elsewhere, imports_of_conftest)


def source() -> dict[str, ast.Module]:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def test_rules() -> None:
    trees = source()
    assert len(trees) > 100 and fixtures(trees["tests.conftest"]) >= {"lab"}
    assert [found for rule in RULES for found in rule(trees)] == []


FIXTURE = "import pytest\n@pytest.fixture(scope='module')\ndef thing(): ...\n"
TEST = "def test_thing(thing): ...\n"
PLANTED = {
    "a fixture of another file": (imported_fixtures, {"tests.unit.test_a": FIXTURE, "tests.unit.test_b": "from tests.unit.test_a import thing as thing"}),
    "a fixture of a conftest": (imported_fixtures, {"tests.conftest": FIXTURE, "tests.unit.test_b": "def f():\n    from tests.conftest import thing"}),
    "a fixture of a helper": (fixtures_elsewhere, {"tests.unit.helper": FIXTURE}),
    "a function of a conftest": (imports_of_conftest, {"tests.unit.test_a": "from tests.api.conftest import settle"}),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_violations_are_found(case: str) -> None:
    rule, sources = PLANTED[case]
    assert list(rule({name: ast.parse(text) for name, text in sources.items()}))


def test_what_is_allowed() -> None:
    trees = {name: ast.parse(text) for name, text in {"tests.unit.test_a": FIXTURE + TEST, "tests.unit.test_b": "from tests.unit.test_a import Thing"}.items()}
    assert [found for rule in RULES for found in rule(trees)] == []
