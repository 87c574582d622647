"""The systemd units: clean, tight, and what they say is what the server takes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from manager import Manager, listening

import udfstore
from udfstore.client import where
from udfstore.server import activation
from udfstore.server.limits import ServerLimits

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATIONS = DEPLOY.parent / "docs/operations.md"
SERVICE = DEPLOY / "systemd" / "udfstore.service"
SOCKETS = sorted(DEPLOY.glob("systemd/*.socket"))
MOST_EXPOSED = 14
"""In tenths, as `systemd-analyze security` scores it: below 1.5."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(unit: Path) -> dict[str, str]:
    """What a unit sets; lines of one name are joined by a line feed."""
    found: dict[str, str] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_the_units_are_clean(tmp_path: Path) -> None:
    text = SERVICE.read_text()
    installed = "/opt/udfstore/bin/udfstore"
    assert installed in text
    (tmp_path / SERVICE.name).write_text(text.replace(installed, sys.executable))
    copies = [Path(shutil.copy(unit, tmp_path)) for unit in SOCKETS]
    done = analyze("verify", "--man=no", tmp_path / SERVICE.name, *copies)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_sandbox_is_tight() -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", SERVICE)
    assert done.returncode == 0, done.stdout
    score = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert score
    assert f"`systemd-analyze security udfstore.service` says {score[1]}." in OPERATIONS.read_text()


def test_a_stop_leaves_time_for_the_grace() -> None:
    assert int(settings(SERVICE)["TimeoutStopSec"]) >= ServerLimits().grace_seconds + 10


def test_the_sockets_are_those_that_the_server_takes() -> None:
    told = {settings(unit)["FileDescriptorName"]: settings(unit) for unit in SOCKETS}
    assert set(told) == {activation.UNIX, *activation.OTHERS}
    assert {unit["Service"] for unit in told.values()} == {SERVICE.name}
    assert told[activation.UNIX]["ListenStream"] == str(where.SERVICE_SOCKET)
    # What systemd makes for the time of a run it deletes at its end, with the sockets in it.
    assert "RuntimeDirectory" not in settings(SERVICE)


def test_what_tells_who_moved_a_tag_is_left_visible() -> None:
    assert {"PrivateUsers", "ProtectProc"}.isdisjoint(settings(SERVICE))


@pytest.mark.skipif(os.geteuid() != 0, reason="folders are given to groups by root")
@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not installed")
def test_the_folders_of_the_sockets_let_only_their_group_in(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, words, folder in (
        ("systemd-sysusers", [], "sysusers.d"),
        ("systemd-tmpfiles", ["--create"], "tmpfiles.d"),
    ):
        subprocess.run([tool, f"--root={tmp_path}", *words, DEPLOY / folder / "udfstore.conf"], check=True, timeout=60)
    groups = dict(line.split(":")[::2] for line in (tmp_path / "etc/group").read_text().splitlines())
    by_number = {int(number): name for name, number in (pair for pair in groups.items())}
    for unit in SOCKETS:
        told = settings(unit)
        if told["ListenStream"].startswith("/"):
            status = (tmp_path / told["ListenStream"][1:]).parent.stat()
            assert (by_number[status.st_gid], stat.S_IMODE(status.st_mode)) == (told["SocketGroup"], 0o750)
    assert settings(SERVICE)["User"] in (tmp_path / "etc/passwd").read_text()


def command(folder: Path) -> list[str]:
    """What the unit starts, with a folder for the state of services, as words for Python."""
    program, *words = shlex.split(settings(SERVICE)["ExecStart"].replace("%S", str(folder)))
    assert Path(program).name == "udfstore"
    return ["-m", "udfstore", *words]


def test_the_command_of_the_unit_serves(folder: Path) -> None:
    with listening(folder / "s") as opened, Manager(folder, [opened], activation.UNIX) as manager:
        serve = command(folder)
        assert serve[:3] == ["-m", "udfstore", "serve"]
        assert manager.start(*serve[3:])["root"] == f"{folder}/udfstore"
        assert manager.stop() == 0


@needs_systemd
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_server_does_nothing_that_the_sandbox_forbids(folder: Path) -> None:
    trace = folder / "trace"
    with listening(folder / "s") as opened, Manager(folder, [opened]) as manager:
        manager.start(*command(folder)[3:], trace=trace)
        with udfstore.connect(folder / "s") as store:
            saved = store.save(b"1" * (9 << 20), tag="t")
            assert store.load("t") == b"1" * (9 << 20)
            assert next(iter(store.history("t"))).author.program
            store.untag("t")
            store.delete(saved.id)
        assert manager.stop() == 0
    lines = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    called = {match[1] for line in lines if (match := re.match(r"(\w+)\(", line))}
    assert len(called) > 30
    if os.geteuid() == 0:
        called.discard("fchown")  # SQLite gives its files to the owner of the catalog, when it runs as root
    assert called <= allowed(), called - allowed()
    families = {match[1] for line in lines if (match := re.match(r"socket(?:pair)?\((\w+)", line))}
    assert families <= set(settings(SERVICE)["RestrictAddressFamilies"].split())
    mapped = [line for line in lines if line.startswith(("mmap(", "mprotect("))]
    assert not [line for line in mapped if "PROT_WRITE|PROT_EXEC" in line]
    assert not [line for line in mapped if line.startswith("mprotect(") and "PROT_EXEC" in line]


def allowed() -> set[str]:
    """The system calls that the unit allows."""
    kept, removed = settings(SERVICE)["SystemCallFilter"].splitlines()
    assert removed.startswith("~")
    return calls_of(kept) - calls_of(removed[1:])


@cache
def calls_of(groups: str) -> set[str]:
    found = set()
    for line in analyze("syscall-filter", "--no-pager", *groups.split()).stdout.splitlines():
        word = line.strip()
        if line.startswith(" ") and word and not word.startswith("#"):
            found |= calls_of(word) if word.startswith("@") else {word}
    return found


def test_the_page_for_operators_names_files_that_are_there() -> None:
    named = set(re.findall(r"deploy/[\w./-]*\w", OPERATIONS.read_text()))
    assert len(named) > 4
    assert [path for path in named if not (DEPLOY.parent / path).exists()] == []
