"""The gate: what a limited caller is refused, and that content it may not read is reached by no way at all."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from service_kit import DAG, LIMITS, Box, request

from udfstore import admin, calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import Denied, Gone, NotFound, UdfstoreError, UsageError
from udfstore.model import NOWHERE, Author, Caller, Entry, Place
from udfstore.refs import Pattern, Prefix, Ref, Tag
from udfstore.service.gate import Refusal
from udfstore.service.needs import NEEDS
from udfstore.service.rules import Right, Rule, Rules, parse
from udfstore.service.service import Service
from udfstore.service.tasks import Tasks
from udfstore.signing import Rule as SignedTags
from udfstore.signing import Signers
from udfstore.store import Rule as Retention

UDF = Caller(Author("socket", 1000, (1000,), 7, "python3"), 5, listener="udfs")
PERSON = Caller(Author("socket", 1000, (1000,), 8, "udfstore"), 6, listener="people")
ALLOWED = ["read:models/**", "snapshot:pump", "write:models/staging/*", "delete:models/staging/*"]
SECRET = b"nobody's business"
ID = BlobId.of(SECRET)


class Doors:
    """A box with two listeners, and what came of refusals."""

    def __init__(self, box: Box) -> None:
        self.box, self.service = box, box.service
        self.refusals: list[Refusal] = []
        self.service.gate.rules = Rules({"udfs": parse(ALLOWED)}, place="/etc/udfstore/config.toml")
        self.service.gate.audit = self.refusals.append

    def ask(self, caller: Caller, call: Any) -> Any:
        """The answer to a call, as a front gives it."""
        kind, service = type(call), self.service
        for table in (service.stream, service.slow_stream):
            if kind in table:
                return [item for batch in table[kind](caller, call) for item in batch]
        if kind in service.change:
            return service.change[kind](caller, call).result()
        return (service.quick.get(kind) or service.slow[kind])(caller, call)

    def save(self, caller: Caller, content: bytes, tag: str = "", links: Sequence[BlobId] = ()) -> calls.Saved:
        upload = self.service.upload(caller, calls.Save())
        assert not isinstance(upload, calls.Saved)
        upload.write(content)
        saved = self.service.commit(caller, upload)
        if tag:
            self.service.target(caller, saved, commit_to(tag, saved.size, links)).result()
        return saved

    def load(self, caller: Caller, ref: Ref | BlobId | str) -> bytes:
        head, file = self.service.open(caller, calls.Load(Ref.of(ref)))
        with file:
            return bytes(file.pread(head.offset, head.length))


def commit_to(tag: str, size: int, links: Sequence[BlobId] = ()) -> calls.Commit:
    return calls.Commit(size, target=calls.Target(Tag(tag), links=tuple(links)), request=request())


def move_to(tag: str, ref: Ref | BlobId | str, links: Sequence[BlobId] = ()) -> calls.Move:
    return calls.Move((calls.Step(Tag(tag), Ref.of(ref), links=tuple(links)),), request=request())


@pytest.fixture
def doors(box: Box) -> Doors:
    doors = Doors(box)
    doors.save(PERSON, SECRET, "private/x")
    doors.save(PERSON, b"model", "models/a")
    return doors


# --- the table -----------------------------------------------------------------------------------------------------


def test_every_call_has_a_need() -> None:
    assert set(NEEDS) == {*get_args(calls.Call), calls.Commit, tasks.Node}


def test_every_answer_is_judged(box: Box) -> None:
    """Whatever stands in a table passes the gate, also where a front calls it by its name."""
    service = box.service
    answers = [
        answer
        for table in (service.quick, service.slow, service.change, service.stream, service.slow_stream)
        for kind, answer in table.items()
        if kind is not calls.Missing  # which leaves out by itself what is hidden
    ]
    assert answers
    for answer in answers:
        assert hasattr(answer, "__wrapped__"), answer.__qualname__


def test_whatever_takes_a_caller_asks_the_gate() -> None:
    for room in (Service, Tasks):
        for name, function in inspect.getmembers(room, inspect.isfunction):
            if "caller" in inspect.signature(function).parameters and not name.startswith("_"):
                judges = hasattr(function, "__wrapped__") or "self.gate." in inspect.getsource(function)
                assert judges, f"{room.__name__}.{name}"


def test_a_caller_without_limits_costs_no_rule(box: Box) -> None:
    assert box.service.gate.rights(UDF) is None
    box.service.gate.rules = Rules({"udfs": parse(["read"])})
    assert box.service.gate.rights(PERSON) is None
    assert box.service.gate.rights(UDF) is not None


# --- what is refused -----------------------------------------------------------------------------------------------

REFUSED = [
    calls.GetTag(Ref.parse("private/x")),
    calls.Stat(Ref.parse("private/x")),
    calls.Verify(Ref.parse("private/x@1")),
    calls.Why(Ref.parse("private/x")),
    calls.History(Tag("private/x")),
    calls.ListTags(Prefix("private/x")),
    calls.Used(Tag("private/x"), 1, ID, request=b"r" * 16),
    calls.Move((calls.Step(Tag("models/a"), Ref.parse("models/a")),), request=b"r" * 16),
    calls.Move((calls.Step(Tag("models/staging/q"), Ref.parse("private/x")),), request=b"r" * 16),
    calls.Rollback(Tag("models/a"), request=b"r" * 16),
    calls.Hold(Tag("models/a"), "why", request=b"r" * 16),
    calls.Release(Tag("models/a"), request=b"r" * 16),
    calls.Untag((Tag("models/a"),), request=b"r" * 16),
    calls.Undelete(Ref.parse("models/a")),
    calls.Undelete(Ref.parse("private/x")),
    calls.Delete(Ref.parse("models/a"), force=True, request=b"r" * 16),
    tasks.ListSnapshots("fan"),
    tasks.FindSnapshot("fan"),
    tasks.ListStates("fan"),
    tasks.PlanRestore("fan", b""),
    tasks.ListUses("fan"),
    tasks.ListUses(tag=Tag("private/x")),
    tasks.NameSnapshot("pump", "n", request=b"r" * 16),
    tasks.UseSnapshot("pump", "fresh", request=b"r" * 16),
    tasks.DeleteSnapshots("pump", ("1",), request=b"r" * 16),
    tasks.DeleteTask("pump", request=b"r" * 16),
    admin.AddToken("me"),
    admin.RemoveToken("me"),
    admin.ListTokens(),
    admin.Check(),
    admin.Collect(),
    admin.MakeLink(),
    admin.ReadMetrics(),
]


@pytest.mark.parametrize("call", REFUSED, ids=lambda call: type(call).__name__)
def test_what_is_not_allowed_is_denied_and_noted(doors: Doors, call: Any) -> None:
    with pytest.raises(Denied) as denied:
        doors.ask(UDF, call)
    assert denied.value.message.startswith("uid 1000 (python3) may not ")
    assert "the listener udfs does not allow it; that is set in /etc/udfstore/config.toml" in denied.value.message
    (refusal,) = doors.refusals
    assert (refusal.caller, refusal.by) == (UDF, "the listener udfs")
    assert doors.service.gate.refused() == {("socket", refusal.right.value, "the listener udfs"): 1}


def test_conversations_are_refused_before_they_begin(doors: Doors) -> None:
    doors.service.gate.rules = Rules({"udfs": parse(["read:models/**"])})
    for begin in (
        lambda: doors.service.upload(UDF, calls.Save()),
        lambda: doors.service.save_small(UDF, calls.Save(), b"x", calls.Commit(1)),
        lambda: doors.service.begin_upload(UDF, None, None),
        lambda: doors.service.find_upload(UDF, "0" * 32),
        lambda: doors.service.append(UDF, "0" * 32, 0),
        lambda: doors.service.drop_upload(UDF, "0" * 32),
        lambda: doors.service.backup(UDF),
        lambda: doors.service.begin_watch(UDF, calls.Watch(Prefix("private/x"))),
        lambda: doors.service.tag_at(UDF, Tag("private/x"), 0),
        lambda: doors.service.tasks.find_task(UDF, "fan"),
        lambda: doors.service.gate.check(UDF, tasks.Node("pump", "a")),
        lambda: doors.service.gate.check(UDF, tasks.SaveSnapshot("pump")),
        lambda: doors.service.gate.check(UDF, tasks.AwaitFollowers(Tag("private/x"), 1, 1.0)),
    ):
        with pytest.raises(Denied):
            begin()


def test_a_save_moves_only_what_it_may(doors: Doors) -> None:
    assert doors.save(UDF, b"new", "models/staging/q").id == BlobId.of(b"new")
    with pytest.raises(Denied, match="write models/a"):
        doors.save(UDF, b"newer", "models/a")
    with pytest.raises(Denied, match="write models/a"):
        doors.service.save_small(UDF, calls.Save(), b"newest", commit_to("models/a", 6))


def test_with_rules_one_may_do_what_they_add_up_to(doors: Doors) -> None:
    rule = Rule(parse(["read:models/**"]), user=1000)
    doors.service.gate.rules = Rules(rules=(rule,), place="here")
    assert doors.load(UDF, "models/a") == b"model"
    with pytest.raises(Denied, match="the rules do not allow it; that is set in here"):
        doors.load(UDF, "private/x")
    stranger = Caller(Author("socket", 2000, (2000,)), 9, listener="people")
    with pytest.raises(Denied, match="uid 2000 may not read models/a"):
        doors.load(stranger, "models/a")
    token = Caller(Author("http", token="ci"), listener="http")
    with pytest.raises(Denied, match="the token ci may not read"):
        doors.load(token, "models/a")


# --- an ID is no right ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        calls.Stat(Ref.of(ID)),
        calls.Stat(Ref.parse(ID.hex[:12])),
        calls.Verify(Ref.of(ID)),
        calls.Why(Ref.of(ID)),
        calls.Delete(Ref.of(ID), force=True, request=b"r" * 16),
        move_to("models/staging/q", ID),
        move_to("models/staging/q", ID.hex[:12]),
        move_to("models/staging/q", "models/a", links=[ID]),
    ],
    ids=lambda call: type(call).__name__,
)
def test_content_that_one_may_not_read_is_not_there(doors: Doors, call: Any) -> None:
    with pytest.raises(NotFound) as unreadable:
        doors.ask(UDF, call)
    assert doors.refusals[0].by == "no tag that may be read"
    never = BlobId.of(b"never saved")
    told = str(unreadable.value).replace(ID.hex, never.hex).replace(ID.hex[:12], never.hex[:12])
    if isinstance(call, calls.Stat):
        ref = Ref.parse(call.ref.text.replace(ID.hex, never.hex).replace(ID.hex[:12], never.hex[:12]))
        with pytest.raises(NotFound) as absent:
            doors.ask(PERSON, calls.Stat(ref))
        assert str(absent.value) == told


def test_it_is_not_loaded_and_no_save_may_leave_it_out(doors: Doors) -> None:
    for ref in (ID, ID.hex[:16]):
        with pytest.raises(NotFound):
            doors.load(UDF, ref)
    assert doors.ask(UDF, calls.Missing((ID, BlobId.of(b"model")))) == calls.MissingIds((ID,))
    assert doors.ask(PERSON, calls.Missing((ID,))) == calls.MissingIds(())
    upload = doors.service.upload(UDF, calls.Save(ID, len(SECRET)))
    assert not isinstance(upload, calls.Saved)
    upload.abort()
    assert isinstance(doors.service.upload(PERSON, calls.Save(ID, len(SECRET))), calls.Saved)
    with pytest.raises(NotFound):
        doors.save(UDF, b"mine", "models/staging/q", links=[ID])
    with pytest.raises(NotFound):
        doors.service.save_small(UDF, calls.Save(), b"mine", commit_to("models/staging/q", 4, [ID]))


def test_who_brings_content_may_read_it_until_it_leaves(doors: Doors) -> None:
    saved = doors.save(UDF, SECRET)
    assert saved == calls.Saved(ID, len(SECRET), existed=False)  # that others had it is not told
    assert doors.load(UDF, ID) == SECRET
    assert doors.ask(UDF, move_to("models/staging/q", ID)).entries[0].id == ID
    doors.ask(UDF, calls.Untag((Tag("models/staging/q"),), request=request()))
    small = doors.service.save_small(UDF, calls.Save(), b"small", calls.Commit(5)).result()
    assert doors.load(UDF, small.id) == b"small"
    doors.service.gate.left(UDF)
    with pytest.raises(NotFound):
        doors.load(UDF, small.id)
    assert doors.load(UDF, ID) == SECRET  # a version of its own tag names it


def test_a_readable_tag_lets_read_what_it_names_ever_named_and_links(doors: Doors) -> None:
    part = doors.save(PERSON, b"part").id
    doors.save(PERSON, b"whole", "models/whole", links=[part])
    doors.ask(PERSON, move_to("models/whole", "models/a"))
    for content in (b"part", b"whole", b"model"):
        assert doors.load(UDF, BlobId.of(content)) == content
    doors.ask(PERSON, calls.Untag((Tag("models/whole"),), request=request()))
    assert doors.load(UDF, BlobId.of(b"whole")) == b"whole"


def test_digits_of_an_id_find_what_may_be_read_alone(doors: Doors) -> None:
    readable = BlobId.of(b"model")
    assert doors.load(UDF, readable.hex[:10]) == b"model"
    doors.save(PERSON, b"other", "deadbeef")  # a tag that reads as digits
    with pytest.raises(NotFound, match="nothing is called deadbeef"):
        doors.load(UDF, "deadbeef")
    assert doors.load(PERSON, "deadbeef") == b"other"


def test_a_removal_needs_every_tag_that_has_a_part_in_it(doors: Doors) -> None:
    doors.save(UDF, b"shared", "models/staging/q")
    id = BlobId.of(b"shared")
    doors.ask(PERSON, move_to("private/y", id))
    with pytest.raises(Denied, match="may not delete content that other tags name") as denied:
        doors.ask(UDF, calls.Delete(Ref.of(id), force=True, request=request()))
    assert "private" not in str(denied.value)
    doors.save(UDF, b"own", "models/staging/r")
    same = request()
    for _ in range(2):  # the second is answered with what the first did
        deleted = doors.ask(UDF, calls.Delete(Ref.parse("models/staging/r"), force=True, request=same))
        assert deleted.id == BlobId.of(b"own")


def test_removed_content_is_brought_back_by_the_digits_that_are_told(doors: Doors) -> None:
    id = doors.save(UDF, b"own", "models/staging/r").id
    doors.ask(UDF, calls.Delete(Ref.of(id), force=True, request=request()))
    for caller in (UDF, PERSON):
        with pytest.raises(Gone, match=f"udfstore undelete {id.hex[:16]}"):
            doors.load(caller, id.hex[:16])
    assert doors.ask(UDF, calls.Undelete(Ref.parse(id.hex[:16]))).versions == ("models/staging/r@1",)
    assert doors.load(UDF, id) == b"own"
    doors.ask(PERSON, calls.Delete(Ref.of(ID), force=True, request=request()))
    with pytest.raises(NotFound):
        doors.ask(UDF, calls.Undelete(Ref.parse(ID.hex[:16])))


def test_a_move_without_the_signature_that_it_needs_is_noted(tmp_path: Path) -> None:
    box = Box(tmp_path / "root", signers=Signers([SignedTags(Pattern.parse("models/prod/*"), ())]))
    try:
        gate, refusals = box.service.gate, list[Refusal]()
        gate.audit = refusals.append
        id = box.save(b"model")
        saved = calls.Saved(id, 5, existed=False)
        box.service.target(PERSON, saved, commit_to("models/a", 5)).result()
        assert not refusals
        for ask in (
            lambda: box.service.move(PERSON, move_to("models/prod/a", id)),
            lambda: box.service.target(PERSON, saved, commit_to("models/prod/a", 5)),
            lambda: box.service.save_small(PERSON, calls.Save(), b"model", commit_to("models/prod/a", 5)),
        ):
            with pytest.raises(Denied, match="moves only with a signature"):
                ask().result()
        assert refusals == [Refusal(PERSON, Right.WRITE, "models/prod/a", "no signature")] * 3
        assert gate.refused() == {("socket", "write", "no signature"): 3}
    finally:
        box.store.close()


# --- what is told --------------------------------------------------------------------------------------------------


def test_lists_leave_out_what_may_not_be_read(doors: Doors) -> None:
    assert [entry.tag for entry in doors.ask(UDF, calls.ListTags(Prefix("")))] == ["models/a"]
    assert [info.id for info in doors.ask(UDF, calls.ListBlobs())] == [BlobId.of(b"model")]
    doors.ask(PERSON, move_to("private/y", "models/a"))
    info = doors.ask(UDF, calls.Stat(Ref.parse("models/a")))
    assert (info.tags, info.history) == (("models/a@1",), 0)
    doors.ask(PERSON, move_to("private/y", "private/x"))
    kept = doors.ask(UDF, calls.Why(Ref.parse("models/a")))
    assert ([entry.ref for entry in kept.named], kept.linked, kept.more) == (["models/a@1"], (), 0)
    assert kept.info.tags == ("models/a@1",)
    assert doors.ask(PERSON, calls.Stat(Ref.parse("models/a"))).history == 1


def test_an_entry_does_not_tell_what_it_was_made_from(doors: Doors) -> None:
    doors.ask(PERSON, move_to("models/b", "private/x"))
    (entry,) = doors.ask(UDF, calls.History(Tag("models/b")))
    told: list[Entry] = [entry, doors.ask(UDF, calls.GetTag(Ref.parse("models/b")))]
    told.append(doors.service.tag_at(UDF, Tag("models/b"), entry.time_ns))
    head, file = doors.service.open(UDF, calls.Load(Ref.parse("models/b")))
    file.close()
    assert head.info.entry is not None
    told.append(head.info.entry)
    told += doors.ask(UDF, calls.Why(Ref.parse("models/b"))).named
    doors.ask(PERSON, move_to("models/staging/b", "private/x"))
    staged = Tag("models/staging/b")
    for call in (calls.Hold(staged, "why", request()), calls.Release(staged, "", request())):
        moved = doors.ask(UDF, call)
        told += [*moved.entries, *moved.before]
    assert {entry.source for entry in told} == {""}
    assert doors.ask(PERSON, calls.History(Tag("models/b")))[0].source == "private/x"


def test_why_tells_the_rules_of_what_may_be_read_alone(doors: Doors) -> None:
    keep = ("private/* keep 1", "models/* keep 9")
    doors.box.store._parts.limits = replace(LIMITS, retention=tuple(map(Retention.parse, keep)))
    for ref in ("models/a", "private/x@1"):
        doors.ask(PERSON, move_to("private/x", ref))
    kept = doors.ask(PERSON, calls.Why(Ref.parse("models/a")))
    assert ([entry.ref for entry in kept.named], kept.rules) == (["private/x@2", "models/a@1"], keep)
    assert kept.let_go == ("private/x@2",)
    kept = doors.ask(UDF, calls.Why(Ref.parse("models/a")))
    assert ([entry.ref for entry in kept.named], kept.rules, kept.let_go) == (["models/a@1"], keep[1:], ())


def test_status_tells_the_rules_of_tags_to_whom_all_tags_are_told(doors: Doors) -> None:
    keep = ("private/* keep 1", "models/* keep 9")
    doors.box.store.limits = replace(LIMITS, retention=tuple(map(Retention.parse, keep)))
    assert doors.ask(PERSON, calls.Status()).retention == keep
    assert doors.ask(UDF, calls.Status()).retention == ()


def test_a_watch_tells_what_may_be_read(doors: Doors) -> None:
    def watched(caller: Caller) -> Iterator[list[str]]:
        cursor, present = doors.service.begin_watch(caller, calls.Watch(Prefix("")))
        yield [entry.tag for batch in present for event in batch for entry in event.entries]
        doors.ask(PERSON, move_to("private/z", "models/a"))
        doors.ask(PERSON, move_to("models/z", "models/a"))
        both = (calls.Step(Tag("private/w"), Ref.of("models/a")), calls.Step(Tag("models/w"), Ref.of("models/a")))
        doors.ask(PERSON, calls.Move(both, request=request()))
        events, _ = doors.service.go_on_watching(caller, calls.Watch(Prefix("")), cursor)
        yield [entry.tag for event in events for entry in event.entries]

    assert list(watched(UDF)) == [["models/a"], ["models/z", "models/w"]]
    assert list(watched(PERSON))[1] == ["private/z", "models/z", "private/w", "models/w"]


def test_who_is_connected_and_what_they_use_is_told_as_far_as_it_may_be_read(doors: Doors) -> None:
    service = doors.service
    mine = service.register.enter(PERSON.author, 0, "people")
    mine = service.register.introduce(mine, PERSON.author, Place("fan", "n"))
    for tag in ("private/x", "models/a"):
        id = doors.ask(PERSON, calls.GetTag(Ref.parse(tag))).id
        service.used(mine, calls.Used(Tag(tag), 1, id, request=request())).result()
    (told,) = doors.ask(UDF, calls.Sessions())
    assert ([one.tag for one in told.following], told.place) == (["models/a"], NOWHERE)
    assert [use.tag for use in doors.ask(UDF, tasks.ListUses())] == ["models/a"]
    assert len(doors.ask(PERSON, tasks.ListUses())) == 2


# --- snapshots -----------------------------------------------------------------------------------------------------


def test_a_node_has_its_own_task_and_nothing_else_below_snapshots(doors: Doors) -> None:
    box = doors.box
    for task in ("pump", "fan"):
        box.commit({"a": task.encode(), "b": b"-"}, task, DAG)
    doors.service.gate.check(UDF, tasks.Node("pump", "a"))
    doors.service.gate.check(UDF, tasks.SaveSnapshot("pump"))
    assert [task.name for task in doors.ask(UDF, tasks.ListTasks())] == ["pump"]
    assert doors.ask(UDF, tasks.FindSnapshot("pump")).task == "pump"
    assert doors.load(UDF, BlobId.of(b"pump")) == b"pump"
    with pytest.raises(NotFound):
        doors.load(UDF, BlobId.of(b"fan"))
    for node in (tasks.Node("fan", "a"), tasks.Node("pump", "a", source="fan")):
        with pytest.raises(Denied, match="the task 'fan'"):
            doors.service.gate.check(UDF, node)
    with pytest.raises(Denied, match="write the task 'pump'"):
        doors.service.gate.check(UDF, tasks.SaveSnapshot("pump", name="n"))
    assert not [entry for entry in doors.ask(UDF, calls.ListTags(Prefix(""))) if "fan" in entry.tag]


def test_a_backup_reads_all_that_it_holds(doors: Doors) -> None:
    doors.service.gate.rules = Rules({"udfs": parse(["admin"])})
    with pytest.raises(NotFound):
        doors.load(UDF, ID)
    with doors.service.backup(UDF):
        assert doors.load(UDF, ID) == SECRET


def test_only_errors_of_ours_come_out(doors: Doors) -> None:
    for text in ("models/a@9", "models/none", "0" * 64, "abcdef12", "private/x@-1"):
        with pytest.raises((NotFound, Gone, Denied, UsageError)):
            doors.ask(UDF, calls.Stat(Ref.parse(text)))
    assert issubclass(Denied, UdfstoreError)
