"""Names and addresses as they may stand in a URI, and URIs of libvirt as they may be configured."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

HOST_NAME = re.compile(r"[a-zA-Z0-9._-]{1,255}")
_TRANSPORTS = ("tls", "ssh", "tcp", "unix", "libssh", "libssh2", "ext")
_SCHEME = re.compile(r"[a-z][a-z0-9]*(\+({}))?".format("|".join(_TRANSPORTS)))


def is_transport(scheme: str) -> bool:
    """Whether libvirt knows it (https://libvirt.org/uri.html)."""
    return scheme in _TRANSPORTS


def is_address(address: str) -> bool:
    """A host name, or an IP address without brackets."""
    if HOST_NAME.fullmatch(address) and not address.startswith("-"):
        return True
    try:
        return bool(ipaddress.ip_address(address)) and "%" not in address
    except ValueError:
        return False


def problem(uri: str) -> str | None:
    """What is wrong with a URI of libvirt; None for nothing. A name that begins with a hyphen would be an option of ssh's."""
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if any(ord(character) <= 32 or ord(character) == 127 for character in uri):
        return "it has a space or a control character"
    if not _SCHEME.fullmatch(parts.scheme):
        return f"its scheme is not DRIVER or DRIVER+TRANSPORT, the transport being one of {', '.join(_TRANSPORTS)}"
    if host and not is_address(host):
        return f"{host!r} is no host name and no address"
    if parts.username and not HOST_NAME.fullmatch(parts.username):
        return "its user is no name"
    return "it has a password" if parts.password else None
