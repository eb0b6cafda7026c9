"""What each disk of a guest needs to move: tables; and the journal of files, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from livemig import conf as configuration
from livemig import context
from livemig.conductor import disks
from livemig.conductor.checks import disks as checks
from livemig.conductor.checks.situation import End, Situation
from livemig.conductor.disks import Needs, Way
from livemig.db.files import COMPLETED, FAILED, KEPT, NOW, PLANNED, PROVEN, is_due, unproven
from livemig.exceptions import DestinationDiskExists, InvalidLocalStorage, InvalidSharedStorage, MigrationPreCheckError, Refused
from livemig.facts import Backing, Disk, Guest, HostFacts, Image, MigrationRequest, Outcome, Presence, ServerFacts, Space, Storage
from livemig.hypervisor.storage import Blank
from livemig.records import LeftFile, Migration
from livemig.states import Status
from tests.service import Service

MIB = 1024 * 1024
UUID = "5f1c2f3e-0000-4000-8000-000000000001"
SHARED = {"/nfs/web": True, "/img/web": False}

WAYS: dict[str, tuple[Disk, Way]] = {
    "shared": (Disk("vda", "file", "/nfs/web"), Way.SHARED),
    "local": (Disk("vda", "file", "/img/web"), Way.QEMU),
    "nobody has asked": (Disk("vda", "file", "/else/web"), Way.QEMU),
    "shared, read only": (Disk("sda", "file", "/nfs/web", "cdrom", read_only=True), Way.SHARED),
    "local, read only": (Disk("sda", "file", "/img/web", "cdrom", read_only=True), Way.STREAM),
    "local, for several guests": (Disk("vda", "file", "/img/web", shareable=True), Way.CANNOT),
    "shared, for several guests": (Disk("vda", "file", "/nfs/web", shareable=True), Way.SHARED),
    "floppy": (Disk("fda", "file", "/img/web", "floppy"), Way.QEMU),
    "empty": (Disk("sda", "file", None, "cdrom", read_only=True), Way.NOTHING),
    "block": (Disk("vda", "block", "/dev/vg/web"), Way.SHARED),
    "rbd": (Disk("vda", "network", "pool/web"), Way.SHARED),
    "nbd without a name": (Disk("vda", "network", None), Way.SHARED),
    "volume": (Disk("vda", "volume", "web"), Way.CANNOT),
    "directory": (Disk("fda", "dir", "/srv", "floppy", read_only=True), Way.CANNOT),
    "NVMe": (Disk("vda", "nvme", "1"), Way.CANNOT),
    "vhost-user": (Disk("vda", "vhostuser", "/run/s"), Way.CANNOT),
    "a kind of tomorrow": (Disk("vda", "cloud", None), Way.CANNOT),
}


@pytest.mark.parametrize("case", WAYS)
def test_ways(case: str) -> None:
    disk, way = WAYS[case]
    assert disks.way(disk, SHARED) is way
    if way is Way.CANNOT:
        assert disk.target in disks.why_not(disk)


OWN: dict[str, tuple[str, bool]] = {
    "Nova's": (f"/var/lib/nova/instances/{UUID}/disk.config", True),
    "in the directory of its UUID": (f"/img/{UUID}/cloud.iso", True),
    "further down in it": (f"/img/{UUID}/iso/cloud.iso", True),
    "Nova's by another name": ("/img/web_disk.config", False),
    "by its label": ("/img/config-2.iso", False),
    "in the guest's directory": ("/img/web/cloud.iso", False),
    "by the UUID, but in nobody's directory": (f"/img/{UUID}.iso", False),
    "in a directory that only begins so": (f"/img/{UUID}-old/cloud.iso", False),
    "in that of another": ("/img/5f1c2f3e-0000-4000-8000-000000000002/disk.config", False),
    "by guest and target": ("/img/web.sda.iso", False),
    "a seed": ("/img/web-seed.iso", False),
    "cloud-init's": ("/img/web-cidata.iso", False),
    "an installation CD": ("/img/debian-12.iso", False),
    "one in a directory that is called like the guest": ("/var/lib/libvirt/web/debian-12.iso", False),
    "one that begins like the guest": ("/img/web-12.iso", False),
    "one that is called like it": ("/img/web.iso", False),
}


@pytest.mark.parametrize("case", OWN)
def test_whose_a_read_only_image_is(case: str) -> None:
    path, own = OWN[case]
    assert disks.is_own(path, UUID) is own


HOME = f"/img/{UUID}"
MOVED, READ = Disk("vda", "file", "/img/web"), Disk("sda", "file", f"{HOME}/cloud.iso", "cdrom", read_only=True)
OVER = Disk("vda", "file", "/img/new", format="qcow2", backing=(Backing("/img/web", "raw"),))
STAYS: dict[str, tuple[str, tuple[Disk, ...], tuple[str, ...], tuple[str, ...], str | None]] = {
    # path, the guest's disks at the destination, what was made there, what is there, why it stays at the source
    "what it writes": ("/img/web", (MOVED, READ), ("/img/web",), ("/img/web",), None),
    "what it wrote before a snapshot was made": ("/img/web", (OVER,), ("/img/web",), ("/img/web",), None),
    "its own config drive": (f"{HOME}/cloud.iso", (MOVED, READ), (f"{HOME}/cloud.iso",), (f"{HOME}/cloud.iso",), None),
    "its own directory": (f"{HOME}/", (), (), (), None),
    "a directory by its name": ("/img/web/", (MOVED,), (), (), "it is not named by the guest's UUID"),
    "a path that goes up": (
        "/img/x/../web",
        (replace(MOVED, path="/img/x/../web"),),
        ("/img/x/../web",),
        ("/img/x/../web",),
        "its path is not in its plain form",
    ),
    "what was there before": ("/img/web", (MOVED,), (), ("/img/web",), "this migration has not copied it"),
    "a config drive that was there before": (f"{HOME}/cloud.iso", (READ,), (), (f"{HOME}/cloud.iso",), "this migration has not copied it"),
    "a copy that has gone": ("/img/web", (MOVED,), ("/img/web",), (), "its copy is not at the destination"),
    "a guest that has gone": ("/img/web", (), ("/img/web",), ("/img/web",), "its copy is no disk of the guest at the destination"),
    "another disk": ("/img/web", (READ,), ("/img/web",), ("/img/web",), "its copy is no disk of the guest at the destination"),
    "an installation CD": (
        "/iso/debian.iso",
        (replace(READ, path="/iso/debian.iso"),),
        ("/iso/debian.iso",),
        ("/iso/debian.iso",),
        "nothing proves that it is the guest's own: the guest only reads it, and it lies in no directory that is named by the guest's UUID",
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_stays_at_the_source(case: str) -> None:
    path, having, made, there, why = STAYS[case]
    assert disks.why_it_stays(disks.evidence(path, UUID, made, there, having)) == why


BASE = Image("/img/base", "raw", 8 * MIB, 8 * MIB, 2 * MIB)
MIDDLE = Image("/img/middle", "qcow2", 8 * MIB, MIB, MIB, "/img/base")
TOP = Image("/img/web", "qcow2", 8 * MIB, 3 * MIB, 3 * MIB, "/img/middle", ("0640", "1", "2"))
ISO = Image("/img/disk.config", "raw", MIB, MIB, MIB)
IMAGES = {image.path: image for image in (BASE, MIDDLE, TOP, ISO)}
CHAIN = Disk("vda", "file", "/img/web", format="qcow2", backing=(Backing("/img/middle", "qcow2"), Backing("/img/base", "raw")))
CONFIG = Disk("sda", "file", "/img/disk.config", "cdrom", read_only=True)
GUEST = Guest(512, 1, disks=(CHAIN, CONFIG), name="web")
LOCAL = dict.fromkeys(IMAGES, False)


def needs(*of: Disk, shared: dict[str, bool] = LOCAL, images: dict[str, Image] = IMAGES) -> Needs:
    return disks.needs(replace(GUEST, disks=of), UUID, shared, images)


def test_needs() -> None:
    assert disks.files(GUEST.disks) == ["/img/web", "/img/middle", "/img/base", "/img/disk.config"]
    blank = Blank("/img/web", "qcow2", 8 * MIB, ("0640", "1", "2"), CHAIN.backing[0])
    assert needs(CHAIN, CONFIG) == Needs((blank,), (MIDDLE, BASE, ISO), ("/img/web",))
    assert needs(CHAIN, shared={**LOCAL, "/img/base": True}).read_only == (MIDDLE,)
    assert needs(CHAIN, shared={**LOCAL, "/img/web": True}) == Needs((), (MIDDLE, BASE), ()), "a shared image may stand on a local one"
    assert needs(CHAIN, replace(CHAIN, target="vdb", path="/img/other")).read_only == (MIDDLE, BASE)
    assert disks.files([Disk("vda", "file", "/img/web", backing=(Backing("pool/base", "raw", "network"),)), Disk("vdb", "network", "x")]) == ["/img/web"]


def test_a_directory_of_the_guests_own_goes_with_it() -> None:
    disk, iso = Disk("vda", "file", "/img/web/disk"), Disk("sda", "file", f"/iso/{UUID}/seed", "cdrom", read_only=True)
    images = {path: Image(path) for path in (disk.path or "", iso.path or "")}
    assert needs(disk, iso, images=images).own == ("/img/web/disk", f"/iso/{UUID}/seed", f"/iso/{UUID}/")


def test_a_guest_that_writes_another_format_into_a_raw_image_deceives_nobody() -> None:
    liar = Image("/img/web", "qcow2", 1 << 50, 8 * MIB, MIB, "/etc/shadow")
    wanted = needs(Disk("vda", "file", "/img/web"), images={"/img/web": liar})
    assert wanted == Needs((Blank("/img/web", "raw", 8 * MIB),), (), ("/img/web",))


SPACE: dict[str, tuple[bool | None, int, int]] = {
    "virtual sizes": (False, 8 + 8 + 1 + 1, 8),
    "allocated sizes": (True, 3 + 1 + 2 + 1, 2),
    "nothing said": (None, 3 + 1 + 8 + 1, 8),
}


@pytest.mark.parametrize("case", SPACE)
def test_space(case: str) -> None:
    over_commit, chain, raw = SPACE[case]
    assert disks.bytes_needed(needs(CHAIN, CONFIG), IMAGES, {}, over_commit) == {"/img": chain * MIB}
    assert disks.bytes_needed(needs(Disk("vda", "file", "/img/base")), IMAGES, {}, over_commit) == {"/img": raw * MIB}
    assert disks.bytes_needed(needs(CONFIG), IMAGES, {"/img/disk.config": ISO}, over_commit) == {}


# The checks

FACTS = HostFacts("node", "QEMU", 7_002_022, 9_000_000, 8, 8192, 4096)
FOUND = Storage(IMAGES, {}, {"/img": Space(1024 * MIB, 500 * MIB)})
NOW_ = Situation(UUID, End("a", facts=FACTS), End("b", facts=FACTS), None, guest=GUEST, shared=LOCAL, storage=FOUND)


def there(**facts: object) -> Storage:
    return replace(FOUND, there={"/img/base": replace(BASE, **facts)})  # type: ignore[arg-type]


def free(mib: int) -> Storage:
    return replace(FOUND, space={"/img": Space(1024 * MIB, mib * MIB)})


CHECKED: dict[str, tuple[dict[str, object], str, type[Refused] | None, str]] = {
    "all is well": ({}, "", None, ""),
    "block": ({"block_migration": True}, "", None, ""),
    "not block": ({"block_migration": False}, "storage", InvalidSharedStorage, "these are not: /img/base, /img/middle, /img/web, /img/disk.config"),
    "block, all shared": (
        {"block_migration": True, "shared": dict.fromkeys(IMAGES, True), "storage": None},
        "storage",
        InvalidLocalStorage,
        "a is not on local",
    ),
    "a volume": ({"guest": replace(GUEST, disks=(Disk("vda", "volume", "x"),))}, "disks_movable", MigrationPreCheckError, "vda is a volume of a storage pool"),
    "another kind": ({"guest": replace(GUEST, disks=(Disk("vda", "cloud", "x"),))}, "disks_movable", MigrationPreCheckError, "vda is of type cloud"),
    "for several guests": (
        {"guest": replace(GUEST, disks=(replace(CHAIN, shareable=True),))},
        "disks_movable",
        MigrationPreCheckError,
        "vda (/img/web) is local, and other guests may write to it",
    ),
    "a strange backing store": (
        {"guest": replace(GUEST, disks=(replace(CHAIN, backing=(Backing("x", "raw", "nvme"),)),))},
        "disks_movable",
        MigrationPreCheckError,
        "nobody can say whether x, a backing store of type nvme, is shared",
    ),
    "encrypted": (
        {"storage": replace(FOUND, images={**IMAGES, "/img/web": replace(TOP, encrypted=True)})},
        "disks_movable",
        MigrationPreCheckError,
        "/img/web is encrypted",
    ),
    "unknown to the source": ({"storage": replace(FOUND, images={"/img/base": BASE})}, "images_known", MigrationPreCheckError, "a does not see /img/middle"),
    "no directory": ({"storage": replace(FOUND, space={})}, "directories_there", MigrationPreCheckError, "b does not have /img"),
    "in the way": ({"storage": replace(FOUND, there={"/img/web": TOP})}, "images_not_there", DestinationDiskExists, "disk path (/img/web) already exists"),
    "the same backing file": ({"storage": there()}, "", None, ""),
    "allocated otherwise": ({"storage": there(allocation=1)}, "", None, ""),
    "another length": ({"storage": there(length=1)}, "read_only_images_same", MigrationPreCheckError, "/img/base (length 1 for 8388608)"),
    "another format": (
        {"storage": there(format="qcow2", backing="/x")},
        "read_only_images_same",
        MigrationPreCheckError,
        "format qcow2 for raw, backing /x for ",
    ),
    "just enough space": ({"storage": free(13)}, "", None, ""),
    "too little space": ({"storage": free(12)}, "disk_free", MigrationPreCheckError, f"host:{12 * MIB} < need:{13 * MIB})"),
    "over-committed": ({"storage": free(7), "disk_over_commit": True}, "", None, ""),
    "not over-committed": ({"storage": free(17), "disk_over_commit": False}, "disk_free", MigrationPreCheckError, f"need:{18 * MIB})"),
    "reserved": ({"destination": End("b", facts=FACTS, reserved_disk_mib=488)}, "disk_free", MigrationPreCheckError, f"host:{12 * MIB} < need:{13 * MIB})"),
}
ALL = (
    checks.storage,
    checks.disks_movable,
    checks.images_known,
    checks.directories_there,
    checks.images_not_there,
    checks.read_only_images_same,
    checks.disk_free,
)


@pytest.mark.parametrize("case", CHECKED)
def test_checks(case: str) -> None:
    changes, name, error, words = CHECKED[case]
    now = replace(NOW_, **changes)  # type: ignore[arg-type]
    found = [(check.__name__, refusal) for check in ALL if (refusal := check(now)) is not None]
    assert [each for each, _refusal in found] == ([name] if name else [])
    assert all(type(refusal) is error and words in str(refusal) for _name, refusal in found), found


def test_directories_of_one_file_system_are_counted_together() -> None:
    disk = Disk("vdb", "file", "/img2/data")
    data = Image("/img2/data", "raw", 8 * MIB, 8 * MIB)
    space = Space(1024 * MIB, 20 * MIB)
    found = Storage({**IMAGES, "/img2/data": data}, {}, {"/img": space, "/img2": space})
    now = replace(NOW_, guest=replace(GUEST, disks=(CHAIN, CONFIG, disk)), shared={**LOCAL, "/img2/data": False}, storage=found)
    assert f"need:{21 * MIB})" in str(checks.disk_free(now))
    assert checks.disk_free(replace(now, storage=replace(found, space={"/img": space, "/img2": Space(2048 * MIB, 20 * MIB)}))) is None


def test_nothing_is_judged_of_a_guest_that_nobody_knows() -> None:
    now = Situation(UUID, End("a"), End("b"), None)
    assert [check(now) for check in ALL] == [None] * len(ALL)


# The journal

MINE, OTHERS = "me:1", "other:1"
IMAGE, BASE_FILE, SOURCE_FILE = LeftFile("node2", "/img/web", FAILED), LeftFile("node2", "/img/base", FAILED), LeftFile("node1", "/img/web", COMPLETED)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A store of which no conductor makes use."""
    from livemig.testing.runtime import VirtualRuntime

    runtime = VirtualRuntime()
    service = Service(tmp_path, runtime)
    yield service
    service.store.database.close()
    runtime.close()


def preparing(service: Service, name: str, owner: str = MINE) -> Migration:
    uuid = f"5f1c2f3e-0000-4000-8000-{ord(name):012}"
    service.store.servers.see("node1", [ServerFacts(uuid, name, Presence.RUNNING)])
    migrations = service.store.migrations
    migration = migrations.begin(uuid, MigrationRequest("node2", None), configuration.policy(service.conf), context.system(), 0)
    assert migrations.claim(migration.id, owner, 60)
    for status in (Status.QUEUED, Status.PREPARING):
        assert migrations.advance(migration.id, status, owner, destination="node2")
    return migrations.get(migration.id)


def finish(service: Service, migration: Migration, status: Status) -> None:
    assert service.store.migrations.finish(migration, Outcome(status, "node1"), None)


def test_it_is_written_down_before_it_is_made(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    assert files.write_down(migration.id, MINE, [IMAGE, SOURCE_FILE], [BASE_FILE]) == ()
    row = service.store.migrations.get(migration.id)
    assert (row.files, row.untidy) == ((IMAGE, SOURCE_FILE), True), "a file that was there and is nobody's is not ours"
    assert files.may_go_on(migration.id, MINE) and not files.may_go_on(migration.id, OTHERS)
    assert files.write_down(migration.id, OTHERS, [IMAGE], []) is None
    finish(service, migration, Status.CANCELLED)
    assert not files.may_go_on(migration.id, MINE)
    assert files.write_down(migration.id, MINE, [IMAGE], []) is None


def test_what_is_planned_is_not_ours_yet(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    planned, other = replace(IMAGE, after=PLANNED), replace(BASE_FILE, after=PLANNED)
    assert files.write_down(migration.id, MINE, [planned, other], []) == ()
    assert files.begin(migration.id, MINE, planned) and not files.begin(migration.id, OTHERS, other)
    assert service.store.migrations.get(migration.id).files == (IMAGE, other)
    files.take_back(migration.id, planned)
    finish(service, migration, Status.CANCELLED)
    assert not files.begin(migration.id, MINE, other)
    row = service.store.migrations.get(migration.id)
    assert row.files == (other,) and not is_due(other, row)


def test_one_waits_for_the_other(service: Service) -> None:
    """… while it makes a file, and while it removes one; what is made may be used by both."""
    files, migrations = service.store.files, service.store.migrations
    first, second = preparing(service, "a"), preparing(service, "b", OTHERS)
    assert files.write_down(first.id, MINE, [BASE_FILE, IMAGE], []) == ()
    assert files.write_down(second.id, OTHERS, [], [BASE_FILE]) == [first.id]
    assert migrations.advance(first.id, Status.RUNNING, MINE)
    assert files.write_down(second.id, OTHERS, [], [BASE_FILE]) == ()
    assert migrations.get(second.id).files == (BASE_FILE,)
    third = preparing(service, "c")
    begun = files.remove(first.id, MINE, [IMAGE, BASE_FILE])
    assert begun == [replace(IMAGE, after=NOW)], "the other's is not removed"
    assert migrations.get(first.id).files == (replace(IMAGE, after=NOW),)
    assert files.write_down(third.id, MINE, [IMAGE], []) == [first.id]
    files.removed(first.id, MINE, [])
    assert files.write_down(third.id, MINE, [IMAGE], []) == ()


def test_an_ended_migration_is_tidied_by_one(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    assert files.write_down(migration.id, MINE, [IMAGE, SOURCE_FILE], []) == ()
    assert files.claim(migration.id, MINE, 60) is None, "it has not ended"
    finish(service, migration, Status.CANCELLED)
    assert files.to_tidy(10) == [], "whoever made them is there"
    service.runtime.sleep(11)
    assert files.to_tidy(10) == [migration.id]
    claimed = files.claim(migration.id, MINE, 60)
    assert claimed is not None and [file for file in claimed.files if is_due(file, claimed)] == [IMAGE]
    assert files.claim(migration.id, OTHERS, 60) is None and files.to_tidy(10) == []
    files.removed(migration.id, MINE, [IMAGE])
    assert files.to_tidy(10) == [migration.id]
    assert files.claim(migration.id, OTHERS, 60) is not None
    service.runtime.sleep(61)
    assert files.claim(migration.id, MINE, 60) is not None, "the other fell silent"
    files.removed(migration.id, MINE, [])
    assert not service.store.migrations.get(migration.id).untidy and files.to_tidy(10) == []


def test_who_lost_the_lease_removes_nothing(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    assert files.write_down(migration.id, MINE, [IMAGE], []) == ()
    assert files.remove(migration.id, OTHERS, [IMAGE]) == []
    files.removed(migration.id, OTHERS, [])
    assert service.store.migrations.get(migration.id).files == (IMAGE,)


def test_what_a_person_must_look_at_is_left(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    assert files.write_down(migration.id, MINE, [IMAGE], []) == ()
    files.set_aside(migration.id)
    finish(service, migration, Status.ERROR)
    service.runtime.sleep(11)
    assert files.to_tidy(10) == [] and files.claim(migration.id, MINE, 60) is None
    assert service.store.migrations.get(migration.id).files == (IMAGE,)


def test_what_is_proven_may_go_and_what_is_kept_stays_for_good(service: Service) -> None:
    files, migration = service.store.files, preparing(service, "a")
    iso = LeftFile("node1", "/iso/debian.iso", KEPT)
    assert files.write_down(migration.id, MINE, [IMAGE, SOURCE_FILE], []) == ()
    assert service.store.migrations.advance(migration.id, Status.RUNNING, MINE)
    finish(service, migration, Status.COMPLETED)
    assert files.claim(migration.id, MINE, 60)
    files.prove(migration.id, OTHERS, [SOURCE_FILE], [])
    assert unproven(service.store.migrations.get(migration.id)) == [SOURCE_FILE], "who lost the lease proves nothing"
    files.prove(migration.id, MINE, [SOURCE_FILE], [iso])
    proven = replace(SOURCE_FILE, after=PROVEN)
    assert service.store.migrations.get(migration.id).files == (IMAGE, proven, iso)
    assert unproven(service.store.migrations.get(migration.id)) == []
    assert files.remove(migration.id, MINE, [proven]) == [proven]
    files.removed(migration.id, MINE, [proven])
    assert service.store.migrations.get(migration.id).files == (proven, iso)
    service.runtime.sleep(11)
    assert files.to_tidy(10) == [migration.id]
    assert files.claim(migration.id, MINE, 60)
    files.removed(migration.id, MINE, [], [proven])
    row = service.store.migrations.get(migration.id)
    assert (row.files, row.untidy) == ((iso, replace(proven, after=KEPT)), False) and files.to_tidy(10) == []
    assert [file.path for each in service.store.inspection.keeping() for file in each.files] == ["/iso/debian.iso", "/img/web"]
    assert files.write_down(preparing(service, "b").id, MINE, [SOURCE_FILE, iso], []) == (), "nobody waits for it"


def test_a_path_is_the_same_however_it_is_written(service: Service) -> None:
    files, first = service.store.files, preparing(service, "a")
    assert files.write_down(first.id, MINE, [IMAGE], []) == ()
    assert files.write_down(preparing(service, "b").id, MINE, [replace(IMAGE, path="/img/x/..//./web")], []) == [first.id]


DUE: dict[str, tuple[Status, LeftFile, bool]] = {
    "the source's after success": (Status.COMPLETED, SOURCE_FILE, True),
    "the destination's after success": (Status.COMPLETED, IMAGE, False),
    "that of a destination tried before": (Status.COMPLETED, replace(IMAGE, host="node3"), True),
    "the source's after failure": (Status.FAILED, SOURCE_FILE, False),
    "the destination's after failure": (Status.FAILED, IMAGE, True),
    "after an abort": (Status.CANCELLED, IMAGE, True),
    "what was begun": (Status.COMPLETED, replace(IMAGE, after=NOW), True),
    "what is proven": (Status.COMPLETED, replace(SOURCE_FILE, after=PROVEN), True),
    "what was not made after all": (Status.COMPLETED, LeftFile("node3", "/img/web", PLANNED), False),
    "what stays": (Status.COMPLETED, replace(SOURCE_FILE, after=KEPT), False),
    "what stays after a failure": (Status.FAILED, replace(IMAGE, after=KEPT), False),
}


def test_what_is_due(service: Service) -> None:
    migration = preparing(service, "a")
    found = {case: is_due(file, replace(migration, status=status)) for case, (status, file, _due) in DUE.items()}
    assert found == {case: due for case, (_status, _file, due) in DUE.items()}
