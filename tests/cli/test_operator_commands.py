"""Tokens, links and metrics on the command line."""

from __future__ import annotations

import json
import shlex
import stat
import webbrowser
from itertools import count
from pathlib import Path

import pytest
from cli_kit import Run

from udfstore.admin import Link
from udfstore.cli import complete
from udfstore.client.remote import Store
from udfstore.errors import NoServer

_numbers = count()
TEXT = '# TYPE tags gauge\ntags{name="models/ä"} 7\n'


@pytest.fixture(params=["socket", "root"])
def store(request: pytest.FixtureRequest, tmp_path: Path, udfstore: Run) -> list[str]:
    """The flags of a store."""
    if request.param == "socket":
        return ["--socket", str(request.getfixturevalue("server"))]
    udfstore("put", __file__, "--root", tmp_path / "root")
    return ["--root", str(tmp_path / "root")]


@pytest.fixture
def name() -> str:
    return f"token-{next(_numbers)}"


def test_a_token_is_made_shown_once_and_revoked(udfstore: Run, store: list[str], name: str) -> None:
    made = udfstore("token", "add", name, "--can", "write", *store)
    assert made.status == 0
    assert made.text.startswith("udfs_")
    assert made.text.count("\n") == 1
    assert made.err.startswith(f"{name} can write; this is shown only now  undo: udfstore token rm {name} --")
    listed = udfstore("token", "ls", *store)
    assert [line.split()[:2] for line in listed.text.splitlines() if name in line] == [[name, "write"]]
    assert made.text.strip() not in listed.text
    removed = udfstore(*shlex.split(made.err.partition("undo: udfstore ")[2]))
    assert (removed.status, removed.text) == (0, "")
    assert name not in udfstore("token", "ls", *store).text
    assert udfstore("token", "rm", name, *store).status == 3


def test_tokens_as_json(udfstore: Run, store: list[str], name: str) -> None:
    made = udfstore("token", "add", name, "--json", *store)
    assert set(made.json) == {"name", "can", "added", "secret"}
    told = {key: value for key, value in made.json.items() if key != "secret"}
    assert (told["name"], told["can"]) == (name, "read")
    assert told in json.loads(udfstore("token", "ls", "--json", *store).out)
    assert udfstore("token", "rm", name, "--json", *store).json == told


def test_what_makes_no_token_is_told(udfstore: Run, store: list[str], name: str) -> None:
    udfstore("token", "add", name, *store)
    taken = udfstore("token", "add", name, *store)
    assert (taken.status, taken.text) == (4, "")
    assert udfstore("token", "add", "a/b", *store).status == 2
    wrong = udfstore("token", "add", f"{name}-x", "--can", "all", *store)
    assert wrong.status == 2
    assert "metrics, read, write" in wrong.err


def test_names_of_tokens_are_offered(udfstore: Run, server: Path, name: str) -> None:
    udfstore("token", "add", name, "--socket", server)

    class Line:
        params = {"root": None, "socket": server}  # noqa: RUF012 - as typer's context has it

    assert complete.tokens(Line(), name) == [name]  # type: ignore[arg-type]


def test_without_http_there_is_no_link(udfstore: Run, store: list[str]) -> None:
    refused = udfstore("web", *store)
    assert (refused.status, refused.text) == (1, "")
    assert "--http" in refused.err


def test_a_link_is_printed_and_opened(udfstore: Run, server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Store, "web_link", lambda store: Link("http://box/login?code=x", 300))
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)))
    told = udfstore("web", "--socket", server)
    assert told.text == "http://box/login?code=x\n"
    assert "5 min" in told.err
    assert opened == []
    assert udfstore("web", "--json", "--socket", server).json == {"url": "http://box/login?code=x", "seconds": 300}
    told = udfstore("web", "--open", "--socket", server)
    assert opened == ["http://box/login?code=x"]
    assert "open the link yourself" in told.err
    assert told.text == "http://box/login?code=x\n"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with two lines of metrics."""
    monkeypatch.setattr(Store, "metrics", lambda store: TEXT)


@pytest.mark.usefixtures("measured")
def test_metrics_are_printed(udfstore: Run, server: Path) -> None:
    assert udfstore("metrics", "--socket", server).text == TEXT
    assert udfstore("metrics", "--json", "--socket", server).json == {"text": TEXT}


@pytest.mark.usefixtures("measured")
def test_metrics_are_written_for_another_user_to_read(udfstore: Run, server: Path, tmp_path: Path) -> None:
    path = tmp_path / "udfstore.prom"
    path.write_text("old")
    path.chmod(0o600)
    done = udfstore("metrics", "--textfile", path, "--socket", server)
    assert (done.status, done.text) == (0, "")
    assert path.read_text() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    nowhere = udfstore("metrics", "--textfile", tmp_path / "none" / "x.prom", "--socket", server)
    assert nowhere.status == 2
    assert f"{tmp_path}/none/x.prom" in nowhere.err


def test_metrics_that_cannot_be_read_leave_the_file(
    udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: Store) -> str:
        raise NoServer("it went away")

    monkeypatch.setattr(Store, "metrics", away)
    path = tmp_path / "udfstore.prom"
    path.write_text("old")
    assert udfstore("metrics", "--textfile", path, "--socket", server).status == 5
    assert path.read_text() == "old"
