"""Which files the domains of a host refer to, or may refer to: nobody removes those.

A domain may name a file in many ways: with `..` in its path, by a symbolic link, by another name of the same file. Texts are compared in their plain form.
Links are followed by the host, and libvirt does not say so: a volume that is a link has the times and sizes of the file to which it leads. The time of the last
change of a file's inode (`ctime`, in nanoseconds) is hardly ever that of another file; if it is, the file stays. A file that changes meanwhile stays as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import ENOENT, ENOTDIR
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from livemig import exceptions
from livemig.hypervisor.domain_xml import parse
from livemig.hypervisor.storage.pools import in_pool
from livemig.paths import is_within, plain

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor

_NO_FILES = ("/dev", "/proc", "/sys")  # no pool is made there: libvirt opens whatever is in a pool, and some devices mind
_STAMPS = ("target/timestamps/ctime", "target/timestamps/mtime", "physical", "target/permissions/mode", "target/permissions/owner")

Stamp = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """Why a file is not to be removed, for people; `certain` when a guest refers to it, else that cannot be excluded."""

    why: str
    certain: bool = False


@dataclass(slots=True)
class _Said:
    """What the definitions of one guest speak of: all `paths`, in their plain form; the `files` and `volumes` (pool, name) of its disks, and the `directories`
    that it may use as a whole. `unread` is a definition that libvirt does not show."""

    guest: str
    paths: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    volumes: set[tuple[str, str]] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    unread: str = ""


def used(host: Hypervisor, paths: Collection[str], tag: str) -> dict[str, Use]:
    """Those of the files that a domain of the host refers to, and those of which that cannot be excluded.

    It looks at domains that run or are only defined, at their snapshots and saved memory, and at all backing files. A volume of a pool is known by its name
    alone, so one of the same name counts too. Raises HypervisorError when the host cannot tell.
    """
    with host.apart() as connection:
        said = [each for domain in connection.listAllDomains(0) for each in _said(host.libvirt, domain)]
        found = {path: why for path in paths for why in _named(path, said)[:1]}
        rest = [path for path in paths if path not in found and not path.endswith("/")]
        return found | (_linked(_Eyes(host, connection, tag), rest, said) if rest else {})


def _said(libvirt: Any, domain: Any) -> Iterator[_Said]:
    """By each of its definitions: that by which it runs, that of its next start, and those that it may be taken back to."""
    said = _Said(domain.name())
    try:
        xmls = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
        xmls += [snapshot.getXMLDesc(0) for snapshot in domain.listAllSnapshots(0)]
        if domain.hasManagedSaveImage():
            try:
                xmls.append(domain.managedSaveGetXMLDesc(0))
            except libvirt.libvirtError as error:
                said.unread = f"what its saved memory was defined as is not shown ({error})"
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return
    for xml in xmls:
        _read(parse(xml), said)
    yield said


def _read(root: Any, said: _Said) -> None:
    for element in root.iter():
        words = [element.text or "", *map(str, element.attrib.values())]
        said.paths |= {plain(word) for word in words if word.startswith("/")}
        if element.tag == "source":
            said.files |= {str(element.attrib[name]) for name in ("file",) if name in element.attrib}
            said.directories |= {plain(str(element.attrib[name])) for name in ("dir",) if name in element.attrib}
            if "volume" in element.attrib:
                said.volumes.add((str(element.attrib.get("pool", "")), str(element.attrib["volume"])))


def _named(path: str, said: Iterable[_Said]) -> list[Use]:
    """Who names a file, or something in a directory."""
    name = PurePosixPath(path).name
    mine = plain(path)
    found: list[Use] = []
    for each in said:
        volume = not path.endswith("/") and any(volume == name for _pool, volume in each.volumes)
        if volume or mine in each.paths or (path.endswith("/") and any(is_within(other, mine) for other in each.paths)):
            found.append(Use(f"guest {each.guest} refers to it", certain=True))
        found += [Use(f"guest {each.guest} may use all of {directory}", certain=True) for directory in each.directories if is_within(mine, directory)]
        found += [_unsure(each.guest, each.unread)] if each.unread else []
    return sorted(found, key=lambda use: not use.certain)


def _unsure(guest: str, why: str) -> Use:
    return Use(f"it cannot be excluded that guest {guest} refers to it: {why}")


class _Eyes:
    """Looks at files of a host through libvirt."""

    def __init__(self, host: Hypervisor, connection: Any, tag: str) -> None:
        self._host = host
        self._connection = connection
        self._tag = tag

    def stamps(self, paths: Iterable[str]) -> tuple[dict[str, tuple[Stamp, str]], dict[str, str]]:
        """By path, the stamp of each file that there is, and the path of its backing file; and why some cannot be looked at."""
        found: dict[str, tuple[Stamp, str]] = {}
        blind: dict[str, str] = {}
        places = sorted({PurePosixPath(path) for path in paths}, key=lambda place: (place.parent, place.name))
        for directory, group in groupby(places, key=lambda place: place.parent):
            names = [place.name for place in group]
            try:
                found |= {f"{directory / name}": stamp for name, stamp in self._in(str(directory), names).items()}
            except _Blind as reason:
                blind |= dict.fromkeys((f"{directory / name}" for name in names), f"{directory} cannot be looked at ({reason})")
        return found, blind

    def volume(self, pool: str, name: str) -> str:
        """Its path. Raises _Blind."""
        try:
            return str(self._connection.storagePoolLookupByName(pool).storageVolLookupByName(name).path())
        except self._host.libvirt.libvirtError as error:
            self._check_alive(error)
            raise _Blind(str(error)) from error

    def _in(self, directory: str, names: Iterable[str]) -> Mapping[str, tuple[Stamp, str]]:
        if any(is_within(directory, place) for place in _NO_FILES):
            raise _Blind("it is no place for files")

        def look(pool: Any) -> dict[str, tuple[Stamp, str]]:
            pool.refresh(0)
            there = set(pool.listVolumes())
            return {name: _stamp(pool.storageVolLookupByName(name).XMLDesc(0)) for name in names if name in there}

        try:
            return in_pool(self._host, self._connection, directory, self._tag, look)
        except exceptions.Refused as error:
            raise _Blind(str(error)) from error
        except self._host.libvirt.libvirtError as error:
            self._check_alive(error)
            if error.get_int1() in (ENOENT, ENOTDIR):  # there is no such directory, so no such file
                return {}
            raise _Blind(str(error)) from error

    def _check_alive(self, error: Exception) -> None:
        if not self._connection.isAlive():
            raise error


class _Blind(Exception):
    """Something cannot be looked at."""


def _stamp(xml: str) -> tuple[Stamp, str]:
    volume = parse(xml)
    return tuple(volume.findtext(word, "") for word in _STAMPS), volume.findtext("backingStore/path", "")


def _linked(eyes: _Eyes, paths: Collection[str], said: Collection[_Said]) -> dict[str, Use]:
    """Those that a guest refers to by another name, or may."""
    before, blind = eyes.stamps(paths)
    found = {path: Use(f"it cannot be found out what refers to it: {why}") for path, why in blind.items()}
    if not before:
        return found
    guests, unsure = _references(eyes, said)
    after, _blind = eyes.stamps(before)
    for path, stamp in before.items():
        same = [other for other, (seen, _guest) in guests.items() if seen == stamp[0]]
        if not all(stamp[0]) or after.get(path) != stamp:
            found[path] = Use("it was changed a moment ago, or its times are not shown: something may be writing to it")
        elif same:
            found[path] = Use(f"guest {guests[same[0]][1]} refers to it as {same[0]}", certain=True)
        elif unsure:
            found[path] = unsure[0]
    return found


def _references(eyes: _Eyes, said: Iterable[_Said]) -> tuple[dict[str, tuple[Stamp, str]], list[Use]]:
    """All files of disks, down to the last backing file: the stamp of each, and a guest that refers to it. And what could not be looked at."""
    guests: dict[str, str] = {}
    unsure: list[Use] = []
    for each in said:
        guests |= dict.fromkeys(each.files, each.guest)
        for pool, name in sorted(each.volumes):
            try:
                path = eyes.volume(pool, name)
            except _Blind as reason:
                unsure.append(_unsure(each.guest, f"volume {name} of pool {pool} cannot be looked at ({reason})"))
                continue
            if not is_within(path, "/dev"):  # a volume there is a device
                guests[path] = each.guest
    found: dict[str, tuple[Stamp, str]] = {}
    wanted = dict(guests)
    while wanted:
        seen, blind = eyes.stamps(wanted)
        names = {str(PurePosixPath(path)): guest for path, guest in wanted.items()}
        unsure += [_unsure(names[path], why) for path, why in blind.items()]
        found |= {path: (stamp, names[path]) for path, (stamp, _below) in seen.items()}
        wanted = {below: names[path] for path, (_stamp, below) in seen.items() if below.startswith("/") and below not in guests}
        guests |= wanted
    return found, unsure
