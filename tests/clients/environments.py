"""Virtual environments for clients, outside .venv: made once in .clients/NAME and used again while their pins and the interpreter stay the same.

pins/NAME.in says what is wanted, pins/NAME.txt every package that this comes to. After a change of the former:

    .venv/bin/python -m tests.clients.environments lock NAME

`make NAME…` makes environments before a test needs them; all of them when none is named.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools import uv

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".clients"
PINS = Path(__file__).with_name("pins")
LOCKED_FOR = "3.11"  # and newer


def environment(name: str) -> Path:
    """The directory of an environment's programs, made first if need be."""
    directory = CACHE / name
    with _alone(name):
        if _recipe_of(directory) != (wanted := _recipe(name)):
            _make(name, directory)
            (directory / "recipe").write_text(wanted)
    return directory / "bin"


def version(name: str, package: str) -> str:
    """The version of a package that an environment is pinned to."""
    for line in (PINS / f"{name}.txt").read_text().splitlines():
        pinned, _, rest = line.partition("==")
        if pinned == package:
            return rest.split()[0]
    raise LookupError(f"{name} has no {package}")


def names() -> list[str]:
    """Of all environments."""
    return sorted(path.stem for path in PINS.glob("*.in"))


def _make(name: str, directory: Path) -> None:
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(directory))
    python = str(directory / "bin" / "python")
    _uv("pip", "install", "--quiet", "--compile-bytecode", "--no-deps", "--python", python, "--requirements", str(PINS / f"{name}.txt"))


def _lock(name: str) -> None:
    words = ("--quiet", "--universal", "--python-version", LOCKED_FOR, "--no-annotate", "--no-header", "--upgrade")
    _uv("pip", "compile", *words, "--output-file", str(PINS / f"{name}.txt"), str(PINS / f"{name}.in"))


def _uv(*words: str) -> None:
    done = subprocess.run([uv.program(), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=uv.variables(), check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(words)}:\n{done.stdout}")


def _recipe(name: str) -> str:
    return f"{sys.version} {hashlib.sha256((PINS / f'{name}.txt').read_bytes()).hexdigest()}"


def _recipe_of(directory: Path) -> str | None:
    """What an environment was made from; None if it is not there, or only half made."""
    recipe = directory / "recipe"
    return recipe.read_text() if recipe.exists() else None


@contextmanager
def _alone(name: str) -> Iterator[None]:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(words: Sequence[str]) -> None:
    deed, *chosen = words
    for name in chosen or names():
        began = time.monotonic()
        {"make": environment, "lock": _lock}[deed](name)
        print(f"{name}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
