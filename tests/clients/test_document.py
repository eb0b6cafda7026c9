"""docs/clients.md says what was run and how it ended. Each command is compared as it is run (record.py); what is here is of the document alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.clients import record as records
from tests.clients.record import Record, Row


def test_the_document_is_as_it_is_written() -> None:
    rows = records.rows_of(records.committed())
    assert len(rows) > 100 and Counter(rows).most_common(1)[0][1] == 1
    assert records.committed().strip() == records.tables(rows).strip()


def test_what_ended_otherwise_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIVEMIG_WRITE_DOCS", raising=False)
    client, style, command, status, said = next(row for row in records.rows_of(records.committed()) if row[3] == 0)
    Record("test_a.py", 1, tmp_path).add(client, style, command, status, said)
    with pytest.raises(AssertionError, match="not in docs/clients"):
        Record("test_a.py", 2, tmp_path).add(client, style, command, 1, said)


def test_what_was_run_is_told_in_the_order_of_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever process ran it, and when."""
    folder = tmp_path / "ran"
    monkeypatch.setenv("LIVEMIG_WRITE_DOCS", "1")
    rows: list[Row] = [("nova 1", style, command, 0, "") for style in ("none", "lab") for command in ("nova list", "nova show")]
    for row, line in ((rows[3], 2), (rows[1], 2), (rows[0], 1), (rows[2], 1), (rows[0], 1)):
        Record("test_nova.py", line, folder).add(*row)
    assert records.ran(folder) == rows
    assert records.main(["compare", "lab"], folder) == 1
    assert "has what was not run" in capsys.readouterr().out
    assert records.main(["clear"], folder) == 0 and records.ran(folder) == []
