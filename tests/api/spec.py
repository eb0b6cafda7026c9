"""Every answer of the API in the tests is held against a specification that is not ours: Tempest's response schemas (tests/api/tempest_schemas.py).

`Validated` goes around the application of tests/service.py, so that each request of each test passes through it; an answer that does not fit is an
AssertionError in the test that asked. It counts which schemas were met: `never_exercised()` is what is left to test.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jsonschema
import microversion_parse
from tempest.lib.common.jsonschema_validator import FORMAT_CHECKER, JSONSCHEMA_VALIDATOR

from tests.api.tempest_schemas import FIRST, LAST, SCHEMAS, VERSION_DOCUMENTS, Schema, Version, find, text

ENFORCED = True
"""Whether answers that do not fit fail their test."""

OWN = {("GET", "openapi.json")}
"""(method, last part of the path) of what livemig serves and Nova does not: no one else specifies it."""

VERSION_HEADERS = ("openstack-api-version", "x-openstack-nova-api-version")
FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
"""The fault of a status (nova/api/openstack/wsgi.py, Fault); every other status has "computeFault"."""

exercised: Counter[Schema] = Counter()
"""How many answers have met a schema in this process."""


def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or str(UUID(value)) == value


def _is_url(value: object) -> bool:
    return not isinstance(value, str) or all(urlsplit(value)[:2])


# Tempest's schemas name these two formats, but its validator lets everything pass as one: it lacks the libraries for them.
_FORMATS = jsonschema.FormatChecker(formats=())
_FORMATS.checkers = {**FORMAT_CHECKER.checkers, "uuid": (_is_uuid, ValueError), "uri": (_is_url, ValueError)}


def validate(method: str, path: str, version: Version, status: int, headers: dict[str, str], body: bytes, action: str = "") -> None:
    """Hold an answer to a request at a microversion against its specification. `headers` have names in lower case. Raises AssertionError, which says why."""
    asked = f"{method} {path} {action}".rstrip() + f" at {text(version)}"
    if method == "OPTIONS" or (method, path.rpartition("/")[2]) in OWN or 300 <= status < 400:
        return
    if status >= 400:
        _validate_fault(asked, status, headers, b"" if method == "HEAD" else body, method)
        return
    schema = find("GET" if method == "HEAD" else method, path, version, action)
    assert schema is not None, f"{asked} was answered with {status}, but Nova has no such request"
    told = f"{asked} does not fit {schema.source}"
    assert status in schema.status, f"{told}: status {status} is not of {schema.status}"
    if schema.route not in VERSION_DOCUMENTS and not path.startswith("/v2/"):  # both have no microversion
        shown = tuple(headers.get(name) for name in VERSION_HEADERS)
        assert shown == (f"compute {text(version)}", text(version)), f"{told}: its headers say the versions {shown}"
    if method == "HEAD":
        return
    if schema.body is None:
        assert body == b"", f"{told}: there should be no body, but there is {body[:200]!r}"
    else:
        wrong = _errors(schema.body, _json(told, headers, body))
        assert not wrong, "\n    ".join([f"{told}:", *wrong])
    exercised[schema] += 1


def _validate_fault(asked: str, status: int, headers: dict[str, str], body: bytes, method: str) -> None:
    if method == "HEAD":
        return
    told = f"{asked} has no proper fault in its {status}"
    answer = _json(told, headers, body)
    assert isinstance(answer, dict) and len(answer) == 1, f"{told}: {answer}"
    ((name, fault),) = answer.items()
    # The authentication middlewares have a word of their own.
    names = {FAULTS.get(status, "computeFault"), *(["error"] if status == 401 else [])}
    assert name in names, f"{told}: it is called {name}, not {' or '.join(sorted(names))}"
    allowed = {"code", "message", *(["title"] if name == "error" else []), *(["retryAfter"] if name == "overLimit" else [])}
    assert isinstance(fault, dict) and {"code", "message"} <= fault.keys() <= allowed, f"{told}: {fault}"
    assert fault["code"] == status and isinstance(fault["message"], str), f"{told}: {fault}"


def _json(told: str, headers: dict[str, str], body: bytes) -> Any:
    kind = headers.get("content-type", "")
    assert kind.partition(";")[0] == "application/json", f"{told}: its Content-Type is {kind!r}"
    try:
        return json.loads(body)
    except ValueError as error:
        raise AssertionError(f"{told}: it is no JSON ({error}): {body[:200]!r}") from None


def _errors(schema: Any, answer: Any) -> list[str]:
    found = JSONSCHEMA_VALIDATOR(schema, format_checker=_FORMATS).iter_errors(answer)
    return [f"{error.json_path}: {error.message[:400]}" for error in sorted(found, key=lambda error: error.json_path)][:10]


def never_exercised(served: Iterable[tuple[str, ...]] | None = None, newest: Version = LAST) -> list[str]:
    """The schemas that no valid answer has met in this process, of the microversions up to `newest`.

    `served` are the (method, template) that the API has, or (method, template, action) where not all actions are served; names of parameters do not
    matter. Without it, all that are known count.
    """
    wanted = None if served is None else {(method, _anonymous(template), *action) for method, template, *action in served}
    return [
        f"{schema} ({schema.source})"
        for route, schemas in SCHEMAS.items()
        if wanted is None or {(route.method, _anonymous(route.template)), (route.method, _anonymous(route.template), route.action)} & wanted
        for schema in schemas
        if schema.since <= newest and not exercised[schema]
    ]


def _anonymous(template: str) -> str:
    return re.sub(r"{\w+}", "{}", template)


class Validated:
    """A WSGI application whose answers are held against the specification."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not ENFORCED:
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        # All of it before the application, which may change environ.
        sent = _read(environ)
        method, path = environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        asked = _asked(environ)
        started: list[tuple[str, list[tuple[str, str]], Any]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [(status, headers, exc_info)]
            return lambda _data: None

        answered = self._application(environ, start)
        body = b"".join(answered)
        if hasattr(answered, "close"):
            answered.close()
        ((status, headers, exc_info),) = started
        named = {name.lower(): value for name, value in headers}
        version = asked or _version(named.get("x-openstack-nova-api-version", ""))
        validate(method, path, version, int(status.split()[0]), named, body, _action(path, sent))
        start_response(status, headers, exc_info)
        return [body]


def _read(environ: dict[str, Any]) -> bytes:
    """The body of a request, which the application can still read."""
    length = environ.get("CONTENT_LENGTH") or 0
    stream = environ["wsgi.input"]
    try:
        sent: bytes = stream.read(int(length)) if int(length) >= 0 else b""
    except ValueError:
        return b""
    environ["wsgi.input"] = BytesIO(sent)
    return sent


def _action(path: str, sent: bytes) -> str:
    """The name of the action that a request is about."""
    if not path.endswith("/action"):
        return ""
    try:
        asked = json.loads(sent)
    except (ValueError, RecursionError):
        return ""
    return next(iter(asked)) if isinstance(asked, dict) and len(asked) == 1 else ""


def _asked(environ: dict[str, Any]) -> Version | None:
    """The microversion that a request asks for; None for "latest" and nonsense, where the answer must say it."""
    if environ.get("PATH_INFO", "").startswith("/v2/"):
        return FIRST
    names = ("OpenStack-API-Version", "X-OpenStack-Nova-API-Version")
    given = {name: environ[key] for name in names if (key := f"HTTP_{name.upper().replace('-', '_')}") in environ}
    asked = microversion_parse.get_version(given, service_type="compute", legacy_headers=[names[1]])
    if asked is None or not asked.strip():
        return FIRST
    return None if asked.lower() == "latest" else _version(asked)


def _version(string: str) -> Version:
    """A version that is none is the first one: its answer is a fault, or has not the headers that it must have."""
    try:
        major, minor = string.split(".")
        return int(major), int(minor)
    except ValueError:
        return FIRST
