"""What a browser tells of the page that makes it ask: so that no page of somebody else uses what this browser can reach, or has logged in to."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any
from urllib.parse import urlsplit

from livemig import conf as configuration

# What proxies add to a request that they pass on (RFC 7239, RFC 9110 section 7.6.3, and what was usual before).
_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Real-IP")
_OWN = ("none", "same-origin")  # none: nobody's page, but somebody who typed the address


def foreign_page(environ: Mapping[str, Any], allowed: Container[str]) -> str | None:
    """The site whose page asks, if it is neither the API's own nor one of the `allowed`; None where no page asks, too.

    Browsers set both headers, and no script of a page can (RFC 6454; https://www.w3.org/TR/fetch-metadata/).
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return None if environ.get("HTTP_SEC_FETCH_SITE", "none") in _OWN else "another site"
    own = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST')}"
    return None if origin in allowed or origin == own else origin


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine as nobody else can: any other name may be made to resolve to it (DNS rebinding)."""
    try:
        return configuration.is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def proxied(environ: Mapping[str, Any]) -> str | None:
    """A header by which a proxy says that it passes the request on."""
    return next((name for name in _PROXIES if f"HTTP_{name.upper().replace('-', '_')}" in environ), None)
