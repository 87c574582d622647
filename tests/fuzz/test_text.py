"""Whatever text comes, each reader gives a value or its own error, and what it took it writes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore.backup.form import Summary, name_in
from udfstore.bridge.dots import parse_task, parse_time
from udfstore.bridge.points import Reading, encode
from udfstore.bridge.settings import ModelFile, WithoutStore
from udfstore.cli import tags as tag_commands
from udfstore.cli import words
from udfstore.digest import BlobId
from udfstore.errors import Corrupt, Denied, Unsupported, UsageError
from udfstore.http.asking import cursor_to, number_in, place_in
from udfstore.http.page import safetensors
from udfstore.model import Author
from udfstore.refs import Pattern, Prefix, Ref, Tag
from udfstore.server import config
from udfstore.service.tokens import Tokens
from udfstore.signing import Key, Rule, Signers, sign
from udfstore.store import retention
from udfstore.store.format import Format, parse, render
from udfstore.store.partial import Note, Torn
from udfstore.wire import transcript

ID = "ab" * 32
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PEM = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SIGNERS = Signers([Rule(Pattern("t"), (Key(PUBLIC),))])


@dataclass(frozen=True)
class Reader:
    """How a kind of text is read: texts like those in use, the errors that are its own, and how it is written again."""

    read: Callable[[str], Any]
    like: tuple[str, ...]
    errors: tuple[type[Exception], ...] = (UsageError,)
    write: Callable[[Any], str] | None = None
    """Of texts that are written in one way alone."""


def raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def header(text: str) -> object:
    data = raw(text)
    content = len(data).to_bytes(8, "little") + data + b"x"
    return safetensors.read(lambda offset, length: content[offset : offset + length], len(content))


READERS: dict[str, Reader] = {
    "blob ID": Reader(BlobId.parse, (ID, f"sha256:{ID}")),
    "tag": Reader(Tag.parse, ("models/pump", "snapshots/t~20x/auto", "a.b-c_d"), write=str),
    "ref": Reader(Ref.parse, ("models/pump@3", "a@-1", ID, ID[:8], f"sha256:{ID[:9]}"), write=str),
    "prefix": Reader(Prefix.parse, ("", "models/", "models/pump"), write=lambda prefix: prefix.text),
    "pattern": Reader(Pattern.parse, ("models/prod/*", "**", "snapshots/*/auto"), write=lambda pattern: pattern.text),
    "retention rule": Reader(retention.Rule.parse, ("models/* keep 10", "** keep 30d", "a keep all")),
    "FORMAT": Reader(
        parse,
        (render(Format(bytes(16))), render(Format(bytes(range(16)), 3, ("journal", "shed", "holds")))),
        (UsageError, Unsupported, Corrupt),
        render,
    ),
    "note of an upload": Reader(
        lambda text: Note.decode(raw(text)),
        (Note(Author("http"), 7, BlobId.of(b""), 5, "boot").encode().decode(),),
        (Torn,),
    ),
    "BACKUP.json": Reader(
        lambda text: Summary.decode(raw(text)),
        (Summary(bytes(16), 1, 2, bytes(32), 3, 4, 5, bytes(32), (BlobId.of(b""),)).encode().decode(),),
        (Corrupt, Unsupported),
    ),
    "line of SHA256SUMS": Reader(
        lambda text: name_in(raw(text)), (f"{ID}  FORMAT\n", f"{ID}  blobs/ab/{ID}\n"), (Corrupt,)
    ),
    "line protocol": Reader(
        lambda line: Reading().point(line, lambda: 7),
        ("m,a=b f=1.5,g=2i,h=\"x\",t=true 1700000000000000000", "m f=1", "# no", "m\\ n,k\\,=v f=1u"),
    ),
    "model": Reader(ModelFile.parse, ("models/pump@3=/tmp/model", "a=b=c")),
    "way without a store": Reader(WithoutStore.parse, ("fresh", "fail", "wait=2.5", "wait")),
    "Kapacitor's task": Reader(
        lambda text: parse_task(raw(text)),
        ('{"dot": "digraph t {\\nstream0 -> udf1;\\n}", "created": "2026-11-20T08:00:00.5Z"}',),
    ),
    "Kapacitor's time": Reader(parse_time, ("2026-11-20T08:00:00.123456789Z", "0001-01-01T00:00:00Z"), ()),
    "labels": Reader(lambda text: words.labels(text.split("\n")), ("f1=0.9\nby=ada", "a=")),
    "whole number": Reader(words.whole, ("0", "17"), (ValueError,)),
    "event ID": Reader(tag_commands._event_id, ("3-17", "17")),
    "cursor": Reader(place_in, (cursor_to("models/pump"), cursor_to("17"))),
    "number in a cursor": Reader(number_in, ("17",)),
    "head of safetensors": Reader(
        header, ('{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1]}, "__metadata__": {"a": "b"}}',), ()
    ),
    "transcript": Reader(
        transcript.parse,
        ("# x\nvary Call.request\n\n> goodbye { }\n  03 8a 02 00\n< end\n", "> raw\n  ff ff\n> end\n"),
    ),
    "signature": Reader(
        lambda text: SIGNERS.check(Tag("t"), BlobId.of(b""), {"signature": text}),
        (sign(Tag("t"), BlobId.of(b""), PEM),),
        (Denied,),
    ),
}  # fmt: skip


@st.composite
def texts(draw: st.DrawFn, like: tuple[str, ...]) -> str:
    """Any text, or one like those in use with a few places changed."""
    if draw(st.booleans()):
        return draw(st.text(st.characters(), max_size=40))
    text = draw(st.sampled_from(like))
    for _ in range(draw(st.integers(0, 3))):
        at, until = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        piece = draw(
            st.text(st.characters() | st.sampled_from('@-/*~=:"{}[],\\\n 09af'), max_size=3)
            | st.just(text[at:until] * 2)
        )
        text = text[:at] + piece + text[at if draw(st.booleans()) else until :]
    return text


@pytest.mark.parametrize("name", READERS)
@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_a_reader_takes_a_text_or_refuses_it(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    text = data.draw(texts(reader.like))
    try:
        value = reader.read(text)
    except reader.errors:
        return
    if reader.write is not None:
        assert reader.write(value) == text


@pytest.mark.parametrize("name", READERS)
def test_texts_like_those_in_use_are_taken(name: str) -> None:
    for text in READERS[name].like:
        READERS[name].read(text)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(texts(READERS["line protocol"].like))
def test_a_point_that_was_read_is_read_again_as_it_was(line: str) -> None:
    try:
        point = Reading().point(line, lambda: 7)
    except UsageError:
        return
    again = encode(point) if point is not None else ""
    if again:
        assert Reading().point(again, lambda: 0) == point


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(config.Everything.model_fields)),
    st.text(st.characters(exclude_characters="\0"), max_size=20),
)
def test_a_flag_of_a_server_is_a_setting_or_a_usage_error(name: str, text: str) -> None:
    with suppress(UsageError):
        settings = config.read({name: text}, None, {})
        assert settings.server_limits
        assert settings.store_limits


FILE = 'root = "/r"\nconnections = 7\nblob_bytes = "5 GiB"\n[[signed]]\ntags = "models/*"\nkeys = ["/k.pub"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(texts((FILE,)))
def test_a_configuration_is_settings_or_a_usage_error(folder: Path, text: str) -> None:
    (folder / "config.toml").write_bytes(raw(text))
    with suppress(UsageError):
        assert config.read({}, folder / "config.toml", {}).server_limits


@settings(derandomize=True, max_examples=100, deadline=None)
@given(texts(('{"version": 1, "tokens": [{"name": "ci", "can": "read", "added": 5, "hash": "' + ID + '"}]}',)))
def test_tokens_are_read_or_damaged(folder: Path, text: str) -> None:
    (folder / "tokens.json").write_bytes(raw(text))
    with suppress(Corrupt, Unsupported):
        Tokens(folder / "tokens.json", folder / "http-token").list()
