"""A fleet that has one of everything: what the tests look at which only read, or which touch a guest of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from livemig.db.selection import Selection
from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from tests.service import Service

SHOP = "9f2d4c0e8d5a4f6fa2f1b6a1d0c4e2bb"
BANK = "5a1e7d3c9b2f4e6d8c0a1b3d5f7e9a1c"

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
OWN = "urn:livemig:server:1"

_NOVAS = """
<instance>
  <name>{name}</name>
  <creationTime>{created}</creationTime>
  <flavor name="m1.small" id="42">
    <memory>2048</memory><disk>20</disk><swap>512</swap><ephemeral>5</ephemeral><vcpus>2</vcpus>
    <extraSpecs><extraSpec name="hw:cpu_policy">dedicated</extraSpec></extraSpecs>
  </flavor>
  <owner><user uuid="{user}">somebody</user><project uuid="{project}">something</project></owner>
  <ports>{ports}</ports>
</instance>
"""
_PORT = '<port uuid="11111111-2222-4333-8444-555555555555"><ip type="fixed" address="{}" ipVersion="4"/></port>'


def novas(name: str, project: str, user: str = "alice", address: str = "", created: str = "2026-11-24 10:00:00") -> dict[str, tuple[str, str]]:
    """The metadata of a guest that Nova made."""
    ports = _PORT.format(address) if address else ""
    return {NOVA: ("nova", _NOVAS.format(name=name, project=project, user=user, ports=ports, created=created))}


def own(name: str, project: str = "", user: str = "") -> dict[str, tuple[str, str]]:
    """The metadata of a guest that somebody wrote for livemig."""
    owner = f'<owner><user uuid="{user}"/><project uuid="{project}"/></owner>' if project else ""
    items = '<metadata><item key="role">web</item></metadata>'
    return {OWN: ("livemig", f"<server><name>{name}</name><description>ours</description>{owner}{items}</server>")}


OPTIONS: dict[str, Any] = {
    "aggregates": ["rack1", "fast"],
    "aggregate:rack1__hosts": ["node1", "node2"],
    "aggregate:rack1__availability_zone": "east",
    "aggregate:fast__hosts": ["node2"],
    "aggregate:fast__metadata": {"ssd": "true"},
    "max_concurrent_live_migrations": 0,
    "libvirt__shutdown_timeout": 0,
    "libvirt__live_migration_completion_timeout": 0,
}
RESTLESS = 100_000.0  # MiB/s: more than any network carries, so that a migration never ends by itself


GUESTS = (
    *("web", "roamer", "pauser", "sleeper", "switch", "locked", "broken", "gone", "busy", "forced", "aborted", "novas", "owned", "paused", "off", "saved"),
)


class World(Service):
    """`id("web")` is a guest's id, `do` an action on it.

    web, roamer, pauser, sleeper, switch: running, for tests to move or to switch; novas (Nova's metadata, an address), owned (our own metadata), paused, off,
    saved, locked, broken (in error), busy (its migration runs for ever), forced and aborted (theirs would), gone (its migration was refused).
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, ThreadRuntime(), None, **OPTIONS | options)
        self.fleet.speed = 50
        self.always: dict[str, str] = {}
        """Headers of every request that has not its own by these names."""

    def __enter__(self) -> World:
        super().__enter__()
        return self

    def furnish(self) -> World:
        """Everything named above, and a disabled host."""
        add = self.fleet.add_guest
        for name in ("web", "roamer", "pauser", "sleeper", "switch", "locked", "broken", "gone"):
            add(name, "node1", dirty_mib_s=1)
        for name in ("busy", "forced", "aborted"):
            add(name, "node1", dirty_mib_s=RESTLESS, working_set_mib=2048)
        add("novas", "node1", metadata=novas("db server", SHOP, address="10.0.0.5"), interfaces=[{"addresses": ["10.0.0.5"]}], disks=["/shared/novas.img"])
        add("owned", "node2", metadata=own("front", BANK, "bob"), interfaces=[{"addresses": ["10.0.0.77", "fd00::77"]}])
        add("paused", "node2", state="paused")
        add("off", "node2", state="shutoff")
        add("saved", "node2", state="saved")
        self.settle()
        self.do("locked", {"lock": {"locked_reason": "hands off"}}, "2.73")
        self.do("broken", {"os-resetState": {"state": "error"}})
        self.fleet.hosts["node3"].refuses_cpu = True
        self.do("gone", {"os-migrateLive": {"host": "node3", "block_migration": False, "disk_over_commit": False}}, expected=400)
        self.fleet.hosts["node3"].refuses_cpu = False
        self.do("busy", {"os-migrateLive": {"host": "node2", "block_migration": "auto"}}, "2.34")
        self.wait_status(self.id("busy"), "running")
        self.do("web", {"os-migrateLive": {"host": "node2", "block_migration": "auto"}}, "2.34")
        self.wait_idle(self.id("web"))
        self.store.hosts.decide("node3", disabled=True, disabled_reason="a new disk")
        return self

    def settle(self) -> None:
        """Wait until the inventory shows every guest of the fleet as it is."""
        for _ in range(1000):
            there = {(uuid, host.name) for host in self.fleet.hosts.values() for uuid in host.domains if host.up}
            if {(server.uuid, server.host) for server in self.store.servers.find(Selection())} >= there:
                return
            self.runtime.sleep(0.01)
        raise AssertionError("the inventory does not settle")

    def request(self, method: str, path: str, **given: Any) -> Any:
        return super().request(method, path, **{**given, "headers": {**self.always, **given.get("headers", {})}})

    def bring(self, name: str, status: str, action: str) -> None:
        """Do the action until the server has the status. Its watcher may have looked before another deed, and tell it afterwards."""
        path = f"/v2.1/servers/{self.id(name)}"
        for _ in range(100):
            if self.show(self.id(name))["status"] == status:
                return
            self.ask("POST", f"{path}/action", body={action: None})
            self.runtime.sleep(0.01)
        raise AssertionError(f"{name} does not become {status}")

    def wait_quiet(self, server: str) -> None:
        """Wait until the server does not migrate, if it ever did."""
        if self.store.migrations.of_server(server):
            self.wait_idle(server)

    @staticmethod
    def id(name: str) -> str:
        return guest_uuid(name)

    def ask(self, method: str, path: str, version: str = "2.1", body: Any = None, **headers: str) -> Any:
        """A request at a microversion, with a JSON body if one is given."""
        given: dict[str, Any] = {"headers": {"X-OpenStack-Nova-API-Version": version, **headers}}
        if body is not None:
            given |= {"body": json.dumps(body).encode(), "content_type": "application/json"}
        return self.request(method, path, **given)

    def do(self, name: str, action: dict[str, Any], version: str = "2.1", expected: int = 202) -> Any:
        answer = self.ask("POST", f"/v2.1/servers/{self.id(name)}/action", version, action)
        assert answer.status_int == expected, answer.text
        return answer
