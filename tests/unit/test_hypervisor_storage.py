"""A host's files through the gate, over the mock: pools that come and go, images, streams, and who uses what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Backing, Image, Space
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.hypervisor.storage import Blank
from livemig.testing import errors
from livemig.testing.fleet import Disk, Fleet, Host
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
    world.put("a", "livemig-mine-1")
    world.put("a", "livemig-other-1")
    assert not storage.same_directory(world.a, world.b, "/srv", "mine")
    assert world.names("a") == {"livemig-other-1"}


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
    paths = ["/srv/web", "/srv/base", "/srv/off", "/srv/we", "/srv/free", "/other/by-name"]
    assert storage.used(world.a, paths) == {"/srv/web": "web", "/srv/base": "web", "/srv/off": "off", "/other/by-name": "volume"}
    assert storage.used(world.b, paths) == {}


def test_nobody_knows_whose_they_are_while_the_host_is_away(world: World) -> None:
    world.hosts["a"].up = False
    with pytest.raises(exceptions.HypervisorUnavailable):
        storage.used(world.a, ["/srv/web"])


def test_a_guest_that_goes_away_meanwhile_uses_nothing(world: World) -> None:
    world.fleet.add_guest("web", "a", disks=["/srv/web"])
    domain = world.libvirt.open("qemu+tcp://a/system").lookupByName("web")
    world.hosts["a"].domains.clear()
    assert list(storage.users._words(world.libvirt, domain)) == ["", ""]


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


def test_a_pool_that_somebody_left_who_removed_a_directory_is_in_nobodys_way(world: World) -> None:
    with world.a.use() as connection:
        connection.storagePoolDefineXML(POOL.format("livemig-left"), 0)
    world.put("a", "web")
    assert list(storage.look(world.a, ["/srv/web"], "tag")[0]) == ["/srv/web"]


def test_a_failure_to_ask_about_a_guest_is_not_taken_for_an_answer(world: World) -> None:
    class Odd:
        def XMLDesc(self, _flags: int) -> str:
            raise errors.INTERNAL(reason="monitor is gone")

    with pytest.raises(world.libvirt.libvirtError):
        list(storage.users._words(world.libvirt, Odd()))


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
