"""Images, backing files and streams of a directory's pool, as libvirt's storage API has them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.contract.pair import Pair

MIB = 1024 * 1024
POOL = "<pool type='dir'><name>{}</name><target><path>{}</path></target></pool>"
VOLUME = """\
<volume><name>{name}</name><capacity unit='bytes'>{capacity}</capacity><allocation>0</allocation>
<target><format type='{format}'/><permissions><mode>0640</mode><owner>0</owner><group>0</group></permissions></target>{backing}</volume>"""
BACKING = "<backingStore><path>{}</path><format type='raw'/></backingStore>"
NAMES = ("base.raw", "copy.raw", "top.qcow2")


class Place:
    """A directory that each host has for itself, with a transient pool on it."""

    def __init__(self, pair: Pair) -> None:
        self.libvirt = pair.libvirt
        self.path = pair.world.local
        self.ends = (pair.source, pair.destination)
        self.here, self.there = (connection.storagePoolCreateXML(POOL.format("contract", self.path), 0) for connection in self.ends)

    def make(self, pool: Any, name: str, capacity: int, kind: str = "raw", backing: str = "") -> Any:
        return pool.createXML(VOLUME.format(name=name, capacity=capacity, format=kind, backing=BACKING.format(backing) if backing else ""), 0)

    def upload(self, volume: Any, *parts: bytes | int, sparse: bool = True) -> None:
        """Bytes, and holes by their length."""
        stream = self.ends[0].newStream(0)
        volume.upload(stream, 0, sum(part if isinstance(part, int) else len(part) for part in parts), int(sparse))
        for part in parts:
            if isinstance(part, int):
                stream.sendHole(part)
            else:
                assert stream.send(part) == len(part)
        stream.finish()

    def download(self, volume: Any, sparse: bool = True) -> list[bytes | int]:
        """The same; bytes in one piece."""
        stream = volume.connect().newStream(0)
        volume.download(stream, 0, 0, int(sparse))
        parts: list[bytes | int] = []
        while found := stream.recvFlags(65536, self.libvirt.VIR_STREAM_RECV_STOP_AT_HOLE if sparse else 0):
            if found == -3:
                parts.append(stream.recvHole())
            elif parts and isinstance(parts[-1], bytes):
                parts[-1] += found
            else:
                parts.append(found)
        stream.finish()
        return parts

    def close(self) -> None:
        for connection in self.ends:
            with suppress(self.libvirt.libvirtError):
                pool = connection.storagePoolCreateXML(POOL.format("contract", self.path), 0)
            with suppress(self.libvirt.libvirtError):
                pool = connection.storagePoolLookupByName("contract")
                pool.refresh(0)
                for name in set(NAMES) & set(pool.listVolumes()):
                    pool.storageVolLookupByName(name).delete(0)
                pool.destroy()


@pytest.fixture
def place(pair: Pair) -> Iterator[Place]:
    place = Place(pair)
    yield place
    place.close()


WORDS = {
    "capacity": "capacity",
    "physical": "physical",
    "path": "target/path",
    "mode": "target/permissions/mode",
    "owner": "target/permissions/owner",
    "backing": "backingStore/path",
}


def described(volume: Any) -> dict[str, str | None]:
    root = ElementTree.fromstring(volume.XMLDesc(0))
    kind = root.find("target/format")
    return {"format": None if kind is None else kind.get("type"), **{word: root.findtext(path) for word, path in WORDS.items()}}


def test_an_image_on_a_backing_file(pair: Pair, place: Place) -> None:
    libvirt, base = place.libvirt, f"{place.path}/base.raw"
    assert pair.code(place.make, place.here, "top.qcow2", MIB, "qcow2", base) == libvirt.VIR_ERR_SYSTEM_ERROR
    assert place.here.listVolumes() == []
    below = place.make(place.here, "base.raw", MIB)
    assert below.info() == [libvirt.VIR_STORAGE_VOL_FILE, MIB, 0]
    assert below.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL) == [libvirt.VIR_STORAGE_VOL_FILE, MIB, MIB]
    top = place.make(place.here, "top.qcow2", MIB, "qcow2", base)
    place.here.refresh(0)
    found = described(top)
    length = found.pop("physical")
    assert found == {"format": "qcow2", "capacity": str(MIB), "path": f"{place.path}/top.qcow2", "mode": "0640", "owner": "0", "backing": base}
    assert top.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2] == int(length or 0)
    assert described(below)["backing"] is None


def test_what_exists_is_not_overwritten(pair: Pair, place: Place) -> None:
    """Neither what the pool knows, nor what somebody has put into its directory meanwhile."""
    libvirt = place.libvirt
    place.make(place.here, "base.raw", MIB)
    assert pair.code(place.make, place.here, "base.raw", MIB) == libvirt.VIR_ERR_STORAGE_VOL_EXIST
    place.here.destroy()
    other = pair.source.storagePoolCreateXML(POOL.format("contract", place.path), 0)
    other.storageVolLookupByName("base.raw").delete(0)
    assert pair.code(other.storageVolLookupByName, "base.raw") == libvirt.VIR_ERR_NO_STORAGE_VOL
    for call in (place.here.refresh, place.here.listVolumes):
        assert pair.code(call) == libvirt.VIR_ERR_NO_STORAGE_POOL


@pytest.mark.parametrize("sparse", [True, False])
def test_a_file_goes_through_streams(place: Place, sparse: bool) -> None:
    volume = place.make(place.here, "base.raw", MIB)
    place.upload(volume, b"livemig" * 1000, MIB - 7000)
    place.here.refresh(0)
    assert volume.info()[1] == MIB
    assert volume.info()[2] < MIB // 2
    parts = place.download(volume, sparse)
    whole = b"".join(bytes(part) if isinstance(part, int) else part for part in parts)
    assert whole == b"livemig" * 1000 + bytes(MIB - 7000)
    assert any(isinstance(part, int) for part in parts) == sparse


def test_an_image_is_known_by_what_is_in_it(place: Place) -> None:
    """A copy made as a raw file is what the original is, once the pool has been refreshed."""
    place.make(place.here, "base.raw", MIB)
    top = place.make(place.here, "top.qcow2", MIB, "qcow2", f"{place.path}/base.raw")
    copy = place.make(place.here, "copy.raw", top.infoFlags(1)[2])
    place.upload(copy, *place.download(top))
    place.here.refresh(0)
    assert {**described(copy), "path": ""} == {**described(top), "path": ""}


def test_a_stream_needs_no_pool_once_it_has_begun(pair: Pair, place: Place) -> None:
    volume = place.make(place.here, "base.raw", MIB)
    place.upload(volume, b"x" * MIB)
    stream = pair.source.newStream(0)
    volume.download(stream, 0, 0, 0)
    place.here.destroy()
    assert len(stream.recv(1000)) == 1000
    stream.abort()
    assert pair.code(stream.recv, 1000) is not None
    for call in (volume.info, volume.delete):
        assert pair.code(call) == place.libvirt.VIR_ERR_NO_STORAGE_POOL


def test_a_directory_that_is_not_there(pair: Pair, place: Place) -> None:
    """It is told by its errno. It is made where that is asked for, and removed by a pool that is not active, if it is empty."""
    libvirt, path = place.libvirt, f"{place.path}/contract"
    xml = POOL.format("directory", path)
    with pytest.raises(libvirt.libvirtError) as failed:
        pair.source.storagePoolCreateXML(xml, 0)
    assert (failed.value.get_error_code(), failed.value.get_int1()) == (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ENOENT)
    pool = pair.source.storagePoolCreateXML(xml, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    place.make(pool, "base.raw", MIB)
    assert pair.code(pool.delete) == libvirt.VIR_ERR_OPERATION_INVALID
    pool.destroy()
    defined = pair.source.storagePoolDefineXML(xml, 0)
    try:
        with pytest.raises(libvirt.libvirtError) as failed:
            defined.delete()
        assert failed.value.get_int1() == errno.ENOTEMPTY
        defined.create()
        defined.storageVolLookupByName("base.raw").delete()
        defined.destroy()
        defined.delete()
    finally:
        defined.undefine()
    assert pair.code(pair.source.storagePoolCreateXML, xml, 0) == libvirt.VIR_ERR_SYSTEM_ERROR


# Whose something is


TIMES = ("target/timestamps/mtime", "target/timestamps/ctime", "physical")


def times(volume: Any) -> list[str | None]:
    root = ElementTree.fromstring(volume.XMLDesc(0))
    return [root.findtext(word) for word in TIMES]


def test_a_link_has_the_times_of_what_it_leads_to(pair: Pair, place: Place) -> None:
    """libvirt says nowhere that it is one; its own path it does not follow. To be deleted is to be unlinked."""
    base, alias, away = (f"{place.path}/{name}" for name in ("base.raw", "alias.raw", "away"))
    volume = place.make(place.here, "base.raw", MIB)
    place.upload(volume, b"x" * MIB)
    copy = place.make(place.here, "copy.raw", MIB)
    place.upload(copy, b"x" * MIB)
    pair.world.link(pair.source_uri, alias, base)
    pair.world.link(pair.source_uri, away, f"{place.path}/nowhere")
    try:
        place.here.refresh(0)
        assert sorted(place.here.listVolumes()) == ["alias.raw", "base.raw", "copy.raw"], "one that leads nowhere is not there"
        link = place.here.storageVolLookupByName("alias.raw")
        assert (link.path(), described(link)["path"], link.info()[0]) == (alias, alias, place.libvirt.VIR_STORAGE_VOL_FILE)
        before = times(volume)
        assert times(link) == before and all(before) and times(copy)[:2] != before[:2]
        place.upload(volume, b"y" * MIB)
        assert times(link) == times(volume) != before
        link.delete(0)
        assert volume.info()[1] == MIB
    finally:
        for path in (alias, away):
            pair.world.link(pair.source_uri, path, None)


def test_a_directory_is_a_volume_that_is_deleted_if_it_is_empty(pair: Pair, place: Place) -> None:
    libvirt, path, alias = place.libvirt, f"{place.path}/contract", f"{place.path}/alias"
    inner = pair.source.storagePoolCreateXML(POOL.format("inner", path), libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    try:
        place.make(inner, "base.raw", MIB)
        pair.world.link(pair.source_uri, alias, path)
        place.here.refresh(0)
        assert sorted(place.here.listVolumes()) == ["alias", "contract"]
        found = {name: place.here.storageVolLookupByName(name) for name in ("alias", "contract")}
        assert [each.info()[0] for each in found.values()] == [libvirt.VIR_STORAGE_VOL_DIR] * 2
        for name, number in (("contract", errno.ENOTEMPTY), ("alias", errno.ENOTDIR)):
            with pytest.raises(libvirt.libvirtError) as failed:
                found[name].delete(0)
            assert failed.value.get_int1() == number
        inner.storageVolLookupByName("base.raw").delete(0)
        found["contract"].delete(0)
        place.here.refresh(0)
        assert place.here.listVolumes() == []
    finally:
        pair.world.link(pair.source_uri, alias, None)
        inner.destroy()


def test_a_pool_by_another_path_of_its_directory(pair: Pair, place: Place) -> None:
    """Pools are told apart by texts: libvirt has two on one directory, and finds a volume by the path of its pool alone."""
    libvirt, alias = place.libvirt, f"{place.path}/alias"
    place.make(place.here, "base.raw", MIB)
    pair.world.link(pair.source_uri, alias, place.path)
    try:
        for path in (alias, f"{place.path}/../{place.path.rpartition('/')[2]}"):
            assert pair.code(pair.source.storagePoolLookupByTargetPath, path) == libvirt.VIR_ERR_NO_STORAGE_POOL
            other = pair.source.storagePoolCreateXML(POOL.format("other", path), 0)
            assert other.storageVolLookupByName("base.raw").path() == f"{path}/base.raw"
            assert times(other.storageVolLookupByName("base.raw")) == times(place.here.storageVolLookupByName("base.raw"))
            other.destroy()
        assert pair.code(pair.source.storageVolLookupByPath, f"{alias}/base.raw") == libvirt.VIR_ERR_NO_STORAGE_VOL
    finally:
        pair.world.link(pair.source_uri, alias, None)


def test_a_pool_is_known_by_its_uuid(pair: Pair, place: Place) -> None:
    libvirt, connection, uuid = place.libvirt, pair.source, place.here.UUIDString()
    assert connection.storagePoolLookupByUUIDString(uuid).name() == "contract"
    marked = POOL.replace("</name>", "</name><uuid>{}</uuid>")
    for name, uuid_of_it in (("other", uuid), ("contract", "11111111-1111-4111-8111-111111111111")):
        assert pair.code(connection.storagePoolCreateXML, marked.format(name, uuid_of_it, pair.world.shared), 0) == libvirt.VIR_ERR_OPERATION_FAILED
    other = connection.storagePoolDefineXML(marked.format("other", "11111111-1111-4111-8111-111111111111", pair.world.shared), 0)
    try:
        kinds = {"PERSISTENT": {"other"}, "TRANSIENT": {"contract"}, "ACTIVE": {"contract"}, "INACTIVE": {"other"}}
        for kind, names in kinds.items():
            found = connection.listAllStoragePools(getattr(libvirt, f"VIR_CONNECT_LIST_STORAGE_POOLS_{kind}"))
            assert {pool.name() for pool in found} & {"other", "contract"} == names
        assert (place.here.isPersistent(), other.isPersistent(), other.UUIDString()) == (0, 1, "11111111-1111-4111-8111-111111111111")
        assert pair.code(connection.storagePoolLookupByTargetPath, pair.world.shared) == libvirt.VIR_ERR_NO_STORAGE_POOL, "it is not active"
        assert pair.code(connection.storagePoolCreateXML, POOL.format("third", pair.world.shared), 0) == libvirt.VIR_ERR_OPERATION_FAILED
    finally:
        other.undefine()


def test_a_transient_pool_outlives_its_daemon(pair: Pair, place: Place) -> None:
    pair.world.kill_daemon(pair.source_uri)
    pair.world.start_daemon(pair.source_uri)
    pair.reconnect()
    place.ends = (pair.source, pair.destination)
    assert pair.source.storagePoolLookupByName("contract").isActive() == 1
