"""jsonschema with Nova's words (nova/api/validation/validators.py), and the pieces that schemas share (parameter_types.py)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from typing import Any

import webob.exc
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from oslo_utils import strutils, timeutils

from livemig.db import patterns
from livemig.microversions import MIN, STRICT_EVERYWHERE, Version

Schema = Mapping[str, Any]
Versioned = Sequence[tuple[Version, Schema]]  # (since, schema), oldest first

FORMATS = FormatChecker(())


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(moment(value))


@FORMATS.checks("regex", raises=ValueError)
def _is_pattern(value: object) -> bool:
    if isinstance(value, str):
        patterns.check(value)
    return True


# What Nova takes for a bool, and nothing else (nova/api/validation/parameter_types.py, boolean).
TRUE = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes")
FALSE = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
BOOLEAN: Schema = {"type": ["boolean", "string"], "enum": [*TRUE, *FALSE]}

# Nova's host name; unlike Nova's own pattern, this one does not let a newline pass at the end.
HOST_PATTERN = r"^[a-zA-Z0-9-._]*\Z"
HOST: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": HOST_PATTERN}
HOST_NAME: Schema = {**HOST, "type": "string"}
TEXT: Schema = {"type": "string"}
LINE: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
NUMBER: Schema = {"type": "string", "pattern": r"^[0-9]*\Z"}
TIME: Schema = {"type": "string", "format": "date-time"}
PATTERN: Schema = {"type": "string", "format": "regex", "maxLength": patterns.LONGEST}
MOST_VALUES = 100  # of one parameter of a query
NULL: Schema = {"type": "null"}


def record(properties: Mapping[str, Schema], required: Iterable[str] | None = None) -> Schema:
    """An object with these properties and no others; all of them are required unless it is said which are."""
    needed = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **({"required": needed} if needed else {})}


def query(properties: Mapping[str, Schema], several: Iterable[str] = (), strict: bool = False) -> Schema:
    """A query string: each parameter at most once, but for `several`; unknown ones are ignored unless it is `strict`."""
    many = set(several)
    items = {name: {"type": "array", "items": schema, "maxItems": MOST_VALUES if name in many else 1} for name, schema in properties.items()}
    return {"type": "object", "properties": items, "additionalProperties": not strict}


# Of what takes no parameters: those that come are ignored, and a 400 in the end.
ANY_QUERY: Versioned = ((MIN, query({})), (STRICT_EVERYWHERE, query({}, strict=True)))


def in_force(schemas: Versioned, version: Version) -> Schema | None:
    """The schema at a version; None before the first."""
    return next((schema for since, schema in reversed(schemas) if since <= version), None)


def check(schemas: Versioned, version: Version, body: Any) -> None:
    """Validate a body against the schema in force at `version`. Raises HTTPBadRequest."""
    error = _error(schemas, version, body)
    if error is not None:
        raise webob.exc.HTTPBadRequest(_words("field/attribute", error, error.path[-1] if error.path else None))


def check_query(schemas: Versioned, version: Version, query: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Validate a query string; what the schema knows of it. Raises HTTPBadRequest."""
    error = _error(schemas, version, query)
    if error is not None:
        raise webob.exc.HTTPBadRequest(_words("query parameters", error, error.path[0] if error.path else None))
    known = (in_force(schemas, version) or {}).get("properties", {})
    return {name: values for name, values in query.items() if name in known}


def pruned(schemas: Versioned, version: Version, body: Any) -> Any:
    """A body without the properties that its schema does not know: the legacy /v2 drops them (nova/api/validation/validators.py)."""
    return _pruned(in_force(schemas, version) or {}, body)


def _pruned(schema: Schema, value: Any) -> Any:
    properties = schema.get("properties")
    if not isinstance(value, dict) or properties is None or schema.get("additionalProperties") is not False:
        return value
    return {name: _pruned(properties[name], inner) for name, inner in value.items() if name in properties}


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID, with or without hyphens."""
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


def boolean(value: bool | str) -> bool:
    """The bool that a value accepted by BOOLEAN stands for."""
    return value in TRUE


def flag(value: str) -> bool:
    """A bool where Nova takes it in more ways than BOOLEAN has. Raises ValueError, with Nova's words."""
    meant: bool = strutils.bool_from_string(value, strict=True)
    return meant


def moment(value: str) -> datetime:
    """The time that a value accepted by TIME stands for: UTC, naive. Raises ValueError for any other."""
    try:
        parsed: datetime = timeutils.parse_isotime(value)
        return parsed.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError as error:  # it would be before the year 1, or after 9999
        raise ValueError(str(error)) from error


def number(value: str) -> int:
    """The number that a value accepted by NUMBER stands for. One that no database could hold counts as the largest that each can."""
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else 2**63 - 1


def _error(schemas: Versioned, version: Version, value: Any) -> ValidationError | None:
    schema = in_force(schemas, version)
    if schema is None:
        raise LookupError(f"no schema at {version}")
    error: ValidationError | None = best_match(_validator(_Held(schema)).iter_errors(value))
    return error


class _Held:
    """A schema as a key: schemas are constants, so that their identity does."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.schema is other.schema

    def __hash__(self) -> int:
        return id(self.schema)


@cache
def _validator(held: _Held) -> Draft202012Validator:
    """Made once and not for every request."""
    return Draft202012Validator(held.schema, format_checker=FORMATS)


def _words(what: str, error: ValidationError, name: Any) -> str:
    if name is None:
        return error.message
    value = error.instance[0] if what == "query parameters" and isinstance(error.instance, list) and len(error.instance) == 1 else error.instance
    return f"Invalid input for {what} {name}. Value: {value}. {error.message}"
