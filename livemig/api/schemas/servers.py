"""Queries of GET /servers and /servers/detail (nova/api/openstack/compute/schemas/servers.py)."""

from __future__ import annotations

from livemig import microversions
from livemig.api.schemas.validation import LINE, NUMBER, PATTERN, TEXT, TIME, Schema, Versioned, query
from livemig.microversions import MIN

# Nova's sort keys; another one is a 400.
SORT_KEYS = (
    *("access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive", "created_at", "display_description", "display_name"),
    *("host", "hostname", "image_ref", "instance_type_id", "kernel_id", "key_name", "launch_index", "launched_at", "locked_by", "node", "power_state"),
    *("progress", "project_id", "ramdisk_id", "root_device_name", "task_state", "terminated_at", "updated_at", "user_id", "uuid", "vm_state"),
)

# What once was taken, is ignored, and since STRICT_QUERIES is a 400.
IGNORED_SORT_KEYS = (
    *("architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at", "disable_terminate"),
    *("ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "locked", "memory_mb", "os_type", "reservation_id", "root_gb"),
    *("shutdown_terminate", "user_data", "vcpus", "vm_mode"),
)

_TEXTS = (
    *("user_id", "project_id", "tenant_id", "launch_index", "image_ref", "image", "kernel_id", "ramdisk_id", "key_name", "instance_type_id", "flavor"),
    *("reservation_id", "availability_zone", "locked_by", "uuid", "root_device_name", "config_drive", "access_ip_v4", "access_ip_v6"),
    *("auto_disk_config", "host", "node", "vm_state", "task_state", "power_state", "progress", "all_tenants", "soft_deleted", "deleted", "status"),
)
_PATTERNS = ("name", "display_name", "hostname", "description", "display_description", "ip", "ip6")
_TIMES = ("created_at", "launched_at", "terminated_at", "changes-since")

_FIRST: dict[str, Schema] = {
    **dict.fromkeys(_TEXTS, TEXT),
    **dict.fromkeys(_PATTERNS, PATTERN),
    **dict.fromkeys(_TIMES, TIME),
    "sort_key": {"type": "string", "enum": [*SORT_KEYS, *IGNORED_SORT_KEYS]},
    "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
    "limit": NUMBER,
    "marker": TEXT,
}
_TAGS = _FIRST | dict.fromkeys(("tags", "tags-any", "not-tags", "not-tags-any"), LINE)
_BEFORE = _TAGS | {"changes-before": TIME}
_LOCKED = _BEFORE | {"locked": TEXT}
_STRICT = _LOCKED | {"sort_key": {"type": "string", "enum": [*SORT_KEYS, "locked"]}}

LIST: Versioned = (
    (MIN, query(_FIRST, several=_FIRST)),
    (microversions.TAGS, query(_TAGS, several=_TAGS)),
    (microversions.CHANGES_BEFORE, query(_BEFORE, several=_BEFORE)),
    (microversions.LOCKED_REASON, query(_LOCKED, several=_LOCKED)),
    (microversions.STRICT_QUERIES, query(_STRICT, several=_STRICT, strict=True)),
)
