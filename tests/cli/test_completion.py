"""What the shell is offered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import Run

from udfstore.cli import main

Offered = Callable[[str], set[str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, udfstore: Run, capfdbinary: pytest.CaptureFixture[bytes]) -> Offered:
    """The words that are offered at the end of a line."""

    def complete(line: str) -> set[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        monkeypatch.setenv("_UDFSTORE_COMPLETE", "complete_bash")
        capfdbinary.readouterr()
        with pytest.raises(SystemExit):
            main([])
        out, err = capfdbinary.readouterr()
        assert err == b""
        return set(out.decode().split())

    return complete


@pytest.fixture
def socket(udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server with two tags, one of them with two versions."""
    for number, tag in enumerate("xyy"):
        path = tmp_path / str(number)
        path.write_text(str(number))
        udfstore("put", path, "--tag", f"{tmp_path.name}/{tag}", "--socket", server)
    monkeypatch.setenv("UDFSTORE_SOCKET", str(server))
    return server


def test_tags_and_versions_come_from_the_store(offered: Offered, socket: Path, tmp_path: Path) -> None:
    folder = tmp_path.name
    assert offered(f"udfstore get {folder[:-1]}") == {f"{folder}/x", f"{folder}/y"}
    assert offered(f"udfstore get {folder}/y@") == {f"{folder}/y@1", f"{folder}/y@2"}
    assert offered(f"udfstore rollback {folder}/x") == {f"{folder}/x"}
    assert offered(f"udfstore tag new {folder}/x") == {f"{folder}/x"}
    assert offered("udfstore ls nothing/") == set()
    assert offered("udfstore log nothing@") == set()


def test_flags_on_the_line_say_which_store(offered: Offered, socket: Path, tmp_path: Path) -> None:
    assert offered(f"udfstore get --socket {tmp_path}/none {tmp_path.name}") == set()
    assert offered(f"udfstore get --root {tmp_path}/none {tmp_path.name}") == set()


def test_commands_and_options_are_offered(offered: Offered) -> None:
    assert offered("udfstore ro") == {"rollback"}
    assert offered("udfstore rollback --to") == {"--to"}


def test_without_a_server_nothing_is_offered_and_nothing_said(
    offered: Offered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDFSTORE_SOCKET", str(tmp_path / "none"))
    assert offered("udfstore get x") == set()
