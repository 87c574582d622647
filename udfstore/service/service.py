"""The requests, one function each.

How a request is answered is the type of its function, for fronts to act on:

    quick        answers at once: catalog reads, no slow disk
    slow         looks at files, and may write: to be run in a worker thread
    change       handed to the committer: answers with a future
    stream       many items: `quick`, one batch after the other
    slow_stream  many items: `slow`, one batch after the other

Saves and loads are conversations of their own: `upload` and `open` begin them, both slow; so are those on resumable
uploads. Whatever the way, the gate judges first what the caller may do.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from udfstore import admin, calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Corrupt, Gone, NotFound, Unsupported, UsageError
from udfstore.model import BlobInfo, Caller, Entry, Event
from udfstore.refs import Ref, Tag
from udfstore.service.backup import Backups
from udfstore.service.doors import Doors
from udfstore.service.gate import Gate, judged, later
from udfstore.service.health import warning
from udfstore.service.meters import Meters
from udfstore.service.register import Register
from udfstore.service.rules import Right
from udfstore.service.tasks import Tasks
from udfstore.service.tokens import Tokens
from udfstore.service.unnamed import Unnamed
from udfstore.signing import Unsigned
from udfstore.store import Appender, BlobFile, Partial, Resolved, Store, Upload
from udfstore.store.layout import Layout
from udfstore.version import __version__

_SHOWN_OWNERS = 100
"""Whose use of the store one answer tells: the largest."""

BATCH = 100
"""Items read from the catalog at once: about a millisecond."""


class Service:
    """All that can be asked of one store."""

    def __init__(self, store: Store, register: Register) -> None:
        self.store = store
        self.register = register
        self.gate = Gate(store)
        self.unnamed = Unnamed(store, self.gate.hides)
        self.meters = Meters()
        self.started_ns = time.time_ns()
        self.quick: dict[type, Callable[[Caller, Any], calls.Result]] = {calls.GetTag: self.get_tag}
        self.slow: dict[type, Callable[[Caller, Any], calls.Result]] = {
            calls.Stat: self.stat,
            calls.Verify: self.verify,
            calls.Why: self.why,
            calls.Undelete: self.undelete,
            calls.Missing: self.missing,
            calls.Status: self.status,
        }
        self.change: dict[type, Callable[[Caller, Any], Future[Any]]] = {
            calls.Move: self.move,
            calls.Rollback: self.rollback,
            calls.Untag: self.untag,
            calls.Hold: self.hold,
            calls.Release: self.release,
            calls.Delete: self.delete,
            calls.Used: self.used,
        }
        self.stream: dict[type, Callable[[Caller, Any], Iterator[list[Any]]]] = {
            calls.ListTags: self.tags,
            calls.History: self.history,
            calls.ListBlobs: self.blobs,
            calls.Sessions: self.sessions,
        }
        self.backups = Backups(store)
        self.tasks = Tasks(store, self.gate)
        self.slow |= {
            tasks.FindSnapshot: self.tasks.find_snapshot,
            tasks.NameSnapshot: self.tasks.name_snapshot,
            tasks.UseSnapshot: self.tasks.use_snapshot,
            tasks.DeleteSnapshots: self.tasks.delete_snapshots,
            tasks.DeleteTask: self.tasks.delete_task,
        }
        self.slow_stream: dict[type, Callable[[Caller, Any], Iterator[list[Any]]]] = {
            tasks.ListTasks: self.tasks.list_tasks,
            tasks.ListSnapshots: self.tasks.list_snapshots,
            tasks.ListStates: self.tasks.list_states,
            tasks.PlanRestore: self.tasks.plan_restore,
            tasks.ListUses: self.tasks.list_uses,
        }
        layout = Layout(store.root)
        self.tokens = Tokens(layout.tokens, layout.http_token)
        self.doors = Doors()
        self.exposition: Callable[[bool, bool], str] = _no_metrics
        """All metrics in Prometheus' text format; with or without names, and with or without those of the process."""
        self.quick[admin.MakeLink] = self.make_link
        self.slow |= {admin.AddToken: self.add_token, admin.RemoveToken: self.remove_token}
        self.slow_stream |= {
            admin.ListTokens: self.list_tokens,
            admin.ReadMetrics: self.read_metrics,
            admin.Collect: self.collect,
            admin.Check: self.check,
        }

    # --- content ---

    def upload(self, caller: Caller, call: calls.Save) -> Upload | calls.Saved:
        """Begin a save; `commit` ends it. Content that the store has under the announced ID is answered at once."""
        self.gate.check(caller, call)
        if call.id is not None and not self.gate.hides(caller, call.id):
            size = self.store.present(call.id)
            if size is not None:
                self.store.meters.saved(size, existed=True)
                return calls.Saved(call.id, size, existed=True)
        return self.store.upload(call.id, call.size, self.unnamed.room(caller))

    def commit(self, caller: Caller, upload: Upload, size: int | None = None, id: BlobId | None = None) -> calls.Saved:
        """End a save: its content is durable, and its caller may read it. `size` and `id` as sent, None: not said."""
        own, existed = upload.commit(size, id)
        return self.gate.saved(caller, calls.Saved(own, upload.size, existed))

    def save_small(self, caller: Caller, call: calls.Save, content: bytes, commit: calls.Commit) -> Future[calls.Saved]:
        """Save content of at most `store.small_bytes` that is all there, and move its tag. Does not block.

        Raises `Mismatch` for what is not as announced.
        """
        self.gate.check(caller, call)
        self.gate.check(caller, commit)
        move = None if commit.target is None else _move_of(BlobId.of(content), commit)
        sizes, ids = (call.size, commit.size), (call.id, commit.id)
        room = self.unnamed.room(caller)
        saved = self.store.save_small(content, sizes, ids, move, caller.author, room)
        if move is not None:
            self._note_unsigned(saved, caller, move.steps[0].tag)
        return saved if self.gate.rights(caller) is None else later(saved, partial(self.gate.saved, caller))

    def begin_upload(self, caller: Caller, size: int | None, id: BlobId | None) -> Partial:
        """Begin a resumable upload."""
        self.gate.check(caller, calls.Save(id, size))
        return self.store.uploads.begin(size, id, caller.author, self.unnamed.room(caller))

    def find_upload(self, caller: Caller, name: str) -> Partial:
        """How far a resumable upload is, or what became of it."""
        self.gate.check(caller, calls.Save())
        return self.store.uploads.find(name)

    def append(self, caller: Caller, name: str, offset: int, size: int | None = None) -> Appender:
        """Go on with a resumable upload."""
        self.gate.check(caller, calls.Save())
        return self.store.uploads.append(name, offset, size, self.unnamed.room(caller))

    def finish(self, caller: Caller, appender: Appender) -> calls.Saved:
        """End a resumable upload, as `commit` does any other."""
        return self.gate.saved(caller, appender.finish())

    def drop_upload(self, caller: Caller, name: str) -> None:
        """Forget a resumable upload."""
        self.gate.check(caller, calls.Save())
        self.store.uploads.drop(name)

    def open(self, caller: Caller, call: calls.Load) -> tuple[calls.Loading, BlobFile]:
        """Begin a load: what was found, and the file to read. Raises `UsageError` for a range outside the blob."""
        if call.ref.id is None or not self.backups.held_for(caller):
            call = self.gate.check(caller, call)
        found, file = self._open(caller, call.ref)
        size = file.size
        length = size - call.offset if call.length is None else call.length
        if call.offset > size or call.offset + length > size:
            file.close()
            wanted = f"{call.offset} to {call.offset + length}"
            raise UsageError("a range outside the blob", expected=f"within 0 to {size}", got=wanted)
        entry = self.gate.shown(caller, found.entry)
        return calls.Loading(BlobInfo(found.id, size, entry=entry), call.offset, length), file

    def _open(self, caller: Caller, ref: Ref) -> tuple[Resolved, BlobFile]:
        try:
            return self.store.open_ref(ref)
        except (Gone, Corrupt) as error:  # the second also where it is being removed at this moment
            if ref.id is None or not self.backups.held_for(caller):
                raise
            with contextlib.suppress(NotFound):
                return Resolved(ref.id), self.store.open_held(ref.id)
            raise error

    @judged
    def stat(self, caller: Caller, call: calls.Stat) -> BlobInfo:
        """What is known of a blob."""
        return self.store.info(call.ref)

    @judged
    def verify(self, caller: Caller, call: calls.Verify) -> BlobInfo:
        """Hash a blob's file again."""
        return self.store.verify(self.store.resolve(call.ref).id)

    @judged
    def why(self, caller: Caller, call: calls.Why) -> calls.Kept:
        """What keeps a blob."""
        kept = self.store.why(call.ref)
        named, linked = (tuple(entry.brief for entry in entries) for entries in (kept.named, kept.linked))
        return replace(kept, named=named, linked=linked)

    @judged
    def undelete(self, caller: Caller, call: calls.Undelete) -> calls.Undeleted:
        """Bring removed content back."""
        return self.store.undelete(call.ref, caller.author)

    def missing(self, caller: Caller, call: calls.Missing) -> calls.MissingIds:
        """Which blobs are not there."""
        hidden = {id for id in call.ids if self.gate.hides(caller, id)}
        absent = {*hidden, *self.store.missing([id for id in call.ids if id not in hidden])}
        return calls.MissingIds(tuple(id for id in call.ids if id in absent))

    @judged
    def blobs(
        self, caller: Caller, call: calls.ListBlobs, after: tuple[int, BlobId] | None = None
    ) -> Iterator[list[BlobInfo]]:
        """All blobs, oldest first, behind `(saved_ns, id)`."""
        while batch := self.store.blobs(after, BATCH):
            yield batch
            after = (batch[-1].saved_ns, batch[-1].id)

    # --- tags ---

    @judged
    def get_tag(self, caller: Caller, call: calls.GetTag) -> Entry:
        """One entry of a tag."""
        return self.store.entry(call.ref)

    def tag_at(self, caller: Caller, tag: Tag, time_ns: int) -> Entry:
        """What a tag named at that time. Raises `NotFound` for a time before its first version."""
        self.gate.check(caller, calls.History(tag))
        return self.gate.shown(caller, self.store.entry_at(tag, time_ns))

    @judged
    def tags(self, caller: Caller, call: calls.ListTags, after: str = "") -> Iterator[list[Entry]]:
        """The newest entry of each live tag that matches, by name, behind the tag `after`."""
        while batch := self.store.tags(call.prefix, after, BATCH):
            yield batch
            after = batch[-1].tag

    @judged
    def history(self, caller: Caller, call: calls.History, before: int | None = None) -> Iterator[list[Entry]]:
        """All entries of a tag, newest first, below version `before`. Raises `NotFound` for a tag that never was."""
        while batch := self.store.history(call.tag, before, BATCH):
            yield batch
            before = batch[-1].version
        if before is None:
            raise NotFound(f"no tag {call.tag}")

    @judged
    def move(self, caller: Caller, call: calls.Move) -> Future[calls.Moved]:
        """Move tags."""
        return self._signed(caller, call, *(step.tag for step in call.steps))

    @judged
    def rollback(self, caller: Caller, call: calls.Rollback) -> Future[calls.Moved]:
        """Move a tag back."""
        return self._signed(caller, call, call.tag)

    @judged
    def untag(self, caller: Caller, call: calls.Untag) -> Future[calls.Moved]:
        """Delete tags."""
        return self.store.submit(call, caller.author)

    @judged
    def hold(self, caller: Caller, call: calls.Hold) -> Future[calls.Moved]:
        """Keep a tag where it is."""
        return self.store.submit(call, caller.author)

    @judged
    def release(self, caller: Caller, call: calls.Release) -> Future[calls.Moved]:
        """Let a held tag move again."""
        return self.store.submit(call, caller.author)

    @judged
    def delete(self, caller: Caller, call: calls.Delete) -> Future[calls.Deleted]:
        """Remove a blob's content."""
        return self.store.submit(call, caller.author)

    @judged
    def used(self, caller: Caller, call: calls.Used) -> Future[calls.Noted]:
        """Record what a follower uses."""
        noted = self.store.submit(call, caller.author, place=caller.place)
        noted.add_done_callback(lambda done: self.register.used(caller, call) if done.exception() is None else None)
        return noted

    def target(self, caller: Caller, saved: calls.Saved, commit: calls.Commit) -> Future[calls.Moved]:
        """Move the tag of a save whose content is there."""
        self.gate.check(caller, commit)
        move = _move_of(saved.id, commit)
        return self._signed(caller, move, move.steps[0].tag)

    def _signed(self, caller: Caller, call: calls.Move | calls.Rollback, *tags: Tag) -> Future[calls.Moved]:
        """Submit a move, of which the store judges whether it is signed: that it is not is a refusal like others."""
        moved: Future[calls.Moved] = self.store.submit(call, caller.author)
        self._note_unsigned(moved, caller, *tags)
        return moved

    def _note_unsigned(self, moved: Future[Any], caller: Caller, *tags: Tag) -> None:
        def note(done: Future[Any]) -> None:
            if isinstance(done.exception(), Unsigned):
                self.gate.refuse(caller, Right.WRITE, ", ".join(tag.name for tag in tags), "no signature")

        moved.add_done_callback(note)

    def begin_watch(self, caller: Caller, call: calls.Watch) -> tuple[int, Iterator[list[Event]]]:
        """Where a watch begins: the revision to go on after, and the present entries if they were asked for.

        Raises `Conflict` when the watch belongs to another epoch, or begins beyond the newest revision.
        """
        self.gate.check(caller, call)
        revision = self.store.revision
        if call.epoch and call.epoch != self.store.epoch:
            raise Conflict(
                "this store was restored from a backup since: begin the watch anew, without `since`",
                expected=f"epoch {self.store.epoch}",
                got=f"epoch {call.epoch}",
            )
        if call.since is None:
            return revision, self._present(caller, call, revision)
        if call.since > revision:
            raise Conflict(
                "a watch from beyond the newest revision: begin it anew, without `since`",
                expected=f"at most {revision}",
                got=call.since,
            )
        return call.since, iter(())

    def _present(self, caller: Caller, call: calls.Watch, revision: int) -> Iterator[list[Event]]:
        """Entries as they stand: a tag that moves meanwhile is told again, as an event after `revision`."""
        for batch in self.tags(caller, calls.ListTags(call.prefix)):
            yield [Event(revision, (entry,), present=True) for entry in batch]
        yield [Event(revision, (), present=True)]

    def go_on_watching(self, caller: Caller, call: calls.Watch, cursor: int) -> tuple[list[Event], int]:
        """Events after `cursor`, and the cursor after them."""
        events, after = self.store.events(call.prefix, cursor, BATCH)
        return self.gate.shown(caller, events), after

    # --- the server ---

    @judged
    def status(self, caller: Caller, call: calls.Status) -> calls.Health:
        """How the store and its server are."""
        blobs, size, tags = self.store.totals()
        return calls.Health(
            version=__version__,
            root=str(self.store.root),
            pid=os.getpid(),
            store_id=self.store.id,
            epoch=self.store.epoch,
            revision=self.store.revision,
            blobs=blobs,
            bytes=size,
            tags=tags,
            connections=len(self.register),
            started_ns=self.started_ns,
            free_bytes=self.store.free_bytes(),
            problem=self.store.problem,
            retention=tuple(map(str, self.store.limits.retention)) if self.gate.sees_all(caller) else (),
            usage=tuple(self._usage(caller)),
            warning=warning(self.store),
        )

    def _usage(self, caller: Caller) -> list[calls.Usage]:
        usage = self.unnamed.usage()
        if not self.gate.sees_all(caller):
            return [use for use in usage if use.owner == caller.author.owner]
        return usage[:_SHOWN_OWNERS]

    def backup(self, caller: Caller) -> AbstractContextManager[Iterator[list[admin.Item]]]:
        """A backup, as `admin.Backup` has it. Its pages are read as those of a slow stream; entering is quick."""
        self.gate.check(caller, admin.Backup())
        return self.backups.begin(caller)

    @judged
    def check(self, caller: Caller, call: admin.Check) -> Generator[list[admin.CheckItem]]:
        """A check, as `admin.Check` has it: each step reads some MiB."""
        return self.store.check(call.since_ns, call.repair)

    @judged
    def sessions(self, caller: Caller, call: calls.Sessions) -> Iterator[list[calls.Session]]:
        """Who is connected."""
        yield self.register.sessions()

    # --- what operators ask ---

    @judged
    def add_token(self, caller: Caller, call: admin.AddToken) -> admin.NewToken:
        """Make a token."""
        return self.tokens.add(call.name, call.can)

    @judged
    def remove_token(self, caller: Caller, call: admin.RemoveToken) -> admin.Token:
        """Revoke a token."""
        return self.tokens.remove(call.name)

    @judged
    def list_tokens(self, caller: Caller, call: admin.ListTokens) -> Iterator[list[admin.Token]]:
        """All tokens, by name."""
        yield self.tokens.list()

    @judged
    def collect(self, caller: Caller, call: admin.Collect) -> Iterator[list[admin.Garbage]]:
        """Make room: what nothing keeps is marked, and removed after the grace time."""
        return self.store.collect(call.grace_s, now=call.now, dry_run=call.dry_run)

    @judged
    def make_link(self, caller: Caller, call: admin.MakeLink) -> admin.Link:
        """A link that logs a browser in as the caller."""
        return self.doors.link(caller)

    @judged
    def read_metrics(self, caller: Caller, call: admin.ReadMetrics) -> Iterator[list[admin.Text]]:
        """All metrics, in parts that end with a line."""
        text, start = self.exposition(call.names, False), 0
        while start < len(text):
            end = start + _PART
            end = text.rfind("\n", start, end) + 1 or end
            yield [admin.Text(text[start:end])]
            start = end


def _move_of(id: BlobId, commit: calls.Commit) -> calls.Move:
    """The move of the tag that a commit names."""
    target = commit.target
    assert target is not None
    step = calls.Step(target.tag, Ref.of(id), target.expected, target.labels, target.links)
    return calls.Move((step,), target.note, commit.request)


_PART = admin.PART_BYTES // 4
"""Characters, each of which may have four bytes."""


def _no_metrics(names: bool, process: bool) -> str:
    raise Unsupported(
        "metrics are those of a server, and there is none here: udfstore serve (pip install 'udfstore[server]')"
    )
