from pathlib import Path

import pytest

from livemig.lab import registry
from livemig.lab.shell import LabError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "ROOT", tmp_path / "claims")
    return tmp_path / "claims"


def directory(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def test_claims_differ_and_stay(tmp_path: Path) -> None:
    one, other = directory(tmp_path, "one"), directory(tmp_path, "other")
    assert registry.claim(one) == 0
    assert registry.claim(other) == 1
    assert registry.claim(one) == 0
    assert registry.find(other) == 1


def test_given_back(tmp_path: Path, root: Path) -> None:
    one = directory(tmp_path, "one")
    registry.claim(one)
    registry.release(one)
    registry.release(one)
    assert registry.find(one) is None
    assert not root.exists()


def test_the_same_index_after_a_reboot(tmp_path: Path, root: Path) -> None:
    one = directory(tmp_path, "one")
    registry.claim(one, range(7, 9))
    (root / "7").unlink()
    assert registry.claim(one) == 7


def test_another_index_when_the_earlier_one_is_taken(tmp_path: Path) -> None:
    one, other = directory(tmp_path, "one"), directory(tmp_path, "other")
    (one / registry.MARKER).write_text("0\n")
    registry.claim(other)
    assert registry.claim(one) == 1


def test_killed_before_the_mark_was_written(tmp_path: Path) -> None:
    one = directory(tmp_path, "one")
    registry.claim(one, range(5, 6))
    (one / registry.MARKER).unlink()
    assert registry.claim(one) == 5


def test_all_taken(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="all"):
        registry.claim(directory(tmp_path, "one"), range(0))


def test_whose_directory(tmp_path: Path) -> None:
    one = directory(tmp_path, "one")
    assert registry.is_lab(tmp_path / "none")
    assert registry.is_lab(one)
    (one / "thesis.tex").touch()
    assert not registry.is_lab(one)
    (one / registry.MARKER).touch()
    assert registry.is_lab(one)


def test_lock_on_a_directory_that_went_away(tmp_path: Path) -> None:
    with registry.locked(tmp_path / "one"):
        (tmp_path / "one").rmdir()
    with registry.locked(tmp_path / "one"):
        assert (tmp_path / "one").is_dir()
