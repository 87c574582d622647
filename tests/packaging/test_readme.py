"""The Python in the README is right, as far as types can tell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit import SECONDS

CHECKOUT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_readme_shows_python() -> None:
    assert SNIPPETS


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All snippets as modules of their own, and what mypy says of them."""
    folder = tmp_path_factory.mktemp("readme")
    for number, snippet in enumerate(SNIPPETS):
        (folder / f"snippet{number}.py").write_text(snippet)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(CHECKOUT / ".mypy_cache")]
    done = subprocess.run(
        [*command, *map(str, sorted(folder.iterdir()))],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return folder, done.stdout


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_of_the_readme_is_well_typed(checked: tuple[Path, str], number: int) -> None:
    folder, said = checked
    assert [line for line in said.splitlines() if line.startswith(f"{folder}/snippet{number}.py")] == []
