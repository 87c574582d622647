"""Tokens: who has one gets in, who lost it does not, and the file says nothing that lets anybody in."""

from __future__ import annotations

import errno
import json
import re
import stat
from pathlib import Path

import pytest

from udfstore.admin import Can, Token
from udfstore.errors import Busy, Conflict, Corrupt, NoSpace, NotFound, UdfstoreError, Unsupported, UsageError
from udfstore.service import tokens as module
from udfstore.service.tokens import FIRST, Tokens
from udfstore.store import osfs

TIME = 1_700_000_000_000_000_000


def opened(folder: Path) -> Tokens:
    """As a server that has just started has them."""
    return Tokens(folder / "tokens.json", folder / "http-token", lambda: TIME)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_found_now_and_after_a_restart(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    made = tokens.add("ci", Can.WRITE)
    assert made.token == Token("ci", Can.WRITE, TIME)
    assert re.fullmatch(r"udfs_[A-Za-z0-9_-]{43}", made.secret)
    assert tokens.find(made.secret) == opened(tmp_path).find(made.secret) == made.token
    for wrong in ("", "udfs_", made.secret[:-1], made.secret.upper(), made.secret + "\n", "\udcff"):
        assert tokens.find(wrong) is None


def test_the_file_holds_no_secret_and_is_the_owners(tmp_path: Path) -> None:
    made = opened(tmp_path).add("ci", Can.READ)
    file = tmp_path / "tokens.json"
    assert made.secret not in file.read_text()
    assert mode(file) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


def test_the_name_of_the_first_token_is_kept_for_it(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    with pytest.raises(Conflict, match="choose another"):
        tokens.add(FIRST, Can.READ)
    assert tokens.first()
    assert [token.name for token in tokens.list()] == [FIRST]


def test_a_removed_token_lets_nobody_in_any_more(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    made, other = tokens.add("ci", Can.READ), tokens.add("phone", Can.METRICS)
    assert tokens.remove("ci") == made.token
    for store in (tokens, opened(tmp_path)):
        assert store.find(made.secret) is None
        assert store.find(other.secret) == other.token
        assert store.list() == [other.token]
    with pytest.raises(NotFound, match="'ci'"):
        tokens.remove("ci")


def test_tokens_are_listed_by_name(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    assert tokens.list() == []
    for name in ("b", "a.b-c", "C"):
        tokens.add(name, Can.READ)
    assert [token.name for token in tokens.list()] == ["C", "a.b-c", "b"]


def test_a_name_is_given_once_and_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = opened(tmp_path)
    made = tokens.add("ci", Can.READ)
    with pytest.raises(Conflict, match="a token ci already"):
        tokens.add("ci", Can.WRITE)
    assert tokens.find(made.secret) == made.token
    for name in ("", "-x", ".x", "a b", "ä", "x" * 65, "x\n"):
        with pytest.raises(UsageError, match="not a name for a token"):
            tokens.add(name, Can.READ)
    monkeypatch.setattr(module, "TOKENS", 1)
    with pytest.raises(Busy):
        tokens.add("one-more", Can.READ)


def test_the_first_token_lies_in_a_file_and_can_write(tmp_path: Path) -> None:
    assert opened(tmp_path).first()
    file = tmp_path / "http-token"
    secret = file.read_text().removesuffix("\n")
    assert mode(file) == 0o600
    for _ in range(2):
        tokens = opened(tmp_path)
        assert tokens.first()
        assert tokens.find(secret) == Token(FIRST, Can.WRITE, TIME)
        assert file.read_text() == f"{secret}\n"


def test_without_its_file_a_new_first_token_takes_the_place_of_the_old(tmp_path: Path) -> None:
    opened(tmp_path).first()
    file = tmp_path / "http-token"
    old = file.read_text().strip()
    file.unlink()
    tokens = opened(tmp_path)
    assert tokens.first()
    assert tokens.find(old) is None
    assert tokens.find(file.read_text().strip()) is not None
    assert [token.name for token in tokens.list()] == [FIRST]


def test_a_first_token_that_was_revoked_stays_so(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    tokens.first()
    tokens.remove(FIRST)
    again = opened(tmp_path)
    assert not again.first()
    assert again.list() == []


def test_a_first_token_that_was_not_finished_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "http-token.new":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    write = osfs.write_file
    with monkeypatch.context() as patched:
        patched.setattr(osfs, "write_file", full)
        with pytest.raises(NoSpace, match="http-token"):
            opened(tmp_path).first()
    tokens = opened(tmp_path)
    assert tokens.first()
    assert tokens.find((tmp_path / "http-token").read_text().strip()) is not None


def test_what_could_not_be_written_did_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = opened(tmp_path)
    made = tokens.add("ci", Can.READ)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(osfs, "write_file", full)
    for change in (lambda: tokens.add("more", Can.READ), lambda: tokens.remove("ci")):
        with pytest.raises(NoSpace, match=r"tokens\.json"):
            change()
    for store in (tokens, opened(tmp_path)):
        assert store.list() == [made.token]


GOOD = {"name": "ci", "can": "read", "added": 5, "hash": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"[" * 100_000,
        json.dumps({"version": 1}).encode(),
        json.dumps({"version": "1", "tokens": []}).encode(),
        json.dumps({"version": 0, "tokens": []}).encode(),
        json.dumps({"version": 1, "tokens": [GOOD, GOOD]}).encode(),
        json.dumps({"version": 1, "tokens": ["ci"]}).encode(),
        json.dumps({"version": 1, "tokens": {"ci": GOOD}}).encode(),
        *(
            json.dumps({"version": 1, "tokens": [GOOD | wrong]}).encode()
            for wrong in (
                {"name": ".ci"},
                {"name": 7},
                {"can": "everything"},
                {"can": ["read"]},
                {"added": "today"},
                {"added": True},
                {"hash": "0" * 63},
                {"hash": None},
                {"more": 1},
            )
        ),
    ],
    ids=lambda content: repr(content[-20:]),
)
def test_a_damaged_file_is_told_and_never_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokens.json"
    file.write_bytes(content)
    tokens = opened(tmp_path)
    for use in (
        tokens.list,
        tokens.first,
        lambda: tokens.find("udfs_x"),
        lambda: tokens.add("new", Can.READ),
        lambda: tokens.remove("ci"),
    ):
        with pytest.raises(Corrupt, match=re.escape(str(file))):
            use()
    assert file.read_bytes() == content
    assert not (tmp_path / "http-token").exists()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").mkdir()
    with pytest.raises(Corrupt, match=r"tokens\.json cannot be read"):
        opened(tmp_path).list()


def test_a_file_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"version": 2, "people": []}))
    with pytest.raises(UdfstoreError) as caught:
        opened(tmp_path).first()
    assert isinstance(caught.value, Unsupported)
    assert "newer udfstore" in str(caught.value)
