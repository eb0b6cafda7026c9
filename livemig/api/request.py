"""A request with what the handlers need, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import webob

from livemig import exceptions
from livemig.context import RequestContext
from livemig.db.store import Store
from livemig.microversions import Version
from livemig.policies import Policies
from livemig.records import Aggregate, Server
from livemig.rpc import ConductorClient
from livemig.runtime import Runtime

CONTEXT = "livemig.context"  # environ key, set by the authentication filters


@dataclass(frozen=True, slots=True)
class Services:
    """What the handlers work with."""

    conf: Any
    store: Store
    conductor: ConductorClient
    runtime: Runtime
    policies: Policies
    aggregates: Sequence[Aggregate]
    started_at: datetime


class Request(webob.Request):
    """webob's request; `services`, `version`, the route's `template`, the `parameters` of the path and the validated `query` are set by the router.

    `root` is the path of the API as the client wrote it, such as /v2.1/PROJECT; `legacy` says that it is /v2, which has no microversions.
    """

    services: Services
    version: Version
    template: str
    parameters: dict[str, str]
    query: Mapping[str, Sequence[str]]
    root: str
    legacy: bool

    @property
    def context(self) -> RequestContext:
        context: RequestContext = self.environ[CONTEXT]
        return context

    @property
    def prefix(self) -> str:
        """The URL of the API's root as the client wrote it: with /v2.1 if it did, and with the project."""
        return self.application_url + (self.root or "/v2.1")

    @property
    def bookmark_prefix(self) -> str:
        """The same without a version (nova/api/openstack/common.py, _get_bookmark_link)."""
        return self.application_url + self.root.removeprefix("/v2.1").removeprefix("/v2")

    def one(self, name: str) -> str | None:
        """The query parameter of that name; the last one, if it was given several times."""
        values = self.query.get(name)
        return values[-1] if values else None

    def allows(self, rule: str, target: Any = None) -> bool:
        """Whether the policy lets the client do it. `target` is a Server, or None for what belongs to nobody."""
        return self.services.policies.allows(self.context, rule, target and _owner(target))

    def require(self, rule: str, target: Any = None) -> None:
        """Raises Forbidden."""
        self.services.policies.require(self.context, rule, target and _owner(target))

    def server(self) -> Server:
        """The server that the path names. Raises ServerNotFound, for one of a foreign project too."""
        server = self.services.store.servers.get(self.parameters["id"])
        seen = self.projects()
        if seen is not None and server.project_id not in seen:
            raise exceptions.ServerNotFound(server=self.parameters["id"])
        return server

    def projects(self) -> tuple[str, ...] | None:
        """The projects whose things are there for the client: its own, if it has one; None for an administrator, to whom all are."""
        if self.context.is_admin:
            return None
        own = self.context.project_id
        return (own,) if own else ()


def _owner(target: Any) -> dict[str, str]:
    return {"project_id": target.project_id, "user_id": target.user_id}
