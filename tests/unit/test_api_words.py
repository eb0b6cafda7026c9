"""What the API understands and how it refuses: schemas, microversions, faults, where its PasteDeploy file is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import webob
import webob.exc
from oslo_config import cfg
from oslo_messaging._drivers import common as wire

from livemig import conf as configuration
from livemig import exceptions, microversions
from livemig.api import errors, versions
from livemig.api.errors import Faults, answer, fault, status_of
from livemig.api.loading import paste_file
from livemig.api.routes import Route, before
from livemig.api.schemas import server_actions as schemas
from livemig.api.schemas import validation
from livemig.microversions import MAX, MIN

# Schemas

TRUE = [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
FALSE = [False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]
NO_BOOLEANS: list[Any] = [1, 0, 1.0, None, "", "t", "f", "y", "n", "tRUE", "oN", "yES", " true", "true ", "true\n", "2", "None", [], {}, ["true"]]


def migrate(**changes: Any) -> dict[str, Any]:
    asked = {"host": "node2", "block_migration": False, "disk_over_commit": False, **changes}
    return {"os-migrateLive": {name: value for name, value in asked.items() if value is not ...}}


def check(body: Any) -> str:
    """The refusal, "" for none."""
    try:
        validation.check(schemas.MIGRATE_LIVE, MIN, body)
    except webob.exc.HTTPBadRequest as error:
        return str(error.detail)
    return ""


@pytest.mark.parametrize("name", ["block_migration", "disk_over_commit"])
@pytest.mark.parametrize(("value", "meaning"), [*((value, True) for value in TRUE), *((value, False) for value in FALSE)], ids=repr)
def test_booleans(name: str, value: Any, meaning: bool) -> None:
    assert check(migrate(**{name: value})) == ""
    assert validation.boolean(value) is meaning


@pytest.mark.parametrize("name", ["block_migration", "disk_over_commit"])
@pytest.mark.parametrize("value", NO_BOOLEANS, ids=repr)
def test_no_booleans(name: str, value: Any) -> None:
    assert check(migrate(**{name: value})).startswith(f"Invalid input for field/attribute {name}. Value: {value}. ")


@pytest.mark.parametrize("host", [None, "a", "node-1.example_2.org", "A" * 255, "10.0.0.1", "-", "."])
def test_hosts(host: Any) -> None:
    assert check(migrate(host=host)) == ""


@pytest.mark.parametrize(
    "host", ["", "A" * 256, "node2\n", "a b", "a/b", "nöde", "a\x00", "fd00::1", 1, True, [], {}], ids=lambda host: repr(host).replace(":", ";")
)
def test_no_hosts(host: Any) -> None:
    assert check(migrate(host=host)).startswith("Invalid input for field/attribute host. Value: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (migrate(host=...), "'host' is a required property"),
        (migrate(block_migration=...), "'block_migration' is a required property"),
        (migrate(disk_over_commit=...), "'disk_over_commit' is a required property"),
        (migrate(force=True), "Additional properties are not allowed ('force' was unexpected)"),
        ({"os-migrateLive": None}, "None is not of type 'object'"),
        ({"os-migrateLive": "node2"}, "'node2' is not of type 'object'"),
        ({**migrate(), "more": 1}, "Additional properties are not allowed ('more' was unexpected)"),
        ({}, "'os-migrateLive' is a required property"),
    ],
    ids=["host", "block", "over-commit", "unknown field", "null", "text", "two actions", "nothing"],
)
def test_no_bodies(body: Any, words: str) -> None:
    assert words in check(body)


def test_the_schema_in_force_is_the_newest_not_after_the_version() -> None:
    versioned = (((2, 1), {"const": "one"}), ((2, 25), {"const": "twenty-five"}), ((2, 30), {"const": "thirty"}))
    for version, body in [((2, 1), "one"), ((2, 24), "one"), ((2, 25), "twenty-five"), ((2, 29), "twenty-five"), ((2, 104), "thirty")]:
        validation.check(versioned, version, body)
    with pytest.raises(webob.exc.HTTPBadRequest, match="'twenty-five' was expected"):
        validation.check(versioned, (2, 25), "one")


# Microversions


def test_the_history_is_of_the_versions_that_have_a_name() -> None:
    named = {value for name, value in vars(microversions).items() if isinstance(value, tuple) and name != "MAX"}
    assert set(microversions.HISTORY) == named
    assert min(named) == MIN and max(named) <= MAX
    assert list(microversions.HISTORY) == sorted(named), "in order"
    assert microversions.text((2, 60)) == "2.60"


NEW, OLD = "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"
NEGOTIATED: dict[str, tuple[dict[str, str], Any]] = {
    "none": ({}, MIN),
    "new": ({NEW: "compute 2.1"}, (2, 1)),
    "legacy": ({OLD: "2.1"}, (2, 1)),
    "both: the new one": ({NEW: "compute 2.1", OLD: "9.9"}, (2, 1)),
    "latest": ({NEW: "compute latest"}, MAX),
    "Latest": ({OLD: "LATEST"}, MAX),
    "another service": ({NEW: "volume 3.5"}, MIN),
    "several services": ({NEW: "volume 3.5, compute 2.1"}, (2, 1)),
    "blank": ({OLD: " "}, MIN),
    "no number": ({NEW: "compute two"}, 400),
    "half": ({NEW: "compute 2"}, 400),
    "three parts": ({NEW: "compute 2.1.1"}, 400),
    "older": ({NEW: "compute 2.0"}, 406),
    "newer": ({NEW: "compute 2.9999"}, 406),
    "major": ({NEW: "compute 3.0"}, 406),
}


@pytest.mark.parametrize("case", NEGOTIATED)
def test_negotiation(case: str) -> None:
    headers, expected = NEGOTIATED[case]
    request = webob.Request.blank("/", headers=headers)
    if isinstance(expected, tuple):
        assert versions.negotiate(request) == expected
        return
    with pytest.raises(webob.exc.HTTPException) as refused:
        versions.negotiate(request)
    assert refused.value.status_int == expected  # type: ignore[attr-defined]


def test_answers_say_their_version() -> None:
    response = webob.Response()
    versions.mark(response, "2.1")
    assert {name: response.headers[name] for name in (NEW, OLD, "Vary")} == {NEW: "compute 2.1", OLD: "2.1", "Vary": f"{NEW}, {OLD}"}


@pytest.mark.parametrize(
    ("method", "path", "parameters"),
    [
        ("POST", "/servers/web/action", {"id": "web"}),
        ("GET", "/servers/web/action", None),
        ("POST", "/servers/a/b/action", None),
        ("POST", "/servers//action", None),
        ("POST", "/servers/web/action/", None),
        ("POST", "/servers/web/action\n", None),
    ],
)
def test_routes(method: str, path: str, parameters: dict[str, str] | None) -> None:
    assert Route("POST", "/servers/{id}/action", lambda _request: webob.Response(), "Act").match(method, path, MIN) == parameters


@pytest.mark.parametrize(("version", "served"), [((2, 22), False), ((2, 23), True), ((2, 52), True), ((2, 53), False)])
def test_a_route_is_there_from_since_to_until(version: microversions.Version, served: bool) -> None:
    route = Route("GET", "/things", lambda _request: webob.Response(), "List", (2, 23), before((2, 53)))
    assert (route.match("GET", "/things", version) is not None) is served


# Errors

STATUSES: dict[type[Exception], int] = {
    exceptions.ServerNotFound: 404,
    exceptions.ServerInvalidState: 409,
    exceptions.HostNotFound: 400,
    exceptions.ComputeServiceUnavailable: 400,
    exceptions.NoValidHost: 400,
    exceptions.MigrationPreCheckError: 400,
    exceptions.LiveMigrationFailed: 400,
    exceptions.ConductorUnavailable: 503,
    exceptions.DatabaseUnavailable: 503,
    exceptions.HypervisorUnavailable: 500,
    exceptions.LivemigError: 500,
    KeyError: 500,
}


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
def test_statuses(kind: type[Exception]) -> None:
    assert status_of(kind()) == STATUSES[kind]


def test_a_remote_class_has_the_status_of_ours() -> None:
    try:
        raise exceptions.HostNotFound(host="b")
    except exceptions.HostNotFound as error:
        carried = wire.serialize_remote_exception((type(error), error, None))
    remote = wire.deserialize_remote_exception(carried, [exceptions.__name__])
    assert type(remote) is not exceptions.HostNotFound
    assert status_of(remote) == 400


NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    406: "computeFault",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    500: "computeFault",
    501: "notImplemented",
    503: "serviceUnavailable",
}


@pytest.mark.parametrize("status", NAMES)
def test_faults(status: int) -> None:
    made = fault(status, "why")
    assert made.json == {NAMES[status]: {"code": status, "message": "why"}}
    assert made.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert ("Retry-After" in made.headers) is (status == 503)


@pytest.mark.parametrize("status", [413, 429])
def test_limits_say_when_to_come_again(status: int) -> None:
    assert fault(status, "why", {"Retry-After": "30"}).json["overLimit"] == {"code": status, "message": "why", "retryAfter": "30"}


def test_an_unexpected_error_says_nothing_internal_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("the password")
    except KeyError as error:
        said = answer(error)
    assert said.json == {"computeFault": {"code": 500, "message": errors.UNEXPECTED}}
    assert "password" not in said.text
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info and record.exc_info[0] is KeyError


def test_webobs_own_errors_keep_their_words() -> None:
    assert answer(webob.exc.HTTPNotFound("nothing here")).json["itemNotFound"]["message"] == "nothing here"
    assert answer(webob.exc.HTTPNotFound()).json["itemNotFound"]["message"] == webob.exc.HTTPNotFound.explanation


def through_filter(application: Any) -> webob.Response:
    return webob.Request.blank("/").get_response(Faults(application))


def test_what_fails_in_a_filter_is_a_fault_too() -> None:
    def broken(_environ: Any, _start_response: Any) -> Any:
        raise ZeroDivisionError("inside")

    said = through_filter(broken)
    assert (said.status_int, said.json) == (500, {"computeFault": {"code": 500, "message": errors.UNEXPECTED}})


def test_html_of_other_filters_becomes_a_fault() -> None:
    said = through_filter(webob.exc.HTTPUnauthorized(headers={"WWW-Authenticate": "Keystone", "X-Other": "1"}))
    assert said.json == {"unauthorized": {"code": 401, "message": "Unauthorized"}}
    assert said.headers["WWW-Authenticate"] == "Keystone" and "X-Other" not in said.headers
    assert through_filter(webob.exc.HTTPRequestEntityTooLarge()).json["overLimit"]["message"] == "Request is too large."


def test_good_answers_and_faults_pass_as_they_are() -> None:
    assert through_filter(webob.Response("fine")).text == "fine"
    assert through_filter(fault(404, "gone")).json["itemNotFound"]["message"] == "gone"


# The PasteDeploy file


def with_paste(name: str, files: list[str] | None = None) -> Any:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=files or [], default_config_dirs=[])
    conf.set_override("paste_config", name, group="api")
    return conf


def test_the_paste_file_as_given(tmp_path: Path) -> None:
    (tmp_path / "mine.ini").touch()
    assert paste_file(with_paste(str(tmp_path / "mine.ini"))) == str(tmp_path / "mine.ini")


def test_the_paste_file_beside_the_configuration(tmp_path: Path) -> None:
    for name in ("livemig.conf", "beside.ini"):
        (tmp_path / name).touch()
    assert paste_file(with_paste("beside.ini", [str(tmp_path / "livemig.conf")])) == str(tmp_path / "beside.ini")


def test_the_paste_file_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert paste_file(with_paste("api-paste.ini")) == str(Path(__file__).parents[2] / "api-paste.ini")


def test_no_paste_file() -> None:
    with pytest.raises(configuration.ConfigurationError, match=r"no file nosuch\.ini"):
        paste_file(with_paste("nosuch.ini"))
