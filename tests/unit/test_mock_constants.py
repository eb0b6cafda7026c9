"""The mock's constants are libvirt's, and whatever the mock offers libvirt-python has as well."""

from __future__ import annotations

import inspect

import pytest

from livemig.testing import constants
from livemig.testing import libvirt as mock

real = pytest.importorskip("libvirt")
NAMES = [name for name in vars(constants) if name.startswith("VIR_")]


def test_values() -> None:
    assert len(NAMES) > 400
    different = {name: value for name in NAMES if (value := getattr(constants, name)) != getattr(real, name, None)}
    assert not different


@pytest.mark.parametrize("name", ["virConnect", "virDomain", "virDomainSnapshot", "virNetwork", "virStoragePool", "virStorageVol", "libvirtError"])
def test_methods_are_libvirts(name: str) -> None:
    """Public methods with libvirt's camelCase exist there too, and take the same arguments."""
    own, theirs = getattr(mock.Libvirt, name), getattr(real, name)
    for method, function in inspect.getmembers(own, inspect.isfunction):
        there = getattr(theirs, method, None)
        if method.startswith("_") or there is None:
            continue
        mine = list(inspect.signature(function).parameters)
        assert mine == list(inspect.signature(there).parameters)[: len(mine)], method


def test_the_module_stands_for_libvirt() -> None:
    for name in ("open", "openAuth", "libvirtError", "virConnect", "virDomain", "virEventRunDefaultImpl", "virEventAddTimeout", "getVersion"):
        assert hasattr(mock, name) and hasattr(real, name)
    assert mock.VIR_ERR_NO_DOMAIN == real.VIR_ERR_NO_DOMAIN
    with pytest.raises(AttributeError):
        mock.noSuchName  # noqa: B018
