"""A request with what the handlers need, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import webob

from livemig.context import RequestContext
from livemig.db.store import Store
from livemig.microversions import Version
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


class Request(webob.Request):
    """webob's request; `services`, `version` and `path` parameters are set by the router."""

    services: Services
    version: Version
    parameters: dict[str, str]

    @property
    def context(self) -> RequestContext:
        context: RequestContext = self.environ[CONTEXT]
        return context

    @property
    def prefix(self) -> str:
        """The URL of the API's root as the client wrote it: with /v2.1 if it did."""
        return f"{self.application_url}/v2.1"
