"""Run by the interpreter of a client's environment: runs a program of it again and again, each time in a forked process of its own.

What takes long in a short command is to import the client. This process has imported what former runs needed; nothing else passes from one to the next.
Argument: the program. Each line of standard input is a JSON object with words, variables, directory, out, err; each is answered by the exit status.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any


def run(entry: Callable[[list[str]], object], program: str, asked: dict[str, Any], learnt: int) -> None:
    """In the forked process: be the program."""
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    for descriptor, path in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.argv = [program, *asked["words"]]
    try:
        status = entry(asked["words"])  # all of them take the words; one reads sys.argv when it is imported, which is too early
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does with whatever is raised
        traceback.print_exc()
        status = 1
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)  # as sys.exit() does
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(learnt, "\n".join(sorted(sys.modules)).encode())
    os._exit(status or 0)


def learn(names: Iterable[str]) -> None:
    """Import what a run had imported. What cannot be imported by itself is left to the runs."""
    for name in names:
        if name not in sys.modules and "__main__" not in name:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001
                continue


if __name__ == "__main__":
    program = sys.argv.pop()
    (point,) = importlib.metadata.entry_points(group="console_scripts", name=os.path.basename(program))
    entry = point.load()
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            run(entry, program, asked, writing)
        os.close(writing)
        with os.fdopen(reading) as learnt:
            names = learnt.read().split()
        _, ended = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)
        learn(names)
