"""What was run and how it ended: the tables of docs/clients.md, which the tests write and hold true.

LIVEMIG_WRITE_DOCS=1 writes what the run gave into the document. Without it the run is compared with the document.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.clients import environments

DOCUMENT = environments.ROOT / "docs" / "clients.md"
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


class Record:
    """The commands of a run."""

    def __init__(self) -> None:
        self.rows: dict[Row, None] = {}
        self.complete = True

    @staticmethod
    def client(made: str, program: str) -> str:
        """What a client goes by: its name and version."""
        return f"{program} {environments.version(made, PACKAGES[program])}"

    def add(self, client: str, style: str, command: str, status: int, said: str = "") -> None:
        """One more command."""
        self.rows[client, style, steady(command), status, steady(said)] = None

    def document(self) -> str:
        """The tables, as Markdown."""
        return "\n".join(line for client in dict.fromkeys(row[0] for row in self.rows) for line in self._table(client))

    def _table(self, client: str) -> Iterator[str]:
        mine = [row for row in self.rows if row[0] == client]
        styles = [style for style in STYLES if any(row[1] == style for row in mine)]
        yield f"\n### {client}\n"
        yield "| command | " + " | ".join(styles) + " | what it says when refused |"
        yield "|---|" + "---|" * len(styles) + "---|"
        for _, _, command, status, said in dict.fromkeys((client, "", *row[2:]) for row in mine):
            ends = [str(status) if (client, style, command, status, said) in self.rows else "" for style in styles]
            yield f"| `{_cell(command)}` | " + " | ".join(ends) + f" | {_cell(said)} |"


def rows_of(document: str) -> set[Row]:
    """The rows that tables say."""
    rows: set[Row] = set()
    client, styles = "", [""]
    for line in document.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in BETWEEN.split(line)[1:-1]]
        if line.startswith("### "):
            client = line.removeprefix("### ")
        elif cells[:1] == ["command"]:
            styles = cells[1:-1]
        elif cells and not cells[0].startswith("---"):
            rows |= {(client, style, cells[0].strip("`"), int(end), cells[-1]) for style, end in zip(styles, cells[1:-1], strict=True) if end}
    return rows


def steady(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return text.strip()


def wanted() -> bool:
    """True when this run is to write the document."""
    return os.environ.get("LIVEMIG_WRITE_DOCS") == "1"


def committed(path: Path = DOCUMENT) -> str:
    """The part of the document that tests write."""
    return path.read_text().partition(BEGIN)[2].partition(END)[0]


def write(tables: str, path: Path = DOCUMENT) -> None:
    """Put the tables in their place in the document."""
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n{tables.strip()}\n{END}{rest.partition(END)[2]}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
