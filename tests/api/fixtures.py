"""gabbi's fixtures: a service over a fleet, for one YAML file each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from gabbi import fixture

from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from tests.api.world import GUESTS, World
from tests.service import Service

_current: list[Service] = []
NAMED: dict[str, Any] = {"api__noauth_behind_proxy": True}  # gabbi gives the service of each file a host name of its own


class Fleet(fixture.GabbiFixture):  # type: ignore[misc]
    """Three hosts; on node1 the guests "web" (running, its id in $SERVER) and "off" (shut off, $OFF)."""

    def start_fixture(self) -> None:
        service = Service(Path(tempfile.mkdtemp()), ThreadRuntime(), **NAMED)
        service.fleet.speed = 50
        service.fleet.add_guest("web", "node1")
        service.fleet.add_guest("off", "node1", state="shutoff")
        os.environ.update(SERVER=guest_uuid("web"), OFF=guest_uuid("off"))
        service.__enter__()
        _current.append(service)

    def stop_fixture(self) -> None:
        _current.pop().__exit__()


class Furnished(fixture.GabbiFixture):  # type: ignore[misc]
    """One of everything (tests/api/world.py): $WEB, $OFF, … are the ids of the guests, $NODE1 and $NODE1_SERVICE those of hosts, $BUSY_MIGRATION a number."""

    def start_fixture(self) -> None:
        world = World(Path(tempfile.mkdtemp()), **NAMED)
        _current.append(world)
        world.__enter__().furnish()
        os.environ.update({name.upper(): world.id(name) for name in GUESTS})
        os.environ.update({host.name.upper(): host.uuid for host in world.store.hosts.all()})
        os.environ.update({f"{host.name.upper()}_SERVICE": host.service_uuid for host in world.store.hosts.all()})
        for name in ("web", "busy", "gone"):
            migration = world.store.migrations.of_server(world.id(name))[0]
            os.environ.update({f"{name.upper()}_MIGRATION": str(migration.id), f"{name.upper()}_MIGRATION_UUID": migration.uuid})

    def stop_fixture(self) -> None:
        _current.pop().__exit__()


def application() -> Any:
    """What gabbi talks to."""

    def current(environ: dict[str, Any], start_response: Any) -> Any:
        return _current[-1].application(environ, start_response)

    return current
