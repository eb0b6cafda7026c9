"""gabbi's fixtures: a service over a fleet, for one YAML file each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from gabbi import fixture

from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from tests.service import Service

_current: list[Service] = []


class Fleet(fixture.GabbiFixture):  # type: ignore[misc]
    """Three hosts; on node1 the guests "web" (running, its id in $SERVER) and "off" (shut off, $OFF)."""

    def start_fixture(self) -> None:
        service = Service(Path(tempfile.mkdtemp()), ThreadRuntime())
        service.fleet.speed = 50
        service.fleet.add_guest("web", "node1")
        service.fleet.add_guest("off", "node1", state="shutoff")
        os.environ.update(SERVER=guest_uuid("web"), OFF=guest_uuid("off"))
        service.__enter__()
        _current.append(service)

    def stop_fixture(self) -> None:
        _current.pop().__exit__()


def application() -> Any:
    """What gabbi talks to."""

    def current(environ: dict[str, Any], start_response: Any) -> Any:
        return _current[-1].application(environ, start_response)

    return current
