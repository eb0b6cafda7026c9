"""What a request asks for: which host, whether it is forced, and what is to be done about disks."""

from __future__ import annotations

import pytest

from livemig import conf as configuration
from livemig import context, exceptions
from livemig.facts import MigrationRequest
from livemig.states import Status
from livemig.testing.fleet import guest_uuid
from tests.service import Service

WEB = guest_uuid("web")


def ask(service: Service, host: str | None, force: bool | None = None, block: bool | None = None) -> None:
    """Have it accepted; raises what refuses it."""
    if not service.fleet.running_on(WEB):
        service.fleet.add_guest("web", "node1", dirty_mib_s=1)
        service.runtime.sleep(0.5)
    asked = MigrationRequest(host, block, None, force)
    migration = service.store.migrations.begin(WEB, asked, configuration.policy(service.conf), context.system(), 60)
    service.conductor.engine.accept(migration.id)


def moved_to(service: Service) -> str | None:
    migration = service.wait_idle(WEB)
    assert migration.status is Status.COMPLETED, migration.reason
    return migration.destination


@pytest.mark.parametrize(
    ("force", "kind", "text"),
    [
        (None, exceptions.UnableToMigrateToSelf, f"Unable to migrate instance ({WEB}) to current host (node1)."),
        (True, exceptions.UnableToMigrateToSelf, f"Unable to migrate instance ({WEB}) to current host (node1)."),
        (False, exceptions.NoValidHost, "No valid host was found. There are not enough hosts available."),
    ],
)
def test_to_where_it_is(service: Service, force: bool | None, kind: type[exceptions.Refused], text: str) -> None:
    with pytest.raises(kind) as refused:
        ask(service, "node1", force)
    assert str(refused.value) == text
    assert service.state(WEB) == ("ACTIVE", "node1", None)


@pytest.mark.parametrize("force", [None, False])
def test_a_disabled_host_that_is_named_is_refused(service: Service, force: bool | None) -> None:
    service.store.hosts.decide("node2", disabled=True, disabled_reason="new disks")
    with pytest.raises(exceptions.NoValidHost, match="Host node2 is disabled: new disks"):
        ask(service, "node2", force)
    assert "check: node2: destination_enabled: " in service.story(WEB)


def test_a_disabled_host_takes_what_is_forced(service: Service) -> None:
    service.store.hosts.decide("node2", disabled=True)
    ask(service, "node2", True)
    assert moved_to(service) == "node2"


def test_a_disabled_host_is_not_chosen_and_may_be_left(service: Service) -> None:
    for name in ("node1", "node2"):
        service.store.hosts.decide(name, disabled=True)
    ask(service, None)
    assert moved_to(service) == "node3"


def test_a_host_that_is_disabled_while_a_migration_waits_gets_it_no_more(service: Service) -> None:
    service.fleet.add_guest("other", "node1", dirty_mib_s=1)
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    service.runtime.sleep(0.5)
    assert service.live_migrate(guest_uuid("other")).status_int == 202
    ask(service, "node2", False)
    service.store.hosts.decide("node2", disabled=True, disabled_reason="new disks")
    migration = service.wait_idle(WEB)
    assert (migration.status, migration.reason) == (Status.ERROR, "No valid host was found. Host node2 is disabled: new disks")


@pytest.mark.parametrize("force", [None, False, True])
@pytest.mark.parametrize("host", ["node1", "node2"])
def test_a_host_that_was_forced_down_counts_as_down(service: Service, host: str, force: bool | None) -> None:
    service.store.hosts.decide(host, forced_down=True)
    with pytest.raises(exceptions.ComputeServiceUnavailable, match=f"Compute service of {host} is unavailable"):
        ask(service, "node2", force)


def test_a_host_that_was_forced_down_is_not_chosen(service: Service) -> None:
    service.store.hosts.decide("node2", forced_down=True)
    ask(service, None)
    assert moved_to(service) == "node3"


def test_without_a_source_no_destination_is_looked_for(service: Service) -> None:
    service.store.hosts.decide("node1", forced_down=True)
    with pytest.raises(exceptions.ComputeServiceUnavailable, match="Compute service of node1"):
        ask(service, None)


def test_nobody_can_take_it(service: Service) -> None:
    """Every host says why not."""
    service.store.hosts.decide("node2", disabled=True)
    service.fleet.hosts["node3"].refuses_cpu = True
    with pytest.raises(exceptions.NoValidHost) as refused:
        ask(service, None)
    words = "No valid host was found. There are not enough hosts available. node2: disabled; node3: Migration pre-check error: Unacceptable CPU"
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize("shared", [True, False])
def test_auto_looks_at_the_disks(service: Service, shared: bool) -> None:
    directory = "/var/lib/libvirt/images"
    if shared:
        service.fleet.add_directory(directory)
    else:
        for name in ("node1", "node2"):
            service.fleet.add_local_directory(name, directory)
    service.fleet.add_guest("web", "node1", dirty_mib_s=1, disks=[f"{directory}/web.img"])
    service.runtime.sleep(0.5)
    ask(service, "node2", block=None)
    assert moved_to(service) == "node2"
    assert (service.fleet.hosts["node1"].file(f"{directory}/web.img") is not None) == shared
