"""The body of a request: what is JSON, and what is not taken for it."""

from __future__ import annotations

import json
import re
from typing import Any

import webob.exc

from livemig.api.request import Request

_MEDIA_TYPES = ("application/json", "application/vnd.openstack.compute+json", "text/plain", "")
# What JSON can write and no database or log can: NUL, and halves of surrogate pairs.
_ESCAPES = re.compile(rb"\\u(0000|d[89a-f][0-9a-f]{2})", re.IGNORECASE)
_UNSPEAKABLE = re.compile(r"(?<!\\)(\\\\)*\\u0000|[\ud800-\udfff]")  # in JSON that is written as it is, but for control characters


def read(request: Request) -> Any:
    """The body, of whatever JSON type. Raises HTTPUnsupportedMediaType, HTTPBadRequest."""
    if request.content_type not in _MEDIA_TYPES:
        raise webob.exc.HTTPUnsupportedMediaType("Unsupported Content-Type")
    try:
        content = json.loads(request.body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested without end
        raise malformed() from None
    if _ESCAPES.search(request.body) and _UNSPEAKABLE.search(json.dumps(content, ensure_ascii=False)):
        raise malformed()
    return content


def malformed() -> webob.exc.HTTPBadRequest:
    """Nova's word for it (nova/api/openstack/wsgi.py)."""
    return webob.exc.HTTPBadRequest("Malformed request body")
