"""The README's commands, run as written, print what the README says they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
ELSEWHERE = ("pip install", "make ", "git clone")
"""Commands that set things up: the test's own environment is the result of them."""

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DIFFERS = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"pid \d+"), "pid <pid>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\d+(\.\d+)? [KMGT]?i?B free"), "<free>"),
    (re.compile(r"(/[\w.-]+)+/udfstore"), "<place>"),
    (re.compile(r" +"), " "),
]


def commands() -> list[tuple[str, str]]:
    """Each command of the README and the output shown below it."""
    found: list[tuple[str, str]] = []
    for block in _BLOCK.findall(README.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def same_for_everybody(text: str) -> list[str]:
    for pattern, instead in _DIFFERS:
        text = pattern.sub(instead, text)
    # What goes to stdout and what to stderr keep no order between them.
    return sorted(line.strip() for line in text.splitlines() if line.strip())


def test_the_tour(tmp_path: Path, folder: Path) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LANG": "C.UTF-8",
    }
    (folder / "run").mkdir()
    for number in (1, 2):
        (tmp_path / f"pump-{number}.onnx").write_bytes(bytes([number]) * 3_000_000)
    server: subprocess.Popen[str] | None = None
    ran = 0
    try:
        for command, shown in commands():
            if command.startswith(ELSEWHERE):
                continue
            if command == "udfstore serve":
                server = subprocess.Popen(
                    shlex.split(command), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
                )
                assert server.stderr is not None
                for line in server.stderr:
                    if "ready" in line:
                        break
                continue
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            assert same_for_everybody(done.stdout) == same_for_everybody(shown), command
            ran += 1
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
    assert ran > 8, "the tour lost its commands"


@pytest.mark.parametrize("page", [*sorted(README.parent.rglob("docs/**/*.md")), README], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
