"""Run by the interpreter of a client's environment: evaluates one Python expression of each line of standard input, and answers each by a line of JSON.

Arguments: openstacksdk or watcher, which says what the names `conn` or `helper` stand for.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any


def openstacksdk() -> dict[str, Any]:
    import openstack

    return {"conn": openstack.connect()}


def watcher() -> dict[str, Any]:
    from watcher import conf
    from watcher.common import nova_helper

    options = ("auth_type", "auth_url", "username", "password", "project_name", "user_domain_id", "project_domain_id", "region_name")
    access = "".join(f"{option} = {os.environ['OS_' + option.upper()]}\n" for option in options)
    with open("watcher.conf", "w") as file:
        file.write(f"[DEFAULT]\nlog_file = watcher.log\n[nova]\napi_version = 2.96\nmigration_interval = 0.2\n{access}")
    conf.CONF(["--config-file", "watcher.conf"], project="watcher")
    return {"helper": nova_helper.NovaHelper()}


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if key != "location"}
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if hasattr(value, "__dict__") and not hasattr(value, "__iter__"):
        return plain({key: item for key, item in vars(value).items() if not key.startswith("_")})
    return [plain(item) for item in value]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    names = {"openstacksdk": openstacksdk, "watcher": watcher}[sys.argv.pop()]()
    for line in sys.stdin:
        try:
            answer = {"value": plain(eval(json.loads(line), names))}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer = {"error": type(error).__name__, "said": str(error)}
        print(json.dumps(answer), file=answers, flush=True)
