"""libvirt-python: the only import of it, and only when real hypervisors are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load() -> Any:
    """The libvirt module."""
    return import_module("libvirt")
