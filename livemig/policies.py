"""Who may do what: Nova's rules by Nova's names (nova/policies), enforced by oslo.policy.

The defaults are Nova's: an administrator may do everything; a project's manager may move its servers where livemig chooses; its members may stop and
start them; its readers see them, but not where they are. [oslo_policy] policy_file overrides; `oslopolicy-sample-generator --namespace livemig` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oslo_policy import policy

from livemig import exceptions
from livemig.runtime import Runtime

ADMIN = "rule:context_is_admin"
MANAGER = "rule:project_manager_or_admin"
MEMBER = "rule:project_member_or_admin"
READER = "rule:project_reader_or_admin"
ANYBODY = "@"
# Tokens to which any rule may say yes. livemig knows no domains: an administrator of one, who is an administrator of that alone, has no rights here.
SCOPES = ["system", "project"]

BASE = (
    policy.RuleDefault("context_is_admin", "role:admin", "An administrator of everything.", scope_types=SCOPES),
    policy.RuleDefault(
        "project_manager_or_admin",
        f"{ADMIN} or (role:manager and project_id:%(project_id)s)",
        "A manager of the project, or an administrator.",
        scope_types=SCOPES,
    ),
    policy.RuleDefault(
        "project_member_or_admin",
        f"{ADMIN} or ((role:member or role:manager) and project_id:%(project_id)s)",
        "A member of the project, or an administrator.",
        scope_types=SCOPES,
    ),
    policy.RuleDefault(
        "project_reader_or_admin",
        f"{ADMIN} or ((role:reader or role:member or role:manager) and project_id:%(project_id)s)",
        "A reader of the project, or an administrator.",
        scope_types=SCOPES,
    ),
)

PREFIX = "os_compute_api:"

Operation = tuple[str, str]

_SHOWN = [("GET", "/servers/{server_id}"), ("GET", "/servers/detail")]

# Rule (without the prefix), who may, what it is, and the operations that it guards.
_TABLE: Sequence[tuple[str, str, str, Sequence[Operation]]] = (
    ("servers:index", READER, "List servers", [("GET", "/servers")]),
    ("servers:detail", READER, "List servers with details", [("GET", "/servers/detail")]),
    ("servers:index:get_all_tenants", ADMIN, "List the servers of all projects", [("GET", "/servers")]),
    ("servers:detail:get_all_tenants", ADMIN, "List the servers of all projects with details", [("GET", "/servers/detail")]),
    ("servers:allow_all_filters", ADMIN, "Filter and sort servers by what only administrators see", [("GET", "/servers"), ("GET", "/servers/detail")]),
    ("servers:show", READER, "Show a server", [("GET", "/servers/{server_id}")]),
    ("servers:show:host_status", ADMIN, "Show the status of a server's host", _SHOWN),
    ("servers:show:flavor-extra-specs", READER, "Show the extra specs of a server's flavor", _SHOWN),
    (
        "os-extended-server-attributes",
        ADMIN,
        "Show a server's host and what else is not its user's",
        _SHOWN,
    ),
    ("os-migrate-server:migrate_live", MANAGER, "Live-migrate a server", [("POST", "/servers/{server_id}/action (os-migrateLive)")]),
    ("os-migrate-server:migrate_live:host", ADMIN, "Live-migrate a server to a named host", [("POST", "/servers/{server_id}/action (os-migrateLive)")]),
    ("servers:migrations:index", MANAGER, "List a server's live migrations in progress", [("GET", "/servers/{server_id}/migrations")]),
    ("servers:migrations:index:host", ADMIN, "Show the hosts of these migrations", [("GET", "/servers/{server_id}/migrations")]),
    ("servers:migrations:show", ADMIN, "Show a live migration in progress", [("GET", "/servers/{server_id}/migrations/{migration_id}")]),
    ("servers:migrations:delete", MANAGER, "Abort a live migration", [("DELETE", "/servers/{server_id}/migrations/{migration_id}")]),
    (
        "servers:migrations:force_complete",
        MANAGER,
        "Force a live migration to complete",
        [("POST", "/servers/{server_id}/migrations/{migration_id}/action (force_complete)")],
    ),
    ("os-migrations:index", MANAGER, "List migrations", [("GET", "/os-migrations")]),
    ("os-migrations:index:all_projects", ADMIN, "List the migrations of all projects", [("GET", "/os-migrations")]),
    ("os-migrations:index:host", ADMIN, "Show the hosts of migrations", [("GET", "/os-migrations")]),
    ("os-pause-server:pause", MEMBER, "Pause a server", [("POST", "/servers/{server_id}/action (pause)")]),
    ("os-pause-server:unpause", MEMBER, "Unpause a server", [("POST", "/servers/{server_id}/action (unpause)")]),
    ("os-suspend-server:suspend", MEMBER, "Suspend a server", [("POST", "/servers/{server_id}/action (suspend)")]),
    ("os-suspend-server:resume", MEMBER, "Resume a suspended server", [("POST", "/servers/{server_id}/action (resume)")]),
    ("servers:start", MEMBER, "Start a server", [("POST", "/servers/{server_id}/action (os-start)")]),
    ("servers:stop", MEMBER, "Stop a server", [("POST", "/servers/{server_id}/action (os-stop)")]),
    ("servers:reboot", MEMBER, "Reboot a server", [("POST", "/servers/{server_id}/action (reboot)")]),
    ("os-lock-server:lock", MEMBER, "Lock a server", [("POST", "/servers/{server_id}/action (lock)")]),
    ("os-lock-server:unlock", MEMBER, "Unlock a server", [("POST", "/servers/{server_id}/action (unlock)")]),
    ("os-lock-server:unlock:unlock_override", ADMIN, "Unlock a server that somebody else locked", [("POST", "/servers/{server_id}/action (unlock)")]),
    ("os-admin-actions:reset_state", ADMIN, "Reset the state of a server", [("POST", "/servers/{server_id}/action (os-resetState)")]),
    ("os-server-diagnostics", ADMIN, "Show a server's diagnostics", [("GET", "/servers/{server_id}/diagnostics")]),
    ("os-volumes-attachments:index", READER, "List a server's volumes", [("GET", "/servers/{server_id}/os-volume_attachments")]),
    ("os-instance-actions:list", READER, "List the actions on a server", [("GET", "/servers/{server_id}/os-instance-actions")]),
    ("os-instance-actions:show", READER, "Show an action on a server", [("GET", "/servers/{server_id}/os-instance-actions/{request_id}")]),
    ("os-instance-actions:events", ADMIN, "Show the hosts in an action's events", [("GET", "/servers/{server_id}/os-instance-actions/{request_id}")]),
    ("os-instance-actions:events:details", ADMIN, "Show the details in an action's events", [("GET", "/servers/{server_id}/os-instance-actions/{request_id}")]),
    ("os-services:list", ADMIN, "List compute services", [("GET", "/os-services")]),
    ("os-services:update", ADMIN, "Disable, enable or force down a compute service", [("PUT", "/os-services/{service_id}")]),
    ("os-hypervisors:list", ADMIN, "List hypervisors", [("GET", "/os-hypervisors")]),
    ("os-hypervisors:list-detail", ADMIN, "List hypervisors with details", [("GET", "/os-hypervisors/detail")]),
    ("os-hypervisors:show", ADMIN, "Show a hypervisor", [("GET", "/os-hypervisors/{hypervisor_id}")]),
    ("os-hypervisors:statistics", ADMIN, "Show sums over all hypervisors", [("GET", "/os-hypervisors/statistics")]),
    ("os-hypervisors:uptime", ADMIN, "Show a hypervisor's uptime", [("GET", "/os-hypervisors/{hypervisor_id}/uptime")]),
    ("os-hypervisors:search", ADMIN, "Find hypervisors", [("GET", "/os-hypervisors/{pattern}/search")]),
    ("os-hypervisors:servers", ADMIN, "List the servers of hypervisors", [("GET", "/os-hypervisors/{pattern}/servers")]),
    ("os-hosts:list", ADMIN, "List hosts", [("GET", "/os-hosts")]),
    ("os-hosts:show", ADMIN, "Show a host", [("GET", "/os-hosts/{host_name}")]),
    ("os-aggregates:index", ADMIN, "List aggregates", [("GET", "/os-aggregates")]),
    ("os-aggregates:show", ADMIN, "Show an aggregate", [("GET", "/os-aggregates/{aggregate_id}")]),
    ("os-availability-zone:list", ANYBODY, "List availability zones", [("GET", "/os-availability-zone")]),
    ("os-availability-zone:detail", ADMIN, "List availability zones with their hosts", [("GET", "/os-availability-zone/detail")]),
    ("os-flavor-extra-specs:index", READER, "Show the extra specs of flavors", [("GET", "/flavors/detail"), ("GET", "/flavors/{flavor_id}/os-extra_specs")]),
    ("limits", ANYBODY, "Show limits", [("GET", "/limits")]),
    ("limits:other_project", ADMIN, "Show another project's limits", [("GET", "/limits?tenant_id={project_id}")]),
    ("os-simple-tenant-usage:list", ADMIN, "List what projects use", [("GET", "/os-simple-tenant-usage")]),
    ("os-simple-tenant-usage:show", READER, "Show what a project uses", [("GET", "/os-simple-tenant-usage/{project_id}")]),
)


def rules() -> list[policy.RuleDefault]:
    """Every rule with its default; oslopolicy-sample-generator's entry."""
    return [*BASE, *(_documented(*line) for line in _TABLE)]


def _documented(name: str, who: str, text: str, operations: Sequence[Operation]) -> policy.DocumentedRuleDefault:
    return policy.DocumentedRuleDefault(PREFIX + name, who, text, [{"method": method, "path": path} for method, path in operations], scope_types=SCOPES)


class Policies:
    """The rules in force. The policy file is looked at again once a second at most: oslo.policy would do so for each of a request's five questions."""

    def __init__(self, conf: Any, runtime: Runtime) -> None:
        self._runtime = runtime
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.register_defaults(rules())
        self._looked_at = float("-inf")

    def allows(self, context: Any, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        """Whether the context (a `RequestContext`) may; `target` is what it is done to, by default something of its own project.

        A target of no project is in nobody's, and a context without one has nothing: a rule that asks for the same project says no.
        """
        about = target or {"project_id": context.project_id, "user_id": context.user_id}
        return self._enforce(PREFIX + rule, {name: value for name, value in about.items() if value not in (None, "")}, context)

    def require(self, context: Any, rule: str, target: Mapping[str, Any] | None = None) -> None:
        """Raises Forbidden."""
        if not self.allows(context, rule, target):
            raise exceptions.Forbidden(rule=PREFIX + rule)

    def is_admin(self, context: Any) -> bool:
        """Whether a context is an administrator's (rule context_is_admin)."""
        return self._enforce("context_is_admin", {}, context)

    def _enforce(self, rule: str, target: Mapping[str, Any], context: Any) -> bool:
        now = self._runtime.monotonic()
        if now - self._looked_at > _LOOK_AGAIN_S:
            self._looked_at = now
            self._enforcer.use_conf = True
            self._enforcer.load_rules()
            self._enforcer.use_conf = False
        return bool(self._enforcer.authorize(rule, target, context))


_LOOK_AGAIN_S = 1.0
