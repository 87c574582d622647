"""What the tests of the session share: both ends joined without a socket, and values of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from udfstore import admin, calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.model import Author, BlobInfo, Claim, Entry, Event
from udfstore.refs import Prefix, Ref, Tag
from udfstore.session.events import HostEvent, UdfEvent, Welcome
from udfstore.session.host import HostSession
from udfstore.session.outbox import Outbox
from udfstore.session.udf import UdfSession
from udfstore.wire import codec, limits
from udfstore.wire.framing import FrameReader

WELCOME = Welcome("test", bytes(range(16)), epoch=1, revision=7, chunk_bytes=1000, calls=4, session=3)
ID = BlobId.of(b"content")
REQUEST = bytes(range(16))


@dataclass
class Token:
    """An open file, as far as a session knows."""

    number: int = 7
    closed: int = field(default=0, compare=False)

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.closed += 1


def sent(outbox: Outbox, tokens: list[Token] | None = None) -> bytes:
    """All that waits, as the bytes that a socket would take; with the descriptors that go along, each once more."""
    taken: list[bytes] = []

    def send(buffers: list[memoryview], token: object) -> int:
        taken.extend(map(bytes, buffers))
        if token is not None:
            assert tokens is not None
            assert isinstance(token, Token)
            tokens.append(Token(token.number))
        return sum(map(len, buffers))

    outbox.flush(send)
    return b"".join(taken)


class Talk:
    """A host and a UDF, joined: `to_host` and `to_udf` carry what waits and give the events."""

    def __init__(
        self,
        welcome: Welcome = WELCOME,
        claim: Claim | None = None,
        node: tasks.Node | None = None,
        descriptors: bool = False,
    ) -> None:
        self.host = HostSession(replace(welcome, descriptors=descriptors))
        self.udf = UdfSession(claim, node, descriptors=descriptors)

    @classmethod
    def greeted(cls, welcome: Welcome = WELCOME, node: tasks.Node | None = None, descriptors: bool = False) -> Talk:
        talk = cls(welcome, node=node, descriptors=descriptors)
        talk.to_udf()
        talk.to_host()
        return talk

    def to_host(self, data: bytes | None = None) -> list[HostEvent]:
        tokens: list[Token] = []
        return list(self.host.receive(sent(self.udf.outbox, tokens) if data is None else data, tokens))

    def to_udf(self, data: bytes | None = None) -> list[UdfEvent]:
        tokens: list[Token] = []
        return list(self.udf.receive(sent(self.host.outbox, tokens) if data is None else data, tokens))


class RawHost:
    """A host that hears frames which our own UDF would not send."""

    def __init__(
        self,
        welcome: Welcome = WELCOME,
        credit: bool = True,
        greet: bool = True,
        node: pb.Node | None = None,
        descriptors: bool = False,
    ) -> None:
        self.session = HostSession(replace(welcome, descriptors=descriptors))
        self.answers()
        if greet:
            self.hear(pb.Response(hello=pb.Hello(protocol=1, credit=credit, node=node)))

    def hear(self, *envelopes: pb.Response) -> list[HostEvent]:
        return list(self.session.receive(b"".join(map(codec.encode, envelopes))))

    def call(self, number: int, **op: object) -> list[HostEvent]:
        return self.hear(pb.Response(call=pb.Call(call=number, request=REQUEST, **op)))  # type: ignore[arg-type]

    def chunk(self, number: int, data: bytes) -> list[HostEvent]:
        return self.hear(pb.Response(chunk=pb.Chunk(call=number, data=data)))

    def commit(self, number: int, size: int, **more: object) -> list[HostEvent]:
        return self.hear(pb.Response(commit=pb.Commit(call=number, size=size, **more)))  # type: ignore[arg-type]

    def answers(self) -> list[pb.Request]:
        """What it sends."""
        reader = FrameReader(limits.of_hosts_of_nodes())
        return [pb.Request.FromString(bytes(f.envelope)) for f in reader.receive(sent(self.session.outbox))]

    def faults(self) -> list[tuple[int, str]]:
        """Number and code of the faults among what it sends."""
        return [(a.fault.call, a.fault.code) for a in self.answers() if a.WhichOneof("message") == "fault"]


# --- values of every kind ---

numbers = st.integers(0, 2**63 - 1)
times = st.integers(-(2**63), 2**63 - 1)
ids = st.binary(min_size=32, max_size=32).map(BlobId)
maybe_ids = st.one_of(st.none(), ids)
id_lists = st.lists(ids, max_size=3).map(tuple)
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,8}){0,2}", fullmatch=True)
tags = names.map(Tag.parse)
prefixes = st.one_of(st.just(""), names, names.map(lambda name: name + "/")).map(Prefix.parse)
refs = st.one_of(
    ids.map(Ref.of),
    ids.map(lambda id: Ref.parse(id.hex[:12])),
    ids.map(lambda id: Ref.parse(f"sha256:{id.hex[:9]}")),
    tags.map(Ref.of),
    st.builds(lambda tag, n: Ref.parse(f"{tag}@{n}"), tags, st.integers(-9, 10**9).filter(bool)),
)
printable = st.text(st.characters(categories=("L", "N", "P")), max_size=12)
labels = st.dictionaries(printable.filter(bool), words, max_size=4)
maybe_labels = st.one_of(st.none(), labels)
sizes = st.integers(0, 2**62 - 1)
maybe_number = st.one_of(st.none(), numbers)
requests = st.binary(min_size=16, max_size=16)
claims = st.builds(Claim, printable, printable, printable, printable)
ints = st.integers(-1, 2**31 - 1)
authors = st.builds(
    Author, words, ints, st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple), ints, words, words, claims
)
entries = st.builds(
    Entry,
    names,
    numbers,
    st.one_of(st.none(), ids),
    numbers,
    numbers,
    times,
    authors,
    words,
    labels,
    numbers,
    words,
    id_lists,
    st.booleans(),
)
infos = st.builds(
    BlobInfo, ids, numbers, times, times, st.lists(words, max_size=3).map(tuple), numbers, st.one_of(st.none(), entries)
)
briefs = entries.map(lambda entry: entry.brief)


def _record(entries: Iterable[Entry], author: Author, note: str) -> tuple[Entry, ...]:
    return tuple(replace(entry, author=author, note=note) for entry in entries)


records = st.builds(_record, st.lists(entries, min_size=1, max_size=3), authors, words)
moved = records.flatmap(
    lambda record: st.builds(
        calls.Moved,
        st.just(record),
        st.lists(st.one_of(st.none(), briefs), min_size=len(record), max_size=len(record)).map(tuple),
        st.lists(words, max_size=2).map(tuple),
    )
)
events = st.one_of(
    st.builds(Event, numbers, records, st.just(False)),
    st.builds(Event, numbers, st.lists(entries, max_size=2).map(tuple), st.just(True)),
)
places = st.one_of(st.just(tasks.NOWHERE), st.builds(tasks.Place, words.filter(bool), words.filter(bool)))
sessions = st.builds(
    calls.Session,
    numbers,
    authors,
    times,
    st.integers(0, 2**32 - 1),
    st.lists(st.builds(calls.Following, names, numbers, st.one_of(st.none(), ids), words), max_size=2).map(tuple),
    places,
    words,
)
word_lists = st.lists(words, max_size=3).map(tuple)
health = st.builds(
    calls.Health,
    words, words, st.integers(0, 2**32 - 1), st.binary(max_size=16), numbers, numbers, numbers, numbers, numbers,
    st.integers(0, 2**32 - 1), times, numbers, words, word_lists,
)  # fmt: skip

counts = st.integers(0, 2**32 - 1)
models = st.lists(st.builds(tasks.Model, names, numbers, ids), max_size=2).map(tuple)
snapshots = st.builds(
    tasks.Snapshot, ids, words, numbers, st.lists(words, max_size=2).map(tuple), times,
    st.sampled_from(tasks.Reason), words, counts, numbers,
)  # fmt: skip
states = st.builds(
    tasks.NodeState, words, words, ids, numbers, words, words, maybe_ids, st.booleans(), models
)  # fmt: skip
task_items = st.builds(
    tasks.Task, words, words, st.sampled_from(tasks.HostKind), st.lists(words, max_size=3).map(tuple),
    st.one_of(st.none(), snapshots), times, counts, counts, maybe_ids, st.booleans(), words,
)  # fmt: skip
given_items = st.builds(
    tasks.Given, words, words, words, st.one_of(st.none(), states), st.one_of(st.none(), snapshots), st.booleans()
)
uses = st.builds(tasks.Use, numbers, times, names, numbers, ids, authors, places, words)
seconds = st.integers(0, 10**9).map(lambda ms: ms / 1000)
longer = st.one_of(st.just(0.0), st.integers(1000, 10**9).map(lambda ms: ms / 1000))
nodes = st.builds(
    lambda dag, fingerprint, **said: tasks.Node(dag=dag, fingerprint="" if dag else fingerprint, **said),
    task=words.filter(bool), name=words.filter(bool), dag=st.binary(max_size=20), fingerprint=words, key=words,
    options=words, interval=longer, policy=st.sampled_from(tasks.Policy), host=st.sampled_from(tasks.HostKind),
    take_over=st.booleans(), no_save=st.booleans(), plain=st.booleans(), resumed=numbers, restored=maybe_ids,
    snapshot=words, source=words, not_before_ns=numbers, timeout=longer,
)  # fmt: skip

cans = st.sampled_from(admin.Can)
tokens = st.builds(admin.Token, words, cans, times)

steps = st.builds(calls.Step, tags, refs, maybe_number, maybe_labels, id_lists)
untags = st.lists(tags, min_size=1, max_size=4).flatmap(
    lambda tags: st.builds(
        calls.Untag,
        st.just(tuple(tags)),
        st.one_of(
            st.just(()),
            st.lists(st.one_of(st.none(), numbers), min_size=len(tags), max_size=len(tags)).map(tuple),
        ),
        words,
        requests,
    )
)
CALLS: dict[type, st.SearchStrategy[calls.Call]] = {
    calls.Save: st.one_of(
        st.builds(calls.Save, maybe_ids, maybe_number, requests),
        st.builds(calls.Save, maybe_ids, sizes, requests, st.just(True), sizes),
    ),
    calls.Load: st.builds(calls.Load, refs, numbers, maybe_number, maybe_number),
    calls.Stat: st.builds(calls.Stat, refs),
    calls.Verify: st.builds(calls.Verify, refs),
    calls.Why: st.builds(calls.Why, refs),
    calls.ListBlobs: st.builds(calls.ListBlobs),
    calls.Missing: st.builds(calls.Missing, id_lists),
    calls.Delete: st.builds(calls.Delete, refs, st.booleans(), st.booleans(), requests),
    calls.Move: st.builds(calls.Move, st.lists(steps, min_size=1, max_size=3).map(tuple), words, requests),
    calls.Rollback: st.builds(calls.Rollback, tags, maybe_number, maybe_number, words, maybe_labels, requests),
    calls.Untag: untags,
    calls.Hold: st.builds(calls.Hold, tags, words, requests),
    calls.Release: st.builds(calls.Release, tags, words, requests),
    calls.GetTag: st.builds(calls.GetTag, refs),
    calls.ListTags: st.builds(calls.ListTags, prefixes),
    calls.History: st.builds(calls.History, tags),
    calls.Watch: st.builds(calls.Watch, prefixes, maybe_number, numbers),
    calls.Used: st.builds(calls.Used, tags, numbers, ids, words, requests),
    calls.Status: st.builds(calls.Status),
    calls.Sessions: st.builds(calls.Sessions),
    tasks.ListTasks: st.builds(tasks.ListTasks),
    tasks.DeleteTask: st.builds(tasks.DeleteTask, words, st.booleans(), requests),
    tasks.ListSnapshots: st.builds(tasks.ListSnapshots, words),
    tasks.FindSnapshot: st.builds(tasks.FindSnapshot, words, words),
    tasks.ListStates: st.builds(tasks.ListStates, words, words),
    tasks.SaveSnapshot: st.builds(tasks.SaveSnapshot, words, st.sampled_from(tasks.Reason), words),
    tasks.NameSnapshot: st.builds(tasks.NameSnapshot, words, words, words, words, requests),
    tasks.UseSnapshot: st.builds(tasks.UseSnapshot, words, words, st.one_of(st.none(), refs), st.booleans(), requests),
    tasks.DeleteSnapshots: st.builds(
        tasks.DeleteSnapshots, words, st.lists(words, max_size=3).map(tuple), st.booleans(), requests
    ),
    tasks.PlanRestore: st.builds(
        tasks.PlanRestore, words, st.binary(max_size=20), st.sampled_from(tasks.Policy), words
    ),
    tasks.ListUses: st.builds(
        tasks.ListUses, words, st.one_of(st.none(), tags), st.one_of(st.none(), times), st.booleans()
    ),
    tasks.AwaitFollowers: st.builds(tasks.AwaitFollowers, tags, numbers, seconds),
    admin.AddToken: st.builds(admin.AddToken, st.from_regex(admin.TOKEN_NAME, fullmatch=True), cans),
    admin.RemoveToken: st.builds(admin.RemoveToken, words),
    admin.ListTokens: st.builds(admin.ListTokens),
    admin.MakeLink: st.builds(admin.MakeLink),
    admin.ReadMetrics: st.builds(admin.ReadMetrics, st.booleans()),
    admin.Backup: st.builds(admin.Backup),
    admin.Collect: st.builds(admin.Collect, st.booleans(), st.one_of(st.none(), numbers), st.booleans()),
    calls.Undelete: st.builds(calls.Undelete, refs),
    admin.Check: st.builds(admin.Check, st.one_of(st.none(), times), st.booleans()),
}
ITEMS: dict[type, st.SearchStrategy[calls.Item | Event]] = {
    BlobInfo: infos,
    Entry: entries,
    calls.Session: sessions,
    Event: events,
    tasks.Task: task_items,
    tasks.Snapshot: snapshots,
    tasks.NodeState: states,
    tasks.Given: given_items,
    tasks.Use: uses,
    admin.Token: tokens,
    admin.Text: st.builds(admin.Text, words),
    admin.BackupHead: st.builds(
        admin.BackupHead, st.binary(max_size=16), numbers, numbers, words, numbers, numbers, numbers, times
    ),
    admin.BackupBlob: st.builds(admin.BackupBlob, ids, numbers, numbers),
    admin.LogPart: st.builds(admin.LogPart, numbers, st.binary(max_size=20)),
    admin.BackupEnd: st.builds(admin.BackupEnd),
    admin.Garbage: st.builds(admin.Garbage, ids, numbers, st.sampled_from(admin.Fate), words, word_lists, times),
    admin.Finding: st.builds(
        admin.Finding,
        st.sampled_from(admin.FindingKind),
        words,
        st.one_of(st.none(), ids),
        words,
        st.lists(words, max_size=3).map(tuple),
        numbers,
        st.booleans(),
    ),
    admin.Checked: st.builds(admin.Checked, times, numbers, numbers, numbers, numbers),
}
RESULTS: dict[type, st.SearchStrategy[calls.Result]] = {
    calls.Saved: st.builds(calls.Saved, ids, numbers, st.booleans(), st.one_of(st.none(), entries)),
    calls.Loaded: st.builds(calls.Loaded, numbers),
    BlobInfo: infos,
    calls.Kept: st.builds(
        calls.Kept,
        infos,
        st.lists(briefs, max_size=2).map(tuple),
        st.lists(briefs, max_size=2).map(tuple),
        numbers,
        word_lists,
        word_lists,
        times,
    ),
    calls.MissingIds: st.builds(calls.MissingIds, id_lists),
    calls.Deleted: st.builds(calls.Deleted, ids, numbers, word_lists, numbers),
    calls.Undeleted: st.builds(calls.Undeleted, ids, numbers, word_lists, numbers),
    calls.Moved: moved,
    Entry: entries,
    calls.Noted: st.builds(calls.Noted, numbers),
    calls.Health: health,
    tasks.Snapshot: snapshots,
    tasks.Taken: st.builds(tasks.Taken, st.one_of(st.none(), snapshots), st.booleans(), words),
    tasks.Dropped: st.builds(tasks.Dropped, st.lists(snapshots, max_size=3).map(tuple)),
    admin.Token: tokens,
    admin.NewToken: st.builds(admin.NewToken, tokens, words),
    admin.Link: st.builds(admin.Link, words, counts),
    type(None): st.none(),
}
