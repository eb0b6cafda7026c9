"""The microversions of the API: Nova's, from 2.1 to 2.104 (nova/api/openstack/compute/rest_api_version_history.rst).

Every version in between is accepted. Those at which an answer or a request of livemig changes have a name here, and their line in HISTORY.
"""

from __future__ import annotations

Version = tuple[int, int]

MIN: Version = (2, 1)
MAX: Version = (2, 104)

EXTENDED_ATTRIBUTES = (2, 3)
LOCKED = (2, 9)
FORCED_DOWN = (2, 11)
HOST_STATUS = (2, 16)
DESCRIPTION = (2, 19)
ACTIONS_OF_DELETED = (2, 21)
FORCE_COMPLETE = (2, 22)
SERVER_MIGRATIONS = (2, 23)
ABORT = (2, 24)
BLOCK_MIGRATION_AUTO = (2, 25)
TAGS = (2, 26)
CPU_INFO = (2, 28)
FORCE = (2, 30)
PAGED_HYPERVISORS = (2, 33)
ASYNCHRONOUS = (2, 34)
NO_NETWORK_LIMITS = (2, 36)
STATUS_WORDS = (2, 38)
NO_IMAGE_LIMITS = (2, 39)
USAGE_PAGES = (2, 40)
AGGREGATE_UUIDS = (2, 41)
NO_HOSTS_API = (2, 43)
EMBEDDED_FLAVOR = (2, 47)
DIAGNOSTICS = (2, 48)
ACTION_EVENTS = (2, 51)
UUIDS = (2, 53)
FLAVOR_DESCRIPTION = (2, 55)
NO_FILE_LIMITS = (2, 57)
PAGED_ACTIONS = (2, 58)
PAGED_MIGRATIONS = (2, 59)
FLAVOR_EXTRA_SPECS = (2, 61)
EVENT_HOST = (2, 62)
TRUSTED_CERTIFICATES = (2, 63)
ABORT_QUEUED = (2, 65)
CHANGES_BEFORE = (2, 66)
NO_FORCE = (2, 68)
PARTIAL_CELLS = (2, 69)
VOLUME_TAGS = (2, 70)
SERVER_GROUPS = (2, 71)
LOCKED_REASON = (2, 73)
STRICT_QUERIES = (2, 75)
ATTACHMENT_OPTIONS = (2, 79)
MIGRATION_OWNERS = (2, 80)
USER_FILTERS = (2, 83)
EVENT_DETAILS = (2, 84)
LEAN_HYPERVISORS = (2, 88)
ATTACHMENT_IDS = (2, 89)
HOSTNAME = (2, 90)
PINNED_ZONE = (2, 96)
SCHEDULER_HINTS = (2, 100)
STRICT_EVERYWHERE = (2, 102)

HISTORY: dict[Version, str] = {
    MIN: "os-migrateLive with host, block_migration and disk_over_commit, answered when the checks are done; servers, services, hypervisors, migrations.",
    EXTENDED_ATTRIBUTES: "Servers show hostname, root device and the other extended attributes.",
    LOCKED: "Servers show `locked`.",
    FORCED_DOWN: "Services show `forced_down`, and PUT /os-services/force-down.",
    HOST_STATUS: "Servers show `host_status`.",
    DESCRIPTION: "Servers show `description`.",
    ACTIONS_OF_DELETED: "The actions of servers that are gone can be read.",
    FORCE_COMPLETE: "POST /servers/{id}/migrations/{migration}/action with force_complete.",
    SERVER_MIGRATIONS: "GET /servers/{id}/migrations; migrations show migration_type and links.",
    ABORT: "DELETE /servers/{id}/migrations/{migration} aborts a running migration.",
    BLOCK_MIGRATION_AUTO: "block_migration may be auto; disk_over_commit is gone.",
    TAGS: "Servers show `tags`; filters by tags.",
    CPU_INFO: "cpu_info of a hypervisor is an object.",
    FORCE: "os-migrateLive takes `force`; a host without it is checked as any other.",
    PAGED_HYPERVISORS: "Hypervisors are listed in pages.",
    ASYNCHRONOUS: "os-migrateLive is answered at once; what the checks say is in the server's actions and in its migration.",
    NO_NETWORK_LIMITS: "Limits of networks are gone.",
    STATUS_WORDS: "A list of servers by a status that there is not is a 400.",
    NO_IMAGE_LIMITS: "Limits of images are gone.",
    USAGE_PAGES: "Usage of projects takes limit and marker.",
    AGGREGATE_UUIDS: "Aggregates show `uuid`.",
    NO_HOSTS_API: "/os-hosts is gone.",
    EMBEDDED_FLAVOR: "Servers show their flavor whole.",
    DIAGNOSTICS: "Diagnostics have one shape for every hypervisor.",
    ACTION_EVENTS: "Everybody who may see an action sees its events; actions show `updated_at`.",
    UUIDS: "Services and hypervisors have UUIDs; PUT /os-services/{id}; patterns and servers are asked for by query.",
    FLAVOR_DESCRIPTION: "Flavors show `description`.",
    NO_FILE_LIMITS: "Limits of personality files are gone.",
    PAGED_ACTIONS: "Actions are listed in pages, and since a time.",
    PAGED_MIGRATIONS: "Migrations show `uuid`, and are listed in pages and since a time.",
    FLAVOR_EXTRA_SPECS: "Flavors show `extra_specs`.",
    EVENT_HOST: "Events of actions show `host` and `hostId`.",
    TRUSTED_CERTIFICATES: "Servers show `trusted_image_certificates`.",
    ABORT_QUEUED: "Migrations that wait or are being prepared can be aborted.",
    CHANGES_BEFORE: "changes-before.",
    NO_FORCE: "os-migrateLive takes no `force`.",
    PARTIAL_CELLS: "Servers of cells that are down; livemig has no cells.",
    VOLUME_TAGS: "Volume attachments show `tag`.",
    SERVER_GROUPS: "A server that is shown alone has `server_groups`.",
    LOCKED_REASON: "Locking takes a reason, servers show it; filter `locked`.",
    STRICT_QUERIES: "Unknown query parameters of servers are a 400.",
    ATTACHMENT_OPTIONS: "Volume attachments show `delete_on_termination`.",
    MIGRATION_OWNERS: "Migrations show `user_id` and `project_id`, and are filtered by them.",
    USER_FILTERS: "More filters of servers for everybody.",
    EVENT_DETAILS: "Events of actions show `details`.",
    LEAN_HYPERVISORS: "Hypervisors show `uptime` and no more sums that placement would know; search, servers, uptime and statistics are gone.",
    ATTACHMENT_IDS: "Volume attachments show `attachment_id` and `bdm_uuid`, and no more `id`.",
    HOSTNAME: "Everybody sees a server's hostname.",
    PINNED_ZONE: "Servers show `pinned_availability_zone`.",
    SCHEDULER_HINTS: "Servers show `scheduler_hints`.",
    STRICT_EVERYWHERE: "Unknown query parameters are a 400 everywhere; flavors lose `rxtx_factor` and `OS-FLV-DISABLED:disabled`.",
}

SERVICE_TYPE = "compute"
LEGACY_HEADER = "X-OpenStack-Nova-API-Version"
HEADER = "OpenStack-API-Version"


def text(version: Version) -> str:
    """(2, 1) → "2.1"."""
    return f"{version[0]}.{version[1]}"
