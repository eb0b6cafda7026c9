"""Watcher's NovaHelper: the calls by which its strategies and actions work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.calls import Calls, calls
from tests.clients.record import Record
from tests.clients.runner import Named
from tests.clients.stage import HOSTS, Stage

pytestmark = pytest.mark.parametrize("stage", ["password"], indirect=True)


@pytest.fixture
def watcher(stage: Stage, record: Record, tmp_path: Path) -> Iterator[Calls]:
    with calls("watcher", "watcher", stage.style, stage.access(), tmp_path, record) as process:
        yield process


def test_what_it_reads(stage: Stage, watcher: Calls) -> None:
    server = stage.guest()
    assert {node["hypervisor_hostname"] for node in watcher.ok("helper.get_compute_node_list()")} == set(HOSTS)
    node = watcher.ok("helper.get_compute_node_by_hostname('node1')")
    assert (node["service_host"], node["hypervisor_type"], node["state"]) == ("node1", "QEMU", "up")
    assert watcher.ok("helper.get_compute_node_by_uuid({node})", node=Named(node["uuid"], "NODE"))["hypervisor_hostname"] == "node1"
    (named,) = watcher.ok("helper.get_compute_node_by_name('node3', servers=True, detailed=True)")
    assert {"moved1", "moved2"} <= {each["name"] for each in named["servers"]}
    assert server in {each["uuid"] for each in watcher.ok("helper.get_instance_list(filters=dict(host='node1'))")}
    found = watcher.ok("helper.find_instance({server})", server=server)
    assert (found["host"], found["task_state"], found["vm_state"]) == ("node1", None, "active")
    assert watcher.ok("helper.get_flavor_list()")
    assert {each["host"] for each in watcher.ok("helper.get_service_list()") if each["binary"] == "nova-compute"} == set(HOSTS)
    assert watcher.ok("helper.get_aggregate_list()") == []


def test_what_it_does(stage: Stage, watcher: Calls) -> None:
    server, busy = stage.guest(), stage.guest("busy")
    assert watcher.ok("helper.live_migrate_instance({server}, 'node2')", server=server) is True
    assert stage.state(server) == ("ACTIVE", "node2")
    assert watcher.ok("helper.live_migrate_instance({server}, None)", server=server) is True
    assert stage.state(server)[1] != "node2"
    assert "node1" not in watcher.refused("helper.live_migrate_instance({server}, 'nosuch')", server=server)
    stage.migrate(busy, "node2")
    stage.running(busy)
    assert watcher.ok("helper.abort_live_migrate({busy}, 'node1', 'node2')", busy=busy) is True
    assert watcher.ok("helper.disable_service_nova_compute('node3', reason='watcher_disabled')") is True
    assert watcher.ok("helper.enable_service_nova_compute('node3')") is True
