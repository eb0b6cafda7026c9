"""Builds the WSGI application that a PasteDeploy file describes."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from paste import deploy

from livemig.api.request import Services
from livemig.conf import ConfigurationError

_SERVICES: ContextVar[Services] = ContextVar("services")


def services() -> Services:
    """What the application being loaded works with; for the factories named in the PasteDeploy file."""
    return _SERVICES.get()


def load_application(provided: Services) -> Any:
    """The application [composite:main] of [api] paste_config."""
    token = _SERVICES.set(provided)
    try:
        return deploy.loadapp(f"config:{paste_file(provided.conf)}", name="main")
    finally:
        _SERVICES.reset(token)


def load_server(conf: Any) -> Any:
    """The server [server:main] of the same file: a function that serves an application until the process is told to stop."""
    settings = {"listen_host": str(conf.api.listen_host), "listen_port": str(conf.api.listen_port), "threads": str(conf.api.threads)}
    return deploy.loadserver(f"config:{paste_file(conf)}", name="main", global_conf=settings)


def paste_file(conf: Any) -> str:
    """Where [api] paste_config is: as given, in a configuration directory, in a checkout, or where pip put it. Raises ConfigurationError."""
    name = conf.api.paste_config
    places = (name, conf.find_file(name), Path(__file__).parents[2] / name, Path(sys.prefix, "etc", "livemig", name))
    found = next((Path(place) for place in places if place and Path(place).is_file()), None)
    if found is None:
        raise ConfigurationError(f"[api] paste_config: no file {name}")
    return str(found.resolve())
