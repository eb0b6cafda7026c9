"""The configuration: hosts, policy, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from livemig import conf as configuration
from livemig.conf import ConfigurationError, HostSettings, addresses
from livemig.conf.policy import NAMED
from livemig.facts import Policy


def read(directory: Path, text: str) -> Any:
    file = directory / "livemig.conf"
    file.write_text(text)
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[str(file)], default_config_dirs=[])
    return conf


A = "[DEFAULT]\nenabled_hosts = a\n[host:a]\n"
URI = "connection_uri = qemu+tcp://a/system\n"
TEMPLATE = "[libvirt]\nlive_migration_uri = qemu+tls://%s/system\n"

# the file, and (migration URI, inbound address) of host a
HOSTS: dict[str, tuple[str, tuple[str, str | None]]] = {
    "URI only": (A + URI, ("qemu+tcp://a/system", None)),
    "address": (A + URI + "live_migration_inbound_addr = 10.0.0.1", ("qemu+tcp://a/system", "10.0.0.1")),
    "template, name": (A + URI + TEMPLATE, ("qemu+tls://a/system", None)),
    "template, address": (A + URI + "live_migration_inbound_addr = 10.0.0.1\n" + TEMPLATE, ("qemu+tls://10.0.0.1/system", "10.0.0.1")),
    "template, IPv6": (A + URI + "live_migration_inbound_addr = fd00::1\n" + TEMPLATE, ("qemu+tls://[fd00::1]/system", "fd00::1")),
    "own URI goes first": (A + URI + "live_migration_uri = qemu+ssh://a/system\n" + TEMPLATE, ("qemu+ssh://a/system", None)),
    "scheme": (A + URI + "[libvirt]\nlive_migration_scheme = tls", ("qemu+tls://a/system", None)),
    "scheme, address": (A + URI + "live_migration_inbound_addr = fd00::1\n[libvirt]\nlive_migration_scheme = ssh", ("qemu+ssh://[fd00::1]/system", "fd00::1")),
    "own scheme goes first": (A + URI + "live_migration_scheme = ssh\n" + TEMPLATE + "live_migration_scheme = tcp", ("qemu+ssh://a/system", None)),
    "URI goes before scheme": (A + URI + TEMPLATE + "live_migration_scheme = tcp", ("qemu+tls://a/system", None)),
    "own URI goes before own scheme": (A + URI + "live_migration_uri = qemu+ssh://x/system\nlive_migration_scheme = tls", ("qemu+ssh://x/system", None)),
    "template without a place": (A + URI + "[libvirt]\nlive_migration_uri = qemu+tls://proxy/system", ("qemu+tls://proxy/system", None)),
}


@pytest.mark.parametrize("case", HOSTS)
def test_hosts(tmp_path: Path, case: str) -> None:
    text, (migration_uri, address) = HOSTS[case]
    assert configuration.hosts(read(tmp_path, text)) == {"a": HostSettings("a", "qemu+tcp://a/system", migration_uri, address, reserved_memory_mib=512)}


def test_no_hosts(tmp_path: Path) -> None:
    assert configuration.hosts(read(tmp_path, "")) == {}


REFUSED = {
    "no group": ("[DEFAULT]\nenabled_hosts = a", "[host:a] connection_uri is missing"),
    "no URI": (A, "[host:a] connection_uri is missing"),
    "a space": ("[DEFAULT]\nenabled_hosts = a b", "'a b' is no host name"),
    "a slash": ("[DEFAULT]\nenabled_hosts = a/b", "'a/b' is no host name"),
    "too long": (f"[DEFAULT]\nenabled_hosts = {'a' * 256}", "is no host name"),
    "no scheme": (A + "connection_uri = kvm1.example.org", "[host:a] connection_uri is no URI of libvirt's: its scheme is not DRIVER"),
    "a transport that there is not": (A + "connection_uri = qemu+telnet://a/system", "the transport being one of tls, ssh"),
    "a host that is none": (A + "connection_uri = qemu+ssh://a;rm/system", "'a;rm' is no host name and no address"),
    "an option for ssh": (A + "connection_uri = qemu+ssh://-oProxyCommand=x/system", "is no host name and no address"),
    "an option for ssh as a user": (A + "connection_uri = qemu+ssh://-o%3Dx@a/system", "its user is no name"),
    "a password": (A + "connection_uri = qemu+ssh://root:secret@a/system", "it has a password"),
    "a port that is none": (A + "connection_uri = qemu+tls://a:b/system", "Port could not be cast"),
    "half an IPv6 address": (A + "connection_uri = qemu+tls://[fd00::1/system", "Invalid IPv6 URL"),
    "a space in a URI": (A + "connection_uri = qemu+tls://a/system x", "it has a space"),
    "its own migration URI": (A + URI + "live_migration_uri = qemu+tls://a b/system", "the live_migration_uri of a is no URI of libvirt's: it has a space"),
    "a template": (A + URI + "[libvirt]\nlive_migration_uri = %s", "the live_migration_uri of a is no URI of libvirt's: its scheme"),
    "a scheme that there is not": (A + URI + "live_migration_scheme = tls://evil/", "libvirt has no transport 'tls://evil/'"),
    "a scheme for all that there is not": (A + URI + "[libvirt]\nlive_migration_scheme = http", "libvirt has no transport 'http'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_hosts(tmp_path: Path, case: str) -> None:
    text, words = REFUSED[case]
    with pytest.raises(ConfigurationError) as refused:
        configuration.hosts(read(tmp_path, text))
    assert words in str(refused.value)


def test_hosts_that_come_and_go_are_followed(tmp_path: Path) -> None:
    two = "[DEFAULT]\nenabled_hosts = a, b\n[host:b]\nconnection_uri = qemu+tcp://b/system\n[host:a]\n" + URI
    conf = read(tmp_path, two)
    assert list(configuration.hosts(conf)) == ["a", "b"]
    (tmp_path / "livemig.conf").write_text(A + "connection_uri = qemu+tcp://elsewhere/system")
    assert conf.reload_config_files()
    assert [host.connection_uri for host in configuration.hosts(conf).values()] == ["qemu+tcp://elsewhere/system"]
    (tmp_path / "livemig.conf").write_text(two)
    assert conf.reload_config_files()
    assert list(configuration.hosts(conf)) == ["a", "b"]


def test_a_scheme_and_no_address_anywhere(tmp_path: Path) -> None:
    conf = read(tmp_path, A + "connection_uri = qemu:///system\nlive_migration_scheme = tcp")
    assert configuration.hosts(conf)["a"].migration_uri == "qemu+tcp://a/system"


def test_links(tmp_path: Path) -> None:
    text = "[DEFAULT]\nenabled_hosts = a,b,c\n[libvirt]\nlive_migration_link_bandwidth = 1000\n"
    own = "[host:a]\nlive_migration_link_bandwidth = 100\n[host:b]\nlive_migration_link_bandwidth = 0\n"
    assert configuration.links(read(tmp_path, text + own)) == {"a": 100, "b": 0, "c": 1000}
    assert configuration.links(read(tmp_path, A)) == {"a": 0}


def test_reserved_memory(tmp_path: Path) -> None:
    defaults = "[DEFAULT]\nenabled_hosts = a, b\nreserved_host_memory_mb = 1024\n"
    two = defaults + "[host:b]\nconnection_uri = qemu+tcp://b/system\nreserved_host_memory_mb = 0\n[host:a]\n"
    found = configuration.hosts(read(tmp_path, two + URI))
    assert {name: host.reserved_memory_mib for name, host in found.items()} == {"a": 1024, "b": 0}


def test_policy(tmp_path: Path) -> None:
    assert configuration.policy(read(tmp_path, "")) == Policy()
    text = """
    [libvirt]
    live_migration_downtime = 200
    live_migration_downtime_steps = 4
    live_migration_downtime_delay = 7
    live_migration_completion_timeout = 0
    live_migration_timeout_action = force_complete
    live_migration_bandwidth = 100
    live_migration_permit_auto_converge = true
    """.replace("    ", "")
    assert configuration.policy(read(tmp_path, text)) == Policy(200, 4, 7, 0, "force_complete", 100, True)


# [libvirt], [host:a], and what differs from Nova's defaults in the policy of a migration that leaves a
LAYERS: dict[str, tuple[str, str, Policy]] = {
    "nothing": ("", "", Policy()),
    "named": ("live_migration_policy = minimal-downtime", "", Policy(name="minimal-downtime", **NAMED["minimal-downtime"])),
    "an option before what is named": (
        "live_migration_policy = post-copy\nlive_migration_permit_post_copy = false\nlive_migration_downtime = 300",
        "",
        Policy(name="post-copy", **{**NAMED["post-copy"], "post_copy": False, "downtime_ms": 300}),
    ),
    "an option that is set to its default": (
        "live_migration_policy = minimal-downtime\nlive_migration_downtime = 500",
        "",
        Policy(name="minimal-downtime", **{**NAMED["minimal-downtime"], "downtime_ms": 500}),
    ),
    "the host's policy before an option": (
        "live_migration_timeout_action = abort\nlive_migration_bandwidth = 7",
        "live_migration_policy = post-copy",
        Policy(name="post-copy", bandwidth_mib_s=7, **NAMED["post-copy"]),
    ),
    "the host's option before all": (
        "live_migration_bandwidth = 7",
        "live_migration_policy = post-copy\nlive_migration_bandwidth = 9\nlive_migration_on_stall = abort,force_complete",
        Policy(name="post-copy", bandwidth_mib_s=9, **{**NAMED["post-copy"], "on_stall": ("abort", "force_complete")}),
    ),
    "one of one's own": ("live_migration_policy = mine", "", Policy(name="mine", downtime_ms=150, compression=("xbzrle", "mt"))),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_of_a_policy(tmp_path: Path, case: str) -> None:
    libvirt, host, expected = LAYERS[case]
    own = "[policy:mine]\nlive_migration_downtime = 150\nlive_migration_compression = xbzrle,mt\n"
    conf = read(tmp_path, f"[DEFAULT]\npolicies = mine\n[libvirt]\n{libvirt}\n[host:a]\n{host}\n{own}")
    assert configuration.policy(conf, "a") == expected


def test_a_policy_that_nobody_defined(tmp_path: Path) -> None:
    conf = read(tmp_path, "[DEFAULT]\npolicies = mine\n[libvirt]\nlive_migration_policy = yours")
    with pytest.raises(ConfigurationError, match="there is no policy 'yours'; there are nova, minimal-downtime, must-finish, post-copy, mine"):
        configuration.policy(conf)


def test_a_stall_has_only_actions_that_there_are(tmp_path: Path) -> None:
    conf = read(tmp_path, "[libvirt]\nlive_migration_on_stall = abort,wait")
    with pytest.raises(cfg.ConfigFileValueError):
        configuration.policy(conf)


@pytest.mark.parametrize(("option", "value"), [("downtime", 99), ("downtime_steps", 2), ("downtime_delay", 2), ("timeout_action", "wait"), ("bandwidth", -1)])
def test_values_that_nova_refuses_are_refused(tmp_path: Path, option: str, value: object) -> None:
    conf = read(tmp_path, f"[libvirt]\nlive_migration_{option} = {value}")
    with pytest.raises(cfg.ConfigFileValueError):
        configuration.policy(conf)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("node1", False),
    ],
)
def test_without_authentication_only_loopback(tmp_path: Path, address: str, allowed: bool) -> None:
    conf = read(tmp_path, f"[api]\nlisten_host = {address}")
    if allowed:
        configuration.check_listening(conf)
    else:
        with pytest.raises(ConfigurationError, match="serves loopback addresses only"):
            configuration.check_listening(conf)


@pytest.mark.parametrize(("address", "text"), [("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("node1", "node1")])
def test_addresses_in_uris(address: str, text: str) -> None:
    assert configuration.bracketed(address) == text


def test_the_database_is_embedded_by_default(tmp_path: Path) -> None:
    assert read(tmp_path, f"[DEFAULT]\nstate_path = {tmp_path}").database.connection == f"sqlite:///{tmp_path}/livemig.sqlite"


def test_every_option_has_its_help() -> None:
    listed = dict(configuration.list_opts())
    assert set(listed) == {
        None,
        "api",
        "http_basic",
        "conductor",
        "libvirt",
        "notifications",
        "filter_scheduler",
        "mock",
        "host:NAME",
        "policy:NAME",
        "aggregate:NAME",
    }
    assert [opt.name for opts in listed.values() for opt in opts if not opt.help] == []


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "qemu:///system",
            "qemu+tls://kvm1.example.org/system",
            "qemu+ssh://root@kvm1:2222/system?keyfile=/etc/livemig/id",
            "qemu+tcp://[fd00::1]:16509/system",
        ),
        *("qemu+unix:///system?socket=/run/x/libvirt-sock", "qemu+tls://192.0.2.1/system?pkipath=/etc/pki/livemig", "test:///default", "xen:///"),
    ],
)
def test_uris_of_libvirt(uri: str) -> None:
    assert addresses.problem(uri) is None


@pytest.mark.parametrize(
    ("address", "right"), [("a", True), ("192.0.2.1", True), ("fd00::1", True), ("-a", False), ("fe80::1%eth0", False), ("a/b", False), ("", False)]
)
def test_addresses(address: str, right: bool) -> None:
    assert addresses.is_address(address) is right
