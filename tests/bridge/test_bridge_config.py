"""What a bridge can be told, in a file and on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from udfstore.bridge import config
from udfstore.bridge.settings import OnMove
from udfstore.errors import UsageError
from udfstore.tasks import Policy

WHOLE = """
kapacitor_url = "http://localhost:9092"
prefix = "line1/"
without_store = "wait=5"

[bridge.pump]
listen = "/run/pump.sock"
command = ["python3", "pump udf.py"]
models = ["models/pump=/var/lib/pump.pkl", "models/limits@3=/var/lib/limits.json"]
on_move = "write"
policy = "upstream"
plain_bytes = "16 MiB"

[bridge.gauge]
listen = "/run/gauge.sock"
connect = "/run/gauge-udf.sock"
prefix = "line2/"
hand_back = true
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bridges.toml"
    file.write_text(text)
    return file


def test_a_file_holds_many_and_what_they_share(tmp_path: Path) -> None:
    bridges = config.read(write(tmp_path, WHOLE))
    pump, gauge = bridges["pump"], bridges["gauge"]
    assert pump.command == ("python3", "pump udf.py")
    assert (pump.prefix, gauge.prefix) == ("line1/", "line2/")
    assert pump.policy is Policy.UPSTREAM
    assert pump.on_move is OnMove.WRITE
    assert [(model.tag.name, model.version) for model in pump.models] == [("models/pump", None), ("models/limits", 3)]
    assert pump.plain_bytes == 16 << 20
    assert gauge.hand_back
    assert gauge.without_store.patience == 5
    assert gauge.host_settings().socket == Path("/run/gauge-udf.sock")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no bridge"),
        ("bridge = 3", "has no bridge"),
        ("[bridge]\n", "has no bridge"),
        ("not toml", "is not TOML"),
        ("listen = '/a'\n[bridge.a]\ncommand = ['x']", "listen belongs to one bridge"),
        ("[bridge.a]\ncommand = ['x']", "bridge.a: it listens nowhere"),
        ("[bridge.a]\nlisten = '/a'", "bridge.a: a UDF is a command or a socket"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nconnect = '/b'", "name one of them"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nprefx = 'y'", "bridge.a: prefx"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\npolicy = 'lax'", "bridge.a: policy"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nkapacitor_url = 'x'", "bridge.a: kapacitor_url: not the URL"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nwithout_store = 'never'", "fresh, fail or wait=SECONDS"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nmodels = ['x']", "TAG=PATH"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\nkeepalive_seconds = 0", "bridge.a: keepalive_seconds"),
        (f"[bridge.a]\nlisten = '/{'a' * 120}'\ncommand = ['x']", "too long"),
        ("[bridge.a]\nlisten = '/a'\ncommand = ['x']\n[bridge.b]\nlisten = '/a'\ncommand = ['x']", "at one socket"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=r"bridges\.toml") as error:
        config.read(write(tmp_path, text))
    assert told in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        config.read(tmp_path / "none.toml")


def test_the_page_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kapacitor.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (?:`([^`]*)`|) ?\|", page, re.MULTILINE))
    assert list(rows) == list(config.Bridge.model_fields)
    for name, field in config.Bridge.model_fields.items():
        if rows[name]:
            told = config.bridge({"command": ("udf",), name: read_as(rows[name])}, "page")
            assert getattr(told, name) == field.default, name
        else:
            assert not field.default, name


def read_as(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)
