"""Disks that move with their guest, or stand in its way: on a simulated fleet and a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from livemig.records import LeftFile, Migration
from livemig.states import Status
from livemig.testing.fleet import Disk, Host, guest_uuid
from livemig.testing.storage import MIB, File
from tests.service import Service

WEB = guest_uuid("web")
IMAGES, SHARED = "/images", "/shared"
RAW = Disk(f"{IMAGES}/web.raw", 8)
QCOW2 = Disk(f"{IMAGES}/web.qcow2", 8, format="qcow2", backing=f"{IMAGES}/base.raw")
ISO = Disk(f"{IMAGES}/disk.config", 1, "sda", read_only=True, device="cdrom")
HOME = f"{IMAGES}/{WEB}"
"""A directory of the guest's own."""


@pytest.fixture
def hosts(service: Service) -> list[Host]:
    """Each has a directory of its own, and one that all have."""
    service.fleet.add_directory(SHARED)
    for host in service.fleet.hosts.values():
        service.fleet.add_local_directory(host, IMAGES)
    return list(service.fleet.hosts.values())


def add(service: Service, *disks: Disk, name: str = "web", **facts: Any) -> str:
    service.fleet.add_guest(name, "node1", disks=disks, dirty_mib_s=1, memory_mib=512, **facts)
    service.runtime.sleep(0.5)
    return guest_uuid(name)


def end(service: Service, server: str = WEB) -> Migration:
    """The server's last migration, once it has ended and everything is tidy."""
    service.wait_idle(server, 600)
    deadline = service.runtime.monotonic() + 120
    while (migration := service.store.migrations.of_server(server)[0]).untidy:
        assert service.runtime.monotonic() < deadline, service.story(server)
        service.runtime.sleep(1)
    assert not any(host.pools for host in service.fleet.hosts.values())
    assert not any("livemig" in name for host in service.fleet.hosts.values() for each in host.directories.values() for name in each.files)
    return migration


def moved(service: Service, server: str = WEB, host: str = "node2", block: Any = True, over_commit: Any = False) -> Migration:
    answer = service.live_migrate(server, host, block, over_commit) if block is not None else auto(service, server, host)
    assert answer.status_int == 202, answer.text
    migration = end(service, server)
    assert migration.status is Status.COMPLETED, service.story(server)
    assert service.fleet.running_on(server) == [host]
    return migration


def auto(service: Service, server: str, host: str) -> Any:
    """Microversion 2.25: what the disks need, and nothing said of space."""
    asked = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
    return service.request("POST", f"/v2.1/servers/{server}/action", json=asked, headers={"OpenStack-API-Version": "compute 2.25"})


def refused(service: Service, words: str, block: Any = True, over_commit: Any = False) -> None:
    """With nothing changed on either host."""
    before = files(service)
    answer = service.live_migrate(WEB, "node2", block, over_commit)
    assert answer.status_int == 400
    assert words in answer.json["badRequest"]["message"]
    assert end(service).status is Status.ERROR
    assert files(service) == before
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def files(service: Service) -> dict[str, dict[str, bytes]]:
    """The content of all local files, by host."""
    return {name: {path: file.content for path, file in host.directories[IMAGES].files.items()} for name, host in service.fleet.hosts.items()}


def put(host: Host, name: str, **facts: Any) -> None:
    host.directories[IMAGES].files[name] = File(**facts)


def told(service: Service) -> list[str]:
    return [event.text for event in service.store.migrations.events(service.store.migrations.of_server(WEB)[0].id) if event.kind == "disks"]


def test_a_raw_disk(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    migration = moved(service)
    assert files(service) == {"node1": {}, "node2": {"web.raw": b"node1:/images/web.raw"}, "node3": {}}
    made = hosts[1].file(RAW.path)
    assert made is not None and (made.format, made.capacity) == ("raw", 8 * MIB)
    assert (migration.files, migration.disk_total_bytes) == ((), 8 * MIB)
    assert told(service) == ["/images/web.raw was made at the destination (raw, 8 MiB)", "/images/web.raw was removed from node1"]
    moved(service, host="node1")


def test_a_backing_file_goes_first_and_stays_behind(service: Service, hosts: list[Host]) -> None:
    add(service, QCOW2)
    moved(service)
    base = b"node1:/images/base.raw"
    assert files(service) == {"node1": {"base.raw": base}, "node2": {"base.raw": base, "web.qcow2": b"node1:/images/web.qcow2"}, "node3": {}}
    overlay, below = hosts[1].file(QCOW2.path), hosts[1].file(QCOW2.backing)
    assert overlay is not None and (overlay.format, overlay.backing) == ("qcow2", (QCOW2.backing, "raw"))
    assert below is not None and (below.format, below.capacity, below.permissions) == ("raw", 8 * MIB, ("0600", "0", "0"))
    assert "/images/base.raw is copied to the destination (8 MiB)" in told(service)
    moved(service, host="node1")
    assert "/images/base.raw is at the destination already, and the same" in told(service)


def test_a_chain_of_backing_files(service: Service, hosts: list[Host]) -> None:
    put(hosts[0], "base.raw", capacity=8 * MIB, allocation=MIB, content=b"the base")
    put(hosts[0], "middle.qcow2", capacity=8 * MIB, allocation=MIB, format="qcow2", content=b"the middle", backing=(f"{IMAGES}/base.raw", "raw"))
    put(hosts[0], "web.qcow2", capacity=8 * MIB, allocation=MIB, format="qcow2", content=b"the top", backing=(f"{IMAGES}/middle.qcow2", "qcow2"))
    add(service, QCOW2)
    moved(service)
    assert files(service)["node2"] == {"base.raw": b"the base", "middle.qcow2": b"the middle", "web.qcow2": b"the top"}
    middle = hosts[1].file(f"{IMAGES}/middle.qcow2")
    assert middle is not None and (middle.format, middle.capacity, middle.backing) == ("qcow2", 8 * MIB, (f"{IMAGES}/base.raw", "raw"))


def test_two_disks_of_which_one_is_shared(service: Service, hosts: list[Host]) -> None:
    add(service, RAW, Disk(f"{SHARED}/data.raw", 8, "vdb"), Disk("pool/web", 8, "vdc", network="rbd"))
    migration = moved(service, block=None)
    assert files(service)["node2"] == {"web.raw": b"node1:/images/web.raw"}
    assert migration.disk_total_bytes == 8 * MIB
    assert set(hosts[0].directories[SHARED].files) == {"data.raw"}


def test_a_config_drive_goes_along_and_an_installation_cd_stays_too(service: Service, hosts: list[Host]) -> None:
    """The drive is the guest's own by the directory that it lies in, and not by what it is called."""
    own = Disk(f"{HOME}/disk.config", 1, "sdd", read_only=True, device="cdrom")
    add(service, RAW, ISO, own, Disk(f"{IMAGES}/debian.iso", 1, "sdb", read_only=True, device="cdrom"), Disk("", 0, "sdc", read_only=True, device="cdrom"))
    migration = moved(service)
    assert files(service)["node1"] == {name: f"node1:/images/{name}".encode() for name in ("disk.config", "debian.iso")}
    assert files(service)["node2"] == {name: f"node1:/images/{name}".encode() for name in ("web.raw", "disk.config", "debian.iso")}
    assert [HOME in host.directories for host in hosts] == [False, True, False]
    assert set(hosts[1].directories[HOME].files) == {"disk.config"}
    assert migration.files == tuple(LeftFile("node1", f"{IMAGES}/{name}", "kept") for name in ("debian.iso", "disk.config"))
    assert any(text.startswith("/images/debian.iso stays on node1: nothing proves that it is the guest's own") for text in told(service))
    moved(service, host="node1")


def test_a_local_config_drive_beside_shared_disks(service: Service, hosts: list[Host]) -> None:
    """QEMU copies nothing; the image is copied all the same."""
    add(service, Disk(f"{SHARED}/web.raw", 8), ISO)
    refused(service, f"these are not: {ISO.path}", block=False)
    assert moved(service, block=None).disk_total_bytes == 0
    assert files(service)["node2"] == {"disk.config": b"node1:/images/disk.config"}


def test_what_is_shared_is_not_block_migrated_and_what_is_local_is_nothing_else(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    refused(service, "node2 is not on shared storage", block=False)
    hosts[0].domains.clear()
    service.runtime.sleep(1)
    add(service, Disk(f"{SHARED}/web.raw", 8))
    refused(service, "node1 is not on local storage: Block migration can not be used with shared storage.")


def test_a_file_in_the_way_is_not_overwritten(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    put(hosts[1], "web.raw", capacity=8 * MIB, content=b"somebody's")
    refused(service, "The supplied disk path (/images/web.raw) already exists, it is expected not to exist.")


OTHER = {
    "sizes": ({"capacity": 4 * MIB, "content": b"node1:/images/base.raw"}, "capacity 4194304 for 8388608, length 4194304 for 8388608"),
    "format": ({"capacity": 8 * MIB, "format": "qcow2"}, "format qcow2 for raw"),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_backing_file_is_not_used(service: Service, hosts: list[Host], case: str) -> None:
    facts, words = OTHER[case]
    add(service, QCOW2)
    put(hosts[1], "base.raw", **facts)
    refused(service, words)


def test_a_backing_file_of_other_content_is_found_out(service: Service, hosts: list[Host]) -> None:
    add(service, QCOW2)
    put(hosts[1], "base.raw", capacity=8 * MIB, content=b"node1:/images/base.RAW")
    before = files(service)
    assert service.live_migrate(WEB, block=True).status_int == 202
    migration = end(service)
    assert (migration.status, files(service)) == (Status.ERROR, before)
    assert migration.reason == "Migration pre-check error: node2 has another file in place of /images/base.raw: its content differs"
    service.conf.set_override("live_migration_compare_backing_files", False, group="libvirt")
    moved(service)
    assert "/images/base.raw is at the destination already, and was not compared" in told(service)


@pytest.mark.parametrize(("over_commit", "capacity_mib", "fits"), [(False, 107, False), (False, 109, True), (True, 101, False), (True, 103, True)])
def test_space(service: Service, hosts: list[Host], over_commit: bool, capacity_mib: int, fits: bool) -> None:
    """The image has 8 MiB, of which 2 are allocated; 100 MiB are reserved, and the file system may not be larger for what others have in it."""
    service.conf.set_override("reserved_host_disk_mb", 100)
    service.conductor.reload()
    put(hosts[0], "web.raw", capacity=8 * MIB, allocation=2 * MIB)
    add(service, RAW)
    hosts[1].directories[IMAGES].capacity_mib = capacity_mib
    if fits:
        moved(service, over_commit=over_commit)
        return
    sizes = f"(available on destination host:{(capacity_mib - 100) * MIB} < need:{(2 if over_commit else 8) * MIB})"
    refused(service, f"Unable to migrate {WEB}: Disk of instance is too large{sizes}", over_commit=over_commit)


def test_no_directory(service: Service, hosts: list[Host]) -> None:
    add(service, Disk("/elsewhere/web.raw", 8))
    refused(service, "node2 does not have /elsewhere")


def test_a_directory_of_the_guests_own(service: Service, hosts: list[Host]) -> None:
    """It is made at the destination, and goes when nothing is in it any more."""
    add(service, Disk(f"{HOME}/disk", 8), Disk(f"{HOME}/seed.iso", 1, "sda", read_only=True, device="cdrom"), RAW)
    hosts[1].migration_error = "the destination said no"
    assert service.live_migrate(WEB, block=True).status_int == 202
    assert end(service).status is Status.FAILED
    assert [HOME in host.directories for host in hosts] == [True, False, False]
    moved(service)
    assert [HOME in host.directories for host in hosts] == [False, True, False]
    assert set(hosts[1].directories[HOME].files) == {"disk", "seed.iso"}
    assert told(service)[-1] == f"{HOME}/ was removed from node1"


def test_a_directory_that_was_not_made_yet_holds_up_nobody(service: Service, hosts: list[Host]) -> None:
    add(service, Disk(f"{IMAGES}/web/disk", 8, format="qcow2", backing=QCOW2.backing))
    put(hosts[1], "base.raw", capacity=8 * MIB, content=b"another")
    assert service.live_migrate(WEB, block=True).status_int == 202
    assert end(service).status is Status.ERROR
    assert f"{IMAGES}/web" not in hosts[1].directories


def test_a_failure_in_the_middle_leaves_nothing(service: Service, hosts: list[Host]) -> None:
    add(service, QCOW2, ISO)
    before = files(service)
    hosts[1].migration_error = "the destination said no"
    assert service.live_migrate(WEB, block=True).status_int == 202
    migration = end(service)
    assert migration.status is Status.FAILED
    assert files(service) == before
    assert "/images/base.raw was removed from node2" in told(service)
    moved(service)


def test_a_full_disk_while_a_file_is_copied(service: Service, hosts: list[Host]) -> None:
    add(service, QCOW2)
    before = files(service)
    hosts[0].stream_mib_s = 1.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    until(service, lambda: hosts[1].file(QCOW2.backing))
    hosts[1].disk_full = True
    migration = end(service)
    assert migration.status is Status.ERROR
    assert (migration.reason or "").startswith("Migration pre-check error: The disks could not be prepared: node2: cannot write to stream: No space left")
    assert files(service) == before
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def until(service: Service, ready: Callable[[], Any]) -> None:
    deadline = service.runtime.monotonic() + 60
    while not ready():
        assert service.runtime.monotonic() < deadline, service.story(WEB)
        service.runtime.sleep(0.1)


def copying(service: Service, hosts: list[Host]) -> dict[str, dict[str, bytes]]:
    """A migration that copies a backing file for many seconds; what there was before."""
    add(service, QCOW2)
    before = files(service)
    hosts[0].stream_mib_s = 0.25
    assert service.live_migrate(WEB, block=True).status_int == 202
    until(service, lambda: hosts[1].file(QCOW2.backing))
    return before


def abort(service: Service) -> None:
    migration = service.store.migrations.of_server(WEB)[0]
    assert service.request("DELETE", f"/v2.1/servers/{WEB}/migrations/{migration.id}", headers={"OpenStack-API-Version": "compute 2.65"}).status_int == 202


def test_abort_while_preparing(service: Service, hosts: list[Host]) -> None:
    before = copying(service, hosts)
    service.runtime.sleep(12)
    abort(service)
    migration = service.store.migrations.of_server(WEB)[0]
    assert (migration.status, migration.untidy) == (Status.CANCELLED, True)
    assert service.state(WEB) == ("ACTIVE", "node1", None)
    began = service.runtime.monotonic()
    end(service)
    assert service.runtime.monotonic() - began < 5
    assert files(service) == before
    assert any("of 8 MiB copied of /images/base.raw" in text for text in told(service))
    hosts[0].stream_mib_s = 0.0
    moved(service)


def test_a_conductor_that_dies_while_it_prepares(service: Service, hosts: list[Host]) -> None:
    """The next one removes what was made, and makes it anew."""
    copying(service, hosts)
    service.runtime.sleep(3)
    hosts[0].stream_mib_s = 0.0
    service.restart_conductor()
    assert end(service).status is Status.COMPLETED, service.story(WEB)
    assert files(service)["node2"] == {"base.raw": b"node1:/images/base.raw", "web.qcow2": b"node1:/images/web.qcow2"}
    assert told(service).count("/images/base.raw is copied to the destination (8 MiB)") == 2


def test_one_that_is_aborted_while_its_conductor_is_dead(service: Service, hosts: list[Host]) -> None:
    before = copying(service, hosts)
    service.conductor.stop()
    abort(service)
    service.restart_conductor()
    assert end(service).status is Status.CANCELLED
    assert files(service) == before


def test_a_destination_that_is_away_when_it_is_to_be_tidied(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    before = files(service)
    hosts[1].bandwidth_mib_s = 1.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    service.wait_status(WEB, "running")
    service.runtime.sleep(2)
    abort(service)
    service.wait_idle(WEB)
    hosts[1].up = False
    until(service, lambda: service.store.migrations.of_server(WEB)[0].status is Status.CANCELLED)
    service.runtime.sleep(60)
    hosts[1].up = True
    assert end(service).status is Status.CANCELLED
    assert files(service) == before


def test_a_source_that_is_away_when_it_is_to_be_tidied(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    migration = moved(service)
    hosts[0].directories[IMAGES].files["web.raw"] = File(content=b"not gone yet")
    hosts[0].up = False
    service.runtime.sleep(1)
    journal(service, migration.id, LeftFile("node1", RAW.path, "proven"))
    service.runtime.sleep(60)
    assert service.store.migrations.get(migration.id).untidy
    assert sum("cannot be removed from node1 now, and will be later" in text for text in told(service)) == 1
    hosts[0].up = True
    end(service)
    assert files(service)["node1"] == {}


def journal(service: Service, migration_id: int, *left: LeftFile) -> None:
    """As if these were still to be removed."""
    service.store.files.removed(migration_id, None, left)


def test_a_file_that_another_guest_refers_to_stays(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    hosts[0].bandwidth_mib_s = 100.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    service.wait_status(WEB, "running")
    service.fleet.add_guest("other", "node1", state="shutoff", disks=[RAW])
    assert end(service).status is Status.COMPLETED
    assert "/images/web.raw stays on node1: guest other refers to it" in told(service)
    assert set(files(service)["node1"]) == {"web.raw"}


def test_removal_turned_off(service: Service, hosts: list[Host]) -> None:
    service.conf.set_override("live_migration_remove_source_disks", False, group="libvirt")
    add(service, RAW)
    moved(service)
    assert files(service)["node1"] == files(service)["node2"] == {"web.raw": b"node1:/images/web.raw"}


def test_two_guests_on_one_backing_file(service: Service, hosts: list[Host]) -> None:
    """The second waits until the first has copied it, and uses what is there; that the first fails takes nothing from the second."""
    service.conf.set_override("max_concurrent_live_migrations", 2)
    service.conductor.reload()
    other = Disk(f"{IMAGES}/other.qcow2", 8, format="qcow2", backing=QCOW2.backing)
    add(service, QCOW2)
    second = add(service, other, name="other")
    hosts[0].stream_mib_s = 1.0
    hosts[1].bandwidth_mib_s = 50.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    until(service, lambda: hosts[1].file(QCOW2.backing))
    assert service.live_migrate(second, block=True).status_int == 202
    service.wait_status(WEB, "running")
    service.wait_status(second, "running")
    abort(service)
    assert end(service, second).status is Status.COMPLETED, service.story(second)
    assert end(service).status is Status.CANCELLED
    assert set(files(service)["node2"]) == {"base.raw", "other.qcow2"}


def test_what_is_lost_is_left_as_it_is(service: Service, hosts: list[Host]) -> None:
    """Nobody knows which copy is the good one: a person must look, and nothing is removed."""
    add(service, RAW)
    hosts[0].bandwidth_mib_s = 1.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    service.wait_status(WEB, "running")
    service.runtime.sleep(2)
    hosts[0].domains[WEB].persistent = False
    hosts[0].kill_guest(WEB)
    service.wait_idle(WEB)
    migration = service.store.migrations.of_server(WEB)[0]
    assert (migration.status, migration.untidy) == (Status.ERROR, False), service.story(WEB)
    assert LeftFile("node1", RAW.path, "completed") in migration.files
    service.runtime.sleep(60)
    assert set(files(service)["node1"]) == set(files(service)["node2"]) == {"web.raw"}


def test_a_destination_that_is_away_when_the_next_conductor_takes_it_up(service: Service, hosts: list[Host]) -> None:
    """It cannot be begun anew; what was made is removed when the host is back."""
    before = copying(service, hosts)
    hosts[1].up = False
    service.conductor.engine.stop()
    service.restart_conductor()
    service.wait_idle(WEB)
    migration = service.store.migrations.of_server(WEB)[0]
    assert migration.status is Status.ERROR
    assert migration.untidy
    hosts[1].up = True
    end(service)
    assert files(service) == before


def test_a_file_that_comes_into_the_way_after_the_checks(service: Service, hosts: list[Host]) -> None:
    """The second waits for a moment only, so that what the checks found is still fresh when it begins."""
    service.fleet.add_guest("first", "node1", memory_mib=512, dirty_mib_s=1)
    add(service, RAW)
    hosts[0].bandwidth_mib_s = 400.0
    assert service.live_migrate(guest_uuid("first")).status_int == 202
    assert service.live_migrate(WEB, block=True).status_int == 202
    service.wait_status(WEB, "queued")
    put(hosts[1], "web.raw", capacity=8 * MIB, content=b"somebody's")
    migration = end(service)
    assert (migration.status, migration.reason) == (Status.ERROR, "The supplied disk path (/images/web.raw) already exists, it is expected not to exist.")
    assert files(service)["node2"] == {"web.raw": b"somebody's"}
    assert service.story(WEB).count("every check passed") == 1


def test_a_host_that_is_none_of_ours_any_more_is_left_alone(service: Service, hosts: list[Host]) -> None:
    add(service, RAW)
    migration = moved(service)
    service.conf.set_override("enabled_hosts", ["node1", "node2"])
    service.conductor.reload()
    put(hosts[2], "left")
    journal(service, migration.id, LeftFile("node3", f"{IMAGES}/left", "failed"))
    service.runtime.sleep(30)
    assert sum("node3: not one of enabled_hosts any more" in text for text in told(service)) == 1
    service.conf.set_override("enabled_hosts", ["node1", "node2", "node3"])
    service.conductor.reload()
    end(service)
    assert files(service)["node3"] == {}


@pytest.mark.parametrize("known", [True, False], ids=["seen in time", "at the last moment"])
def test_a_file_that_comes_into_the_way_while_others_are_copied(service: Service, hosts: list[Host], known: bool) -> None:
    """It is not ours, and stays, though its path is one that we had planned for."""
    copying(service, hosts)
    service.runtime.sleep(3)
    directory = hosts[1].directories[IMAGES]
    if known:
        put(hosts[1], "web.qcow2", capacity=8 * MIB, content=b"somebody's")
    else:
        directory.late["web.qcow2"] = File(content=b"somebody's")
    hosts[0].stream_mib_s = 0.0
    assert end(service).status is Status.ERROR
    assert files(service)["node2"] == {"web.qcow2": b"somebody's"}


def test_an_abort_while_it_waits_for_the_files_of_another(service: Service, hosts: list[Host]) -> None:
    service.conf.set_override("max_concurrent_live_migrations", 2)
    service.conductor.reload()
    first = add(service, Disk(f"{IMAGES}/first.qcow2", 8, format="qcow2", backing=QCOW2.backing), name="first")
    add(service, QCOW2)
    hosts[0].stream_mib_s = 0.25
    assert service.live_migrate(first, block=True).status_int == 202
    until(service, lambda: hosts[1].file(QCOW2.backing))
    assert service.live_migrate(WEB, block=True).status_int == 202
    until(service, lambda: any("waits for migrations that make or remove the same files: 1" in text for text in told(service)))
    abort(service)
    assert end(service).status is Status.CANCELLED
    assert end(service, first).status is Status.COMPLETED
    assert set(files(service)["node2"]) == {"base.raw", "first.qcow2"}


def test_pools_that_a_dead_conductor_left_are_swept(service: Service, hosts: list[Host]) -> None:
    """They are known by the UUID that was written down. An administrator's pool is his, whatever it is called, and so is another deployment's."""
    service.fleet.add_local_directory("node2", "/mine")
    service.fleet.add_local_directory("node2", "/data")
    mark = service.store.marks.write_down("node2", "a machine that is no more")
    pool = "<pool type='dir'><name>{}</name>{}<target><path>{}</path></target></pool>"
    with service.conductor.inventory.get("node2").hypervisor.use() as connection:  # type: ignore[union-attr]
        connection.storagePoolCreateXML(pool.format("livemig-left", f"<uuid>{mark}</uuid>", IMAGES), 0)
        connection.storagePoolCreateXML(pool.format("livemig-other-0c2f8f3c", "", SHARED), 0)
        connection.storagePoolDefineXML(pool.format("mine", "", "/mine"), 0)
        connection.storagePoolDefineXML(pool.format("livemig-data", "", "/data"), 0).create(0)
    service.restart_conductor()
    service.runtime.sleep(1)
    assert list(hosts[1].pools) == ["livemig-other-0c2f8f3c", "mine", "livemig-data"]
    assert hosts[1].pools["livemig-data"].active and hosts[1].pools["livemig-data"].persistent


def test_a_guest_that_is_called_like_the_directory_of_isos(service: Service, hosts: list[Host]) -> None:
    """The CD and its directory are an administrator's."""
    service.fleet.add_local_directory("node1", f"{IMAGES}/isos")
    add(service, replace(RAW, path=f"{IMAGES}/isos.raw"), Disk(f"{IMAGES}/isos/debian-12.iso", 1, "sda", read_only=True, device="cdrom"), name="isos")
    uuid = guest_uuid("isos")
    migration = moved(service, uuid)
    assert set(hosts[0].directories[f"{IMAGES}/isos"].files) == {"debian-12.iso"} == set(hosts[1].directories[f"{IMAGES}/isos"].files)
    assert migration.files == (LeftFile("node1", f"{IMAGES}/isos/debian-12.iso", "kept"),)
    assert "isos.raw" not in files(service)["node1"]


def test_what_version_0_1_wrote_down_by_names_is_judged_anew(service: Service, hosts: list[Host]) -> None:
    """It was to remove an installation CD, in a directory that is called like the guest, and was just at it."""
    service.fleet.add_local_directory("node1", f"{IMAGES}/web").files["debian.iso"] = File(MIB, MIB, content=b"an administrator's")
    add(service, RAW)
    migration = moved(service)
    put(hosts[0], "web.raw", content=b"somebody has put another here")
    left = [LeftFile("node1", path, after) for path, after in ((f"{IMAGES}/web/debian.iso", "now"), (RAW.path, "completed"), (f"{IMAGES}/web/", "completed"))]
    journal(service, migration.id, *left, LeftFile("node2", f"{IMAGES}/web/debian.iso", "failed"))
    service.runtime.sleep(30)
    assert set(hosts[0].directories[f"{IMAGES}/web"].files) == {"debian.iso"}
    assert files(service)["node1"] == {"web.raw": b"somebody has put another here"}, "this migration has not copied it"
    assert end(service).files == tuple(replace(file, after="kept") for file in left)


def test_a_guest_that_has_moved_on_before_its_source_is_back(service: Service, hosts: list[Host]) -> None:
    """That its disk was whole at the first destination is written down while it is there."""
    add(service, RAW)
    first = moved(service)
    put(hosts[0], "web.raw", content=b"not gone yet")
    hosts[0].up = False
    service.runtime.sleep(1)
    journal(service, first.id, LeftFile("node1", RAW.path, "completed"), LeftFile("node2", RAW.path, "failed"))
    until(service, lambda: LeftFile("node1", RAW.path, "proven") in service.store.migrations.get(first.id).files)
    moved(service, host="node3")
    assert set(files(service)["node1"]) == {"web.raw"}
    hosts[0].up = True
    until(service, lambda: not service.store.migrations.get(first.id).untidy)
    assert [set(each) for each in files(service).values()] == [set(), set(), {"web.raw"}]


def test_a_destination_that_cannot_say_whether_the_copy_is_whole(service: Service, hosts: list[Host]) -> None:
    """The source's file waits until it can."""
    add(service, RAW)
    migration = moved(service)
    put(hosts[0], "web.raw", content=b"not gone yet")
    hosts[1].up = False
    service.runtime.sleep(1)
    journal(service, migration.id, LeftFile("node1", RAW.path, "completed"), LeftFile("node2", RAW.path, "failed"))
    service.runtime.sleep(60)
    assert set(files(service)["node1"]) == {"web.raw"}
    assert sum("/images/web.raw cannot be removed from node1 now, and will be later" in text for text in told(service)) == 1
    hosts[1].up = True
    end(service)
    assert files(service)["node1"] == {}


def test_a_file_stays_to_which_another_guest_refers_by_a_link(service: Service, hosts: list[Host]) -> None:
    hosts[0].links["/data"] = IMAGES
    add(service, RAW)
    hosts[0].bandwidth_mib_s = 100.0
    assert service.live_migrate(WEB, block=True).status_int == 202
    service.wait_status(WEB, "running")
    service.fleet.add_guest("other", "node1", state="shutoff", disks=["/data/../data/web.raw"])
    migration = end(service)
    assert "/images/web.raw stays on node1: guest other refers to it as /data/../data/web.raw" in told(service)
    assert migration.files == (LeftFile("node1", RAW.path, "kept"),)
    assert set(files(service)["node1"]) == {"web.raw"}


def test_what_one_host_lacks_another_may_have(service: Service, hosts: list[Host]) -> None:
    """No directory, a file in the way, no room: each speaks for one destination only."""
    add(service, RAW)
    put(hosts[1], "web.raw", capacity=MIB)
    assert service.live_migrate(WEB, None, block=True).status_int == 202
    assert end(service).status is Status.COMPLETED
    assert service.fleet.running_on(WEB) == ["node3"]
    hosts[0].directories[IMAGES].capacity_mib = 1
    answer = service.live_migrate(WEB, None, block=True)
    message = answer.json["badRequest"]["message"]
    assert answer.status_int == 400
    assert message.startswith("No valid host was found. There are not enough hosts available. node1: Migration pre-check error: Unable to migrate")
    assert "; node2: " in message
