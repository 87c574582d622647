"""Runs the commands of a page as they are written, and holds what they print to what the page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from kit import SECONDS, eventually

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")
_LOG_LINE = re.compile(r'^\{.*"event": .*\}\n', re.MULTILINE)
_AT = re.compile(r"(?<=--at )\S+")
_DIFFERS = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{8}\b|\b[0-9]{8}\b"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\d+ (s|min|h|days?) ago|just now"), "<ago>"),
    (re.compile(r"[\d.]+ KiB|\([\d,]+ bytes\)"), "<size>"),
    (re.compile(r"^\d+(?=  .*  \d+ calls?\b)", re.MULTILINE), "<session>"),
    (re.compile(r"\d+ calls?\b"), "<calls>"),
    (re.compile(r" +"), " "),
]


class Page:
    """A page, and the folder in which its reader types."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._blocks: list[tuple[str, str]] = _BLOCK.findall((DOCS / name).read_text())
        self._folder = folder
        self._environment = {**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}

    def play(self) -> int:
        """Do all that the page says, from top to bottom; how many commands that were.

        A block of Python that begins with the name of a file is put there, and so is what `cat` shows of a file that is
        not there yet.
        """
        commands = 0
        for kind, block in self._blocks:
            if kind == "python":
                named = _FILE.match(block)
                assert named, f"a block without the name of its file:\n{block}"
                (self._folder / named[1]).write_text(block)
                continue
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, output = _parted(part)
                self._type(command, output)
                commands += 1
        return commands

    def _type(self, command: str, shown: str) -> None:
        file = self._folder / command.removeprefix("cat ")
        if command.startswith("cat ") and not file.exists():
            file.write_text(shown)
        if command == "udfstore sessions":  # somebody looks until it is so
            eventually(lambda: _same(self._output(command)) == _same(shown))
            return
        output = self._output(_AT.sub(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", command))
        assert _same(output) == _same(shown), f"{command}\n{output}"

    def _output(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        return _LOG_LINE.sub("", done.stdout) + (f"exit status {done.returncode}\n" if done.returncode else "")


def _parted(part: str) -> tuple[str, str]:
    r"""A command, which goes on after a `\` at the end of a line, and the output below it."""
    lines = part.splitlines(keepends=True)
    count = 1 + next(i for i, line in enumerate(lines) if not line.endswith("\\\n"))
    return "".join(lines[:count]).rstrip("\n"), "".join(lines[count:])


def _same(text: str) -> list[str]:
    """What is the same for everybody. What goes to stdout and what to stderr keep no order between them."""
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())
