"""waitress as livemig-api serves with it. Its loop reads and writes, so that a client holds a thread only while its request is worked on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. `channel_timeout` counts from the beginning of a request: a client that sends a byte now and then would else never be cut off."""

    last_activity: float

    def handle_read(self) -> None:
        began, under_way = self.last_activity, self.request is not None
        super().handle_read()
        if under_way and self.request is not None:
            self.last_activity = began


def factory(_global_conf: dict[str, str], **settings: str) -> Callable[[Any], None]:
    """PasteDeploy's entry: waitress' own settings."""

    def serve(application: Any) -> None:
        server = create_server(application, **settings)
        for each in (server, *getattr(server, "map", {}).values()):  # a name may have several addresses
            if isinstance(each, BaseWSGIServer):
                each.channel_class = Channel
        server.run()

    return serve
