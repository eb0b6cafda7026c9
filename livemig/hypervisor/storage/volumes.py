"""Images as volumes of their directory's pool: what they are, making empty ones, removing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import ENOENT
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from livemig import exceptions
from livemig.facts import Backing, Image, Space
from livemig.hypervisor.domain_xml import parse
from livemig.hypervisor.storage.pools import in_pool

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

_VOLUME = """\
<volume>
  <name>{name}</name>
  <capacity unit='bytes'>{capacity}</capacity>
  <allocation unit='bytes'>0</allocation>
  <target><format type='{format}'/>{permissions}{compat}</target>{backing}
</volume>"""
_PERMISSIONS = "<permissions><mode>{}</mode><owner>{}</owner><group>{}</group></permissions>"
_BACKING = "<backingStore><path>{path}</path><format type='{format}'/></backingStore>"


@dataclass(frozen=True, slots=True)
class Blank:
    """An image to be made: sparse, with nothing in it of its own. `capacity` in bytes; `permissions` as an `Image` has them."""

    path: str
    format: str
    capacity: int
    permissions: tuple[str, str, str] | None = None
    backing: Backing | None = None


def look(host: Hypervisor, paths: Iterable[str], tag: str) -> tuple[dict[str, Image], dict[str, Space], frozenset[str]]:
    """Those of the files that the host has; the space of their directories; and those directories that it does not have, but could: they have the space of
    the one above."""
    images: dict[str, Image] = {}
    space: dict[str, Space] = {}
    absent = set()
    for directory, names in _by_directory(paths).items():
        found = _look_in(host, directory, names, tag)
        if found is None:
            found = _look_in(host, str(PurePosixPath(directory).parent), (), tag)
            absent |= {directory} if found else set()
        if found:
            images |= found[0]
            space[directory] = found[1]
    return images, space, frozenset(absent)


def _look_in(host: Hypervisor, directory: str, names: Iterable[str], tag: str) -> tuple[dict[str, Image], Space] | None:
    """None where there is no such directory."""
    try:
        with host.use() as connection:
            return in_pool(host, connection, directory, tag, lambda pool: _look(pool, names))
    except exceptions.HypervisorUnavailable:
        raise
    except exceptions.HypervisorError:
        return None


def make(host: Hypervisor, blank: Blank, tag: str) -> None:
    """Make an image. Raises HypervisorError: nothing that exists is overwritten."""
    place = PurePosixPath(blank.path)
    with host.apart() as connection:
        in_pool(host, connection, str(place.parent), tag, lambda pool: pool.createXML(_xml(blank), 0))


def remove(host: Hypervisor, path: str, tag: str) -> bool:
    """Remove a file; False when there was none, not even its directory, or it is something else. Of a link the link is removed, not what it leads to."""
    place = PurePosixPath(path)

    def delete(pool: Any) -> bool:
        pool.refresh(0)
        if place.name not in pool.listVolumes():
            return False
        volume = pool.storageVolLookupByName(place.name)
        if volume.info()[0] != host.libvirt.VIR_STORAGE_VOL_FILE:
            return False
        volume.delete(0)
        return True

    with host.apart() as connection:
        try:
            return in_pool(host, connection, str(place.parent), tag, delete)
        except host.libvirt.libvirtError as error:
            if error.get_int1() != ENOENT:  # virReportSystemError has the errno there
                raise
            return False


def _by_directory(paths: Iterable[str]) -> Mapping[str, list[str]]:
    places = sorted({PurePosixPath(path) for path in paths}, key=lambda place: (place.parent, place.name))
    return {str(directory): [place.name for place in group] for directory, group in groupby(places, key=lambda place: place.parent)}


def _look(pool: Any, names: Iterable[str]) -> tuple[dict[str, Image], Space]:
    pool.refresh(0)
    there = set(pool.listVolumes())
    images = [_image(pool.storageVolLookupByName(name).XMLDesc(0)) for name in names if name in there]
    _state, total, _allocated, free = pool.info()
    return {image.path: image for image in images}, Space(total, free)


def _image(xml: str) -> Image:
    volume = parse(xml)
    form = volume.find("target/format")
    permissions = [volume.findtext(f"target/permissions/{name}", "") for name in ("mode", "owner", "group")]
    capacity = int(volume.findtext("capacity", "0"))
    return Image(
        path=volume.findtext("target/path", ""),
        format="raw" if form is None else form.get("type", "raw"),
        capacity=capacity,
        length=int(volume.findtext("physical", str(capacity))),
        allocation=int(volume.findtext("allocation", "0")),
        backing=volume.findtext("backingStore/path", ""),
        permissions=(permissions[0], permissions[1], permissions[2]) if all(permissions) else None,
        encrypted=volume.find("target/encryption") is not None,
    )


def _xml(blank: Blank) -> str:
    return _VOLUME.format(
        name=escape(PurePosixPath(blank.path).name),
        capacity=blank.capacity,
        format=blank.format,
        permissions=_PERMISSIONS.format(*blank.permissions) if blank.permissions else "",
        compat="<compat>1.1</compat>" if blank.format == "qcow2" else "",
        backing=_BACKING.format(path=escape(blank.backing.path), format=blank.backing.format) if blank.backing else "",
    )
