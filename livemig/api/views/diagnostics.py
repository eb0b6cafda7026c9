"""What a server uses at this moment, as Nova shows it (nova/api/openstack/compute/views/server_diagnostics.py, nova/virt/libvirt/driver.py)."""

from __future__ import annotations

from typing import Any

from livemig.diagnostics import Diagnostics, NicUse
from livemig.records import Server

# vm_state → Nova's word for the state of a guest (nova/objects/fields.py, InstancePowerState).
_STATES = {"active": "running", "paused": "paused"}


def standard(server: Server, found: Diagnostics) -> dict[str, Any]:
    """Since DIAGNOSTICS: one shape for every hypervisor. What libvirt does not tell is null."""
    return {
        "state": _STATES[server.vm_state],
        "driver": "libvirt",
        "hypervisor": found.domain_type,
        "hypervisor_os": "linux",
        "uptime": None,
        "config_drive": found.config_drive,
        "num_cpus": len(found.processors),
        "num_nics": len(found.nics),
        "num_disks": len(found.disks),
        "memory_details": {"maximum": found.memory_max_mib, "used": found.memory_used_mib},
        "cpu_details": [{"id": each.number, "time": each.time_ns, "utilisation": None} for each in found.processors],
        "nic_details": [_nic(each) for each in found.nics],
        "disk_details": [
            {
                "read_bytes": each.read_bytes,
                "read_requests": each.read_requests,
                "write_bytes": each.write_bytes,
                "write_requests": each.write_requests,
                "errors_count": None,
            }
            for each in found.disks
        ],
    }


def libvirt(_server: Server, found: Diagnostics) -> dict[str, Any]:
    """Before: libvirt's own figures by Nova's old names. An errors count of -1 says that there is none, as libvirt does."""
    shown: dict[str, Any] = {f"cpu{each.number}_time": each.time_ns for each in found.processors}
    for disk in found.disks:
        figures = {"read_req": disk.read_requests, "read": disk.read_bytes, "write_req": disk.write_requests, "write": disk.write_bytes, "errors": -1}
        shown |= {f"{disk.target}_{name}": value for name, value in figures.items()}
    for nic in found.nics:
        figures = {"rx": nic.rx_bytes, "rx_packets": nic.rx_packets, "rx_errors": nic.rx_errors, "rx_drop": nic.rx_drops}
        figures |= {"tx": nic.tx_bytes, "tx_packets": nic.tx_packets, "tx_errors": nic.tx_errors, "tx_drop": nic.tx_drops}
        shown |= {f"{nic.device}_{name}": value for name, value in figures.items()}
    shown["memory"] = found.memory_max_mib * 1024
    shown |= {f"memory-{name}": value for name, value in found.memory_kib.items()}
    return shown


def _nic(nic: NicUse) -> dict[str, Any]:
    return {
        "mac_address": nic.mac,
        "rx_octets": nic.rx_bytes,
        "rx_errors": nic.rx_errors,
        "rx_drop": nic.rx_drops,
        "rx_packets": nic.rx_packets,
        "rx_rate": None,
        "tx_octets": nic.tx_bytes,
        "tx_errors": nic.tx_errors,
        "tx_drop": nic.tx_drops,
        "tx_packets": nic.tx_packets,
        "tx_rate": None,
    }
