"""Makes at the destination what a guest's disks need there, and removes what nobody needs any more.

What is to be made stands in the journal (`livemig.db.files`) before it is made; so however a conductor ends, the next one knows. Only what is in the journal
is ever removed, by `livemig.conductor.removal`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from livemig import exceptions
from livemig.conductor import disks
from livemig.conductor.checks.disks import images_not_there, read_only_images_same
from livemig.conductor.checks.situation import Situation
from livemig.conductor.inventory import Inventory
from livemig.conductor.lease import Leases
from livemig.conductor.removal import Removal, listed
from livemig.db.files import COMPLETED, FAILED, NOW, PLANNED, is_due
from livemig.db.store import Store
from livemig.facts import Image, Storage
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.storage import Blank
from livemig.records import LeftFile, Migration
from livemig.runtime import Runtime

_SETTLE_S = 10.0  # how long a host is waited for that is just being connected to
_LOOK_S = 1.0  # between two looks whether somebody wishes it to stop
_WAIT_S = 3.0  # between two looks whether files are free that another migration is at
_TELL_S = 10.0  # between two words on how far a copy is
_MIB = 1024 * 1024


class _Stopped(Exception):
    """It was aborted meanwhile, or another conductor has taken it up."""


class Images:
    """It makes and removes files of migrations that `leases` holds. Raises Lapsed, in the middle of everything, once one has lapsed."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime, leases: Leases) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._leases = leases
        self._owner = leases.owner
        self._removal = Removal(conf, store, inventory, leases)

    def prepare(self, migration: Migration, situation: Situation) -> bool:
        """Have everything at the destination before libvirt is told. It may take long. False when it may not go on.

        Raises Refused; then nothing that was made is left, or it is in the journal.
        """
        if not situation.storage:
            return True
        try:
            return self._prepare(migration, situation)
        except _Stopped:
            return False
        except exceptions.Refused:
            self.clear(migration)
            raise
        except exceptions.HypervisorError as error:
            self.clear(migration)
            raise exceptions.MigrationPreCheckError(reason=f"The disks could not be prepared: {error}") from error

    def start_anew(self, migration: Migration) -> None:
        """Before anything is looked at: remove what a conductor made that died while it prepared. Raises MigrationPreCheckError if that cannot be done."""
        if not migration.files:
            return
        self._inventory.wait_reached([migration.destination], _SETTLE_S)
        left = [file for file in self.clear(migration) if file.host == migration.destination]
        if left:
            raise exceptions.MigrationPreCheckError(reason=f"What was made on {migration.destination} before cannot be removed: {listed(left)}")

    def clear(self, migration: Migration) -> set[LeftFile]:
        """Remove what was made for an open migration that libvirt was not told of, or whose transfer has failed; what could not be removed."""
        files = self._store.migrations.get(migration.id).files
        left, kept = self._removal.remove(migration, [file for file in files if file.after in (FAILED, NOW)])
        if files:
            self._store.files.removed(migration.id, self._owner, left, kept)
        return left

    def tidy(self, migration_id: int) -> None:
        """Remove what an ended migration leaves. What cannot be removed now stays in the journal, and it is tried again."""
        migration = self._leases.claim_files(migration_id)
        if migration is not None:
            if not self._removal.prove(migration):
                self._store.files.removed(migration_id, self._owner, migration.files)
                return
            migration = self._store.migrations.get(migration_id)
            left, kept = self._removal.remove(migration, [file for file in migration.files if is_due(file, migration)])
            self._store.files.removed(migration_id, self._owner, left, kept)

    def _prepare(self, migration: Migration, now: Situation) -> bool:
        found = self._reserve(migration, now)
        if found is None:
            return False
        wanted, there = found[0], found[1].there
        ends = self._hypervisor(migration.source), self._hypervisor(migration.destination or "")
        for image in wanted.found(there):
            self._check_same(migration, ends, image)
        for directory in _directories(wanted, found[1]):
            self._begin(migration, f"{directory}/")
            storage.make_directory(ends[1], directory, migration.uuid)
        for image in wanted.copies(there):
            self._copy(migration, ends, image)
        for blank in wanted.blanks:
            self._make(migration, ends[1], blank)
        return True

    def _reserve(self, migration: Migration, now: Situation) -> tuple[disks.Needs, Storage] | None:
        """Write down what will be made, once nobody else is at the same files; what is needed then, and what the destination has by then."""
        while True:
            now = self._look_again(migration, now)
            assert now.guest is not None and now.storage is not None
            wanted = disks.needs(now.guest, migration.server_uuid, now.shared, now.storage.images)
            made, used = self._journal(migration, wanted, now.storage)
            busy = self._store.files.write_down(migration.id, self._owner, made, used)
            if busy is None:
                return None
            if not busy:
                return wanted, now.storage
            self._removal.note_once(migration, f"waits for migrations that make or remove the same files: {', '.join(map(str, busy))}")
            self._runtime.sleep(_WAIT_S)

    def _look_again(self, migration: Migration, now: Situation) -> Situation:
        """The files at the destination may be others than when the checks looked. Raises what refuses them."""
        assert now.storage is not None
        found = storage.look(self._hypervisor(migration.destination or ""), now.storage.images, migration.uuid)
        now = replace(now, storage=Storage(now.storage.images, *found))
        for check in (images_not_there, read_only_images_same):
            if refusal := check(now):
                raise refusal
        return now

    def _journal(self, migration: Migration, wanted: disks.Needs, found: Storage) -> tuple[list[LeftFile], list[LeftFile]]:
        destination = migration.destination or ""
        paths = [f"{directory}/" for directory in _directories(wanted, found)] + _paths(wanted, found)
        made = [LeftFile(destination, path, PLANNED) for path in paths]
        used = [LeftFile(destination, image.path, FAILED) for image in wanted.found(found.there)]
        if self._conf.libvirt.live_migration_remove_source_disks:
            made += [LeftFile(migration.source, path, COMPLETED) for path in wanted.own]
        return made, used

    def _check_same(self, migration: Migration, ends: tuple[Hypervisor, Hypervisor], image: Image) -> None:
        if not self._conf.libvirt.live_migration_compare_backing_files:
            self._note(migration, f"{image.path} is at the destination already, and was not compared")
            return
        if not storage.same_content(*ends, image.path, migration.uuid, self._teller(migration, f"compared of {image.path}", image.length)):
            raise exceptions.MigrationPreCheckError(reason=f"{migration.destination} has another file in place of {image.path}: its content differs")
        self._note(migration, f"{image.path} is at the destination already, and the same")

    def _copy(self, migration: Migration, ends: tuple[Hypervisor, Hypervisor], image: Image) -> None:
        self._note(migration, f"{image.path} is copied to the destination ({_mib(image.length)})")
        self._create(migration, ends[1], Blank(image.path, "raw", image.length, image.permissions))
        storage.fill(*ends, image, migration.uuid, self._teller(migration, f"copied of {image.path}", image.length))
        made = storage.look(ends[1], [image.path], migration.uuid)[0].get(image.path)
        if made is None or made.length != image.length:  # whatever came in between: it is not what is at the source
            raise exceptions.MigrationPreCheckError(reason=f"{image.path} was not copied whole: {made.length if made else 0} of {image.length} bytes")

    def _make(self, migration: Migration, destination: Hypervisor, blank: Blank) -> None:
        self._create(migration, destination, blank)
        above = f" on {blank.backing.path}" if blank.backing else ""
        self._note(migration, f"{blank.path} was made at the destination ({blank.format}, {_mib(blank.capacity)}{above})")

    def _begin(self, migration: Migration, path: str) -> LeftFile:
        """Right before it is made. Raises _Stopped."""
        planned = LeftFile(migration.destination or "", path, PLANNED)
        if not self._store.files.begin(migration.id, self._owner, planned):
            raise _Stopped
        self._leases.of(migration.id).check()
        return planned

    def _create(self, migration: Migration, destination: Hypervisor, blank: Blank) -> None:
        """A file that has come there since it was planned is somebody else's, and stays."""
        if blank.path in storage.look(destination, [blank.path], migration.uuid)[0]:
            raise exceptions.DestinationDiskExists(path=blank.path)
        planned = self._begin(migration, blank.path)
        try:
            storage.make(destination, blank, migration.uuid)
        except exceptions.HypervisorUnavailable:
            raise  # nobody knows whether it was made
        except exceptions.HypervisorError:
            self._store.files.take_back(migration.id, planned)
            raise

    def _teller(self, migration: Migration, what: str, length: int) -> Callable[[int], None]:
        """Counts bytes, says now and then how many, and stops it when somebody wishes so."""
        done, looked, told = 0, float("-inf"), self._runtime.monotonic()

        lease = self._leases.of(migration.id)

        def tell(more: int) -> None:
            nonlocal done, looked, told
            lease.check()
            done += more
            now = self._runtime.monotonic()
            if now - looked >= _LOOK_S:
                looked = now
                self._go_on(migration)
            if now - told >= _TELL_S:
                told = now
                self._note(migration, f"{done // _MIB} of {_mib(length)} {what}")

        return tell

    def _go_on(self, migration: Migration) -> None:
        if not self._store.files.may_go_on(migration.id, self._owner):
            raise _Stopped

    def _hypervisor(self, host: str) -> Hypervisor:
        return self._removal.hypervisor(host)

    def _note(self, migration: Migration, text: str) -> None:
        self._removal.note(migration, text)


def _paths(wanted: disks.Needs, found: Storage) -> list[str]:
    """The files to be made."""
    return [blank.path for blank in wanted.blanks] + [image.path for image in wanted.copies(found.there)]


def _directories(wanted: disks.Needs, found: Storage) -> list[str]:
    """The directories to be made."""
    return sorted({str(PurePosixPath(path).parent) for path in _paths(wanted, found)} & found.absent)


def _mib(size: int) -> str:
    return f"{-(-size // _MIB)} MiB"
