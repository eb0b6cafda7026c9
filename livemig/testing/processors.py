"""Which CPU models exist, and which of them a host can run: an older model of its own line, or one of QEMU's own."""

from __future__ import annotations

BASE = ("qemu32", "qemu64", "kvm32", "kvm64")
LINES = (
    (
        "Nehalem",
        "Westmere",
        "SandyBridge",
        "IvyBridge",
        "Haswell",
        "Broadwell",
        "Skylake-Client",
        "Skylake-Server",
        "Cascadelake-Server",
        "Icelake-Server",
        "SapphireRapids",
        "GraniteRapids",
    ),
    ("Opteron_G1", "Opteron_G2", "Opteron_G3", "Opteron_G4", "Opteron_G5", "EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa"),
)
VENDORS = ("Intel", "AMD")
KNOWN = (*BASE, *LINES[0], *LINES[1])


def runs(host_model: str, guest_model: str) -> bool:
    """Whether a host with the one CPU can run a guest with the other."""
    return guest_model in BASE or any(host_model in line and guest_model in line and line.index(guest_model) <= line.index(host_model) for line in LINES)


def vendor(model: str) -> str:
    return next((name for name, line in zip(VENDORS, LINES, strict=True) if model in line), "unknown")
