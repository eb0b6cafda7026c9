"""The committed sample configuration is the one that the options give."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

from oslo_config import cfg, generator
from oslo_policy import generator as policy_generator

SAMPLE = Path(__file__).parents[2] / "etc" / "livemig" / "livemig.conf.sample"


def test_the_sample_has_every_option_as_it_is_now() -> None:
    """Only livemig's own part: the rest follows the installed versions of the libraries."""
    made = io.StringIO()
    generator.generate(_settings(), output_file=made)
    stated = _blocks(SAMPLE.read_text())
    missing = [block for block in _blocks(made.getvalue()) if block not in stated]
    assert not missing, "run: oslo-config-generator --config-file etc/livemig/config-generator.conf"


def _settings() -> object:
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf(["--namespace", "livemig", "--wrap-width", "100"], default_config_files=[], default_config_dirs=[])
    return conf


def _blocks(sample: str) -> set[str]:
    return {block.strip() for block in sample.split("\n\n")}


def test_the_sample_of_policies_has_every_rule_as_it_is_now() -> None:
    stated = _blocks((SAMPLE.parent / "policy.yaml.sample").read_text())
    made = io.StringIO()
    with redirect_stdout(made):
        policy_generator.generate_sample(["--namespace", "livemig"], cfg.ConfigOpts())
    assert _blocks(made.getvalue()) == stated, "run: oslopolicy-sample-generator --config-file etc/livemig/policy-generator.conf"
