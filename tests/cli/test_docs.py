"""docs/cli.md and docs/configuration.md say what the command really takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize
from typer.main import get_command

from udfstore.cli.app import ALIASES, COMMANDS, application
from udfstore.errors import CODES, Code
from udfstore.server.config import Everything, Settings

DOCS = Path(__file__).parents[2] / "docs"
CLI = (DOCS / "cli.md").read_text()
CONFIGURATION = (DOCS / "configuration.md").read_text()
SHARED = {"--json", "--root", "--socket"}
"""Options that docs/cli.md describes once, for all commands."""

_APPLICATION: Any = get_command(application(completion=False))


def command_of(name: str) -> Any:
    """A command by its one or two words."""
    found = _APPLICATION
    for word in name.split():
        found = found.commands[word]
    return found


_COMMANDS = {name: command_of(name) for name in (*COMMANDS, *ALIASES)}


def rows(text: str) -> list[list[str]]:
    """The cells of each row of its tables, without their heads."""
    bodies = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    lines = (line.replace("\\|", "|") for body in bodies for line in body.splitlines())
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def section(name: str) -> str:
    """What docs/cli.md says of a command."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no section: {name}"
    return found[1]


def takes(param: Any) -> str:
    """An option or argument as it is typed."""
    word = param.metavar or ""
    if param.param_type_name == "argument":
        return f"`{word}`"
    return f"`{', '.join(sorted(param.opts, key=len))}{' ' if word else ''}{word}`"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_described(name: str) -> None:
    text, command = section(name), _COMMANDS[name]
    assert command.help.split("\n\n")[0].replace("\n", " ") in text
    assert f"{COMMANDS[name][1]}\n" in text
    own = [param for param in command.params if name == "replay" or not SHARED & set(param.opts)]
    if name == "serve":  # docs/configuration.md has the rest
        own = [param for param in own if param.name == "config"]
    assert [row[:2] for row in rows(text)] == [[takes(param), param.help] for param in own]


@pytest.mark.parametrize("option", sorted(SHARED))
def test_shared_options_are_described_once(option: str) -> None:
    assert f"`{option}" in section("Every command")
    assert all(
        any(option in param.opts for param in command.params)
        for name, command in _COMMANDS.items()
        if name not in ("serve", "replay", "bridge", "run") and (name, option) != ("restore", "--socket")
    )


def test_no_section_is_left_over() -> None:
    assert re.findall(r"^## (.*)$", CLI, re.MULTILINE) == [*COMMANDS, "Every command", "Exit statuses", "JSON"]


def test_aliases_are_told() -> None:
    for alias, name in ALIASES.items():
        assert f"`{alias}`" in section(name)
        assert _COMMANDS[alias].hidden


def test_every_status_is_told() -> None:
    told = {row[0]: row[1] for row in rows(section("Exit statuses"))}
    for code in Code:
        assert code.value in told[str(CODES[code].exit)].split(", ")


def test_every_setting_is_told_with_its_default() -> None:
    expected = []
    for name, field in Everything.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{shown(name, field.default)}`"
        expected.append([f"`{name}`", default, field.description])
    assert rows(CONFIGURATION.partition("## Limits")[0]) == [row for row in expected if row[0].strip("`") in STATIC]
    assert rows(CONFIGURATION.partition("## Limits")[2]) == [row for row in expected if row[0].strip("`") not in STATIC]


STATIC = set(Settings.model_fields)


def shown(name: str, default: object) -> str:
    """A default as one would write it."""
    if name.endswith(("_bytes", "_from")):
        assert isinstance(default, int)
        return ByteSize(default).human_readable(separator=" ").replace(".0 ", " ")
    return f"{default:g}" if isinstance(default, float) else str(default)
