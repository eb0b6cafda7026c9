"""What the checkout says of itself: versions, releases, checks."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.releases import RELEASES

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
PYTHONS = re.findall(r"Programming Language :: Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()
Pins = dict[str, str]


def on(python: str) -> dict[str, str]:
    """What markers are held against."""
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def pins(python: str, lines: list[str] = CONSTRAINTS) -> Pins:
    """The version of each package on a Python. Fails when there are two of one."""
    found: Pins = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(on(python)):
            (pin,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            assert pin.operator == "==" and name not in found, f"{requirement}: {found.get(name)}"
            found[name] = pin.version
    return found


def wanted(python: str) -> Iterator[Requirement]:
    """What setup.cfg needs on a Python, extras included."""
    for text in (SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()):
        for requirement in map(Requirement, text.split()):
            assert requirement.marker is None
            yield requirement


def test_the_supported_pythons_are_those_of_the_classifiers() -> None:
    assert PYTHONS == ["3.10", "3.11", "3.12", "3.13"]
    assert SETUP["options"]["python_requires"] == f">={PYTHONS[0]}"
    assert metadata.metadata("livemig")["Requires-Python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_have_each_requirement(python: str) -> None:
    pinned = pins(python)
    wrong = {str(each): pinned.get(canonicalize_name(each.name)) for each in wanted(python) if not _fits(each, pinned)}
    assert wrong == {}, "tools/constraints renews them"


def _fits(requirement: Requirement, pinned: Pins) -> bool:
    version = pinned.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(Version(version), prereleases=True)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_have_what_is_needed_indirectly(python: str) -> None:
    """By what the installed packages say of themselves: of this Python all, of another one those that it has in the same versions."""
    pinned = pins(python)
    assert _needed(python, pinned) - set(pinned) == set(), "tools/constraints renews them"


def _needed(python: str, pinned: Pins) -> set[str]:
    """What is needed by the installed packages that have the version of their pin."""
    same = [each for each in metadata.distributions() if pinned.get(canonicalize_name(each.metadata["Name"])) == each.version]
    assert len(same) > len(pinned) / 2, "tools/prepare installs what is pinned"
    requirements = [Requirement(text) for each in same for text in each.requires or []]
    return {canonicalize_name(each.name) for each in requirements if each.marker is None or each.marker.evaluate(on(python))}


def test_the_constraints_say_nothing_of_where_they_come_from() -> None:
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.!+]+( ; [a-z_ =!<>'.0-9A-Z]+)?", line)] == []


def test_a_constraint_that_is_missing_or_too_old_is_found() -> None:
    assert not _fits(Requirement("uv>=0.9"), pins("3.10", ["uv==0.8.9"]))
    assert not _fits(Requirement("uv>=0.9"), pins("3.10", ["uv==0.9.1 ; python_full_version >= '3.11'"]))
    assert _fits(Requirement("uv>=0.9"), pins("3.11", ["uv==0.9.1 ; python_full_version >= '3.11'"]))
    with pytest.raises(AssertionError):
        pins("3.10", ["uv==0.9.1", "uv==0.9.2"])


# Releases


def test_the_changelog_has_each_release_with_its_commit() -> None:
    sections = re.findall(r"^## \[([^]]+)\](.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == ["Unreleased", *sorted(RELEASES, key=Version, reverse=True)]
    for name, text in sections[1:]:
        assert re.match(r" - \d{4}-\d\d-\d\d\n", text), name
        assert re.findall(r"\b[0-9a-f]{40}\b", text) == [RELEASES[name]]


def test_the_version_is_after_all_releases() -> None:
    assert Version(SETUP["metadata"]["version"]) > max(map(Version, RELEASES))


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_in_the_history(release: str) -> None:
    known = subprocess.run(["git", "cat-file", "-e", f"{RELEASES[release]}^{{commit}}"], cwd=ROOT, capture_output=True, check=False)
    if known.returncode:
        pytest.skip("there is no history here: no git, or a shallow clone")
    ancestor = subprocess.run(["git", "merge-base", "--is-ancestor", RELEASES[release], "HEAD"], cwd=ROOT, check=False)
    assert ancestor.returncode == 0


# Checks


def test_the_same_checks_before_a_commit_in_tox_and_in_the_tests() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {each["repo"] for each in hooks} == {"local"}, "nothing is fetched for them"
    checks = [hook["entry"].removeprefix(".venv/bin/") for each in hooks for hook in each["hooks"]]
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    assert tox["testenv:lint"]["commands"].split("\n")[1:] == checks
    steps = re.findall(r'^step "\$bin/(ruff|mypy)"(.*)$', (ROOT / "tools" / "test").read_text(), re.MULTILINE)
    assert [f"{program}{words}" for program, words in steps] == checks
