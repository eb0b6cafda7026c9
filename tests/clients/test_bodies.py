"""What clients send that are not run here: their requests, as they make them."""

from __future__ import annotations

from tests.clients.record import Record
from tests.clients.stage import Stage

GOPHERCLOUD = "gophercloud 2, its requests (2.1)"
SKYLINE = "Skyline, its requests (2.79)"
NEW = {"OpenStack-API-Version": "compute 2.79"}
MIGRATE = {"OpenStack-API-Version": "compute 2.30"}


def test_gophercloud(stage: Stage, record: Record) -> None:
    server = stage.guest()
    for body in (
        {"host": "node2", "block_migration": False, "disk_over_commit": False},
        {"host": None, "block_migration": False, "disk_over_commit": True},
    ):
        status, _headers, answer = stage.request("POST", f"/servers/{server}/action", {"os-migrateLive": body})
        record.add(GOPHERCLOUD, stage.style, f"servers.LiveMigrate {body}", 0 if status == 202 else 1)
        assert (status, answer) == (202, None)
        assert stage.settle(server)[0] == "ACTIVE"
    status, _headers, answer = stage.request("GET", f"/os-migrations?instance_uuid={server}")
    record.add(GOPHERCLOUD, stage.style, "migrations.List", 0 if status == 200 else 1)
    assert [each["status"] for each in answer["migrations"]] == ["completed", "completed"]


def test_skyline(stage: Stage, record: Record) -> None:
    server = stage.guest()
    _status, _headers, hypervisors = stage.request("GET", "/os-hypervisors/detail", headers=NEW)
    hosts = {each["service"]["host"]: each for each in hypervisors["hypervisors"]}
    assert {each["status"] for each in hosts.values()} == {"enabled"}
    assert (hosts["node1"]["vcpus"], hosts["node1"]["memory_mb"]) == (64, 262144)
    _status, _headers, listed = stage.request("GET", "/servers/detail?all_tenants=true&limit=10&sort_key=created_at&sort_dir=desc", headers=NEW)
    assert len(listed["servers"]) == 10
    for body in ({"host": "node2", "block_migration": "auto"}, {"host": None, "block_migration": "auto"}):
        status, _headers, answer = stage.request("POST", f"/servers/{server}/action", {"os-migrateLive": body}, MIGRATE)
        record.add(SKYLINE, stage.style, f"live-migrate dialog {body}", 0 if status == 202 else 1)
        assert (status, answer) == (202, None)
        assert stage.settle(server)[0] == "ACTIVE"
