"""Rows of the tables to the dataclasses that leave this room: the only thing that does."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, TypeVar

from livemig import facts
from livemig.db import models
from livemig.states import Status

T = TypeVar("T")


def _same_names(kind: type[T], row: Any, **converted: Any) -> T:
    values = {field.name: getattr(row, field.name) for field in fields(kind) if field.name not in converted}  # type: ignore[arg-type]
    return kind(**values, **converted)


def to_host(row: models.Host) -> facts.Host:
    return _same_names(facts.Host, row)


def to_server(row: models.Server) -> facts.Server:
    return _same_names(facts.Server, row)


def to_migration(row: models.Migration) -> facts.Migration:
    return _same_names(facts.Migration, row, status=Status(row.status), policy=facts.Policy(**row.policy))


def to_event(row: models.MigrationEvent) -> facts.MigrationEvent:
    return _same_names(facts.MigrationEvent, row)


def from_policy(policy: facts.Policy) -> dict[str, Any]:
    return asdict(policy)
