"""The lab's certificates: an authority that every host trusts, another that nobody does, and what they sign.

A directory of certificates has them under the names that QEMU and libvirt each look for. Keys are of P-256: made in a few milliseconds.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from string import Template

from livemig.lab.shell import run

CONFIG = Template("""\
[req]
distinguished_name = name
prompt = no
[name]
CN = $name
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[host]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = $names
""")
# QEMU's names (docs/system/tls), and libvirt's below a pkipath. Each is a link, so that one change of the directory's own files is seen by all.
LINKS = {
    "ca-cert.pem": "authority.pem",
    "server-cert.pem": "certificate.pem",
    "server-key.pem": "key.pem",
    "client-cert.pem": "certificate.pem",
    "client-key.pem": "key.pem",
    "cacert.pem": "authority.pem",
    "clientcert.pem": "certificate.pem",
    "clientkey.pem": "key.pem",
}


class Authority:
    """Signs certificates. `directory` has its own certificate and its key."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._certificate = directory / "certificate.pem"
        self._key = directory / "key.pem"

    def ensure(self) -> None:
        """Make it, unless it is there."""
        if not self._certificate.exists():
            _make(self._directory, self._directory.name, "", "-extensions", "authority")

    def certify(self, directory: Path, name: str, addresses: tuple[str, ...]) -> None:
        """Give a directory a new certificate by this authority, for a host of that name and those addresses."""
        self.ensure()
        names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
        new = directory.with_name(f"{directory.name}.new")
        _make(new, name, names, "-extensions", "host", "-CA", str(self._certificate), "-CAkey", str(self._key))
        shutil.copy(self._certificate, new / "authority.pem")
        for link, target in LINKS.items():
            (new / link).symlink_to(target)
        shutil.rmtree(directory, ignore_errors=True)
        new.rename(directory)


def _make(directory: Path, name: str, names: str, *words: str) -> None:
    """A key and its certificate, which comes last: where it is, all is."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    config = directory / "config"
    config.write_text(CONFIG.substitute(name=name, names=names or f"DNS:{name}"))
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", directory / "key.pem"]
    run("openssl", "req", "-x509", "-config", config, "-days", "3650", *key, *words, "-out", directory / "certificate.pem")
    (directory / "key.pem").chmod(0o600)
