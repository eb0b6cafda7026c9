"""What can be wrong before a migration: for each check one thing that is broken, how it is mended, and what the 400 says meanwhile.

`ON_DAEMONS` is done through libvirt's API and the guest's XML alone, so that it can be done to real hosts as well. `ON_MOCK` needs the mock's switches, or the
conductor's configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

Undo = Callable[[], object]


class Stage(Protocol):
    """Two hosts and a guest on the first; connections are libvirt's, or the mock's."""

    libvirt: Any
    server: str
    """The guest's UUID."""
    source: Any
    """The connection to the source."""
    destination: Any

    def switch(self, host: str, **values: Any) -> Undo:
        """Set attributes of a host of the mock ("node1", "node2")."""

    def has(self, xml: str = "", devices: str = "") -> Undo:
        """Let the guest of the mock have that as well."""

    def option(self, **values: Any) -> Undo:
        """Set options of the conductor, as group__name."""

    def word(self, host: str, **values: Any) -> Undo:
        """Say as an operator that a host is disabled or down."""


@dataclass(frozen=True)
class Broken:
    """`check` refuses, in these `words`, once `break_it` is called, and no more when what that returned is called.

    `xml` and `devices` are what the guest has beside the least that is needed; `asked` is what the request asks for.
    """

    check: str
    words: str
    break_it: Callable[[Stage], Undo]
    xml: str = ""
    devices: str = ""
    asked: dict[str, Any] = field(default_factory=dict)


NAMESAKE = "00000000-0000-4000-8000-000000000001"
GUEST = """
<domain type='{type}'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <memory unit='MiB'>256</memory><vcpu>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  {xml}
  <devices>{devices}</devices>
</domain>
"""
SNAPSHOT = "<domainsnapshot><name>s</name><state>running</state><creationTime>1</creationTime><memory snapshot='no'/>{}</domainsnapshot>"


def _defined(stage: Stage, uuid: str) -> Undo:
    """A definition under the guest's name that was left behind at the destination."""
    name = stage.source.lookupByUUIDString(stage.server).name()
    undefine: Undo = stage.destination.defineXML(GUEST.format(type="qemu", name=name, uuid=uuid, xml="", devices="")).undefine
    return undefine


def _snapshot(stage: Stage) -> Undo:
    guest = stage.source.lookupByUUIDString(stage.server)
    snapshot = guest.snapshotCreateXML(SNAPSHOT.format(guest.XMLDesc(0)), stage.libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
    return lambda: snapshot.delete(stage.libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


ON_DAEMONS: dict[str, Broken] = {
    "left behind": Broken("not_at_destination", "is shut off on node2 too", lambda stage: _defined(stage, stage.server)),
    "namesake": Broken("name_free", f"node2 has another guest that is called web: {NAMESAKE}", lambda stage: _defined(stage, NAMESAKE)),
    "snapshots": Broken("no_snapshots", "has 1 snapshots, and libvirt migrates no guest with snapshots", _snapshot),
}


def at(host: str, **values: Any) -> Callable[[Stage], Undo]:
    return lambda stage: stage.switch(host, **values)


def has(**parts: str) -> Callable[[Stage], Undo]:
    return lambda stage: stage.has(**parts)


def policy(**values: Any) -> Callable[[Stage], Undo]:
    return lambda stage: stage.option(**{f"libvirt__live_migration_{name}": value for name, value in values.items()})


def says(host: str, **values: Any) -> Callable[[Stage], Undo]:
    return lambda stage: stage.word(host, **values)


def both(one: Undo, other: Undo) -> Undo:
    return lambda: (one(), other())


def nothing(_stage: Stage) -> Undo:
    """The request alone is at fault."""
    return lambda: None


BRIDGE = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>"
NETWORK = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>"
VNC = "<graphics type='vnc' listen='node1'><listen type='address' address='node1'/></graphics>"
TPM = "<tpm model='tpm-crb'><backend type='emulator'/></tpm>"
HUGE = "<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>"
CPU = "<cpu mode='custom' match='exact'><model>qemu64</model></cpu>"
PASSTHROUGH = "<cpu mode='host-passthrough' migratable='on'/>"

ON_MOCK: dict[str, Broken] = {
    "source down": Broken("source_up", "Compute service of node1 is unavailable", at("node1", up=False)),
    "source forced down": Broken("source_up", "Compute service of node1 is unavailable", says("node1", forced_down=True)),
    "to itself": Broken("not_to_self", "Unable to migrate instance", nothing, asked={"host": "node1"}),
    "disabled": Broken("destination_enabled", "Host node2 is disabled: new disks", says("node2", disabled=True, disabled_reason="new disks")),
    "destination down": Broken("destination_up", "Compute service of node2 is unavailable", at("node2", up=False)),
    "hypervisor": Broken("same_hypervisor_type", "(QEMU on the source, Xen on the destination)", at("node2", hypervisor_type="Xen")),
    "older": Broken("destination_not_older", "requires a newer hypervisor version", at("node2", hypervisor_version=7_001_000)),
    "memory": Broken("memory_free", "Lack of memory(host:88 <= instance:256)", at("node2", memory_mib=600)),
    "memory reserved": Broken("memory_free", "Lack of memory(host:", lambda stage: stage.option(reserved_host_memory_mb=65536)),
    "CPU": Broken("cpu_compatible", "Unacceptable CPU info", at("node2", refuses_cpu=True), xml=CPU),
    "CPU of the host": Broken("cpu_compatible", "Unacceptable CPU info", at("node2", cpu_model="Haswell"), xml=PASSTHROUGH),
    "CPU model that nobody knows": Broken("cpu_compatible", "Unknown CPU model Future", has(xml="<cpu><model>Future</model></cpu>")),
    "block, and nothing to copy": Broken("storage", "Block migration can not be used", nothing, asked={"block": True}),
    "zero-copy alone": Broken("combinable", "Policy nova cannot be carried out. Zero-copy needs several connections.", policy(zero_copy=True)),
    "new feature": Broken("features_there", "switch-over bandwidth needs libvirt 11.1.0, node1 has 9.0.0", policy(switchover_bandwidth=100)),
    "old libvirt": Broken(
        "features_there",
        "Migration pre-check error: several connections needs libvirt 5.2.0, node2 has 5.1.0",
        lambda stage: both(stage.switch("node2", libvirt_version=5_001_000), policy(parallel_connections=2)(stage)),
    ),
    "post-copy that kills": Broken(
        "features_sound",
        "post-copy is not safe: node2 has libvirt 11.3.0",
        lambda stage: both(stage.switch("node2", libvirt_version=11_003_000), policy(permit_post_copy=True)(stage)),
    ),
    "device of the host": Broken("devices_movable", "a device of the host (PCI, mdev, SCSI) (pci)", has(devices="<hostdev mode='subsystem' type='pci'/>")),
    "address of the source": Broken("addresses_there", "listens on node1, which is an address of node1 alone", has(devices=VNC)),
    "emulator": Broken("emulator_known", "does not know the guest's emulator /usr/bin/qemu-system-x86_64", at("node2", emulators=())),
    "no KVM": Broken("domain_type_known", "does not know the guest's domain type kvm", at("node2", virt_types=("qemu",))),
    "machine": Broken("machine_known", "does not know the guest's machine type pc-q35-7.2", at("node2", machines=("pc-i440fx-7.2",))),
    "vCPUs": Broken("vcpus_possible", "at most 1 vCPUs; instance", at("node2", max_vcpus=1)),
    "TPM": Broken("tpm_possible", "node2 cannot emulate the TPM", at("node2", tpm_backends=("passthrough",)), devices=TPM),
    "huge pages": Broken("huge_pages_free", "needs huge pages: 128 of 2048 KiB", at("node2", huge_pages={2048: 63}), xml=HUGE),
    "pinning": Broken(
        "processors_there", "pinned to processors that node2 does not have: 12", at("node2", vcpus=8), xml="<cputune><vcpupin vcpu='0' cpuset='12'/></cputune>"
    ),
    "NUMA": Broken(
        "numa_nodes_there", "bound to NUMA nodes that node2 does not have: 1", at("node2", numa_nodes=1), xml="<numatune><memory nodeset='1'/></numatune>"
    ),
    "no network": Broken("networks_active", "node2 has no active network default, which instance", at("node2", networks=()), devices=NETWORK),
    "network not started": Broken("networks_active", "node2 has no active network default", at("node2", idle=("default",)), devices=NETWORK),
    "no bridge": Broken("interfaces_there", "node2 has no network interface or bridge br0", at("node2", interfaces=("eth0",)), devices=BRIDGE),
}
