"""A fleet described in YAML: hosts with their switches, directories, guests, cuts. `docs/mock.md` documents the format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from livemig.runtime import Runtime
from livemig.testing.fleet import Fleet, Host, Switch
from livemig.testing.guests import guest_uuid

SETTINGS = ("setup_s", "finish_s", "connect_s", "latency_s")
HABITS = ("dirty_mib_s", "ignores_acpi")


def load(source: str | dict[str, Any], runtime: Runtime) -> Fleet:
    """Build the fleet of a file (its path) or of a dict of the same shape."""
    given = read(source)
    fleet = Fleet(runtime, given.get("speed", 1.0))
    for host in each(given.get("hosts", ())):
        facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in host.items()}
        fleet.add_host(**facts)
    for directory in each(given.get("directories", ())):
        _add_directory(fleet, **directory)
    for guest in each(given.get("guests", ())):
        fleet.add_guest(**guest)
    _apply(fleet, given)
    return fleet


def reload(fleet: Fleet, source: str | dict[str, Any]) -> None:
    """Set the switches, habits of guests, settings and cuts as the file has them now; a switch that is not named goes back to its default.

    Hosts and guests stay where they are.
    """
    given = read(source)
    for host in each(given.get("hosts", ())):
        found = fleet.hosts.get(host["name"])
        if found:
            found.switch({name: host.get(name, switch.default) for name, switch in SWITCHES.items()})
    for guest in each(given.get("guests", ())):
        for domain in fleet.copies(guest.get("uuid") or guest_uuid(guest["name"])):
            for name in HABITS:
                setattr(domain.load, name, guest.get(name, getattr(domain.load, name)))
    _apply(fleet, given)


SWITCHES: dict[str, Switch[Any]] = {name: value for name, value in vars(Host).items() if isinstance(value, Switch)}


def read(source: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(source, dict):
        return source
    with open(source, encoding="utf-8") as file:
        return yaml.safe_load(file) or {}


def each(items: Any) -> Iterator[dict[str, Any]]:
    """One dict per thing; one with `count: n` stands for n, with {n} in its texts replaced by 1 … n."""
    for item in items:
        item = dict(item)
        count = item.pop("count", None)
        if count is None:
            yield item
            continue
        for number in range(1, count + 1):
            yield {key: value.replace("{n}", str(number)) if isinstance(value, str) else value for key, value in item.items()}


def _add_directory(fleet: Fleet, path: str, hosts: list[str] | None = None, host: str | None = None, **facts: Any) -> None:
    if host is None:
        fleet.add_directory(path, hosts, **facts)
    else:
        fleet.add_local_directory(host, path, **facts)


def _apply(fleet: Fleet, given: dict[str, Any]) -> None:
    for name in SETTINGS:
        setattr(fleet, name, given.get(name, getattr(fleet, name)))
    fleet.set_cuts([(one, other) for one, other in given.get("cuts", ())])
