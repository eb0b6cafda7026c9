"""Nova's notifications: their payload, and the way out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging.notify import _impl_test as recorded

from livemig import conf as configuration
from livemig import notifications
from livemig.facts import Address, Flavor
from livemig.records import HostStatus, Migration, Server
from livemig.runtime import Mailbox, Runtime, Task, ThreadRuntime

RUNTIME = ThreadRuntime()
CREATED = datetime(2026, 1, 2, 3, 4, 5, 678_901)
SERVER = Server(
    uuid="f0b5efe1-49aa-5742-b1b3-6558e8e68bb7",
    name="web",
    instance_name="instance-00000001",
    description="the shop",
    host="node1",
    vm_state="active",
    power_state=1,
    task_state="migrating",
    progress=7,
    memory_mib=2048,
    vcpus=2,
    flavor=Flavor("m1", "m1.small", 2048, 2, 20, 1, 512, {"hw:cpu_policy": "dedicated"}),
    addresses=(Address("private", "192.0.2.7", 4, "52:54:00:00:00:01"), Address("private", "2001:db8::7", 6)),
    user_metadata={"role": "shop"},
    root_device="/dev/vda",
    config_drive=False,
    host_status=HostStatus.UP,
    locked_by="admin",
    locked_reason="audit",
    fault=None,
    project_id="p1",
    user_id="u1",
    created_at=CREATED,
    updated_at=None,
)
MIGRATION = Migration(
    **{field.name: None for field in fields(Migration)}
    | {"uuid": "m", "source": "node1", "destination": "node2", "request_id": "req-1", "user_id": "operator", "project_id": "ops"}  # type: ignore[arg-type]
)

DATA: dict[str, Any] = {
    "uuid": SERVER.uuid,
    "user_id": "u1",
    "tenant_id": "p1",
    "reservation_id": None,
    "display_name": "web",
    "display_description": "the shop",
    "host_name": "web",
    "host": "node1",
    "node": "node1",
    "os_type": None,
    "architecture": None,
    "availability_zone": "west",
    "image_uuid": "",
    "key_name": None,
    "kernel_id": "",
    "ramdisk_id": "",
    "created_at": "2026-01-02T03:04:05Z",
    "launched_at": "2026-01-02T03:04:05Z",
    "terminated_at": None,
    "deleted_at": None,
    "updated_at": None,
    "state": "active",
    "power_state": "running",
    "task_state": "migrating",
    "progress": 7,
    "block_devices": None,
    "metadata": {"role": "shop"},
    "locked": True,
    "locked_reason": "audit",
    "auto_disk_config": "MANUAL",
    "shares": [],
    "fault": None,
    "request_id": "req-1",
    "action_initiator_user": "operator",
    "action_initiator_project": "ops",
    "flavor": {
        "nova_object.name": "FlavorPayload",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.4",
        "nova_object.data": {
            "flavorid": "m1",
            "name": "m1.small",
            "memory_mb": 2048,
            "vcpus": 2,
            "root_gb": 20,
            "ephemeral_gb": 1,
            "swap": 512,
            "extra_specs": {"hw:cpu_policy": "dedicated"},
            "projects": None,
            "description": None,
            "disabled": False,
            "is_public": True,
            "rxtx_factor": 1.0,
            "vcpu_weight": 0,
        },
    },
    "ip_addresses": [
        {
            "nova_object.name": "IpPayload",
            "nova_object.namespace": "nova",
            "nova_object.version": "1.0",
            "nova_object.data": {"label": "private", "mac": mac, "meta": {}, "port_uuid": None, "version": version, "address": ip, "device_name": None},
        }
        for ip, version, mac in (("192.0.2.7", 4, "52:54:00:00:00:01"), ("2001:db8::7", 6, ""))
    ],
}


def test_a_payload_is_all_that_novas_has() -> None:
    """Nova's InstanceActionPayload 1.9, as nova/notifications/objects/instance.py lists its fields."""
    assert notifications.payload(SERVER, MIGRATION, "west") == {
        "nova_object.name": "InstanceActionPayload",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.9",
        "nova_object.data": DATA,
    }


def test_a_fault_is_an_exception_payload() -> None:
    assert notifications.payload(SERVER, MIGRATION, "west", "it broke")["nova_object.data"]["fault"] == {
        "nova_object.name": "ExceptionPayload",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.1",
        "nova_object.data": {
            "exception": "MigrationError",
            "exception_message": "it broke",
            "module_name": "livemig.conductor",
            "function_name": "live_migration",
            "traceback": "",
        },
    }


@pytest.mark.parametrize(("number", "name"), [(0, "pending"), (1, "running"), (3, "paused"), (4, "shutdown"), (6, "crashed"), (7, "suspended")])
def test_power_states_by_novas_names(number: int, name: str) -> None:
    assert notifications.payload(replace(SERVER, power_state=number, locked_by=None), MIGRATION, "nova")["nova_object.data"]["power_state"] == name


@pytest.fixture
def conf() -> Iterator[Any]:
    """oslo.messaging reads some options from the global configuration alone."""
    conf = cfg.CONF
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    oslo_messaging.get_notification_transport(conf).cleanup()  # registers its options
    conf.set_override("notification_format", "versioned", group="notifications")
    yield conf
    conf.clear_override("notification_format", group="notifications")
    for name in ("transport_url", "driver", "retry"):
        conf.clear_override(name, group="oslo_messaging_notifications")


class Stuck(ThreadRuntime):
    """Its threads never come to anything."""

    def start(self, name: str, function: Callable[..., Any], *args: Any) -> Task:
        return super().start(name, lambda: None)


def by(conf: Any, runtime: Runtime = RUNTIME, **options: Any) -> notifications.Notifications:
    for name, value in options.items():
        conf.set_override(name, value, group="oslo_messaging_notifications")
    sender = notifications.from_conf(conf, runtime)
    assert sender is not None
    return sender


class Heard:
    """A consumer of notifications; what it hears comes as (priority, publisher, event type, payload)."""

    def __init__(self) -> None:
        self.letters: Mailbox[tuple[str, str, str, dict[str, Any]]] = Mailbox(RUNTIME)

    def info(self, _context: Any, publisher: str, event: str, payload: dict[str, Any], _metadata: Any) -> None:
        self.letters.put(("info", publisher, event, payload))

    def error(self, _context: Any, publisher: str, event: str, payload: dict[str, Any], _metadata: Any) -> None:
        self.letters.put(("error", publisher, event, payload))

    def wait(self, number: int) -> list[tuple[str, str, str, dict[str, Any]]]:
        heard: list[tuple[str, str, str, dict[str, Any]]] = []
        while len(heard) < number:
            some = self.letters.take(10)
            assert some, heard
            heard += some
        return heard


def test_nobody_is_told_unless_it_is_asked_for() -> None:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    assert notifications.from_conf(conf, RUNTIME) is None


def test_a_consumer_hears_them_in_order_on_novas_topic(conf: Any) -> None:
    """The driver is messagingv2 where none is configured."""
    sender = by(conf, transport_url="fake:///")
    heard = Heard()
    listener = oslo_messaging.get_notification_listener(
        oslo_messaging.get_notification_transport(conf), [oslo_messaging.Target(topic="versioned_notifications")], [heard], executor="threading"
    )
    listener.start()
    for phase in ("pre.start", "pre.end"):
        sender.send(f"live_migration_{phase}", "node2", SERVER, MIGRATION, "west")
    told = heard.wait(2)
    assert told == [
        ("info", "nova-compute:node2", f"instance.live_migration_{phase}", notifications.payload(SERVER, MIGRATION, "west"))
        for phase in ("pre.start", "pre.end")
    ]
    sender.send("live_migration_rollback.end", "node1", SERVER, MIGRATION, "west", "it broke")
    [(priority, publisher, event, payload)] = heard.wait(1)
    assert (priority, publisher, event) == ("error", "nova-compute:node1", "instance.live_migration_rollback.end")
    assert payload["nova_object.data"]["fault"]["nova_object.data"]["exception_message"] == "it broke"
    listener.stop()
    listener.wait()


class Said(logging.Handler):
    """What is logged in other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: Mailbox[str] = Mailbox(RUNTIME)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.put(record.getMessage())


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Iterator[Said]:
    handler, logger = Said(), logging.getLogger(request.param)
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.mark.parametrize("said", ["oslo.messaging.notification.instance.live_migration_pre.start"], indirect=True)
def test_the_log_driver(conf: Any, said: Said) -> None:
    by(conf, driver=["log"]).send("live_migration_pre.start", "node2", SERVER, MIGRATION, "west")
    [text] = said.texts.take(10)
    assert '"publisher_id": "nova-compute:node2"' in text and '"display_name": "web"' in text


@pytest.mark.parametrize("said", ["oslo_messaging.notify.messaging"], indirect=True)
def test_a_broker_that_is_away_delays_nothing(conf: Any, said: Said) -> None:
    sender = by(conf, transport_url="rabbit://guest:guest@127.0.0.1:1/", retry=0)
    began = time.monotonic()
    sender.send("live_migration_pre.start", "node2", SERVER, MIGRATION, "west")
    assert time.monotonic() - began < 0.5
    [text] = said.texts.take(10)
    assert text.startswith("Could not send notification to versioned_notifications")


@pytest.mark.parametrize("said", ["livemig.notifications"], indirect=True)
def test_what_nobody_takes_is_dropped_in_the_end(conf: Any, said: Said) -> None:
    sender = by(conf, Stuck(), driver=["noop"])
    for _ in range(1001):
        sender.send("live_migration_pre.start", "node2", SERVER, MIGRATION, "west")
    assert f"Notification instance.live_migration_pre.start of server {SERVER.uuid} is dropped: the broker takes nothing" in said.texts.take(0)


def test_the_test_driver(conf: Any) -> None:
    """What tests of others use."""
    recorded.reset()
    sender = by(conf, driver=["test"])
    sender.send("live_migration_pre.start", "node2", SERVER, MIGRATION, "west")
    deadline = time.monotonic() + 10
    while not recorded.NOTIFICATIONS and time.monotonic() < deadline:
        RUNTIME.sleep(0.01)
    [(_context, message, priority, _retry)] = recorded.NOTIFICATIONS
    assert (message["publisher_id"], message["event_type"], priority) == ("nova-compute:node2", "instance.live_migration_pre.start", "INFO")
