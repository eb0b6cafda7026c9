"""Encryption, the ways to reach a daemon, and the network of its own that migrations may have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from livemig.lab.network import MIGRATION
from livemig.states import Status
from tests.lab.stage import Stage

pytestmark = [pytest.mark.lab]
TLS = "[libvirt]\nlive_migration_with_native_tls = true"
MIB = 2**20


@pytest.fixture(scope="module")
def module_guest(lab: Lab) -> Iterator[Guest]:
    guest = lab.add_guest("secret", memory_mib=160)
    yield guest
    guest.remove()


@pytest.fixture
def guest(stage: Stage, module_guest: Guest) -> Guest:
    """On whichever host it is."""
    here = module_guest.where()
    assert here is not None
    stage.service.wait_seen(module_guest.uuid, ("ACTIVE", here.name))
    return module_guest


def test_native_tls(stage: Stage, guest: Guest) -> None:
    stage.configure(TLS)
    assert stage.move(guest).policy.tls


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_wrong_certificate_is_refused(stage: Stage, guest: Guest, end: str) -> None:
    """The guest stays where it is; with the right certificate it moves, without anything being started again."""
    stage.configure(TLS)
    host = guest.where() if end == "source" else stage.other(guest)
    assert host is not None
    host.certify("stranger")
    try:
        stage.begin(guest)
        stage.end(guest, Status.FAILED)
        assert "certificate" in (told := stage.story(guest)), told
    finally:
        host.certify()
    stage.move(guest)


@pytest.mark.parametrize("transport", ["tls", "ssh"])
def test_daemons_reached_by(stage: Stage, guest: Guest, transport: str) -> None:
    """By the conductor, and by the source's daemon."""
    stage.configure(transport=transport)
    destination = stage.other(guest)
    stage.wait_for_hosts()
    stage.begin(guest)
    stage.end(guest)
    assert guest.where() == destination


def test_a_daemon_whose_certificate_is_wrong_is_a_host_that_is_away(stage: Stage, guest: Guest) -> None:
    destination = stage.other(guest)
    destination.certify("stranger")
    destination.stop_daemon()
    destination.start_daemon()
    try:
        stage.configure(transport="tls")
        stage.begin(guest)
        stage.end(guest, Status.ERROR)
        assert f"Compute service of {destination.name} is unavailable at this time." in stage.story(guest)
    finally:
        destination.certify()
        destination.stop_daemon()
        destination.start_daemon()


@pytest.mark.parametrize("network", ["migration", pytest.param("migration6", marks=pytest.mark.skipif(not MIGRATION.ipv6, reason="no IPv6 here"))])
def test_memory_goes_over_the_network_for_it(stage: Stage, guest: Guest, network: str) -> None:
    stage.configure(network=network)
    destination = stage.other(guest)
    cables = (destination.cable, destination.migration_cable)
    before = [cable.received_bytes() for cable in cables]
    migration = stage.move(guest)
    main, own = (cable.received_bytes() - earlier for cable, earlier in zip(cables, before, strict=True))
    assert migration.memory_total_bytes is not None
    assert own > 20 * MIB and own > migration.memory_total_bytes / 100
    assert main < 2 * MIB
