"""Tags that move only with a signature: what is signed, by whom, and what no signature lets through."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_kit import Clock, commit, hold, move, open_store, release, rollback, save, untag

from udfstore import signing
from udfstore.digest import BlobId
from udfstore.errors import Denied, Unsupported, UsageError
from udfstore.refs import Pattern, Ref, Tag
from udfstore.signing import Key, Rule, Signers, sign
from udfstore.store import Store

PROD = Tag("models/prod/pump")


def openssl(*words: object, said: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, words)], input=said, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Keys as openssl makes them: of Ada and Bob, and of kinds that sign nothing here."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "bob"):
        openssl("genpkey", "-algorithm", "ed25519", "-out", folder / f"{name}.pem")
        openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ec.pem")
    openssl("pkey", "-in", folder / "ec.pem", "-pubout", "-out", folder / "ec.pub")
    openssl("pkey", "-in", folder / "ada.pem", "-aes256", "-passout", "pass:x", "-out", folder / "locked.pem")
    (folder / "noise.pem").write_bytes(b"noise")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def store(root: Path, clock: Clock, keys: dict[str, Path]) -> Iterator[Store]:
    """A store that asks for Ada's or Bob's signature below models/prod/, and for Bob's elsewhere below models/."""
    ada, bob = (Key(keys[name].read_bytes()) for name in ("ada.pub", "bob.pub"))
    rules = Rule(Pattern("models/prod/*"), (ada, bob)), Rule(Pattern("models/*"), (bob,)), Rule(Pattern("**/x"), (bob,))
    with open_store(root, clock=clock, signers=Signers(rules)) as store:
        yield store


def signed(keys: dict[str, Path], id: BlobId, tag: Tag = PROD, by: str = "ada") -> dict[str, str]:
    return {"signature": sign(tag, id, keys[f"{by}.pem"].read_bytes())}


def test_a_signed_tag_moves_by_each_of_its_keys(store: Store, keys: dict[str, Path]) -> None:
    id = save(store, b"1")
    for number, by in enumerate(("ada", "bob"), 1):
        made = move(store, PROD.name, id, labels=signed(keys, id, by=by) | {"f1": "0.9"}).entries[0]
        assert (made.version, made.labels["f1"]) == (number, "0.9")
    move(store, "elsewhere/pump", id)


def test_what_is_not_signed_for_just_that_does_not_move(store: Store, keys: dict[str, Path]) -> None:
    id, other = save(store, b"1"), save(store, b"2")
    move(store, PROD.name, id, labels=signed(keys, id))
    right = signed(keys, other)["signature"]
    for labels in (
        {"signature": ""},
        {"signature": right[:-4]},
        {"signature": f" {right}"},
        {"signature": "ä"},
        {"signature": base64.b64encode(bytes(64)).decode()},
        signed(keys, id),
        signed(keys, other, Tag("models/prod/pump2")),
        signed(keys, other, by="ada") | {"signature": signed(keys, id, by="bob")["signature"]},
    ):
        with pytest.raises(Denied, match=r"by none of the keys for models/prod/\*, or not over this tag and blob"):
            move(store, PROD.name, other, labels=labels)
    for absent in ({}, {"Signature": right}):
        with pytest.raises(Denied, match=f"udfstore sign {other} {PROD} --key"):
            move(store, PROD.name, other, labels=absent)
    with pytest.raises(Denied, match="for models/\\*"):
        move(store, "models/pump", id, labels=signed(keys, id, Tag("models/pump")))
    with pytest.raises(Denied):
        move(store, "a/b/x", id)
    assert store.entry(Ref.parse(PROD.name)).id == id


def test_a_rollback_goes_to_what_was_signed_and_to_nothing_else(
    root: Path, keys: dict[str, Path], store: Store
) -> None:
    one, two = save(store, b"1"), save(store, b"2")
    for id in (one, two):
        move(store, PROD.name, id, labels=signed(keys, id))
    assert rollback(store, PROD.name).labels == signed(keys, one)
    store.close()
    with open_store(root) as free:
        move(free, PROD.name, two, labels={})
        move(free, PROD.name, one)
    with open_store(root, signers=store._parts.committer._signers) as again:
        with pytest.raises(Denied):
            rollback(again, PROD.name)
        with pytest.raises(Denied):
            rollback(again, PROD.name, 4)
        assert rollback(again, PROD.name, 2).id == two


def test_signed_content_moves_from_the_tag_where_it_was_signed(store: Store, keys: dict[str, Path]) -> None:
    """Labels of the source come along: it may be signed for where it goes to before it goes there."""
    id = save(store, b"1")
    move(store, "staging", id, labels=signed(keys, id))
    assert move(store, PROD.name, "staging").entries[0].labels == signed(keys, id)


def test_holds_and_deletions_need_no_signature(store: Store, keys: dict[str, Path]) -> None:
    id = save(store, b"1")
    move(store, PROD.name, id, labels=signed(keys, id))
    hold(store, PROD.name)
    assert release(store, PROD.name).labels == signed(keys, id)
    untag(store, PROD.name)
    assert rollback(store, PROD.name).id == id


def test_snapshots_need_no_signature(root: Path, keys: dict[str, Path]) -> None:
    with open_store(root, signers=Signers([Rule(Pattern("**"), (Key(keys["ada.pub"].read_bytes()),))])) as store:
        commit(store, b"manifest", b"state")
        with pytest.raises(Denied):
            move(store, "t", save(store, b"1"))


def test_openssl_signs_the_same(keys: dict[str, Path], tmp_path: Path) -> None:
    """An Ed25519 signature is one and the same, whoever makes it (RFC 8032)."""
    id = BlobId.of(b"model")
    (tmp_path / "said").write_bytes(f"udfstore-tag/1\nmodels/prod/pump\nsha256:{id.hex}\n".encode())
    raw = openssl("pkeyutl", "-sign", "-rawin", "-inkey", keys["ada.pem"], "-in", tmp_path / "said")
    assert base64.b64encode(raw).decode() == sign(PROD, id, keys["ada.pem"].read_bytes())


@pytest.mark.parametrize("name", ["ada.pub", "ec.pem", "locked.pem", "noise.pem"])
def test_what_is_no_private_key_is_refused(keys: dict[str, Path], name: str) -> None:
    with pytest.raises(UsageError, match=r"not a private key|not an Ed25519 key"):
        sign(PROD, BlobId.of(b""), keys[name].read_bytes())


@pytest.mark.parametrize("name", ["ada.pem", "ec.pub", "noise.pem"])
def test_what_is_no_public_key_is_refused(keys: dict[str, Path], name: str) -> None:
    with pytest.raises(UsageError, match=r"not a public key|not an Ed25519 key"):
        Key(keys[name].read_bytes())


def test_without_cryptography_the_extra_is_named(keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for use in (lambda: Key(keys["ada.pub"].read_bytes()), lambda: sign(PROD, BlobId.of(b""), b"")):
        with pytest.raises(Unsupported, match=r"pip install 'udfstore\[signed\]'"):
            use()


def test_what_is_signed_is_three_lines() -> None:
    assert (
        signing.message(Tag("t"), BlobId.of(b"")) == b"udfstore-tag/1\nt\nsha256:" + BlobId.of(b"").hex.encode() + b"\n"
    )
