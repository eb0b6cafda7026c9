"""What was run and how it ended: the tables of docs/clients.md, which the tests write and hold true.

Each command is compared with the document as it is run, unless LIVEMIG_WRITE_DOCS=1 is set. It is also written to a folder, a file for each process of tests;
so tests run in any order and side by side, and what all of them ran is judged after them:

    python -m tests.clients.record clear             before them
    python -m tests.clients.record compare [STYLE…]  exit status 1 if the document has what was not run, in these ways to log in (all unless named)
    python -m tests.clients.record write             put what was run in the document; with LIVEMIG_WRITE_DOCS=1 for the tests, and all of them run
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.clients import environments

DOCUMENT = environments.ROOT / "docs" / "clients.md"
RAN = environments.CACHE / "ran"  # the folder
BEGIN, END = "<!-- From here on written by tests/clients. -->", "<!-- Up to here. -->"
STYLES = ("none", "http_basic", "password", "lab")
PACKAGES = {"openstack": "python-openstackclient", "nova": "python-novaclient", "openstacksdk": "openstacksdk", "watcher": "python-watcher"}
# What differs from run to run, and what stands for it.
VOLATILE = (
    (re.compile(r"\breq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "REQUEST"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://…"),
    (re.compile(r"\s*\(Request-ID: REQUEST\)"), ""),
)

BETWEEN = re.compile(r"(?<!\\)\|")  # the bars of a table, not those in its cells

Row = tuple[str, str, str, int, str]  # client, style, command, status, what it said


Place = tuple[int, str, int]  # where a command stands among all: its style, the file of its test, and that test's line


class Record:
    """The commands of one test, which stands in that line of a file."""

    def __init__(self, file: str, line: int, folder: Path = RAN) -> None:
        self._file = file
        self._folder = folder
        self._line = line

    @staticmethod
    def client(made: str, program: str) -> str:
        """What a client goes by: its name and version."""
        return f"{program} {environments.version(made, PACKAGES[program])}"

    def add(self, client: str, style: str, command: str, status: int, said: str = "") -> None:
        """One more command. Raises AssertionError if the document has it otherwise."""
        row: Row = (client, style, steady(command), status, steady(said))
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / str(os.getpid())).open("a") as file:
            file.write(json.dumps([(STYLES.index(style), self._file, self._line), row]) + "\n")
        assert wanted() or in_document(row), f"not in docs/clients.md as it ended (its first lines say how it is written): {row}"


def tables(rows: Iterable[Row]) -> str:
    """All of them, as Markdown."""
    rows = dict.fromkeys(rows)
    return "\n".join(line for client in dict.fromkeys(row[0] for row in rows) for line in _table(client, rows))


def _table(client: str, rows: Collection[Row]) -> Iterator[str]:
    mine = [row for row in rows if row[0] == client]
    styles = [style for style in STYLES if any(row[1] == style for row in mine)]
    yield f"\n### {client}\n"
    yield "| command | " + " | ".join(styles) + " | what it says when refused |"
    yield "|---|" + "---|" * len(styles) + "---|"
    for _, _, command, status, said in dict.fromkeys((client, "", *row[2:]) for row in mine):
        ends = [str(status) if (client, style, command, status, said) in rows else "" for style in styles]
        yield f"| `{_cell(command)}` | " + " | ".join(ends) + f" | {_cell(said)} |"


def rows_of(document: str) -> list[Row]:
    """The rows that tables say."""
    rows: list[Row] = []
    client, styles = "", [""]
    for line in document.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in BETWEEN.split(line)[1:-1]]
        if line.startswith("### "):
            client = line.removeprefix("### ")
        elif cells[:1] == ["command"]:
            styles = cells[1:-1]
        elif cells and not cells[0].startswith("---"):
            rows += [(client, style, cells[0].strip("`"), int(end), cells[-1]) for style, end in zip(styles, cells[1:-1], strict=True) if end]
    return rows


def steady(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return text.strip()


def wanted() -> bool:
    """True when what is run is to be written into the document."""
    return os.environ.get("LIVEMIG_WRITE_DOCS") == "1"


def committed(path: Path = DOCUMENT) -> str:
    """The part of the document that tests write."""
    return path.read_text().partition(BEGIN)[2].partition(END)[0]


def write(text: str, path: Path = DOCUMENT) -> None:
    """Put the tables in their place in the document."""
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n{text.strip()}\n{END}{rest.partition(END)[2]}")


@cache
def _documented() -> frozenset[Row]:
    return frozenset(rows_of(committed()))


def in_document(row: Row) -> bool:
    return row in _documented()


def ran(folder: Path = RAN) -> list[Row]:
    """What all tests ran, in the order in which they stand in their files."""
    lines = [json.loads(line) for path in sorted(folder.glob("*")) for line in path.read_text().splitlines()]
    return list(dict.fromkeys(tuple(row) for _place, row in sorted(lines, key=lambda line: line[0])))


def main(words: Sequence[str], folder: Path = RAN) -> int:
    deed, *styles = words
    if deed == "clear":
        shutil.rmtree(folder, ignore_errors=True)
    elif deed == "write":
        write(tables(ran(folder)))
    elif missing := sorted({row for row in rows_of(committed()) if row[1] in (styles or STYLES)} - set(ran(folder))):
        print("docs/clients.md has what was not run:", *missing, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
