"""The configured hosts and aggregates."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from livemig.conf import addresses
from livemig.conf.addresses import HOST_NAME
from livemig.conf.options import AGGREGATE_OPTS, host_group
from livemig.records import Aggregate


class ConfigurationError(Exception):
    """The configuration cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """One [host:NAME] group, its defaults filled in."""

    name: str
    connection_uri: str
    migration_uri: str
    inbound_address: str | None
    reserved_memory_mib: int = 0
    reserved_disk_mib: int = 0

    @property
    def address(self) -> str:
        """What the API shows as the host's address: where it receives migrations, else where its daemon is reached."""
        return self.inbound_address or urlsplit(self.connection_uri).hostname or self.name


def hosts(conf: Any) -> dict[str, HostSettings]:
    """The enabled hosts by name. Raises ConfigurationError."""
    return {name: _host(conf, name) for name in conf.enabled_hosts}


def links(conf: Any) -> dict[str, int]:
    """What the link of each enabled host carries for migrations, MiB/s; 0 for no limit."""
    return {name: _own(host_group(conf, name), conf.libvirt, "live_migration_link_bandwidth") for name in conf.enabled_hosts}


def aggregates(conf: Any) -> tuple[Aggregate, ...]:
    """The configured host aggregates, in their order."""
    return tuple(_aggregate(conf, number, name) for number, name in enumerate(conf.aggregates, start=1))


def _aggregate(conf: Any, number: int, name: str) -> Aggregate:
    group = f"aggregate:{name}"
    conf.register_opts(AGGREGATE_OPTS, group=group)
    settings = conf[group]
    identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.aggregates.livemig"))
    return Aggregate(number, identity, name, settings.availability_zone, tuple(settings.hosts), dict(settings.metadata))


def _host(conf: Any, name: str) -> HostSettings:
    if not HOST_NAME.fullmatch(name):
        raise ConfigurationError(f"enabled_hosts: {name!r} is no host name (letters, digits, '.', '_' and '-')")
    settings = host_group(conf, name)
    if not settings.connection_uri:
        raise ConfigurationError(f"[host:{name}] connection_uri is missing")
    address = settings.live_migration_inbound_addr
    for scheme in (settings.live_migration_scheme, conf.libvirt.live_migration_scheme):
        if scheme and not addresses.is_transport(scheme):
            raise ConfigurationError(f"live_migration_scheme: libvirt has no transport {scheme!r}")
    return HostSettings(
        name=name,
        connection_uri=_checked(f"[host:{name}] connection_uri", settings.connection_uri),
        migration_uri=_checked(f"the live_migration_uri of {name}", _migration_uri(conf, settings, name)),
        inbound_address=str(address) if address else None,
        reserved_memory_mib=_own(settings, conf, "reserved_host_memory_mb"),
        reserved_disk_mib=_own(settings, conf, "reserved_host_disk_mb"),
    )


def _checked(what: str, uri: str) -> str:
    if (problem := addresses.problem(uri)) is not None:
        raise ConfigurationError(f"{what} is no URI of libvirt's: {problem}")
    return uri


def _own(settings: Any, default: Any, option: str) -> Any:
    """A host's own value, else the one for all."""
    return default[option] if settings[option] is None else settings[option]


def _migration_uri(conf: Any, settings: Any, name: str) -> str:
    """The host's own options go before those of [libvirt], and a whole URI before a scheme, which makes Nova's URI."""
    address = settings.live_migration_inbound_addr
    reached_at = str(address or urlsplit(settings.connection_uri).hostname or name)
    uris = (
        settings.live_migration_uri,
        _from_scheme(settings.live_migration_scheme, reached_at),
        _from_template(conf, address or name),
        _from_scheme(conf.libvirt.live_migration_scheme, reached_at),
    )
    return next(filter(None, uris), str(settings.connection_uri))


def _from_scheme(scheme: str | None, address: str) -> str | None:
    return f"qemu+{scheme}://{bracketed(address)}/system" if scheme else None


def _from_template(conf: Any, address: str) -> str | None:
    template = conf.libvirt.live_migration_uri
    return template.replace("%s", bracketed(str(address))) if template else None


def bracketed(address: str) -> str:
    """An address as it stands in a URI: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{address}]" if ":" in address else address
