from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.refs import SNAPSHOT_TAG_BYTES, Prefix, Ref, Tag
from udfstore.snapshots import (
    SnapshotRef,
    SnapshotTag,
    auto_tag,
    escape,
    named_tag,
    record_tag,
    task_prefix,
    unescape,
)
from udfstore.snapshots.names import NAME_BYTES, check_name

SEGMENT = re.compile(r"(?:[A-Za-z0-9_]|~[0-9a-f]{2})(?:[A-Za-z0-9._-]|~[0-9a-f]{2})*", re.ASCII)

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=NAME_BYTES).filter(
    lambda name: len(name.encode()) <= NAME_BYTES
)


@PROPERTY
@given(names)
def test_every_name_is_one_segment_and_comes_back(name: str) -> None:
    segment = escape(check_name(name, "a name"))
    assert SEGMENT.fullmatch(segment)
    assert unescape(segment) == name


@PROPERTY
@given(names, names)
def test_names_never_share_a_tag(task: str, name: str) -> None:
    assert SnapshotTag.parse(str(auto_tag(task))) == SnapshotTag(task)
    assert SnapshotTag.parse(str(record_tag(task))) == SnapshotTag(task, record=True)
    assert auto_tag(task).reserved
    assert task_prefix(task).matches(str(auto_tag(task)))
    try:
        tag = named_tag(task, name)
    except UsageError:
        assume(False)
    assert SnapshotTag.parse(str(tag)) == SnapshotTag(task, name)
    for one in (tag, auto_tag(task), record_tag(task)):
        assert Tag.parse(one.name) == one
        assert Ref.parse(f"{one}@3") == Ref(f"{one}@3", tag=one, version=3)
        assert Prefix.parse(one.name).matches(one.name)
    assert Prefix.parse(task_prefix(task).text).matches(tag.name)
    assert task_prefix(task).matches(str(tag))


@PROPERTY
@given(st.text(st.sampled_from("ab~09fF.-_/é"), max_size=8))
def test_only_the_one_form_of_a_name_is_read(segment: str) -> None:
    try:
        name = unescape(segment)
    except UsageError:
        return
    assert escape(name) == segment


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("cpu_alert", "cpu_alert"),
        ("cpu-alert", "cpu-alert"),
        (".hidden", "~2ehidden"),
        ("-x", "~2dx"),
        ("line 1/pump~2", "line~201~2fpump~7e2"),
        ("насос", "~d0~bd~d0~b0~d1~81~d0~be~d1~81"),
    ],
)
def test_how_names_are_written(name: str, segment: str) -> None:
    assert escape(name) == segment


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\x7f", "\x85", "x" * 129, "é" * 65, "\ud800"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name, "a task name")


@pytest.mark.parametrize("segment", ["", "~", "~2", "~2F", "~61", "a b", "a/b", "~ff", ".a", "~00~zz"])
def test_what_is_no_segment(segment: str) -> None:
    with pytest.raises(UsageError):
        unescape(segment)


@pytest.mark.parametrize(
    "tag", ["snapshots/a", "snapshots/a/b", "snapshots/a/auto/b", "models/a/auto", "snapshots/a/named/"]
)
def test_what_is_no_tag_of_a_snapshot(tag: str) -> None:
    with pytest.raises(UsageError):
        SnapshotTag.parse(tag)


ID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("12", SnapshotRef("12", number=12)),
        ("20260101", SnapshotRef("20260101", number=20260101, short="20260101")),
        ("before-upgrade", SnapshotRef("before-upgrade", name="before-upgrade")),
        ("0", SnapshotRef("0", name="0")),
        (ID, SnapshotRef(ID, id=BlobId.parse(ID))),
        (f"sha256:{ID}", SnapshotRef(f"sha256:{ID}", id=BlobId.parse(ID))),
        ("sha256:abcdef01", SnapshotRef("sha256:abcdef01", short="abcdef01")),
        ("deadbeef", SnapshotRef("deadbeef", name="deadbeef", short="deadbeef")),
    ],
)
def test_how_a_snapshot_is_named(text: str, meant: SnapshotRef) -> None:
    assert SnapshotRef.parse(text) == meant
    assert str(meant) == text


@pytest.mark.parametrize("name", ["12", ID, f"sha256:{ID}", "sha256:x", "fresh", "latest", "none", ""])
def test_names_that_would_be_read_as_something_else(name: str) -> None:
    with pytest.raises(UsageError):
        named_tag("pump", name)


@pytest.mark.parametrize("text", ["", "fresh", "sha256:", "sha256:12", "a\tb"])
def test_what_names_no_snapshot(text: str) -> None:
    with pytest.raises(UsageError):
        SnapshotRef.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "snapshots/~c3~a4/auto",
        "snapshots/a~2fb/named/~2ex",
        "snapshots/" + "~ff" * 128 + "/named/" + "~ff" * 128,
        "snapshots/" + "a" * (SNAPSHOT_TAG_BYTES - 10),
    ],
)
def test_tags_below_snapshots_may_be_escaped(text: str) -> None:
    assert (Tag.parse(text).name, Tag.parse(text).reserved) == (text, True)


@pytest.mark.parametrize(
    "text",
    [
        "models/~c3",
        "~c3",
        "snapshots/~C3",
        "snapshots/~c",
        "snapshots/a~",
        "snapshots/~",
        "snapshots/.a",
        "snapshots/-a",
        "snapshots/a//b",
        "snapshots/",
        "snapshotsx/~c3",
        "snapshots/" + "a" * (SNAPSHOT_TAG_BYTES - 9),
        "models/" + "a" * 250,
    ],
)
def test_what_is_no_tag_there(text: str) -> None:
    with pytest.raises(UsageError):
        Tag.parse(text)
