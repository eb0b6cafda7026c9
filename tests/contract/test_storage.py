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
