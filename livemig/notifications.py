"""Nova's versioned notifications through oslo.messaging's notifier.

Sending never delays a migration: it is done in the background, in order. A broker that is away is waited for as [oslo_messaging_notifications] retry says
(-1: for ever); what waits is kept in memory, up to a limit.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

with warnings.catch_warnings():  # as in livemig.rpc: both import their eventlet halves, which are never used here
    warnings.simplefilter("ignore")
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging

from livemig.facts import Address, Flavor, PowerState
from livemig.records import Migration, Server
from livemig.runtime import Outbox, Runtime

LOG = logging.getLogger(__name__)

_SERVICE = "nova-compute"  # the publisher's name is Nova's, since consumers pick by it
_POWER_STATES = {PowerState.NOSTATE: "pending"}  # all others by their names (nova/objects/fields.py, InstancePowerState)


@dataclass(frozen=True, slots=True)
class Letter:
    """One notification. `host` is the one in whose name it is sent."""

    event_type: str
    host: str
    payload: dict[str, Any]
    failed: bool


class Notifications:
    """Sends notifications over an oslo.messaging notification transport."""

    def __init__(self, transport: Any, topics: Sequence[str], runtime: Runtime) -> None:
        # The driver of [oslo_messaging_notifications] is oslo.messaging's multi-valued option, which the transport has registered.
        driver = None if transport.conf.oslo_messaging_notifications.driver else "messagingv2"
        self._notifier = oslo_messaging.Notifier(transport, driver=driver, topics=list(topics))
        self._outbox: Outbox[Letter] = Outbox(runtime, "notifications", self._send)

    def send(self, event: str, host: str, server: Server, migration: Migration, zone: str, fault: str | None = None) -> None:
        """Send instance.EVENT (such as live_migration_pre.start) in a host's name, in the background. It never raises."""
        letter = Letter(f"instance.{event}", host, payload(server, migration, zone, fault), fault is not None)
        if not self._outbox.put(letter):
            LOG.warning("Notification %s of server %s is dropped: the broker takes nothing", letter.event_type, server.uuid)

    def _send(self, letter: Letter) -> None:
        notifier = self._notifier.prepare(publisher_id=f"{_SERVICE}:{letter.host}")
        (notifier.error if letter.failed else notifier.info)({}, letter.event_type, letter.payload)


def from_conf(conf: Any, runtime: Runtime) -> Notifications | None:
    """None when [notifications] notification_format is none."""
    if conf.notifications.notification_format == "none":
        return None
    transport = oslo_messaging.get_notification_transport(conf)
    return Notifications(transport, conf.notifications.versioned_notifications_topics, runtime)


def payload(server: Server, migration: Migration, zone: str, fault: str | None = None) -> dict[str, Any]:
    """Nova's InstanceActionPayload of a server that a migration moves; what libvirt does not know is null (nova/notifications/objects/instance.py)."""
    data = {
        "uuid": server.uuid,
        "user_id": server.user_id,
        "tenant_id": server.project_id,
        "reservation_id": None,
        "display_name": server.name,
        "display_description": server.description,
        "host_name": server.name,
        "host": server.host,
        "node": server.host,
        "os_type": None,
        "architecture": None,
        "availability_zone": zone,
        "flavor": _flavor(server.flavor),
        "image_uuid": "",
        "key_name": None,
        "kernel_id": "",
        "ramdisk_id": "",
        "created_at": _moment(server.created_at),
        "launched_at": _moment(server.created_at),
        "terminated_at": None,
        "deleted_at": None,
        "updated_at": _moment(server.updated_at),
        "state": server.vm_state,
        "power_state": _POWER_STATES.get(PowerState(server.power_state), PowerState(server.power_state).name.lower()),
        "task_state": server.task_state,
        "progress": server.progress,
        "ip_addresses": [_address(address) for address in server.addresses],
        "block_devices": None,
        "metadata": dict(server.user_metadata),
        "locked": server.locked_by is not None,
        "locked_reason": server.locked_reason,
        "auto_disk_config": "MANUAL",
        "shares": [],
        "fault": None if fault is None else _fault(fault),
        "request_id": migration.request_id,
        "action_initiator_user": migration.user_id,
        "action_initiator_project": migration.project_id,
    }
    return _versioned("InstanceActionPayload", "1.9", data)


def _flavor(flavor: Flavor) -> dict[str, Any]:
    data = {
        "flavorid": flavor.id,
        "name": flavor.name,
        "memory_mb": flavor.memory_mib,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.disk_gib,
        "ephemeral_gb": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "extra_specs": dict(flavor.extra_specs),
        "projects": None,
        "description": None,
        "disabled": False,
        "is_public": True,
        "rxtx_factor": 1.0,
        "vcpu_weight": 0,
    }
    return _versioned("FlavorPayload", "1.4", data)


def _address(address: Address) -> dict[str, Any]:
    known = {"label": address.network, "mac": address.mac, "version": address.version, "address": address.ip}
    return _versioned("IpPayload", "1.0", {**known, "meta": {}, "port_uuid": None, "device_name": None})


def _fault(reason: str) -> dict[str, Any]:
    where = {"module_name": "livemig.conductor", "function_name": "live_migration", "traceback": ""}
    return _versioned("ExceptionPayload", "1.1", {"exception": "MigrationError", "exception_message": reason, **where})


def _versioned(name: str, version: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version, "nova_object.data": data}


def _moment(at: datetime | None) -> str | None:
    """As Nova's DateTimeField writes it: whole seconds."""
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
