"""What goes wrong, each time told in one line with the exit status of the one table."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from cli_kit import Run
from kit import ServerProcess

from udfstore.cli import app
from udfstore.errors import CODES, Code, UdfstoreError


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["get"], "Missing argument 'REF'"),
        (["get", "x", "--frobnicate"], "No such option: --frobnicate"),
        (["get", "x", "y"], "unexpected extra argument"),
        (["get", "x", "--root", ""], "Invalid value for '--root': an empty path"),
        (["rollback", "x", "--to", "one"], "'one' is not a whole number"),
        (["tag", "x", "y", "--expect=-1"], "'-1' is not a whole number"),
        (["tag", "x", "y", "--label", "score"], "not a label (expected K=V, got 'score')"),
        (["tag", "x", "y", "--label", "=1"], "not a label"),
        (["tag", "x", "y", "--label", "a=1", "--label", "a=2"], "given twice (got a)"),
        (["put", __file__, "--note", "why"], "name it with --tag"),
        (["put", __file__, "--label", "a=b"], "name it with --tag"),
        (["put", __file__, "--expect", "0"], "name it with --tag"),
        (["get", "x", "--json"], "--json describes what -o FILE was given"),
        (["replay", "x"], "name either --socket PATH"),
        (["replay", "x", "--socket", "a", "--listen", "b"], "name either --socket PATH"),
        (["put", "/none/there"], "/none/there: No such file or directory"),
        (["put", "/"], "/: Is a directory"),
    ],
)
def test_misuse_is_told_before_a_server_is_asked(udfstore: Run, words: list[str], told: str) -> None:
    done = udfstore(*words)
    assert done.status == CODES[Code.USAGE].exit
    assert done.err.startswith("udfstore: ")
    assert told in done.err
    assert done.out == b""


def test_misuse_shows_where_help_is(udfstore: Run) -> None:
    assert "udfstore rollback --help" in udfstore("rollback").err


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["get", "nobody/knows"], 3, "there is no tag nobody/knows"),
        (["get", "12345678"], 3, "nothing is called 12345678"),
        (["get", "sha256:" + "0" * 64], 3, "there is no blob"),
        (["get", "a//b"], 2, "not a tag"),
        (["get", "a@x"], 2, "not a version"),
        (["log", "nobody/knows"], 3, "no tag nobody/knows"),
        (["rollback", "nobody/knows"], 3, "no tag nobody/knows"),
        (["untag", "nobody/knows"], 3, "no tag nobody/knows"),
        (["rm", "nobody/knows"], 3, "no tag nobody/knows"),
        (["tag", "snapshots/x", "nobody/knows"], 2, "belong to the snapshot calls"),
    ],
)
@pytest.mark.parametrize("where", ["socket", "root"])
def test_what_the_store_refuses(
    udfstore: Run, server: Path, tmp_path: Path, where: str, words: list[str], status: int, told: str
) -> None:
    flags = ["--socket", str(server)]
    if where == "root":
        flags = ["--root", str(tmp_path / "root")]
        udfstore("put", __file__, *flags)
    done = udfstore(*words, *flags)
    assert done.status == status
    assert told in done.err
    assert done.err.count("\n") == 1


def test_no_server_names_every_place_and_how_to_start_one(
    udfstore: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "runtime"))
    for words in (["status"], ["get", "x"], ["put", __file__]):
        done = udfstore(*words)
        assert done.status == CODES[Code.NO_SERVER].exit
        for place in (
            "/run/udfstore/udfstore.sock",
            f"{folder}/runtime/udfstore/udfstore.sock",
            f"{folder}/.local",
        ):
            assert place in done.err
        assert "udfstore serve" in done.err


def test_which_store(udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, nowhere = tmp_path / "elsewhere", tmp_path / "nowhere"
    udfstore("put", __file__, "--tag", "which/elsewhere", "--root", elsewhere)
    udfstore("put", __file__, "--tag", "which/server", "--socket", server)
    assert udfstore("ls", "which/server", "--root", elsewhere, "--socket", server).status == 0
    monkeypatch.setenv("UDFSTORE_SOCKET", str(server))
    monkeypatch.setenv("UDFSTORE_ROOT", str(nowhere))
    assert udfstore("ls", "which/server").status == 0
    assert udfstore("ls", "which/elsewhere", "--root", elsewhere).status == 0
    assert udfstore("ls", "which/server", "--socket", nowhere).status == 5
    monkeypatch.delenv("UDFSTORE_SOCKET")
    missing = udfstore("ls")
    assert missing.status == 5
    assert f"{nowhere}/run/udfstore.sock" in missing.err


def test_a_root_that_a_server_owns_is_a_conflict_that_names_it(udfstore: Run, server: Path) -> None:
    for words in (["ls"], ["put", __file__]):
        done = udfstore(*words, "--root", server.parent / "root")
        assert done.status == 4
        assert f"which listens at {server}" in done.err


def test_reading_makes_no_store(udfstore: Run, tmp_path: Path) -> None:
    root = tmp_path / "typo"
    assert udfstore("ls", "--root", root).status == 3
    assert not root.exists()


def test_status_says_whether_it_is_ready(
    udfstore: Run, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = udfstore("status", "--socket", server)
    assert ready.status == 0
    assert ready.text.startswith("state        ready\n")
    told = udfstore("status", "--json", "--socket", server).json
    assert (told["ready"], told["problem"], told["root"]) == (True, "", str(server.parent / "root"))


def test_status_warns_of_a_full_disk(udfstore: Run, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "root", tmp_path / "s", floor_bytes="1000 TiB"):
        done = udfstore("status", "--socket", tmp_path / "s")
    assert done.status == 0
    assert done.text.startswith("state        ready\nwarning      the disk is near its floor: ")


def test_status_of_a_damaged_store_says_why(udfstore: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in (1, 2):
        path = tmp_path / str(number)
        path.write_text(str(number))
        udfstore("put", path, "--tag", "x", "--root", root)
    segment = next((root / "log").iterdir())
    content = bytearray(segment.read_bytes())
    content[200] ^= 0xFF
    segment.write_bytes(content)
    (root / "catalog.db").unlink()
    done = udfstore("status", "--root", root)
    assert done.status == 1
    assert done.text.startswith("state        not ready: ")
    told = udfstore("status", "--root", root, "--json")
    assert (told.status, told.json["ready"]) == (1, False)


@pytest.mark.parametrize("kind", UdfstoreError.__subclasses__())
def test_every_error_of_ours_becomes_its_status(
    udfstore: Run, monkeypatch: pytest.MonkeyPatch, kind: type[UdfstoreError]
) -> None:
    assert _ends(udfstore, monkeypatch, kind("what happened")) == (
        CODES[kind.code].exit,
        "udfstore: what happened\n",
    )


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOENT, 2), (errno.EACCES, 7), (errno.ENOSPC, 8), (errno.EROFS, 1), (errno.EIO, 1)],
)
def test_what_the_system_refuses_names_the_file(
    udfstore: Run, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    got, told = _ends(udfstore, monkeypatch, OSError(number, "the reason", "model.onnx"))
    assert (got, told) == (status, "udfstore: model.onnx: the reason\n")


def test_a_bug_is_told_in_a_line_with_a_way_to_see_more(udfstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, told = _ends(udfstore, monkeypatch, ZeroDivisionError("division"))
    assert status == 1
    assert "ZeroDivisionError: division" in told
    assert "Traceback" not in told
    monkeypatch.setenv("UDFSTORE_TRACEBACK", "1")
    assert "Traceback" in _ends(udfstore, monkeypatch, ZeroDivisionError("division"))[1]


def test_an_error_inside_groups_is_told_as_itself(udfstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [OSError(errno.EACCES, "denied", "s")])])
    assert _ends(udfstore, monkeypatch, nested) == (7, "udfstore: s: denied\n")


def test_ctrl_c_ends_with_130_and_no_word(udfstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ends(udfstore, monkeypatch, KeyboardInterrupt()) == (130, "")


def _ends(udfstore: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> tuple[int, str]:
    """How a command ends that raises this."""

    def failing(argv: list[str]) -> None:
        raise error

    monkeypatch.setattr(app, "_run", failing)
    done = udfstore("ls")
    return done.status, done.err


def test_replay_says_how_much_came_as_expected(udfstore: Run, server: Path) -> None:
    transcript = Path(__file__).parents[1] / "transcripts" / "fault-not-found.transcript"
    done = udfstore("replay", transcript, "--socket", server)
    assert done.err == ""
    assert done.status == 0
    assert done.text.endswith(" frames came as expected\n")
    assert udfstore("replay", "/none", "--socket", server).status == 2
