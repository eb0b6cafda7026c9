"""The tree of domain errors, their texts, and their way over RPC."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from string import Formatter
from typing import Any

import pytest
from oslo_messaging._drivers import common as wire

from livemig import exceptions
from livemig.exceptions import LivemigError


def tree(kind: type[LivemigError] = LivemigError) -> Iterator[type[LivemigError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == exceptions.__name__:
            yield from tree(below)


CLASSES = list(tree())


def facts(kind: type[LivemigError]) -> dict[str, Any]:
    """Something for every fact that the template names."""
    return {name: f"the {name}" for _text, name, _format, _conversion in Formatter().parse(kind.template) if name}


def drawn() -> dict[str, str]:
    """Class and base, as the docstring draws them."""
    bases: dict[str, str] = {}
    path: list[str] = []
    for prefix, name in re.findall(r"^    ((?:[│ ] {3})*(?:[├└]── )?)(\w+)", exceptions.__doc__ or "", re.MULTILINE):
        depth = len(prefix) // 4
        path[depth:] = [name]
        bases[name] = path[depth - 1] if depth else "Exception"
    return bases


def test_the_docstring_draws_the_tree() -> None:
    assert drawn() == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_texts_hold_their_facts(kind: type[LivemigError]) -> None:
    given = facts(kind)
    text = str(kind(**given))
    assert text and "{" not in text
    assert all(value in text for value in given.values())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_survive_rpc(kind: type[LivemigError]) -> None:
    error = kind(**facts(kind))
    try:
        raise error
    except LivemigError:
        carried = wire.serialize_remote_exception(sys.exc_info())
    again = wire.deserialize_remote_exception(carried, [exceptions.__name__])
    assert isinstance(again, kind)
    assert again.kwargs == error.kwargs


def test_facts_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        exceptions.ServerNotFound("web")  # type: ignore[call-arg]
