"""The examples of a deployment: each is read as the services read it, and names no option that there is not."""

from __future__ import annotations

import re
import runpy
from configparser import ConfigParser
from pathlib import Path

import pytest
from gunicorn.config import make_settings
from keystoneauth1 import loading
from keystonemiddleware.opts import list_auth_token_opts
from oslo_config import cfg
from oslo_log import log
from oslo_messaging import opts as messaging_options
from oslo_middleware import cors, http_proxy_to_wsgi, sizelimit
from oslo_policy import opts as policy_options
from sqlalchemy import make_url

from livemig import conf as configuration

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "etc" / "livemig" / "examples"
CONFIGURATIONS = sorted(EXAMPLES.glob("*.conf"))
CONFIGURATIONS.remove(EXAMPLES / "nginx.conf")


def read(file: Path) -> cfg.ConfigOpts:
    """With every option that livemig's processes know."""
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    log.register_options(conf)
    policy_options._register(conf)
    for group, opts in [*list_auth_token_opts(), *messaging_options.list_opts()]:
        conf.register_opts(opts, group=group)
    conf.register_opts(cors.OPTS, group="cors")
    conf.register_opts([*http_proxy_to_wsgi.OPTS, *sizelimit.OPTS], group="oslo_middleware")
    loading.register_auth_conf_options(conf, "keystone_authtoken")
    if "auth_type = password" in file.read_text():
        conf.register_opts(loading.get_auth_plugin_conf_options("password"), group="keystone_authtoken")
    conf([], project="livemig", default_config_files=[str(file)], default_config_dirs=[])
    return conf


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_a_configuration(file: Path) -> None:
    conf = read(file)
    assert list(configuration.hosts(conf)) == ["kvm1", "kvm2"]
    configuration.policy(conf)
    configuration.check_listening(conf)
    written = ConfigParser(interpolation=None, default_section="")
    written.read(file)
    for group in written.sections():
        options = conf if group == "DEFAULT" else conf[group]
        unknown = [name for name in written[group] if name not in options]
        assert not unknown, f"[{group}] {unknown}"
        for name in written[group]:
            options[name]  # is read, and so is what it should be


def test_every_connection_of_several_machines_is_encrypted() -> None:
    file = EXAMPLES / "several-machines.conf"
    conf = read(file)
    assert conf.oslo_messaging_rabbit.ssl and conf.oslo_messaging_rabbit.ssl_enforce_hostname_verification
    assert make_url(conf.database.connection).query["sslmode"] == "verify-full"
    (mariadb,) = re.findall(r"^# connection = (mysql.*)$", file.read_text(), re.MULTILINE)
    assert dict(make_url(mariadb).query) | {"ssl_verify_cert": "true", "ssl_verify_identity": "true"} == dict(make_url(mariadb).query)
    assert conf.keystone_authtoken.auth_url.startswith("https://")
    assert all(host.connection_uri.startswith("qemu+tls://") for host in configuration.hosts(conf).values())


def test_gunicorn() -> None:
    known = make_settings()
    written = {name: value for name, value in runpy.run_path(str(EXAMPLES / "gunicorn.conf.py")).items() if not name.startswith("__")}
    assert written
    for name, value in written.items():
        known[name].set(value)


def test_nginx() -> None:
    """As far as a reader sees: each line is a directive or a block."""
    text = (EXAMPLES / "nginx.conf").read_text()
    assert text.count("{") == text.count("}")
    assert all(line.strip().endswith((";", "{", "}")) for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


@pytest.mark.parametrize("page", ["security.md", "deployment.md"])
def test_examples_that_a_page_names_are_there(page: str) -> None:
    named = set(re.findall(r"\(\.\./(etc/[^)#]+)\)", (ROOT / "docs" / page).read_text()))
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
