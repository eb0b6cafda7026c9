"""Has a test body lost an assertion? Compares the tests of a git revision with those of the working tree, by ast.

    .venv/bin/python tools/assertions.py [REVISION]     the revision is HEAD unless named

What counts as an assertion in a body: each `assert`, `pytest.raises`, `pytest.warns`, `pytest.fail` and `raise AssertionError`, and each call of a helper that
has one of these itself, or calls one that has, found by its name anywhere in tests/. What stands in the message of an assertion counts for nothing.

A test that has fewer than before is told of, with both numbers. So is a test that is gone, unless a new one has at least as many: of the same name in another
file, or of another name in the same file. Ends with status 1 when there is such a test.

Helpers and fixtures are counted alike, all of one name together, wherever they stand; one that has fewer is told of only to be looked at: its assertion may
stand in the tests now.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CALLS = {"raises", "warns", "fail"}  # of pytest
Function = ast.FunctionDef | ast.AsyncFunctionDef
Counts = dict[str, int]  # by "file::Class.test", and by "helper Class.name"


def sources_of(revision: str) -> Iterator[tuple[str, str]]:
    """(path, text) of each Python file under tests/."""
    for path in _git("ls-tree", "-r", "--name-only", revision, "tests").splitlines():
        if path.endswith(".py"):
            yield path, _git("show", f"{revision}:{path}")


def sources_here() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def counts(sources: Iterator[tuple[str, str]]) -> Counts:
    """How many assertions each test has, and each helper that has any."""
    trees = {path: ast.parse(text) for path, text in sources}
    functions = {f"{path}::{name}": node for path, tree in trees.items() for name, node in _functions(tree, "")}
    asserting = _asserting(functions)
    found: Counts = {}
    for name, node in functions.items():
        number = _count(node, asserting)
        if node.name.startswith("test_"):
            found[name] = number
        elif number:
            helper = f"helper {name.partition('::')[2]}"
            found[helper] = found.get(helper, 0) + number
    return found


def lost(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    """What is to be told, a line each."""
    new = {name: number for name, number in after.items() if name not in before}
    for name, number in before.items():
        if name in after:
            if after[name] < number:
                yield f"{name}: {number} before, {after[name]} now"
        elif heir := _heir(name, number, new):
            del new[heir]
        else:
            yield f"{name}: {number} before, and gone"


def _heir(name: str, number: int, new: Mapping[str, int]) -> str | None:
    """The new test that stands for one that is gone."""
    file, _, function = name.partition("::")
    heirs = [each for each, has in new.items() if has >= number and (each.partition("::")[2] == function or each.partition("::")[0] == file)]
    return max(heirs, key=lambda each: (each.partition("::")[2] == function, -new[each]), default=None)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    """Those of a module and its classes; one within another belongs to it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def _asserting(functions: Mapping[str, Function]) -> set[str]:
    """The names of helpers that assert something, themselves or by another."""
    helpers = [(node.name, node) for node in functions.values() if not node.name.startswith("test_")]
    found: set[str] = set()
    while more := {name for name, node in helpers if name not in found and _count(node, found)}:
        found |= more
    return found


def _count(function: Function, asserting: set[str]) -> int:
    return sum(_asserts(node, asserting) for node in _walk(function))


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All that is in it, but for what a failed assertion says."""
    yield node
    message = node.msg if isinstance(node, ast.Assert) else None
    for child in ast.iter_child_nodes(node):
        if child is not message:
            yield from _walk(child)


def _asserts(node: ast.AST, asserting: set[str]) -> bool:
    if isinstance(node, ast.Raise):
        return "AssertionError" in ast.unparse(node)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        return name in asserting or (name in CALLS and ast.unparse(node.func) == f"pytest.{name}")
    return isinstance(node, ast.Assert)


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout


def main(words: list[str]) -> int:
    if any(word.startswith("-") for word in words) or len(words) > 1:
        print(__doc__)
        return 0 if {"-h", "--help"} & set(words) else 2
    before, after = counts(sources_of(words[0] if words else "HEAD")), counts(sources_here())
    found = list(lost(before, after))
    print(*found, f"{len(before)} tests and helpers with {sum(before.values())} assertions before, {len(after)} with {sum(after.values())} now", sep="\n")
    return 1 if any(not line.startswith("helper ") for line in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
