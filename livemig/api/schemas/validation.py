"""jsonschema with Nova's words (nova/api/validation/validators.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import webob.exc
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from livemig.microversions import Version

Schema = Mapping[str, Any]
Versioned = Sequence[tuple[Version, Schema]]  # (since, schema), oldest first

# What Nova takes for a bool, and nothing else (nova/api/validation/parameter_types.py, boolean).
TRUE = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes")
FALSE = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
BOOLEAN: Schema = {"type": ["boolean", "string"], "enum": [*TRUE, *FALSE]}

# Nova's host name; unlike Nova's own pattern, this one does not let a newline pass at the end.
HOST: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9-._]*\Z"}


def check(schemas: Versioned, version: Version, body: Any) -> None:
    """Validate against the schema in force at `version`. Raises HTTPBadRequest."""
    schema = next(schema for since, schema in reversed(schemas) if since <= version)
    error = best_match(Draft202012Validator(schema).iter_errors(body))
    if error is not None:
        raise webob.exc.HTTPBadRequest(_words(error))


def boolean(value: bool | str) -> bool:
    """The bool that a value accepted by BOOLEAN stands for."""
    return value in TRUE


def _words(error: ValidationError) -> str:
    if not error.path:
        return error.message
    return f"Invalid input for field/attribute {error.path[-1]}. Value: {error.instance}. {error.message}"
