"""waitress as livemig-api serves with it. Its loop reads and writes, so that a client holds a thread only while its request is worked on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, get_header_lines
from waitress.server import BaseWSGIServer, create_server

# A name or an address, and maybe a port (RFC 9110, 7.2); "" of who asks for no name. Two of them come joined by a comma, which no name has.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%25[\w.~-]+)?\]|[\w.~!$&'()*+;=%-]*)(:[0-9]*)?", re.ASCII)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what a server before this one may read as another request, or as one to another name: 400, and the connection ends (RFC 9112, 3.2 and 6)."""

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError, beside what waitress does."""
        fields = [line.partition(b":") for line in get_header_lines(header_plus.partition(b"\r\n")[2])]
        names = Counter(name.strip().lower() for name, _colon, _value in fields)
        codings = [value.strip(b" \t").lower() for name, _colon, whole in fields if name.lower() == b"transfer-encoding" for value in whole.split(b",")]
        if codings and names[b"content-length"]:
            raise ParsingError("A request has either Content-Length or Transfer-Encoding")
        super().parse_header(header_plus)
        if codings and (self.version != "1.1" or codings != [b"chunked"]):  # waitress has refused what it does not know
            raise ParsingError("Transfer-Encoding is invalid")
        if names[b"host"] > 1 or (self.version != "1.0" and not names[b"host"]):
            raise ParsingError("A request has one Host")
        if not _HOST.fullmatch(self.headers.get("HOST", "")):
            raise ParsingError("Host is invalid")


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. `channel_timeout` counts from the beginning of a request: a client that sends a byte now and then would else never be cut off."""

    last_activity: float
    parser_class = Parser

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
