"""The tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, Integer, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
Name = String(255)
Uuid = String(36)
RowId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The declarative base; its metadata is what alembic compares with."""

    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, list[dict[str, Any]]: JSON, list[str]: JSON}


class Host(Base):
    """A hypervisor as its watcher last found it; `configured` says that it is one of enabled_hosts now."""

    __tablename__ = "hosts"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    uuid: Mapped[str] = mapped_column(Uuid, unique=True)
    service_uuid: Mapped[str] = mapped_column(Uuid, unique=True)
    configured: Mapped[bool] = mapped_column(default=True)
    up: Mapped[bool] = mapped_column(default=False)
    forced_down: Mapped[bool] = mapped_column(default=False)
    disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[str | None] = mapped_column(Name)
    address: Mapped[str] = mapped_column(Name, default="")
    hypervisor_type: Mapped[str] = mapped_column(Name, default="")
    hypervisor_version: Mapped[int] = mapped_column(default=0)
    libvirt_version: Mapped[int] = mapped_column(default=0)
    vcpus: Mapped[int] = mapped_column(default=0)
    memory_mib: Mapped[int] = mapped_column(default=0)
    memory_free_mib: Mapped[int] = mapped_column(default=0)
    cpu: Mapped[dict[str, Any]] = mapped_column(default=dict)
    disk_gib: Mapped[int] = mapped_column(default=0)
    disk_free_gib: Mapped[int] = mapped_column(default=0)
    booted_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]


class Server(Base):
    """What the API shows of a guest. `host` follows the sightings, or the engine while it migrates.

    A `lost` server ended a migration on no host, or on two: it stays, in error, until one host has it again. One that an administrator `condemned`
    (os-resetState) stays in error until he says otherwise. `ip_addresses` are those of `addresses`, each between spaces, to be searched.
    """

    __tablename__ = "servers"
    __table_args__ = (
        Index("servers_order", "created_at", "uuid"),
        Index("servers_host", "host", "vm_state", "vcpus", "memory_mib"),  # whatever is summed up by host
        Index("servers_project", "project_id", "created_at"),
        Index("servers_updated", "updated_at"),
    )

    uuid: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    instance_name: Mapped[str] = mapped_column(Name)
    description: Mapped[str | None] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Name)
    vm_state: Mapped[str] = mapped_column(String(32))
    power_state: Mapped[int]
    task_state: Mapped[str | None] = mapped_column(String(32))
    progress: Mapped[int] = mapped_column(default=0)
    lost: Mapped[bool] = mapped_column(default=False)
    condemned: Mapped[bool] = mapped_column(default=False)
    memory_mib: Mapped[int] = mapped_column(default=0)
    vcpus: Mapped[int] = mapped_column(default=0)
    flavor_id: Mapped[str] = mapped_column(Name, default="")
    flavor: Mapped[dict[str, Any]] = mapped_column(default=dict)
    addresses: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    ip_addresses: Mapped[str] = mapped_column(Text, default="")
    user_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    root_device: Mapped[str | None] = mapped_column(Name)
    config_drive: Mapped[bool] = mapped_column(default=False)
    locked_by: Mapped[str | None] = mapped_column(String(16))
    locked_reason: Mapped[str | None] = mapped_column(Name)
    fault: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    project_id: Mapped[str] = mapped_column(Name, default="")
    user_id: Mapped[str] = mapped_column(Name, default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]


class Sighting(Base):
    """How one host has one server. Several hosts may have one: a definition left behind, an incoming copy."""

    __tablename__ = "sightings"
    __table_args__ = (Index("sightings_host", "host"),)

    server_uuid: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str] = mapped_column(Name, primary_key=True)
    presence: Mapped[str] = mapped_column(String(32))


class Migration(Base):
    """A migration: the request, its state and its figures.

    `active_server_uuid` is the server's while the migration is open and NULL afterwards; being unique it lets a server have one open migration.
    """

    __tablename__ = "migrations"
    __table_args__ = (
        Index("migrations_server", "server_uuid"),
        Index("migrations_status", "status"),
        Index("migrations_order", "created_at", "id"),
        Index("migrations_updated", "updated_at"),
        Index("migrations_untidy", "untidy"),
        Index("migrations_keeps", "keeps"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    uuid: Mapped[str] = mapped_column(Uuid, unique=True)
    server_uuid: Mapped[str] = mapped_column(Uuid)
    active_server_uuid: Mapped[str | None] = mapped_column(Uuid, unique=True)
    status: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(Name)
    destination: Mapped[str | None] = mapped_column(Name)
    requested_host: Mapped[str | None] = mapped_column(Name)
    block_migration: Mapped[bool | None]
    disk_over_commit: Mapped[bool | None]
    force: Mapped[bool | None]
    abort_requested: Mapped[bool] = mapped_column(default=False)
    completion_forced: Mapped[bool] = mapped_column(default=False)
    bandwidth_mib_s: Mapped[int | None]
    tried: Mapped[list[str]] = mapped_column(default=list)
    files: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    untidy: Mapped[bool] = mapped_column(default=False)
    keeps: Mapped[bool] = mapped_column(default=False)  # files that stay: not provably the guest's own
    waits_for: Mapped[str | None] = mapped_column(Text)
    autostart: Mapped[bool] = mapped_column(default=False)
    policy: Mapped[dict[str, Any]]
    remembered: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    request_id: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Name)
    project_id: Mapped[str] = mapped_column(Name)
    lease_owner: Mapped[str | None] = mapped_column(Name)
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    downtime_ms: Mapped[int | None] = mapped_column(BigInteger)
    memory_total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_processed_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_remaining_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_processed_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_remaining_bytes: Mapped[int | None] = mapped_column(BigInteger)


class MigrationEvent(Base):
    """The event log: every transition, check, knob and event of a migration, in order."""

    __tablename__ = "migration_events"
    __table_args__ = (Index("migration_events_migration", "migration_id", "id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    migration_id: Mapped[int] = mapped_column(RowId, ForeignKey("migrations.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)


class Action(Base):
    """Something asked of a server. It outlives the server's row."""

    __tablename__ = "actions"
    __table_args__ = (Index("actions_server", "server_uuid", "id"), Index("actions_request", "request_id"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    server_uuid: Mapped[str] = mapped_column(Uuid)
    action: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Name)
    project_id: Mapped[str] = mapped_column(Name)
    migration_id: Mapped[int | None] = mapped_column(RowId)
    host: Mapped[str | None] = mapped_column(Name)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    result: Mapped[str | None] = mapped_column(String(16))
    details: Mapped[str | None] = mapped_column(Text)


class Mutex(Base):
    """One row per thing that only one conductor may decide at a time: writing the row first locks it on every database."""

    __tablename__ = "mutexes"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    taken_at: Mapped[datetime | None]


class Conductor(Base):
    """The heartbeat of a conductor, and the hosts that it cannot reach."""

    __tablename__ = "conductors"

    owner: Mapped[str] = mapped_column(Name, primary_key=True)
    expires_at: Mapped[datetime]
    away: Mapped[list[str] | None] = mapped_column(JSON)  # None of one that does not say


class Watch(Base):
    """Who writes down what is seen on a host, and how often that has changed (`livemig.db.watches`)."""

    __tablename__ = "watches"
    __table_args__ = (Index("watches_owner", "owner"),)

    host: Mapped[str] = mapped_column(Name, primary_key=True)
    owner: Mapped[str | None] = mapped_column(Name)
    version: Mapped[int] = mapped_column(BigInteger, default=0)


class Mark(Base):
    """The UUID of something that livemig makes on a host for a moment, and who wrote it down (`livemig.db.marks`)."""

    __tablename__ = "marks"
    __table_args__ = (Index("marks_host", "host"),)

    uuid: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str] = mapped_column(Name)
    keeper: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime]
