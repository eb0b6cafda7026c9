"""The event log of a migration under way is bounded, and still tells everything."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from oslo_log.formatters import JSONFormatter

from livemig.conductor.journal import Journal
from livemig.db.store import Store
from livemig.records import Migration
from livemig.testing.runtime import VirtualRuntime


@pytest.fixture
def journal(store: Store, migration: Migration, runtime: VirtualRuntime) -> Journal:
    return Journal(store, migration, runtime.monotonic)


def told(store: Store, migration: Migration) -> list[tuple[str, str]]:
    """But for how it began."""
    return [(event.kind, event.text) for event in store.migrations.events(migration.id)][1:]


def test_what_is_noted_is_told_in_its_order(journal: Journal, store: Store, migration: Migration) -> None:
    journal.note("knob", "one")
    assert journal.note_once("abort", "two") and not journal.note_once("abort", "two")
    journal.note("knob", "three")
    assert journal.kinds() == {"status", "knob", "abort"}
    journal.flush()
    assert told(store, migration) == [("knob", "one"), ("abort", "two"), ("knob", "three")]


def test_a_guest_that_does_not_converge_for_a_day(journal: Journal, store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    """Two looks a second, five iterations in each: every iteration is told, in few lines."""
    last = 0
    while runtime.monotonic() < 86400:
        journal.iterations(last + 1, last + 5)
        last += 5
        journal.flush()
        runtime.sleep(0.5)
    journal.note("verdict", "it is over")
    journal.close()
    *lines, verdict = told(store, migration)
    spans = [tuple(map(int, re.findall(r"\d+", text))) for _kind, text in lines]
    assert spans[:2] == [(1, 5), (6, 15)] and spans[-1][-1] == last and verdict == ("verdict", "it is over")
    assert all(after[0] == before[-1] + 1 for before, after in pairwise(spans))
    assert 250 < len(lines) < 310


def test_iterations_come_before_what_follows_them(journal: Journal, store: Store, migration: Migration) -> None:
    journal.iterations(1, 1)
    journal.iterations(2, 4)
    journal.note("post-copy", "for want of progress")
    journal.iterations(5, 5)
    journal.close()
    assert told(store, migration) == [("source", text) for text in ("iteration 1", "iterations 2 to 4")] + [
        ("post-copy", "for want of progress"),
        ("source", "iteration 5"),
    ]


def test_a_link_that_breaks_every_few_seconds_for_a_day(journal: Journal, store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    """Ten times it is told as it comes, then with growing pauses, and every time is counted."""
    times = 0
    while runtime.monotonic() < 86400:
        journal.note("source", "connection lost: end of file")
        times += 1
        runtime.sleep(5)
    journal.close()
    lines = [text for _kind, text in told(store, migration)]
    assert lines[:10] == ["connection lost: end of file"] * 10
    assert sum(int(found[1]) if (found := re.search(r"\((\d+) times\)", line)) else 1 for line in lines) == times
    assert len(lines) < 320


def test_a_line_in_the_log_has_its_kind_and_details_as_fields(journal: Journal, migration: Migration, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for _ in range(13):
        journal.note("libvirt", "it returned", succeeded=True)
    journal.iterations(1, 3)
    journal.close()
    fields = ("migration", "server", "kind", "succeeded", "event", "iteration")
    records = [tuple(vars(record).get(name) for name in fields) for record in caplog.records]
    returned = (migration.uuid, "web", "libvirt", True, None, None)
    assert records == [returned] * 10 + [returned, (migration.uuid, "web", "source", None, "Iteration", 3), returned]
    assert caplog.messages[-1].endswith("libvirt: it returned (2 times)")


def test_the_json_of_the_log_has_them(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    journal.note("verdict", "the guest is on the destination", verdict="COMPLETED")
    written = json.loads(JSONFormatter().format(caplog.records[-1]))
    assert (written["extra"]["kind"], written["extra"]["verdict"]) == ("verdict", "COMPLETED")


def test_a_single_line_that_was_held_back_is_told_without_a_number(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for _ in range(12):
        journal.note("libvirt", "it returned")
    told = len(caplog.messages)
    journal.close()
    assert (told, caplog.messages[-1]) == (11, caplog.messages[0]), caplog.messages
