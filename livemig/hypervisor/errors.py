"""libvirt's error codes to domain errors, in one table. Codes are compared, never texts (libvirt/virterror.h, virErrorNumber)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from livemig import exceptions

# Codes by name, so that both libvirt-python and the mock can be asked for them. What is not named is a plain HypervisorError. VIR_ERR_SYSTEM_ERROR is not:
# it stands for any errno, and means an unreachable daemon only where the connection is gone.
CODES: dict[str, type[exceptions.HypervisorError]] = {
    "VIR_ERR_NO_CONNECT": exceptions.HypervisorUnavailable,
    "VIR_ERR_INVALID_CONN": exceptions.HypervisorUnavailable,
    "VIR_ERR_RPC": exceptions.HypervisorUnavailable,
    "VIR_ERR_GNUTLS_ERROR": exceptions.HypervisorUnavailable,
    "VIR_ERR_AUTH_FAILED": exceptions.HypervisorUnavailable,
    "VIR_ERR_NO_DOMAIN": exceptions.DomainNotFound,
    "VIR_ERR_OPERATION_ABORTED": exceptions.OperationAborted,
    "VIR_ERR_OPERATION_INVALID": exceptions.NoJob,
    "VIR_ERR_NO_SUPPORT": exceptions.UnsupportedByHypervisor,
    "VIR_ERR_CONFIG_UNSUPPORTED": exceptions.UnsupportedByHypervisor,
    "VIR_ERR_OPERATION_UNSUPPORTED": exceptions.UnsupportedByHypervisor,
}


class Translator:
    """Turns libvirtError of one libvirt module into domain errors."""

    def __init__(self, libvirt: Any) -> None:
        self._error: type[Exception] = libvirt.libvirtError
        self._codes = {getattr(libvirt, name): error for name, error in CODES.items()}

    @contextmanager
    def __call__(self, host: str, is_connected: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Raises a HypervisorError for any libvirtError; HypervisorUnavailable when the connection is gone, whatever the code says."""
        try:
            yield
        except self._error as error:
            code = error.get_error_code() or 0  # type: ignore[attr-defined]
            kind = self._codes.get(code, exceptions.HypervisorError) if is_connected() else exceptions.HypervisorUnavailable
            raise kind(host=host, code=code, message=str(error.get_error_message() or error)) from error  # type: ignore[attr-defined]
