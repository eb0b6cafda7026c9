"""The actions on a server that are libvirt's own, and those that livemig does not do."""

from __future__ import annotations

from tests.clients.runner import Client
from tests.clients.stage import Stage


def test_pause_and_suspend_and_back(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    for action, status in (("pause", "PAUSED"), ("unpause", "ACTIVE"), ("suspend", "SUSPENDED"), ("resume", "ACTIVE")):
        openstack.ok("server", action, server)
        stage.wait(server, (status, "node1"))


def test_stop_and_start_and_reboot(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok("server", "stop", server)
    stage.wait(server, ("SHUTOFF", "node1"))
    assert "in vm_state stopped" in openstack.refused("server", "migrate", "--live-migration", server)
    openstack.ok("server", "start", server)
    stage.wait(server, ("ACTIVE", "node1"))
    openstack.ok("server", "reboot", "--hard", "--wait", server)
    stage.wait(server, ("ACTIVE", "node1"))
    openstack.ok("server", "reboot", server)
    stage.wait(server, ("ACTIVE", "node1"))


def test_what_does_not_fit_the_state_is_refused(stage: Stage, openstack: Client) -> None:
    server, off = stage.guest(), stage.guest("off")
    assert "while it is in vm_state active" in openstack.refused("server", "unpause", server)
    assert "while it is in vm_state stopped" in openstack.refused("server", "pause", off)


def test_lock_and_unlock(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok("server", "lock", "--reason", "do not touch", server)
    shown = openstack.json("server", "show", server)
    assert (shown["locked"], shown["locked_reason"]) == (True, "do not touch")
    openstack.ok("server", "unlock", server)
    assert openstack.json("server", "show", server)["locked"] is False


def test_the_state_is_set_by_hand(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok("server", "set", "--auto-approve", "--state", "error", server)
    assert stage.state(server) == ("ERROR", "node1")
    openstack.ok("server", "set", "--auto-approve", "--state", "active", server)
    assert stage.state(server) == ("ACTIVE", "node1")


def test_what_livemig_does_not_do_is_refused_with_a_sentence(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    for words in (("migrate",), ("evacuate",), ("shelve",), ("rescue",), ("delete",)):
        said = openstack.refused("server", *words, server)
        assert "livemig" in said, said
    assert stage.state(server) == ("ACTIVE", "node1")
