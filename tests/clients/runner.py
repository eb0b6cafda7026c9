"""A client's program, run as an operator runs it: a process of its own, with nothing in its environment but how to log in.

LIVEMIG_COLD_CLIENTS=1 has the system start each of them. Without it they are forked from a process that has imported the client already
(warm_process.py), which takes a third of the time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.environments import environment
from tests.clients.record import Record

LONGEST_S = 90

# Runs a program with these arguments and variables in a directory, where it leaves the files `out` and `err`; its exit status.
Start = Callable[[Path, Sequence[str], Mapping[str, str], Path], int]


def cold(program: Path, words: Sequence[str], variables: Mapping[str, str], home: Path) -> int:
    """Have the system start it."""
    with (home / "out").open("w") as out, (home / "err").open("w") as err:
        return subprocess.run([program, *words], stdout=out, stderr=err, env=variables, cwd=home, timeout=LONGEST_S, check=False).returncode


class Warm:
    """Starts programs by forking from processes that have imported them."""

    def __init__(self) -> None:
        self._processes: dict[Path, subprocess.Popen[str]] = {}

    def __call__(self, program: Path, words: Sequence[str], variables: Mapping[str, str], home: Path) -> int:
        """Run it."""
        process = self._processes.get(program) or self._warm(program)
        assert process.stdin and process.stdout
        asked = {"words": words, "variables": dict(variables), "directory": str(home), "out": str(home / "out"), "err": str(home / "err")}
        print(json.dumps(asked), file=process.stdin, flush=True)
        return int(process.stdout.readline())

    def close(self) -> None:
        """End them."""
        for process in self._processes.values():
            assert process.stdin and process.stdout
            process.stdin.close()
            process.stdout.close()
            process.wait(30)

    def _warm(self, program: Path) -> subprocess.Popen[str]:
        command = [program.with_name("python"), Path(__file__).with_name("warm_process.py"), program]
        variables = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)
        self._processes[program] = process
        return process


class Named(str):
    """A word of a command that is another in each run, and the name it goes by in the document."""

    shown: str

    def __new__(cls, value: object, shown: str) -> Named:
        word = super().__new__(cls, value)
        word.shown = shown
        return word


def with_names(said: str, words: Iterable[object]) -> str:
    """A text with the names of what stands in it by itself: the number 1, but not the 1 of an address or a version."""
    for word in words:
        if isinstance(word, Named):
            said = re.sub(rf"(?<![\w.]){re.escape(word)}(?!\w|\.\w)", word.shown, said)
    return said


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    command: str
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What `-f json` printed."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of the table that was printed, by the headings."""
        heading, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in self.out.splitlines() if line.startswith("|")]
        return [dict(zip(heading, row, strict=True)) for row in rows]

    @property
    def properties(self) -> dict[str, str]:
        """A table of properties and values as a dict."""
        return {row["Property"]: row["Value"] for row in self.rows}

    @property
    def said(self) -> str:
        """The last line of its complaint."""
        lines = [line for line in self.err.splitlines() if line.strip() and "deprecated" not in line]
        return lines[-1] if lines else ""


class Client:
    """One program of one environment, logging in in one way. What it runs is written down in the record."""

    def __init__(self, made: str, program: str, style: str, access: Mapping[str, str], home: Path, record: Record, start: Start) -> None:
        self._program = environment(made) / program
        self._label = record.client(made, program)
        self._style = style
        self._access = dict(access)
        self._home = home
        self._record = record
        self._start = start

    def run(self, *words: str, **more: str) -> Ended:
        """Run it. `more` is added to the environment."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self._home), "LANG": "C.UTF-8", "COLUMNS": "200", **self._access, **more}
        status = self._start(self._program, words, variables, self._home)
        ended = Ended(self._shown(words, more), status, (self._home / "out").read_text(), (self._home / "err").read_text())
        self._record.add(self._label, self._style, ended.command, ended.status, with_names(ended.said, words) if ended.status else "")
        return ended

    def ok(self, *words: str, **more: str) -> Ended:
        """Run it; it must end well."""
        ended = self.run(*words, **more)
        assert ended.status == 0, f"{ended.command}: {ended.status}\n{ended.out}{ended.err}"
        return ended

    def json(self, *words: str, **more: str) -> Any:
        """Run it with `-f json`; it must end well. What it printed."""
        return self.ok(*words, "-f", "json", **more).json

    def refused(self, *words: str, **more: str) -> str:
        """Run it; it must not end well. What it said."""
        ended = self.run(*words, **more)
        assert ended.status == 1, f"{ended.command}: {ended.status}\n{ended.out}{ended.err}"
        return ended.err

    def _shown(self, words: tuple[str, ...], more: Mapping[str, str]) -> str:
        shown = [getattr(word, "shown", word) for word in words]
        set_before = [f"{name}={value}" for name, value in more.items()]
        if shown[-2:] == ["-f", "json"]:
            del shown[-2:]
        return " ".join([*set_before, self._program.name, *(f"'{word}'" if " " in word else word for word in shown)])
