"""Commands of the system, and the one error of the lab.

The only module of the lab that starts subprocesses and waits for them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


class LabError(Exception):
    """Something the lab cannot do; the message says what and, where known, how to go on."""


def run(*argv: str | Path, stdin: str | None = None, timeout: float = 60.0) -> str:
    """The command's output. Raises `LabError` with its complaint when it fails, or is not done within `timeout` seconds."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise LabError(f"command not found: {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no answer within {timeout:g} s: {' '.join(command)}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def succeeds(*argv: str | Path) -> bool:
    """Whether the command can be run and ends with status 0."""
    try:
        run(*argv)
    except LabError:
        return False
    return True


def spawn(*argv: str | Path, log: Path) -> None:
    """Start a daemon that is no child of the caller and leads a session of its own; what it prints is appended to `log`."""
    with log.open("ab") as output:
        subprocess.run(["setsid", "--fork", *map(str, argv)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
