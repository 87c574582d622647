"""Which folders are opened as stores, and what is said about the others."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from store_kit import failing, move, open_store, read, save

import udfstore.store
from udfstore.errors import Conflict, Corrupt, Denied, NotFound, UdfstoreError, Unsupported, UsageError
from udfstore.store import Store
from udfstore.store.format import Format, parse, render


def test_a_missing_or_empty_folder_becomes_a_store(root: Path) -> None:
    with open_store(root / "deep" / "er") as store:
        assert (store.revision, store.totals(), store.problem, store.epoch) == (0, (0, 0, 0), "", 1)
        assert len(store.id) == 16
        assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    (root / "empty").mkdir()
    (root / "empty" / "lost+found").mkdir()
    with open_store(root / "empty"):
        pass


def test_without_create_there_must_be_one(root: Path) -> None:
    with pytest.raises(NotFound, match=re.escape(str(root))):
        open_store(root, create=False)
    root.mkdir()
    with pytest.raises(NotFound):
        open_store(root, create=False)
    assert not list(root.iterdir())
    with open_store(root):
        pass
    with open_store(root, create=False):
        pass


def test_it_is_the_same_store_again(root: Path) -> None:
    with open_store(root) as store:
        id, name = save(store, b"x"), store.id
        move(store, "t", id)
    link = root.with_name("link")
    link.symlink_to(root)
    with open_store(link) as store:
        assert store.id == name
        assert read(store, "t") == b"x"
        assert store.root == root


def test_looking_writes_nothing_to_the_log(root: Path) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    for _ in range(3):
        with open_store(root) as store:
            read(store, "t")
            assert store.revision == 2, "the move, and the note of the one clean end that had something to say"


def test_rights_of_the_files(root: Path, store: Store) -> None:
    id = save(store, b"x")
    move(store, "t", id)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    blob = {path for path in modes if path.name == id.hex}
    assert {modes[path] for path in blob} == {0o444}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {path.name for path, mode in modes.items() if path.is_file() and mode != 0o600} == {id.hex}


def test_a_tight_umask_takes_nothing_from_readers(root: Path) -> None:
    old = os.umask(0o777)
    try:
        root.parent.chmod(0o700)
        with open_store(root) as store:
            id = save(store, b"x")
            assert stat.S_IMODE((root / "blobs" / id.hex[:2] / id.hex).stat().st_mode) == 0o444
    finally:
        os.umask(old)


def test_a_folder_with_other_things_in_it(root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"not a store.*thesis\.txt"):
        open_store(root)
    assert (root / "thesis.txt").read_text() == "precious"
    assert [path.name for path in root.iterdir()] == ["thesis.txt"], "no trace of ours is left in it"


def test_a_file_is_no_root(root: Path) -> None:
    root.write_text("")
    with pytest.raises(UsageError, match="folder"):
        open_store(root)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_root_that_others_may_write(root: Path, mode: int) -> None:
    with open_store(root):
        pass
    root.chmod(mode)
    with pytest.raises(Denied, match="chmod 700"):
        open_store(root)


def test_a_root_of_another_user(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    root.mkdir(mode=0o700)
    os.chown(root, 12345, 12345)
    with pytest.raises(Denied, match="another user"):
        open_store(root)


def test_a_root_that_is_not_writable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere; the question to the system is answered as for others
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Denied, match="not writable"):
        open_store(root)


def test_a_root_in_use_names_its_owner(root: Path) -> None:
    for owner, told in (("/run/u.sock", f"process {os.getpid()}, which listens at /run/u.sock"), ("", "process")):
        with open_store(root, owner=owner), pytest.raises(Conflict, match=told):
            open_store(root)


GOOD = render(Format(b"i" * 16, 3))


def test_format_is_read_as_it_was_written() -> None:
    assert parse(GOOD) == Format(b"i" * 16, 3)


def test_the_example_in_the_description_is_one() -> None:
    text = Path(udfstore.store.__file__).with_name("FORMAT.md").read_text()
    example = re.search(r"^udfstore store\n.*?^check: .*?\n", text, re.DOTALL | re.MULTILINE)
    assert example is not None
    assert parse(example[0]) == Format(bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0"), 1)


def test_format_with_any_byte_changed_or_missing_is_refused() -> None:
    for place in range(len(GOOD)):
        for text in (GOOD[:place], GOOD[:place] + chr(ord(GOOD[place]) ^ 1) + GOOD[place + 1 :]):
            with pytest.raises((UsageError, Corrupt, Unsupported)):
                parse(text)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", UsageError, "not a FORMAT"),
        (GOOD.replace("version: 1", "version: 2"), Unsupported, "newer layout"),
        (GOOD.replace("features:", "features: sharding"), Unsupported, "sharding"),
        (GOOD.replace("epoch: 3", "epoch: 4"), Corrupt, "damaged"),
    ],
)
def test_a_format_that_is_not_ours(root: Path, text: str, error: type[Exception], says: str) -> None:
    with open_store(root):
        pass
    (root / "FORMAT").write_text(text)
    with pytest.raises(error, match=says):
        open_store(root)
    with pytest.raises(error):
        open_store(root, create=False)


def test_a_store_without_its_format_or_log_is_not_an_empty_one(root: Path) -> None:
    with open_store(root) as store:
        move(store, "t", save(store, b"x"))
    (root / "log").rename(root / "gone")
    with pytest.raises(Corrupt, match="log is missing"):
        open_store(root)
    (root / "log").mkdir()
    with pytest.raises(Corrupt, match="log is missing"):
        open_store(root)
    (root / "FORMAT").unlink()
    with pytest.raises(UsageError, match="not a store"):
        open_store(root)


def test_a_making_that_was_broken_off_anywhere_is_taken_up_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("create", "write", "fdatasync", "fsync_folder", "rename", "syncfs")
    for when in range(1, 100):
        with failing(monkeypatch, names, 5, when) as count, contextlib.suppress(UdfstoreError):
            open_store(root).close()
        with open_store(root) as store:
            save(store, b"x")
        if count() < when:
            return
        shutil.rmtree(root)
    pytest.fail("making a store has more steps than were tried")


def test_folders_that_a_backup_left_out_are_made_again(root: Path) -> None:
    with open_store(root):
        pass
    for name in ("trash", "staging", "quarantine"):
        (root / name).rmdir()
    with open_store(root) as store:
        save(store, b"x")
