from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def pip(python: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(python)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install udfstore` installs, built from a copy: setuptools builds inside its source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    shutil.copytree(CHECKOUT / "udfstore", source / "udfstore", ignore=shutil.ignore_patterns("__pycache__"))
    done = pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(target), str(source))
    if "No matching distribution" in done.stderr:
        pytest.skip(f"no package registry to build with: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Iterator[Callable[[str], Path]]:
    """The Python of an environment with udfstore and some version of protobuf, and nothing else."""
    made: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="udfstore-") as folder:

        def install(requirement: str) -> Path:
            if requirement not in made:
                place = Path(folder) / f"venv{len(made)}"
                venv.create(place, symlinks=True)
                python = place / "bin" / "python"
                done = pip(python, "install", str(wheel), requirement)
                if "No matching distribution" in done.stderr:
                    pytest.skip(f"no package registry to install {requirement} from")
                assert done.returncode == 0, done.stderr
                made[requirement] = python
            return made[requirement]

        yield install
