"""docs/clients.md says what was run and how it ended. It is compared with this run, or written by it (LIVEMIG_WRITE_DOCS=1)."""

from __future__ import annotations

import pytest

from tests.clients import record as records
from tests.clients.record import Record


def test_the_document_says_what_was_run(record: Record, request: pytest.FixtureRequest) -> None:
    tables = record.document()
    if records.wanted():
        assert record.complete, "only a whole run may write the document"
        records.write(tables)
    committed = records.committed()
    others = set(record.rows) - records.rows_of(committed)
    assert others == set(), "run, but not in docs/clients.md as it ended (LIVEMIG_WRITE_DOCS=1 writes it)"
    if record.complete:
        assert committed.strip() == tables.strip(), "docs/clients.md has more than was run (LIVEMIG_WRITE_DOCS=1 writes it)"
