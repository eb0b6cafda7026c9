"""Rows of the tables to the dataclasses that leave this room: the only thing that does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from livemig import facts, records
from livemig.db import models
from livemig.facts import Address, Flavor, ServerFacts
from livemig.records import HostStatus
from livemig.states import Status

T = TypeVar("T")


def _same_names(kind: type[T], row: Any, **converted: Any) -> T:
    values = {field.name: getattr(row, field.name) for field in fields(kind) if field.name not in converted}  # type: ignore[arg-type]
    return kind(**values, **converted)


HOST = tuple(getattr(models.Host, field.name) for field in fields(records.Host))
HOST_STATE = tuple(models.Base.metadata.tables["hosts"].c[field.name] for field in fields(records.HostState))
"""Of the table itself, without the ORM: a choice reads those of every host, in a sixth of the time that all columns take."""


def to_host(row: Iterable[Any]) -> records.Host:
    """Of `HOST`."""
    return records.Host(*row)


def to_server(row: models.Server, up: bool | None, forced_down: bool | None, disabled: bool | None) -> records.Server:
    """A server, and what stands in its host's row; None where that is missing."""
    addresses = tuple(Address(**address) for address in row.addresses)
    status = HostStatus.UNKNOWN if up is None else HostStatus.DOWN if not up or forced_down else HostStatus.MAINTENANCE if disabled else HostStatus.UP
    return _same_names(records.Server, row, flavor=to_flavor(row), addresses=addresses, host_status=status)


def to_flavor(row: models.Server) -> Flavor:
    return Flavor(**row.flavor) if row.flavor else own_flavor(row.memory_mib, row.vcpus)


def to_migration(row: models.Migration) -> records.Migration:
    return _same_names(records.Migration, row, status=Status(row.status), policy=to_policy(row.policy), tried=tuple(row.tried), files=to_files(row.files))


def to_files(saved: list[dict[str, Any]]) -> tuple[records.LeftFile, ...]:
    return tuple(records.LeftFile(**file) for file in saved)


def from_files(files: Iterable[records.LeftFile]) -> list[dict[str, Any]]:
    return [asdict(file) for file in files]


def to_event(row: models.MigrationEvent) -> records.MigrationEvent:
    return _same_names(records.MigrationEvent, row)


def to_action(row: models.Action) -> records.Action:
    return _same_names(records.Action, row)


def to_policy(saved: Mapping[str, Any]) -> facts.Policy:
    """As `from_policy` made it, by this version of livemig or by another that knew fewer or more options."""
    names = {field.name for field in fields(facts.Policy)}
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items() if name in names}
    return facts.Policy(**known)


def from_policy(policy: facts.Policy) -> dict[str, Any]:
    return asdict(policy)


def from_server(said: ServerFacts) -> dict[str, Any]:
    """The columns that a host's word on a server sets, but for its place and state."""
    flavor = said.flavor or own_flavor(said.memory_mib, said.vcpus)
    return {
        "instance_name": said.instance_name,
        "name": said.name or said.instance_name,
        "description": said.description,
        "memory_mib": said.memory_mib,
        "vcpus": said.vcpus,
        "flavor_id": flavor.id,
        "flavor": asdict(flavor),
        "addresses": [asdict(address) for address in said.addresses],
        "ip_addresses": "".join(f" {address.ip}" for address in said.addresses) + " " if said.addresses else "",
        "user_metadata": dict(said.user_metadata),
        "root_device": said.root_device,
        "config_drive": said.config_drive,
        "project_id": said.project_id or OWNER,
        "user_id": said.user_id or OWNER,
    }


OWNER = "admin"  # libvirt knows no owners: a guest whose metadata names none is the administrator's


def own_flavor(memory_mib: int, vcpus: int) -> Flavor:
    """The flavor of a guest whose metadata names none, made of its sizes: 2 vCPUs and 4096 MiB are "2-4096"."""
    name = f"{vcpus}-{memory_mib}"
    return Flavor(name, name, memory_mib, vcpus)
