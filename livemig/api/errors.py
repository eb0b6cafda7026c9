"""Domain errors to HTTP statuses, and statuses to Nova's fault names, as data (nova/api/openstack/wsgi.py, Fault)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import webob
import webob.exc
from oslo_log import log

from livemig import exceptions

LOG = log.getLogger(__name__)

STATUSES: dict[type[Exception], int] = {
    exceptions.NotFound: 404,
    exceptions.Conflict: 409,
    exceptions.Forbidden: 403,
    exceptions.InvalidPattern: 400,
    exceptions.Refused: 400,
    exceptions.LiveMigrationFailed: 400,
    exceptions.ActionFailed: 500,
    exceptions.Unavailable: 503,
}

FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}

UNEXPECTED = "Unexpected API Error. Please contact the administrator; the log of the service has the cause under this request's id."
RETRY_AFTER_S = 10

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def status_of(error: Exception) -> int:
    """The status of the nearest class that has one; 500 for anything else. oslo.messaging's remote classes derive from ours."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def fault(status: int, message: str, headers: dict[str, str] | None = None) -> webob.Response:
    """A Nova fault: {"itemNotFound": {"code": 404, "message": "…"}}."""
    body: dict[str, Any] = {"code": status, "message": message}
    response = webob.Response(status=status)
    response.headers["Content-Type"] = "application/json; charset=UTF-8"  # as Nova writes it; webob would leave the charset out
    for name, value in (headers or {}).items():
        response.headers[name] = value
    if status == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    if status in (413, 429) and "Retry-After" in response.headers:
        body["retryAfter"] = response.headers["Retry-After"]
    response.body = json.dumps({FAULTS.get(status, "computeFault"): body}).encode()
    return response


def answer(error: Exception) -> webob.Response:
    """The fault for an error that left a handler. What is unexpected is logged whole, and the answer says nothing of it."""
    if isinstance(error, webob.exc.HTTPException):
        return fault(error.status_int, error.detail or error.explanation)  # type: ignore[attr-defined]
    status = status_of(error)
    if status == 500 and not isinstance(error, exceptions.ActionFailed):
        LOG.error("Unexpected error", exc_info=error)
        return fault(status, UNEXPECTED)
    if isinstance(error, exceptions.DatabaseUnavailable):
        LOG.warning("The database is away: %s", error.why)
    return fault(status, str(error))


class Faults:
    """WSGI filter: whatever fails inside, the client gets a fault body. It also turns the HTML errors of other filters into faults."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        request = webob.Request(environ)
        try:
            response = request.get_response(self._application)
        except Exception as error:  # noqa: BLE001 - answer() logs it whole
            response = answer(error)
        if response.status_int >= 400 and not _is_fault(response):
            response = fault(response.status_int, _plain(response), {name: response.headers[name] for name in _KEPT if name in response.headers})
        if REQUEST_ID in environ:
            response.headers["x-compute-request-id"] = environ[REQUEST_ID]
        return response(environ, start_response)


REQUEST_ID = "openstack.request_id"  # where oslo.middleware's RequestId leaves it
_KEPT = ("Retry-After", "WWW-Authenticate")
_TEXTS = {413: "Request is too large."}


def _is_fault(response: webob.Response) -> bool:
    """keystonemiddleware's refusals are JSON, but no faults."""
    try:
        return response.content_type == "application/json" and bool(_NAMES & set(response.json_body))
    except ValueError:
        return False


_NAMES = {*FAULTS.values(), "computeFault"}


def _plain(response: webob.Response) -> str:
    return _TEXTS.get(response.status_int, response.status.partition(" ")[2])


def filter_factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[Application], Application]:
    """PasteDeploy's entry."""
    return Faults
