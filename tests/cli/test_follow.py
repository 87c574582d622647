"""`udfstore follow` as a process: a file kept current, and a program on it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from cli_kit import Process, Run
from kit import SECONDS, eventually

import udfstore
from udfstore import Store

_numbers = count()
Follow = Callable[..., subprocess.Popen[str]]

PROGRAM = """
import pathlib, signal, sys
def hung_up(*_):
    print("hangup", flush=True)
signal.signal(signal.SIGHUP, hung_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
content = pathlib.Path(sys.argv[1]).read_text()
print(content, flush=True)
if content.startswith("bad"):
    sys.exit(7)
while True:
    signal.pause()
"""


@pytest.fixture
def store(server: Path) -> Iterator[Store]:
    with udfstore.connect(server) as store:
        yield store


@pytest.fixture
def tag(store: Store) -> str:
    name = f"follow/{next(_numbers)}"
    store.save(f"one {name}".encode(), tag=name)
    return name


@pytest.fixture
def follow(environment: dict[str, str], server: Path) -> Iterator[Follow]:
    """Run it, with its stdout in hand; it is gone at the end."""
    running: list[subprocess.Popen[str]] = []

    def run(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "udfstore", "follow", "--socket", str(server), *map(str, words)]
        running.append(
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate(timeout=SECONDS)


@contextmanager
def ended(process: subprocess.Popen[str], status: int) -> Iterator[list[str]]:
    """How it ends, with the rest of what it says on stderr."""
    said: list[str] = []
    yield said
    _, err = process.communicate(timeout=SECONDS)
    said += err.splitlines()
    assert process.returncode == status, err


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_file_is_kept_on_the_newest_version(follow: Follow, store: Store, tag: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    process = follow(tag, "-o", path, "--json")
    assert json.loads(line(process))["version"] == 1
    assert path.read_text() == f"one {tag}"
    store.save(b"two", tag=tag)
    assert json.loads(line(process))["version"] == 2
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"
    eventually(lambda: {use.version for use in store.uses(tag=tag, everything=True)} == {1, 2})
    with ended(process, 143):
        process.terminate()


def test_a_program_is_restarted_on_the_new_version(follow: Follow, store: Store, tag: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    process = follow(tag, "-o", path, "--", sys.executable, "-c", PROGRAM, path)
    assert line(process) == f"one {tag}"
    store.save(b"two", tag=tag)
    assert line(process) == "two"
    process.send_signal(signal.SIGHUP)
    assert line(process) == "hangup"
    with ended(process, 9) as said:
        process.terminate()
    assert said == [f"{tag}@2 -> {path}; the program is restarted"]


def test_a_program_that_fails_on_a_new_version_gets_the_old_one_back(
    follow: Follow, store: Store, tag: str, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    process = follow(tag, "-o", path, "--", sys.executable, "-c", PROGRAM, path)
    assert line(process) == f"one {tag}"
    store.save(b"bad", tag=tag)
    assert (line(process), line(process)) == ("bad", f"one {tag}")
    assert path.read_text() == f"one {tag}"

    def told() -> bool:
        following = [f for session in store.sessions() for f in session.following if f.tag == tag]
        return [(f.version, f.error.partition(" ended")[0]) for f in following] == [(1, "@2: the program")]

    eventually(told)
    store.save(b"three", tag=tag)
    assert line(process) == "three"
    with ended(process, 9):
        process.terminate()


def test_a_program_that_fails_at_first_ends_it(process: Process, server: Path, store: Store, tmp_path: Path) -> None:
    store.save(b"bad", tag="follow/bad")
    words = ["follow", "follow/bad", "-o", tmp_path / "f", "--socket", server]
    assert process(*words, "--", sys.executable, "-c", PROGRAM, tmp_path / "f").returncode == 7
    assert process(*words, "--", "sh", "-c", "kill -KILL $$").returncode == 137
    assert process(*words, "--", "sh", "-c", "exit 0").returncode == 0


@pytest.mark.parametrize(("way", "content"), [("write", "two"), ("ignore", "one")])
def test_a_program_that_is_left_alone(
    follow: Follow, store: Store, tag: str, tmp_path: Path, way: str, content: str
) -> None:
    path = tmp_path / "model"
    process = follow(tag, "-o", path, "--on-move", way, "--", sys.executable, "-c", PROGRAM, path)
    assert line(process) == f"one {tag}"
    eventually(lambda: list(store.uses(tag=tag)))
    store.save(b"two", tag=tag)
    if way == "write":
        store.await_followers(tag, 2, SECONDS)
    process.send_signal(signal.SIGHUP)
    assert line(process) == "hangup", "it is the same process"
    assert path.read_text().startswith(content)
    with ended(process, 9):
        process.terminate()


def test_ctrl_c_ends_it(follow: Follow, tag: str, tmp_path: Path) -> None:
    process = follow(tag, "-o", tmp_path / "model", "--json")
    line(process)
    with ended(process, 130):
        process.send_signal(signal.SIGINT)


def test_misuse_is_told(udfstore: Run, server: Path, tag: str, tmp_path: Path) -> None:
    words = ["follow", tag, "-o", tmp_path / "f", "--socket", server]
    for wrong in (
        ["--on-move", "dance"],
        ["--json", "--", "true"],
        ["--on-move", "ignore"],
        ["--", "/no/such/program"],
    ):
        assert udfstore(*words, *wrong).status == 2
    assert udfstore("follow", f"{tag}/none", "-o", tmp_path / "f", "--socket", server).status == 3
    assert udfstore("follow", tag, "-o", tmp_path / "f", "--socket", tmp_path / "none").status == 5
