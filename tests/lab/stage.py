"""livemig-all on the lab, set anew for each test, and what tests ask of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from livemig.cli.wiring import READ_AGAIN
from livemig.conductor.inventory import CONNECTED
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.lab.shell import LabError
from livemig.records import Migration, MigrationEvent
from livemig.runtime import ThreadRuntime
from livemig.states import Status

RUNTIME = ThreadRuntime()
COMMON = """
keepalive_interval = 2
keepalive_count = 3
"""


def options(**values: object) -> str:
    """Of a live migration, as `Stage.configure` takes them."""
    return "[libvirt]\n" + "".join(f"live_migration_{name} = {value}\n" for name, value in values.items())


class Stage:
    """One livemig-all. `configure` sets its options, `[libvirt]` first, for what begins from then on."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.service = Service(directory, lab.config(), RUNTIME, COMMON)
        self._plain = self.service.config.read_text()
        self.service.start()
        self.wait_for_hosts()

    def configure(self, more: str = "", transport: str = "tcp", network: str = "main") -> None:
        """Have it run with these options. Does nothing when it does already."""
        old, new = (self.lab.config(*words).removeprefix("[DEFAULT]\n") for words in (("tcp", "main"), (transport, network)))
        text = f"{self._plain.replace(old, new)}{more}\n"
        if text != self.service.config.read_text():
            times = self.service.log().count(READ_AGAIN)
            self.service.config.write_text(text)
            self.service.reload()
            self.service.wait(lambda: self.service.log().count(READ_AGAIN) > times, 60, "the configuration to be read")

    @contextmanager
    def guest(self, name: str, *disks: str, memory_mib: int = 160) -> Iterator[Guest]:
        """A guest on node1. Afterwards its images are where it is and nowhere else, and it is taken away with them."""
        guest = self.lab.add_guest(name, "node1", disks, memory_mib)
        try:
            self.service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
            yield guest
            assert self.lab.leftovers() == [], self.story(guest)
        finally:
            guest.remove()

    def wait_for_hosts(self) -> None:
        """Until the API shows every host as up."""

        def up() -> bool:
            found = self.service.get("/v2.1/os-hypervisors")["hypervisors"]
            return len(found) == len(self.lab.hosts) and all(host["state"] == "up" for host in found)

        self.service.wait(up, 60, "the hosts to be up")

    @contextmanager
    def reconnected(self, host: Host) -> Iterator[None]:
        """Wait, after what is done meanwhile, until the conductor has connected to a host anew."""
        words = CONNECTED % host.name
        times = self.service.log().count(words)
        yield
        self.service.wait(lambda: self.service.log().count(words) > times, 60, words)
        self.wait_for_hosts()

    def other(self, guest: Guest) -> Host:
        """The host on which the guest is not."""
        here = guest.where()
        return next(host for host in self.lab.hosts if host != here)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the body of an answer, at the newest microversion."""
        headers = {"OpenStack-API-Version": "compute latest", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.service.url}/v2.1/servers/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as fault:
            return fault.code, json.loads(fault.read() or b"null")

    def begin(self, guest: Guest, host: Host | None = None, block_migration: object = "auto") -> Migration:
        """A migration that was accepted, to the other host unless told otherwise."""
        wanted = {"host": (host or self.other(guest)).name, "block_migration": block_migration}
        assert self.ask("POST", f"{guest.uuid}/action", {"os-migrateLive": wanted}) == (202, None)
        return self.last(guest)

    def under_way(self, guest: Guest) -> Migration:
        """One that has sent its first pages."""
        self.begin(guest)
        self.wait(lambda: self.service.show(guest.uuid)["progress"] > 0, guest, "progress")
        return self.last(guest)

    def end(self, guest: Guest, status: Status = Status.COMPLETED, seconds: float = 60) -> Migration:
        """How it ended, which must be so; the guest is there and nowhere else, and has not missed a tick."""
        self.service.wait_idle(guest.uuid, seconds)
        migration = self.last(guest)
        assert migration.status is status, f"{self.story(guest)}\n{self.service.log(-3000)}"
        where = migration.destination if status is Status.COMPLETED else migration.source
        assert self.service.state(guest.uuid) == ("ACTIVE", where), self.story(guest)
        assert [host.name for host in guest.holders()] == [where]
        self.wait_for_ticks(guest, where)
        return migration

    def move(self, guest: Guest, block_migration: object = "auto") -> Migration:
        """A migration to the other host, which must succeed."""
        self.begin(guest, block_migration=block_migration)
        return self.end(guest)

    def wait_for_ticks(self, guest: Guest, where: str | None) -> None:
        """Three more of them, and all are in order."""
        wanted = guest.ticks().count + 3
        self.wait(lambda: guest.ticks().count >= wanted, guest, f"ticks on {where}")
        assert guest.ticks().unbroken, (guest.ticks(), self.story(guest))

    def abort(self, migration: Migration) -> int:
        return self.ask("DELETE", f"{migration.server_uuid}/migrations/{migration.id}")[0]

    def force(self, migration: Migration) -> int:
        return self.ask("POST", f"{migration.server_uuid}/migrations/{migration.id}/action", {"force_complete": None})[0]

    def last(self, guest: Guest) -> Migration:
        """The guest's latest migration."""
        with self._store() as store:
            return store.migrations.of_server(guest.uuid)[0]

    def events(self, guest: Guest) -> Sequence[MigrationEvent]:
        """The event log of the latest migration; [] before there is one."""
        with self._store() as store:
            migrations = store.migrations.of_server(guest.uuid)
            return store.migrations.events(migrations[0].id) if migrations else []

    def story(self, guest: Guest) -> str:
        """The event log of the latest migration, a line for each event."""
        return "\n".join(f"{event.at} {event.kind}: {event.text}" for event in self.events(guest))

    def wait(self, ready: Any, guest: Guest, what: str, seconds: float = 60) -> None:
        """Wait until `ready()`; a complaint has the event log."""
        try:
            self.service.wait(ready, seconds, what)
        except LabError as error:
            raise AssertionError(f"{str(error).partition(chr(10))[0]}\n{self.story(guest)}\n{self.service.log(-3000)}") from error

    def told(self, guest: Guest, kind: str, seconds: float = 60) -> None:
        """Wait for an event of this kind in the event log of its latest migration."""
        self.wait(lambda: any(event.kind == kind for event in self.events(guest)), guest, f"an event {kind!r}", seconds)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        store = Store(Database(f"sqlite:///{self.service.directory}/livemig.sqlite"), RUNTIME)
        try:
            yield store
        finally:
            store.database.close()
