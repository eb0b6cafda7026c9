"""Who asks: the context of a request, carried with it over RPC and into the log."""

from __future__ import annotations

from typing import Any

from oslo_context import context as oslo_context


class RequestContext(oslo_context.RequestContext):  # type: ignore[misc]
    """oslo.context's, under livemig's name; `user_id`, `project_id`, `request_id` and `is_admin` are what livemig reads."""

    def to_policy_values(self) -> dict[str, Any]:
        """What rules compare with. Facts that the client has not are left out: a rule compares texts, and no project would be the project "None"."""
        return {name: value for name, value in super().to_policy_values().items() if value not in (None, "")}


def from_environ(environ: dict[str, Any], **facts: Any) -> RequestContext:
    """The context of a WSGI request (headers as keystonemiddleware sets them; request id as oslo.middleware sets it)."""
    context: RequestContext = RequestContext.from_environ(environ, **facts)
    context.project_id = context.project_id or None
    return context


def system() -> RequestContext:
    """The context of work that nobody asked for, such as taking up a migration after a restart."""
    return RequestContext(user_id="livemig", project_id="livemig", is_admin=True)


def from_dict(carried: dict[str, Any]) -> RequestContext:
    """The context that `to_dict()` turned into a dictionary."""
    context: RequestContext = RequestContext.from_dict(carried)
    return context
