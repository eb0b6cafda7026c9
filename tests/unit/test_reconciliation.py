"""What is found where rows and hosts disagree: each kind in a world of its own, and nothing in one that is well."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livemig.conductor.reconciliation import KINDS, Answer, Disagreement, Remedy, compare, defined_elsewhere
from livemig.db.inspection import MigrationRow, Rows, ServerRow
from livemig.facts import Presence
from livemig.records import LeftFile
from livemig.states import FINAL, Status
from livemig.whereabouts import SHOWN, Sighting

UUID = "c0ffee"
ROW = ServerRow(UUID, "web", "a", "active", 1)
WELL = Rows(
    servers={UUID: ROW},
    sightings={UUID: {"a": Presence.RUNNING}},
    hosts={"a": True, "b": True},
    conductors={"one:1": True},
)
MOVING = MigrationRow(7, UUID, Status.RUNNING, "a", "b", holder="one:1")
FILE = LeftFile("b", "/images/web.img", "failed")
STAYS = LeftFile("b", "/images/debian.iso", "kept")


def answers(silent: str = "", /, **presences: str) -> dict[str, Answer]:
    """What a and b say of the server: libvirt's word, with an arrow if it moves."""
    said = {}
    for host in "ab":
        word = presences.get(host, "")
        sighting = Sighting(UUID, "web", Presence(word.strip("→") or "absent"), "→" in word)
        said[host] = Answer({UUID: sighting} if word else {}, f"qemu+tcp://{host}/system")
    return said | {host: Answer(None, f"qemu+tcp://{host}/system", "not connected") for host in silent}


def world(row: dict[str, Any] | None = None, seen: dict[str, str] | None = None, **rows: Any) -> Rows:
    """The rows of a world that is well, with changes; `seen` are the sightings."""
    changed: dict[str, Any] = {}
    if row is not None:
        changed["servers"] = {UUID: replace(ROW, **row)}
    if seen is not None:
        changed["sightings"] = {UUID: {host: Presence(presence) for host, presence in seen.items()}}
    return replace(WELL, **{**changed, **rows})


def migrations(**changes: Any) -> dict[str, Any]:
    """Of one migration, whose server migrates if it is open."""
    migration = replace(MOVING, **changes)
    return {"migrations": [migration]} | ({"row": {"migrating": True}} if migration.open and migration.status not in FINAL else {})


MOVED = {UUID: ("b", "a")}
ON_A = answers(a="running")

# Kind → what is written down, what the hosts say, how it is told.
CASES: dict[str, list[tuple[Rows, dict[str, Answer], str]]] = {
    "gone": [(WELL, answers(), "server c0ffee (web) is shown on a, and no host has it")],
    "unknown": [
        (world(servers={}, seen={}), answers(b="paused"), "server c0ffee (web) is paused on b, and the database does not know it"),
        (world(servers={}, seen={}), answers(b="shut off", a="running"), "server c0ffee (web) is running on a, and the database does not know it"),
    ],
    "elsewhere": [
        (WELL, answers(b="running"), "server c0ffee (web) is shown on a, and is running on b"),
        (WELL, answers(b="running", a="shut off"), "server c0ffee (web) is shown on a, and is running on b"),
        (world({"vm_state": "stopped"}, {"a": "shut off"}), answers(b="paused"), "server c0ffee (web) is shown on a, and is paused on b"),
    ],
    "state": [
        (WELL, answers(a="paused"), "server c0ffee (web) is paused on a, and is shown active"),
        (world({"power_state": 3}), ON_A, "server c0ffee (web) is running on a, and is shown active"),
        (world({"vm_state": "error"}), ON_A, "server c0ffee (web) is running on a, and is shown error"),
    ],
    "stale": [
        (world(seen={"a": "running", "b": "shut off"}), ON_A, "server c0ffee (web) is absent on b, and was last seen there shut off"),
        (world(seen={}), ON_A, "server c0ffee (web) is running on a, and was last seen there absent"),
    ],
    "twice": [
        (WELL, answers(a="running", b="running"), "server c0ffee (web) lives on a and b"),
        (world({"lost": True}), answers(a="paused", b="running"), "server c0ffee (web) lives on a and b"),
        (world(seen={"b": "running"}), {"a": ON_A["a"]}, "server c0ffee (web) lives on a and b"),  # b is watched by another conductor
    ],
    "lost": [
        (world({"lost": True}), answers(), "server c0ffee (web) was given up as lost, and is nowhere"),
        (world({"lost": True}), answers("b", a="shut off"), "server c0ffee (web) was given up as lost, and is shut off on a"),
        (
            world({"lost": True}),
            answers(a="post-copy failed", b="crashed"),
            "server c0ffee (web) was given up as lost, and is post-copy failed on a, crashed on b",
        ),
    ],
    "found": [(world({"lost": True}), ON_A, "server c0ffee (web) was given up as lost, and is running on a")],
    "foreign": [
        (WELL, answers(a="running→", b="paused (migrating)→"), "server c0ffee (web) is moved by libvirt from or to a and b, and not by livemig"),
        (WELL, answers(a="paused (post-copy)→", b="running→"), "server c0ffee (web) is moved by libvirt from or to a and b, and not by livemig"),
        (
            world(**migrations(status=Status.COMPLETED, open=False)),
            answers(a="running→"),
            "server c0ffee (web) is moved by libvirt from or to a, and not by livemig",
        ),
    ],
    "left": [
        (
            world(seen={"a": "running", "b": "shut off"}, moved=MOVED),
            answers(a="running", b="shut off"),
            "server c0ffee (web) is still defined on b, from which livemig has moved it to a",
        )
    ],
    "defined": [
        (world(seen={"a": "paused", "b": "shut off"}), answers(a="running", b="shut off"), "server c0ffee (web) is defined on b as well, and runs on a"),
        (world(moved={UUID: ("b", "c")}), answers(a="running", b="shut off"), "server c0ffee (web) is defined on b as well, and runs on a"),
        (world(moved=MOVED), answers("a", b="shut off"), "server c0ffee (web) is defined on b as well, and runs on a"),  # it is only believed to
    ],
    "stuck": [(world({"migrating": True}), ON_A, "server c0ffee (web) is shown MIGRATING, and no migration has it")],
    "over": [(world(**migrations(status=Status.FAILED)), ON_A, "migration 7 of server c0ffee ended as failed, and still counts as its server's")],
    "forsaken": [
        (
            world(**migrations(forsaken=True)),
            answers(b="running"),
            "migration 7 of server c0ffee is running, and no conductor holds it; its guest is running on b",
        ),
        (
            world(**migrations(forsaken=True, status=Status.ACCEPTED, destination=None)),
            ON_A,
            "migration 7 of server c0ffee is accepted, and no conductor holds it; its guest is running on a",
        ),
    ],
    "undecided": [(world(**migrations()), answers("b", a="shut off"), "migration 7 of server c0ffee is running, and b cannot be asked")],
    "unconfigured": [
        (world(**migrations(destination="z")), ON_A, "migration 7 of server c0ffee is running, and z is not in enabled_hosts"),
        (world(**migrations(status=Status.QUEUED, destination="z")), ON_A, "migration 7 of server c0ffee is queued, and z is not in enabled_hosts"),
    ],
    "files": [
        (
            world(**migrations(status=Status.FAILED, open=False, holder=None, forsaken=True, files=(FILE,), untidy=True)),
            ON_A,
            "migration 7 of server c0ffee ended as failed, and /images/web.img on b are still to be removed",
        )
    ],
    "aside": [
        (
            world(**migrations(status=Status.ERROR, open=False, holder=None, forsaken=True, files=(FILE,))),
            ON_A,
            "migration 7 of server c0ffee lost its guest; /images/web.img on b were made or used for it, and nobody removes them",
        )
    ],
    "unreachable": [(WELL, answers("b", a="running"), "host b cannot be asked: not connected")],
    "down": [(world(hosts={"a": True, "b": False}), ON_A, "host b answers, and is shown as down")],
    "up": [(WELL, answers("b", a="running"), "host b cannot be asked from here, and is shown as up")],
    "unheard": [(world(hosts={"a": True}), ON_A, "host b is in enabled_hosts here, and no conductor has taken it in")],
    "dismissed": [(world(hosts={"a": True, "b": True, "c": True}), ON_A, "host c is not in enabled_hosts here, and the conductors watch it")],
    "former": [
        (
            world({"host": "z"}, {"z": "running"}, former={"y", "z"}),
            answers(),
            "host z is not in enabled_hosts any more, and 1 servers are shown on it",
        )
    ],
    "silent": [(world(conductors={"one:1": False}), ON_A, "conductor one:1 fell silent without another to replace it")],
    "alone": [(world(conductors={}, **migrations(status=Status.QUEUED)), ON_A, "no conductor lives (open migrations: 1)")],
}
ELSEWHERE = {"revision", "clock", "kept", "pool", "probe"}  # found by asking the database alone, or hosts about their files


def kinds(found: list[Disagreement]) -> dict[str, Disagreement]:
    return {each.kind.name: each for each in found}


def test_each_kind_has_a_case() -> None:
    assert CASES.keys() | ELSEWHERE == KINDS.keys()


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, cases in CASES.items() for number in range(len(cases))])
def test_found(kind: str, number: int) -> None:
    rows, said, told = CASES[kind][number]
    found = kinds(compare(rows, said))
    assert kind in found, list(found)
    assert found[kind].text == told
    assert found[kind].mend and "{" not in found[kind].mend


HEALTHY = {
    "at rest": (WELL, ON_A),
    "condemned": (world({"vm_state": "error", "condemned": True}), ON_A),
    "moved by livemig": (world(**migrations()), answers(a="running→", b="paused (migrating)→")),
    "in post-copy": (world(**migrations(status=Status.POST_COPY)), answers(a="paused (post-copy)→", b="running→")),
    "just arrived": (world(**migrations()), answers(b="running")),
    "queued, and held by nobody": (world(**migrations(status=Status.QUEUED, holder=None, forsaken=True)), ON_A),
    "preparing, and the host is away": (world(hosts={"a": True, "b": False}, **migrations(status=Status.PREPARING)), answers("b", a="running")),
    "ended, with a file that stays": (world(**migrations(status=Status.ERROR, open=False, holder=None, forsaken=True, files=(STAYS,))), ON_A),
    "ended, and just being tidied": (world(**migrations(status=Status.FAILED, open=False, files=(FILE,), untidy=True)), ON_A),
    "its host is away": (world(hosts={"a": False, "b": True}), answers("a")),
    "nowhere that can be asked": (world(hosts={"a": True, "b": False}), answers("b")),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_nothing_is_found(case: str) -> None:
    rows, said = HEALTHY[case]
    assert [each.text for each in compare(rows, said) if each.kind.name not in ("unreachable", "up")] == []


def test_every_presence_that_is_shown_as_it_is() -> None:
    for presence, (vm_state, power_state) in SHOWN.items():
        if presence not in (Presence.ABSENT, Presence.UNKNOWN):
            rows = world({"vm_state": vm_state, "power_state": int(power_state)}, {"a": presence.value})
            assert compare(rows, answers(a=presence.value)) == []


def test_an_old_sighting_of_a_host_that_is_away_is_no_second_guest() -> None:
    rows = world(seen={"a": "running", "b": "running"}, hosts={"a": True, "b": False})
    assert "twice" not in kinds(compare(rows, answers("b", a="running")))


def test_without_the_whole_nothing_is_said_of_hosts_and_conductors() -> None:
    rows = world(conductors={"one:1": False}, hosts={"a": True, "b": True, "c": True})
    assert compare(rows, answers("b", a="running"), whole=False) == []


def test_a_guest_is_looked_at_wherever_it_is_or_was() -> None:
    rows = world(seen={"a": "running", "z": "shut off"})
    assert kinds(compare(rows, answers(b="running")))["elsewhere"].hosts == ("a", "b", "z")


DOCUMENT = Path("docs/failures.md")
BY_WHOM = {Remedy.LOOK: "read again", Remedy.RELEASE: "let go", Remedy.UNDEFINE: "undefined, by `--fix` alone", Remedy.NONE: "a person"}
FACT = re.compile(r"\{(\w+)(:[^}]*)?\}")


def test_the_document_has_every_kind() -> None:
    """LIVEMIG_WRITE_DOCS=1 writes its table."""
    lines = ["| kind (`--json`) | what is said | what mends it | by whom |", "|---|---|---|---|"]
    for kind in KINDS.values():
        says, mend = (FACT.sub(lambda match: match[1].upper(), text) for text in (kind.says, kind.mend))
        lines.append(f"| {kind.name} | … {says} | {mend} | {BY_WHOM[kind.remedy]} |")
    rest, title, _table = DOCUMENT.read_text().partition(lines[0])
    document = "\n".join([rest + title, *lines[1:], ""])
    if os.environ.get("LIVEMIG_WRITE_DOCS"):
        DOCUMENT.write_text(document)
    assert DOCUMENT.read_text() == document


def test_what_needs_no_person_touches_no_guest() -> None:
    """Rows follow hosts, a server is let go of, a definition that livemig has left is removed."""
    assert {kind.name for kind in KINDS.values() if kind.remedy is Remedy.LOOK} == {"gone", "unknown", "elsewhere", "state", "stale", "found"}
    assert {kind.name for kind in KINDS.values() if kind.remedy is Remedy.RELEASE} == {"stuck", "over"}
    assert {kind.name for kind in KINDS.values() if kind.remedy is Remedy.UNDEFINE} == {"left"}


def test_who_is_defined_in_one_place_and_lives_in_another() -> None:
    assert defined_elsewhere(answers(a="running", b="shut off")) == {UUID}
    assert defined_elsewhere(answers(a="running", b="suspended")) == defined_elsewhere(answers("a", b="shut off")) == set()


def test_the_same_again() -> None:
    """Found again is what is said of the same subject, though figures have changed."""
    [first] = compare(WELL, answers())
    [second] = compare(world({"power_state": 3}), answers())
    assert first.key == second.key
