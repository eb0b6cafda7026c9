"""A client that is a Python library: its calls are made by a process of its environment, one after the other."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients.environments import environment
from tests.clients.record import Record
from tests.clients.runner import with_names

PLACE = re.compile(r"\{(\w+)\}")


class Refused(Exception):
    """What a call raised: the name of its class, and what it said."""


class Calls:
    """The running process. `ok` and `refused` take an expression, in which {name} stands for the value given as `name`."""

    def __init__(self, process: subprocess.Popen[str], label: str, style: str, record: Record) -> None:
        self._process = process
        self._label = label
        self._style = style
        self._record = record

    def ok(self, expression: str, **values: object) -> Any:
        """Evaluate it; the value. Raises Refused."""
        return self._call(expression, values)

    def refused(self, expression: str, **values: object) -> str:
        """Evaluate it; it must raise. What it said."""
        try:
            value = self._call(expression, values)
        except Refused as refusal:
            return str(refusal)
        raise AssertionError(f"{expression} gave {value}")

    def _call(self, expression: str, values: Mapping[str, object]) -> Any:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(PLACE.sub(lambda place: repr(values[place[1]]), expression)), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        shown = PLACE.sub(lambda place: getattr(values[place[1]], "shown", repr(values[place[1]])), expression)
        refusal = f"{answer['error']}: {answer['said']}" if "error" in answer else ""
        said = with_names(refusal.splitlines()[0], values.values()) if refusal else ""
        self._record.add(self._label, self._style, shown, 1 if refusal else 0, said)
        if refusal:
            raise Refused(refusal)
        return answer["value"]


@contextmanager
def calls(made: str, library: str, style: str, access: Mapping[str, str], home: Path, record: Record) -> Iterator[Calls]:
    """A process of an environment that makes a library's calls."""
    command = [str(environment(made) / "python"), str(Path(__file__).with_name("calls_process.py")), library]
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **access}
    with (home / "output").open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=variables, cwd=home, text=True)
    try:
        yield Calls(process, record.client(made, library), style, record)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait(30)
