"""Quotas where saves come in: what nobody named yet counts for the connection that saved it, while it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_kit import Box, request

from udfstore import calls
from udfstore.digest import BlobId
from udfstore.errors import Busy, Conflict, Mismatch, NoSpace
from udfstore.model import Author, Caller
from udfstore.quota import Quotas
from udfstore.refs import Ref, Tag
from udfstore.service import unnamed
from udfstore.service.rules import Rule, Rules, parse
from udfstore.store import StoreLimits, Upload, upload

ADA = Caller(Author("socket", 1000, (1000,), 7, "python3"), 5, listener="udfs")
ADA_AGAIN = Caller(Author("socket", 1000, (1000,), 8, "udfstore"), 6)
BOB = Caller(Author("socket", 1001), 7)
CI = Caller(Author("http", token="ci"))
MOST = 100_000
LARGE = 80_000
"""More than what becomes durable through the journal."""


@pytest.fixture
def box(folder_of_root: Path) -> Iterator[Box]:
    box = Box(folder_of_root / "root", quotas=Quotas({"uid 1000": MOST, "token ci": MOST}))
    yield box
    box.store.close()


def content(size: int, first: int = 0) -> bytes:
    return bytes([first]) + bytes(size - 1)


def save_again(box: Box, caller: Caller, content: bytes) -> calls.Saved:
    saved = box.service.upload(caller, calls.Save(BlobId.of(content), len(content)))
    assert isinstance(saved, calls.Saved)
    return saved


def save(box: Box, caller: Caller, content: bytes, *, announced: bool = False, tag: str = "") -> calls.Saved:
    begun = box.service.upload(caller, calls.Save(None, len(content) if announced else None))
    assert isinstance(begun, Upload)
    try:
        begun.write(content)
        saved = box.service.commit(caller, begun)
    finally:
        begun.abort()
    if tag:
        box.service.move(caller, move_to(tag, saved.id)).result()
    return saved


def save_small(box: Box, caller: Caller, content: bytes, tag: str = "", expected: int | None = None) -> calls.Saved:
    target = calls.Target(Tag(tag), expected=expected) if tag else None
    commit = calls.Commit(len(content), target=target, request=request())
    return box.service.save_small(caller, calls.Save(), content, commit).result()


def move_to(tag: str, ref: BlobId | str) -> calls.Move:
    return calls.Move((calls.Step(Tag(tag), Ref.of(ref)),), request=request())


def usage(box: Box, caller: Caller = ADA) -> dict[str, tuple[int, int, int | None]]:
    told = box.service.status(caller, calls.Status()).usage
    return {use.owner: (use.bytes, use.unnamed, use.quota) for use in told}


def test_what_is_announced_is_refused_before_it_comes(box: Box) -> None:
    with pytest.raises(NoSpace, match=f"{MOST + 1} bytes more would pass the quota of uid 1000, who uses 0"):
        box.service.upload(ADA, calls.Save(None, MOST + 1))
    with pytest.raises(NoSpace):
        box.service.begin_upload(ADA, MOST + 1, None)
    assert list((box.store.root / "staging").iterdir()) == []
    assert save(box, BOB, content(MOST + 1), announced=True).size == MOST + 1


def test_what_is_not_announced_is_refused_when_it_is_there(box: Box) -> None:
    with pytest.raises(NoSpace):
        save(box, ADA, content(MOST + 1))
    assert not box.here(content(MOST + 1))
    assert save(box, ADA, content(MOST)).size == MOST


def test_a_save_without_an_end_is_stopped_on_its_way(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "FLOOR_CHECK_BYTES", 10_000)
    begun = box.service.upload(ADA, calls.Save())
    assert isinstance(begun, Upload)
    for _ in range(10):
        begun.write(bytes(10_000))
    with pytest.raises(NoSpace):
        begun.write(b"1" * 10_000)
    assert begun.size == MOST
    begun.abort()


def test_unnamed_content_counts_for_all_connections_of_its_user_while_they_last(box: Box) -> None:
    save(box, ADA, content(LARGE))
    for caller in (ADA, ADA_AGAIN):
        with pytest.raises(NoSpace, match=f"who uses {LARGE}"):
            save(box, caller, content(LARGE, 1), announced=True)
        with pytest.raises(NoSpace):
            save_small(box, caller, content(20_001, 1))
    assert usage(box)["uid 1000"] == (0, LARGE, MOST)
    box.service.unnamed.left(ADA_AGAIN)
    assert usage(box)["uid 1000"] == (0, LARGE, MOST)
    box.service.unnamed.left(ADA)
    assert usage(box)["uid 1000"] == (0, 0, MOST)
    save(box, ADA, content(LARGE, 1))


def test_named_content_counts_once(box: Box) -> None:
    first = save(box, ADA, content(LARGE), tag="a")
    assert usage(box)["uid 1000"] == (LARGE, 0, MOST)
    save_small(box, ADA, content(20_000, 1), tag="b")
    assert usage(box)["uid 1000"] == (MOST, 0, MOST)
    assert save_again(box, ADA, content(LARGE)).existed
    assert save_small(box, ADA, content(20_000, 1)).id == BlobId.of(content(20_000, 1))
    with pytest.raises(NoSpace):
        save_small(box, ADA, b"1")
    box.service.delete(ADA, calls.Delete(Ref.of(first.id), force=True, now=True, request=request())).result()
    save(box, ADA, content(LARGE, 2))
    assert usage(box)["uid 1000"] == (20_000, LARGE, MOST)


def test_what_others_keep_costs_nothing(box: Box) -> None:
    save(box, BOB, content(2 * MOST), tag="a")
    assert save_again(box, ADA, content(2 * MOST)).existed
    assert save(box, ADA, content(2 * MOST), announced=True).existed
    with pytest.raises(NoSpace):
        save(box, ADA, content(2 * MOST, 1), announced=True)
    assert not box.here(content(2 * MOST, 1))
    box.service.move(ADA, move_to("b", "a")).result()
    assert usage(box) == {"uid 1001": (2 * MOST, 0, None), "uid 1000": (0, 0, MOST), "token ci": (0, 0, MOST)}


def test_what_others_left_unnamed_counts_for_who_names_it(box: Box) -> None:
    big = save(box, BOB, content(MOST + 1))
    with pytest.raises(NoSpace):
        box.service.move(ADA, move_to("a", big.id)).result()
    fits = save(box, BOB, content(MOST))
    box.service.move(ADA, move_to("a", fits.id)).result()
    assert usage(box)["uid 1000"] == (MOST, 0, MOST)


def test_what_could_not_be_saved_does_not_count(box: Box) -> None:
    begun = box.service.upload(ADA, calls.Save())
    assert isinstance(begun, Upload)
    begun.write(content(LARGE))
    with pytest.raises(Mismatch):
        box.service.commit(ADA, begun, LARGE + 1)
    with pytest.raises(Conflict):
        save_small(box, ADA, content(20_000), tag="a", expected=3)
    assert usage(box)["uid 1000"] == (0, 0, MOST)


def test_a_resumable_upload_counts_when_it_is_complete(box: Box) -> None:
    name = box.service.begin_upload(CI, None, None).name
    part = box.service.append(CI, name, 0)
    part.write(content(LARGE))
    part.commit()
    assert usage(box)["token ci"] == (0, 0, MOST)
    with pytest.raises(NoSpace):
        box.service.append(CI, name, LARGE, MOST + 1)
    part = box.service.append(CI, name, LARGE)
    saved = box.service.finish(CI, part)
    assert usage(box)["token ci"] == (0, LARGE, MOST)
    box.service.move(CI, move_to("a", saved.id)).result()
    assert usage(box)["token ci"] == (LARGE, 0, MOST)
    name = box.service.begin_upload(CI, None, None).name
    part = box.service.append(CI, name, 0)
    with pytest.raises(NoSpace):
        part.write(content(LARGE + 1, 1))
    box.service.delete(CI, calls.Delete(Ref.of(saved.id), force=True, request=request())).result()
    part = box.service.append(CI, name, 0)
    part.write(content(LARGE, 1))
    assert box.service.finish(CI, part).size == LARGE


def test_blobs_without_a_name_are_bounded_in_number(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unnamed, "REMEMBERED", 3)
    ids = [save_small(box, ADA, b"%d" % n).id for n in range(3)]
    with pytest.raises(Busy, match="uid 1000 saved too much that no tag names"):
        save_small(box, ADA_AGAIN, b"more")
    box.service.move(ADA, move_to("a", ids[0])).result()
    save_small(box, ADA_AGAIN, b"more")


def test_who_may_not_read_everything_sees_its_own_use_alone(box: Box) -> None:
    save(box, BOB, b"1", tag="models/a")
    save(box, ADA, b"2")
    box.service.gate.rules = Rules({"udfs": parse(["read:models/**", "write:models/staging/*"])})
    assert usage(box) == {"uid 1000": (0, 1, MOST)}
    assert usage(box, BOB) == {"uid 1001": (1, 0, None), "uid 1000": (0, 1, MOST), "token ci": (0, 0, MOST)}


def test_content_that_is_hidden_does_not_show_by_costing_nothing(box: Box) -> None:
    save(box, BOB, content(LARGE), tag="private/x")
    save(box, ADA, content(MOST - LARGE + 1, 7), tag="models/staging/a")
    box.service.gate.rules = Rules(rules=(Rule(parse(["read:models/**", "write:models/**"]), user=1000),))
    for first in (0, 1):
        with pytest.raises(NoSpace):
            save(box, ADA, content(LARGE, first))


def test_without_quotas_nothing_is_counted(folder_of_root: Path) -> None:
    box: Any = Box(folder_of_root / "root")
    save(box, ADA, content(2 * MOST))
    assert box.service.unnamed._saved == {}
    assert usage(box) == {}
    box.store.close()


def test_limits_of_the_kit_use_the_journal() -> None:
    assert 20_001 < StoreLimits().small_bytes < LARGE
