"""The journal of files: those that a migration makes and is to remove again. It stands in the row of the migration.

Before a file is made it is written down here, with its host; so whoever comes later knows what was made. A path on a host is in the journal of one migration,
but for backing files: one that another migration has made may be used as well, and is then in both journals until one of them has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.migrations import Migrations
from livemig.db.rows import from_files, to_files, to_migration
from livemig.paths import plain
from livemig.records import LeftFile, Migration
from livemig.runtime import Runtime
from livemig.states import SENDING, Status

PLANNED, COMPLETED, PROVEN, FAILED, NOW, KEPT = "planned", "completed", "proven", "failed", "now", "kept"  # `LeftFile.after`

Place = tuple[str, str]  # host, path


class Files:
    """All decisions about who has which file are made under one lock for all conductors."""

    def __init__(self, database: Database, runtime: Runtime, migrations: Migrations) -> None:
        self._database = database
        self._runtime = runtime
        self._migrations = migrations

    @retried
    def write_down(self, migration_id: int, owner: str, made: Iterable[LeftFile], used: Iterable[LeftFile]) -> Sequence[int] | None:
        """Before files are made, which are planned by now. Those `used` are there already; of them only what another migration has made is written down.

        Returns the migrations that must be waited for, since they are just making or removing one of these files; nothing is written down then.
        None when the migration may not prepare any more: it was aborted, or `owner` has lost its lease.
        """
        with self._database.write() as session:
            self._migrations.lock(session)
            row = _locked(session, migration_id)
            if not _prepares(owner, row):
                return None
            others = _untidy(session, but=migration_id)
            wanted = {_place(file) for file in (*made, *used)}
            busy = [other.id for other in others if wanted & _busy(other)]
            if busy:
                return busy
            shared = {place for other in others for place in _places(other)}
            files = (*to_files(row.files), *made, *(file for file in used if _place(file) in shared))
            _write(row, dict.fromkeys(files))
            return ()

    @retried
    def begin(self, migration_id: int, owner: str, planned: LeftFile) -> bool:
        """Before a planned file is made: from now on it is to be removed. False when the migration may not prepare any more."""
        with self._database.write() as session:
            row = _locked(session, migration_id)
            if not _prepares(owner, row):
                return False
            _write(row, [replace(file, after=FAILED) if file == planned else file for file in to_files(row.files)])
            return True

    @retried
    def take_back(self, migration_id: int, planned: LeftFile) -> None:
        """It was not made after all: what is there is not ours."""
        with self._database.write() as session:
            row = _locked(session, migration_id)
            _write(row, [file for file in to_files(row.files) if file != replace(planned, after=FAILED)])

    def may_go_on(self, migration_id: int, owner: str) -> bool:
        """Whether `owner` may still prepare it."""
        with self._database.read() as session:
            row = session.get_one(models.Migration, migration_id)
            return _prepares(owner, row)

    @retried
    def claim(self, migration_id: int, owner: str, seconds: float) -> Migration | None:
        """Take the lease of an ended migration whose files are to be removed. None when there are none, or somebody else is at it."""
        migration = models.Migration
        with self._database.write() as session:
            rule = (migration.id == migration_id, migration.untidy, migration.active_server_uuid.is_(None), self._migrations.free(session))
            lease = {"lease_owner": owner, "lease_expires_at": self._migrations.later(session, seconds)}
            if not session.execute(update(migration).where(*rule).values(lease)).rowcount:  # type: ignore[attr-defined]
                return None
            return to_migration(session.get_one(migration, migration_id))

    @retried
    def remove(self, migration_id: int, owner: str, files: Collection[LeftFile]) -> Sequence[LeftFile]:
        """Begin to remove files of a migration: those that no open migration uses as well. The others leave the journal: they are in the other's.

        From now on whoever needs one of them waits until it is gone. None of them when `owner` has lost its lease.
        """
        with self._database.write() as session:
            self._migrations.lock(session)
            row = _locked(session, migration_id)
            if row.lease_owner != owner:
                return []
            held = {place for other in _untidy(session, but=migration_id) if other.active_server_uuid for place in _places(other)}
            begun = {file: file if file.after == PROVEN else replace(file, after=NOW) for file in files if _place(file) not in held}
            kept = [file for file in to_files(row.files) if file not in files]
            _write(row, [*kept, *begun.values()])
            return list(begun.values())

    @retried
    def prove(self, migration_id: int, owner: str, proven: Collection[LeftFile], kept: Collection[LeftFile]) -> None:
        """Of the source's files, `proven` may be removed, being whole at the destination; `kept` stay. Nothing is written when `owner` has lost its lease."""
        with self._database.write() as session:
            row = _locked(session, migration_id)
            if row.lease_owner == owner:
                judged = {_place(file) for file in (*proven, *kept)}
                others = [file for file in to_files(row.files) if _place(file) not in judged]
                _write(row, [*others, *(replace(file, after=PROVEN) for file in proven), *(replace(file, after=KEPT) for file in kept)])

    @retried
    def removed(self, migration_id: int, owner: str | None, left: Iterable[LeftFile], kept: Iterable[LeftFile] = ()) -> None:
        """Strike out all but what could not be removed, if `owner` (where given) has the lease still. That of an ended migration is free again then.

        What is `kept` stays for good, now and later, and nobody waits for it.
        """
        with self._database.write() as session:
            row = _locked(session, migration_id)
            if owner is not None and row.lease_owner != owner:
                return
            stay = [file for file in to_files(row.files) if file.after == KEPT] + [replace(file, after=KEPT) for file in kept]
            _write(row, dict.fromkeys([*left, *stay]))
            if row.active_server_uuid is None:
                row.lease_owner = row.lease_expires_at = None

    @retried
    def set_aside(self, migration_id: int) -> None:
        """A person must look: what is in the journal stays there, and nobody removes it."""
        with self._database.write() as session:
            _locked(session, migration_id).untidy = False

    def to_tidy(self, seconds: float) -> Sequence[int]:
        """Ended migrations with files to be removed that nobody is at, `seconds` after their end: until then it is for the conductor that made them."""
        migration = models.Migration
        ended = self._runtime.now() - timedelta(seconds=seconds)
        rule = (migration.untidy, migration.active_server_uuid.is_(None), migration.finished_at < ended)
        with self._database.read() as session:
            return session.scalars(select(migration.id).where(*rule, self._migrations.free(session)).order_by(migration.id)).all()


def is_due(file: LeftFile, row: Migration | models.Migration) -> bool:
    """Whether an ended migration's file is to be removed: after success the source's, and what was made at destinations tried before.

    The source's must be proven to be whole at the destination first (`unproven`).
    """
    if row.status != Status.COMPLETED:
        return file.after in (FAILED, NOW)
    return file.after in (COMPLETED, PROVEN, NOW) or (file.after == FAILED and file.host != row.destination)


def unproven(row: Migration) -> list[LeftFile]:
    """Those of a migration's files that are its source's, and of which nobody has proven yet that they may go. NOW is what version 0.1 has left there."""
    return [file for file in row.files if file.host == row.source and file.after in (COMPLETED, NOW)]


def _locked(session: Session, migration_id: int) -> models.Migration:
    """Its row as it is now, which nobody else changes until the transaction ends."""
    return session.get_one(models.Migration, migration_id, with_for_update=True)


def _prepares(owner: str, row: models.Migration) -> bool:
    return row.status == Status.PREPARING.value and row.lease_owner == owner


def _busy(row: models.Migration) -> set[Place]:
    """The files that somebody may just be making or removing, or is to remove."""
    settled = Status(row.status) in SENDING  # a migration makes no files then
    ended = row.active_server_uuid is None
    files = (file for file in to_files(row.files) if file.after != KEPT)
    return {_place(file) for file in files if file.after == NOW or not (settled or (ended and not is_due(file, row)))}


def _untidy(session: Session, but: int) -> Sequence[models.Migration]:
    migration = models.Migration
    return session.scalars(select(migration).where(migration.untidy, migration.id != but)).all()


def _place(file: LeftFile) -> Place:
    return file.host, plain(file.path)


def _places(row: models.Migration) -> set[Place]:
    return {_place(file) for file in to_files(row.files)}


def _write(row: models.Migration, files: Iterable[LeftFile]) -> None:
    row.files = from_files(files)
    row.untidy = any(file["after"] != KEPT for file in row.files)
    row.keeps = any(file["after"] == KEPT for file in row.files)
