"""A host's files through the gate, over the mock: pools that come and go, images, streams, and who uses what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Backing, Image, Space
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.hypervisor.marks import Remembered
from livemig.hypervisor.storage import Blank, Use
from livemig.testing import errors
from livemig.testing.fleet import Disk, Domain, Fleet, Host
from livemig.testing.runtime import VirtualRuntime
from livemig.testing.storage import MIB, File

POOL = "<pool type='dir'><name>{}</name><target><path>/srv</path></target></pool>"


class World:
    """Two hosts, each with a directory /srv of its own."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self.runtime = runtime
        self.fleet = Fleet(runtime)
        self.hosts = {name: self.fleet.add_host(name) for name in "ab"}
        for host in self.hosts.values():
            self.fleet.add_local_directory(host, "/srv", capacity_mib=100)
        self.libvirt = self.fleet.libvirt()
        self.loop = EventLoop(self.libvirt, runtime)
        self.loop.start()
        self.a, self.b = (Hypervisor(self.libvirt, name, f"qemu+tcp://{name}/system", (5, 5)) for name in "ab")
        self.a.connect()
        self.b.connect()

    def put(self, host: str, name: str, **facts: Any) -> None:
        self.hosts[host].directories["/srv"].files[name] = File(**facts)

    def names(self, host: str) -> set[str]:
        return set(self.hosts[host].directories["/srv"].files)

    def close(self) -> None:
        for hypervisor in (self.a, self.b):
            hypervisor.close()
        self.loop.stop()


@pytest.fixture
def world() -> Iterator[World]:
    runtime = VirtualRuntime()
    world = World(runtime)
    yield world
    assert not any(name.startswith(storage.PREFIX) for host in world.hosts.values() for name in host.pools)
    world.close()
    runtime.close()


def test_what_there_is(world: World) -> None:
    world.put("a", "web.qcow2", capacity=8 * MIB, allocation=MIB, format="qcow2", backing=("/srv/base", "raw"), permissions=("0640", "7", "8"))
    world.put("a", "base", capacity=8 * MIB, allocation=2 * MIB)
    paths = ["/srv/web.qcow2", "/srv/base", "/srv/none", "/srv/new/web", "/nowhere/at/all"]
    images, space, absent = storage.look(world.a, paths, "tag")
    assert images == {
        "/srv/web.qcow2": Image("/srv/web.qcow2", "qcow2", 8 * MIB, MIB, MIB, "/srv/base", ("0640", "7", "8")),
        "/srv/base": Image("/srv/base", "raw", 8 * MIB, 8 * MIB, 2 * MIB, "", ("0600", "0", "0")),
    }
    assert space == dict.fromkeys(["/srv", "/srv/new"], Space(100 * MIB, 97 * MIB))
    assert absent == {"/srv/new"}


def test_a_host_that_is_away_is_not_one_without_files(world: World) -> None:
    world.hosts["a"].up = False
    with pytest.raises(exceptions.HypervisorUnavailable):
        storage.look(world.a, ["/srv/web"], "tag")


def test_images_are_made_and_removed(world: World) -> None:
    storage.make(world.b, Blank("/srv/base", "raw", MIB), "tag")
    storage.make(world.b, Blank("/srv/web & co", "qcow2", 8 * MIB, ("0640", "7", "8"), Backing("/srv/base", "raw")), "tag")
    made = world.hosts["b"].file("/srv/web & co")
    assert made == File(8 * MIB, 0, "qcow2", b"", ("/srv/base", "raw"), ("0640", "7", "8"))
    assert storage.remove(world.b, "/srv/web & co", "tag") is True
    assert storage.remove(world.b, "/srv/web & co", "tag") is False
    assert storage.remove(world.b, "/nowhere/web", "tag") is False
    assert world.names("b") == {"base"}


def test_a_file_that_cannot_be_removed_is_not_taken_for_gone(world: World) -> None:
    """Somebody defined a pool there, and it is in the way."""
    with world.a.use() as connection:
        connection.storagePoolDefineXML(POOL.format("mine"), 0)
    with pytest.raises(exceptions.HypervisorError, match="conflict"):
        storage.remove(world.a, "/srv/web", "tag")


def test_nothing_is_overwritten(world: World) -> None:
    world.put("b", "web", content=b"somebody's")
    with pytest.raises(exceptions.HypervisorError, match="exists already"):
        storage.make(world.b, Blank("/srv/web", "raw", MIB), "tag")
    assert world.hosts["b"].file("/srv/web") == File(content=b"somebody's")


def test_a_pool_that_is_not_active_is_in_the_way(world: World) -> None:
    with world.a.use() as connection:
        pool = connection.storagePoolCreateXML(POOL.format("mine"), 0)
        connection.storagePoolLookupByTargetPath = lambda _path: pool
        pool.isActive = lambda: 0
        with pytest.raises(exceptions.MigrationPreCheckError, match="Storage pool mine on a covers /srv but is not active"):
            storage.pools.in_pool(world.a, connection, "/srv", "tag", lambda pool: pool)
    del connection.storagePoolLookupByTargetPath
    world.hosts["a"].pools.clear()


def test_a_pool_that_somebody_takes_away_meanwhile(world: World) -> None:
    """It is another's transient one; what failed for that is done again."""
    tries = []

    def work(pool: Any) -> list[str]:
        tries.append(pool.name())
        if len(tries) < 3:
            world.hosts["a"].pools.clear()
        found: list[str] = pool.listVolumes()
        return found

    world.put("a", "web")
    with world.a.use() as connection:
        connection.storagePoolCreateXML(POOL.format("livemig-other"), 0)
        assert storage.pools.in_pool(world.a, connection, "/srv", "tag", work) == ["web"]
    assert tries[0] == "livemig-other" and len(tries) == 3
    assert world.hosts["a"].pools == {}


def test_one_that_is_always_taken_away(world: World) -> None:
    def work(pool: Any) -> Any:
        world.hosts["a"].pools.clear()
        return pool.listVolumes()

    with pytest.raises(exceptions.HypervisorError, match="no storage pool"), world.a.use() as connection:
        storage.pools.in_pool(world.a, connection, "/srv", "tag", work)


def test_the_probe_sweeps_what_a_dead_conductor_left(world: World) -> None:
    """A mark proves that it is ours; a name proves nothing, nor does a mark of another deployment."""
    mark, foreign = world.a.marks.take("a"), Remembered().take("a")
    world.put("a", f"livemig-mine-{mark}")
    stay = {"livemig-mine-1", f"livemig-mine-{foreign}", f"livemig-other-{mark}", "livemig-mine-notes.txt"}
    for name in stay:
        world.put("a", name, content=b"somebody's")
    assert not storage.same_directory(world.a, world.b, "/srv", "mine")
    assert world.names("a") == stay


def test_many_look_at_the_same_directory_at_once(world: World) -> None:
    world.put("a", "web")
    world.fleet.latency_s = 0.1
    found: list[Any] = []
    tasks = [world.runtime.start(f"look-{tag}", lambda tag=tag: found.append(storage.look(world.a, ["/srv/web"], tag)[0])) for tag in "uvwxyz"]
    for task in tasks:
        task.join()
    assert found == [{"/srv/web": Image("/srv/web", permissions=("0600", "0", "0"))}] * 6


def copied(world: World, tell: Callable[[int], None] = lambda _more: None, **facts: Any) -> File:
    world.put("a", "web", **facts)
    source = world.hosts["a"].file("/srv/web")
    assert source is not None
    storage.make(world.b, Blank("/srv/web", "raw", source.length, ("0640", "7", "8")), "tag")
    storage.fill(world.a, world.b, Image("/srv/web", length=source.length), "tag", tell)
    made = world.hosts["b"].file("/srv/web")
    assert made is not None
    return made


def test_a_raw_file_is_copied_with_its_holes(world: World) -> None:
    told: list[int] = []
    made = copied(world, told.append, capacity=10 * MIB, allocation=MIB, content=b"x" * 1000)
    assert made == File(10 * MIB, MIB, "raw", b"x" * 1000, None, ("0640", "7", "8"))
    assert sum(told) == 10 * MIB


def test_an_image_is_copied_as_it_is(world: World) -> None:
    made = copied(world, capacity=10 * MIB, allocation=MIB, format="qcow2", content=b"x", backing=("/srv/base", "raw"))
    assert made == File(10 * MIB, MIB, "qcow2", b"x", ("/srv/base", "raw"), ("0640", "7", "8"))


class Enough(Exception):
    pass


def test_a_copy_can_be_stopped(world: World) -> None:
    def stop(_more: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        copied(world, stop, capacity=MIB, content=b"x")
    assert world.names("b") == {"web"}, "whoever stops it removes what there is"
    assert [len(host.connections) for host in world.hosts.values()] == [1, 1]


@pytest.mark.parametrize(("away", "error"), [("a", "a: "), ("b", "b: ")])
def test_an_end_that_dies_in_the_middle_is_named(world: World, away: str, error: str) -> None:
    def die(_more: int) -> None:
        world.hosts[away].up = False

    with pytest.raises(exceptions.HypervisorUnavailable, match=error):
        copied(world, die, capacity=MIB, allocation=MIB, content=b"x" * MIB)


FULL = bytes(range(1, 251)) * 4000

SAME: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "the same": ({"content": FULL}, {"content": FULL}, True),
    "holes and zeros": ({"content": b"x", "allocation": 0}, {"content": b"x", "allocation": MIB}, True),
    "zeros and holes": ({"content": b"x", "allocation": MIB}, {"content": b"x", "allocation": 0}, True),
    "holes": ({"content": b"x"}, {"content": b"x"}, True),
    "the first byte": ({"content": b"x"}, {"content": b"y"}, False),
    "the last byte": ({"content": FULL + b"x"}, {"content": FULL + b"y"}, False),
    "something in a hole": ({"content": b"x"}, {"content": b"x" + bytes(1000) + b"y"}, False),
    "nothing where there is something": ({"content": b"x" + bytes(1000) + b"y"}, {"content": b"x"}, False),
    "a longer one": ({"content": b"x"}, {"content": b"x", "capacity": 3 * MIB}, False),
    "a shorter one": ({"content": b"x"}, {"content": b"x", "capacity": MIB}, False),
}


@pytest.mark.parametrize("case", SAME)
def test_contents_are_compared(world: World, case: str) -> None:
    ours, theirs, same = SAME[case]
    world.put("a", "base", **{"capacity": 2 * MIB, **ours})
    world.put("b", "base", **{"capacity": 2 * MIB, **theirs})
    told: list[int] = []
    assert storage.same_content(world.a, world.b, "/srv/base", "tag", told.append) is same
    assert sum(told) == 2 * MIB if same else sum(told) <= 2 * MIB
    assert [len(host.connections) for host in world.hosts.values()] == [1, 1]


def test_whose_files_they_are(world: World) -> None:
    host: Host = world.hosts["a"]
    world.fleet.add_guest("web", host, disks=[Disk("/srv/web", 1, format="qcow2", backing="/srv/base")])
    world.fleet.add_guest("off", host, state="shutoff", disks=[Disk("/srv/off", 1)])
    with world.a.use() as connection:
        disk = "<disk type='volume'><source pool='mine' volume='by-name'/><target dev='vda'/></disk>"
        connection.defineXML(f"<domain type='qemu'><name>volume</name><memory>1</memory><os><type>hvm</type></os><devices>{disk}</devices></domain>")
    world.put("a", "we")
    world.put("a", "free")
    paths = ["/srv/web", "/srv/base", "/srv/off", "/other/by-name", "/srv/gone"]
    refers = {"/srv/web": "web", "/srv/base": "web", "/srv/off": "off", "/other/by-name": "volume"}
    assert storage.used(world.a, paths, "tag") == {path: Use(f"guest {name} refers to it", certain=True) for path, name in refers.items()}
    assert storage.used(world.b, paths, "tag") == {}
    sure = storage.used(world.a, ["/srv/we", "/srv/free"], "tag")
    assert {each.certain for each in sure.values()} == {False}, "where the volume is cannot be found out"
    world.hosts["a"].domains.popitem()
    assert storage.used(world.a, ["/srv/we", "/srv/free"], "tag") == {}


def test_nobody_knows_whose_they_are_while_the_host_is_away(world: World) -> None:
    world.hosts["a"].up = False
    with pytest.raises(exceptions.HypervisorUnavailable):
        storage.used(world.a, ["/srv/web"], "tag")


def other(world: World, *disks: Disk, state: str = "running", **facts: Any) -> Domain:
    """Another guest of the host, whose disks' files are made before the links."""
    return world.fleet.add_guest("other", "a", state=state, disks=disks, **facts)


def plain_words(world: World) -> None:
    other(world, Disk("/srv/sub/..//./web"))


def by_a_link(world: World) -> None:
    world.hosts["a"].links["/srv/alias"] = "/srv/web"
    other(world, Disk("/srv/alias"))


def by_a_linked_directory(world: World) -> None:
    world.hosts["a"].links["/data"] = "/srv"
    other(world, Disk("/data/web"), state="shutoff")


def by_a_link_that_goes_up(world: World) -> None:
    """A kernel goes up from where the link leads to."""
    world.fleet.add_local_directory("a", "/srv/deep")
    world.hosts["a"].links["/link"] = "/srv/deep"
    other(world, Disk("/link/../web"), state="shutoff")


def by_another_name(world: World) -> None:
    """A hard link."""
    files = world.hosts["a"].directories["/srv"].files
    files["hard"] = files["web"]
    other(world, Disk("/srv/hard"))


def as_a_backing_file_of_one_that_is_off(world: World) -> None:
    """libvirt shows no backing files then; the image does."""
    world.put("a", "over", format="qcow2", backing=("/srv/middle", "qcow2"))
    world.put("a", "middle", format="qcow2", backing=("/srv/web", "raw"))
    other(world, Disk("/srv/over", format="qcow2"), state="shutoff")


def in_a_snapshot(world: World) -> None:
    guest = other(world, Disk("/srv/web"))
    world.libvirt.open("qemu+tcp://a/system").lookupByName("other").snapshotCreateXML("<domainsnapshot/>", 0)
    guest.definition = replace(guest.definition, disks=())


def in_its_saved_memory(world: World) -> None:
    guest = other(world, Disk("/srv/web"))
    world.libvirt.open("qemu+tcp://a/system").lookupByName("other").managedSave(0)
    guest.definition = replace(guest.definition, disks=())


def defined(world: World, devices: str) -> None:
    with world.a.use() as connection:
        connection.defineXML(f"<domain type='qemu'><name>other</name><memory>1</memory><os><type>hvm</type></os><devices>{devices}</devices></domain>")


def as_a_directory(world: World) -> None:
    defined(world, "<filesystem type='mount'><source dir='/srv/'/><target dir='tag'/></filesystem>")


def by_a_volume(world: World) -> None:
    world.hosts["a"].links["/other/alias"] = "/srv/web"
    world.fleet.add_local_directory("a", "/other", pool="theirs")
    defined(world, "<disk type='volume'><source pool='theirs' volume='alias'/><target dev='vda'/></disk>")


USERS: dict[Callable[[World], None], str] = {
    plain_words: "guest other refers to it",
    by_a_link: "guest other refers to it as /srv/alias",
    by_a_linked_directory: "guest other refers to it as /data/web",
    by_a_link_that_goes_up: "guest other refers to it as /link/../web",
    by_another_name: "guest other refers to it as /srv/hard",
    as_a_backing_file_of_one_that_is_off: "guest other refers to it as /srv/web",
    in_a_snapshot: "guest other refers to it",
    in_its_saved_memory: "guest other refers to it",
    as_a_directory: "guest other may use all of /srv",
    by_a_volume: "guest other refers to it as /other/alias",
}


@pytest.mark.parametrize("hide", USERS, ids=lambda hide: hide.__name__)
def test_a_user_cannot_hide(world: World, hide: Callable[[World], None]) -> None:
    world.put("a", "web", capacity=MIB)
    world.put("a", "free", capacity=MIB)
    hide(world)
    found = storage.used(world.a, ["/srv/web", "/srv/free"], "tag")
    assert found.pop("/srv/web") == Use(USERS[hide], certain=True)
    assert set(found) == ({"/srv/free"} if hide is as_a_directory else set())
    world.hosts["a"].pools.pop("theirs", None)


def a_pool_that_is_not_active(world: World) -> None:
    world.fleet.add_local_directory("a", "/other", pool="theirs")
    world.hosts["a"].pools["theirs"].active = False
    other(world, Disk("/other/disk"))


def what_may_be_a_device(world: World) -> None:
    other(world, Disk("/dev/vg/web"))


def saved_memory_that_is_not_shown(world: World) -> None:
    other(world, state="saved")
    world.hosts["a"].unsupported = ("managedSaveGetXMLDesc",)


UNSURE = "it cannot be excluded that guest other refers to it: "
DOUBTS: dict[Callable[[World], None], str] = {
    a_pool_that_is_not_active: "/other cannot be looked at (operation failed: Storage source conflict with",
    what_may_be_a_device: "/dev/vg cannot be looked at (it is no place for files)",
    saved_memory_that_is_not_shown: "what its saved memory was defined as is not shown (this function is not supported",
}


@pytest.mark.parametrize("hide", DOUBTS, ids=lambda hide: hide.__name__)
def test_where_a_link_cannot_be_excluded(world: World, hide: Callable[[World], None]) -> None:
    world.put("a", "web", capacity=MIB)
    hide(world)
    use = storage.used(world.a, ["/srv/web"], "tag")["/srv/web"]
    assert not use.certain and use.why.startswith(UNSURE + DOUBTS[hide])
    world.hosts["a"].pools.clear()


def test_a_file_that_is_being_written(world: World) -> None:
    """A guest may write to it by a link: no two looks find the same."""

    class Restless(File):
        def __getattribute__(self, name: str) -> Any:
            if name == "permissions":
                super().__getattribute__("change")()
            return super().__getattribute__(name)

    world.hosts["a"].directories["/srv"].files["web"] = Restless(MIB)
    other(world, Disk("/srv/other"))
    assert storage.used(world.a, ["/srv/web"], "tag") == {
        "/srv/web": Use("it was changed a moment ago, or its times are not shown: something may be writing to it")
    }


def test_a_guest_that_goes_away_meanwhile_uses_nothing(world: World) -> None:
    world.fleet.add_guest("web", "a", disks=["/srv/web"])
    domain = world.libvirt.open("qemu+tcp://a/system").lookupByName("web")
    world.hosts["a"].domains.clear()
    assert list(storage.users._said(world.libvirt, domain)) == []


def test_directories_are_made_and_removed(world: World) -> None:
    host = world.hosts["b"]
    for _ in range(2):
        storage.make_directory(world.b, "/srv/web", "tag")
    assert host.directory("/srv/web") is not None
    storage.make(world.b, Blank("/srv/web/disk", "raw", MIB), "tag")
    assert storage.remove_directory(world.b, "/srv/web", "tag") is False, "it is not empty"
    storage.remove(world.b, "/srv/web/disk", "tag")
    assert storage.remove_directory(world.b, "/srv/web", "tag") is True
    assert host.directory("/srv/web") is None
    assert storage.remove_directory(world.b, "/srv/web", "tag") is False, "it is gone"
    assert host.pools == {}


def test_a_directory_that_is_somebodys_pool_stays(world: World) -> None:
    with world.b.use() as connection:
        connection.storagePoolCreateXML(POOL.format("default"), 0)
    storage.make_directory(world.b, "/srv", "tag")
    assert storage.remove_directory(world.b, "/srv", "tag") is False
    assert list(world.hosts["b"].pools) == ["default"]
    world.hosts["b"].up = False
    with pytest.raises(exceptions.HypervisorUnavailable):
        storage.remove_directory(world.b, "/srv", "tag")


def test_a_directory_stays_that_is_a_link_or_a_pool_that_is_not_active(world: World) -> None:
    host = world.hosts["b"]
    for path in ("/srv/web", "/srv/pool"):
        world.fleet.add_local_directory(host, path)
    host.links["/srv/link"] = "/srv/web"
    with world.b.use() as connection:
        connection.storagePoolDefineXML(POOL.format("default").replace("/srv", "/srv/pool"), 0)
    world.put("b", "file")
    assert [storage.remove_directory(world.b, f"/srv/{name}", "tag") for name in ("link", "pool", "file", "none")] == [False] * 4
    assert {"/srv/web", "/srv/pool"} < set(host.directories) and "/srv/link" in host.links and world.names("b") == {"file"}


def test_what_is_no_file_any_more_is_not_removed_as_one(world: World) -> None:
    world.fleet.add_local_directory("b", "/srv/web")
    assert storage.remove(world.b, "/srv/web", "tag") is False
    assert "/srv/web" in world.hosts["b"].directories


def own_pool(world: World, hypervisor: Hypervisor, name: str, path: str, persistent: bool = False) -> None:
    """As a conductor of the same deployment makes one, and dies."""
    with hypervisor.use() as connection:
        make = connection.storagePoolDefineXML if persistent else connection.storagePoolCreateXML
        args = () if persistent else (0,)
        make(f"<pool type='dir'><name>{name}</name><uuid>{hypervisor.marks.take('a')}</uuid><target><path>{path}</path></target></pool>", *args)


def test_pools_are_swept_by_their_marks(world: World) -> None:
    """An administrator's stays, whatever it is called; so does one of another deployment, and one of ours that was defined meanwhile."""
    host, stranger = world.hosts["a"], Hypervisor(world.libvirt, "a", "qemu+tcp://a/system", (5, 5))
    stranger.connect()
    for path in ("/one", "/two", "/three", "/four", "/five"):
        world.fleet.add_local_directory(host, path)
    with world.a.use() as connection:
        connection.storagePoolDefineXML(POOL.format("livemig-data").replace("/srv", "/one"), 0).create(0)
        connection.storagePoolCreateXML(POOL.format("livemig-scratch").replace("/srv", "/two"), 0)
    own_pool(world, stranger, "livemig-theirs", "/three")
    own_pool(world, world.a, "livemig-adopted", "/four", persistent=True)
    own_pool(world, world.a, "any-name", "/five")
    storage.sweep(world.a)
    for path in ("/one", "/two", "/three", "/five"):
        storage.look(world.a, [f"{path}/file"], "tag")
    stay = ["livemig-data", "livemig-scratch", "livemig-theirs", "livemig-adopted"]
    assert list(host.pools) == stay and host.pools["livemig-data"].persistent and host.pools["livemig-data"].active
    assert storage.unknown(world.a)[0] == sorted(stay[:3])
    storage.sweep(stranger)
    assert list(host.pools) == ["livemig-data", "livemig-scratch", "livemig-adopted"]
    stranger.close()
    host.pools.clear()


def test_a_pool_that_a_life_of_before_has_left_with_our_mark_is_taken_away(world: World) -> None:
    """The mark is used again."""
    world.fleet.add_local_directory("a", "/other")
    own_pool(world, world.a, "livemig-left", "/other")
    mark = world.hosts["a"].pools["livemig-left"].uuid
    world.a.marks = Again(mark)
    world.put("a", "web")
    assert list(storage.look(world.a, ["/srv/web"], "tag")[0]) == ["/srv/web"]


def test_a_pool_that_bears_our_mark_and_was_defined_stays(world: World) -> None:
    """An administrator has made it his own; livemig can make none then."""
    world.fleet.add_local_directory("a", "/other")
    own_pool(world, world.a, "livemig-left", "/other", persistent=True)
    world.hosts["a"].pools["livemig-left"].active = True
    world.a.marks = Again(world.hosts["a"].pools["livemig-left"].uuid)
    assert storage.look(world.a, ["/srv/web"], "tag") == ({}, {}, frozenset())
    assert world.hosts["a"].pools["livemig-left"].active
    world.hosts["a"].pools.clear()


def test_a_probe_overwrites_nothing(world: World) -> None:
    """Somebody puts a file of the very name there in the last moment."""
    mark = world.a.marks.take("a")
    world.a.marks = Again(mark)
    world.hosts["a"].directories["/srv"].late[f"livemig-tag-{mark}"] = File(content=b"somebody's")
    with world.a.use() as connection:
        connection.storagePoolDefineXML(POOL.format("default"), 0).create(0)
    with pytest.raises(exceptions.HypervisorError, match="already exists"):
        storage.same_directory(world.a, world.b, "/srv", "tag")
    assert world.hosts["a"].directories["/srv"].files[f"livemig-tag-{mark}"].content == b"somebody's"


class Again(Remembered):
    """Has one mark."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def take(self, host: str) -> str:
        return self._mark


def test_what_looks_like_ours_and_is_not_known(world: World) -> None:
    with world.a.use() as connection:
        connection.storagePoolDefineXML(POOL.format("default"), 0).create(0)
    mark = world.a.marks.take("a")
    for name in ("livemig-web-1", f"livemig-web-{mark}", "web"):
        world.put("a", name)
    world.hosts["a"].pools["default"].refresh()
    assert storage.unknown(world.a) == ([], ["/srv/livemig-web-1"])


def test_a_failure_to_ask_about_a_guest_is_not_taken_for_an_answer(world: World) -> None:
    class Odd:
        def name(self) -> str:
            return "odd"

        def XMLDesc(self, _flags: int) -> str:
            raise errors.INTERNAL(reason="monitor is gone")

    with pytest.raises(world.libvirt.libvirtError):
        list(storage.users._said(world.libvirt, Odd()))


@pytest.mark.parametrize("seed", range(6))
def test_many_probes_of_a_directory_leave_nothing(seed: int) -> None:
    """Each takes away the pools that the others use."""
    runtime = VirtualRuntime(seed=seed)
    world = World(runtime)
    world.fleet.latency_s = 0.01
    found: list[bool] = []
    tasks = [runtime.start(f"probe-{tag}", lambda tag=tag: found.append(storage.same_directory(world.a, world.b, "/srv", tag))) for tag in "uvwxyz"]
    for task in tasks:
        task.join()
    assert found == [False] * 6
    assert [(list(host.pools), list(host.directories["/srv"].files)) for host in world.hosts.values()] == [([], []), ([], [])]
    world.close()
    runtime.close()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("directory", ["/both", "/srv"])
def test_two_conductors_that_probe_for_one_migration_are_not_deceived(seed: int, directory: str) -> None:
    """One was thought to be dead: each sweeps away what the other has just made."""
    runtime = VirtualRuntime(seed=seed)
    world = World(runtime)
    world.fleet.add_directory("/both")
    world.fleet.latency_s = 0.01
    found: list[bool] = []

    def probe(after: float) -> None:
        runtime.sleep(after)
        found.append(storage.same_directory(world.a, world.b, directory, "web"))

    for task in [runtime.start(f"probe-{number}", probe, number * 0.02) for number in range(3)]:
        task.join()
    assert found == [directory == "/both"] * 3
    assert [(list(host.pools), list(host.directories[directory].files)) for host in world.hosts.values()] == [([], []), ([], [])]
    world.close()
    runtime.close()
