"""Answers: results, pages and faults as plain values on one side, protobuf on the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

from udfstore import admin, calls, tasks
from udfstore._pb import udfstore_pb2 as pb
from udfstore.digest import BlobId
from udfstore.errors import InternalError, TooLarge, UdfstoreError, error_for
from udfstore.model import NOBODY, BlobInfo, Entry, Event
from udfstore.session.values import (
    author_from_pb,
    author_to_pb,
    blob_from_pb,
    blob_to_pb,
    cut,
    entry_from_pb,
    entry_to_pb,
    finding_kind_of,
    garbage_from_pb,
    garbage_to_pb,
    host_kind_of,
    ids_of,
    maybe_id,
    place_from_pb,
    place_to_pb,
    raw_of,
    snapshot_from_pb,
    snapshot_to_pb,
    state_from_pb,
    state_to_pb,
    token_from_pb,
    token_to_pb,
)
from udfstore.wire import limits

PAGE_BYTES = 60 * 1024
"""Content of a page: a small frame less its head. No record is longer (`store` bounds them), so no item made of one is;
a node with a thousand models in use may be."""

_HEAD_BYTES = 16
"""Of the envelope around a page."""


def result_to_pb(number: int, result: calls.Result) -> pb.Result:
    """The message that ends a call well; None is the end of a call that streamed pages."""
    message = pb.Result(call=number)
    match result:
        case None:
            message.ok.SetInParent()
        case calls.Saved():
            message.saved.id, message.saved.size, message.saved.existed = result.id.raw, result.size, result.existed
            if result.entry is not None:
                message.saved.entry.CopyFrom(entry_to_pb(result.entry))
        case calls.Loaded():
            message.loaded.length = result.length
            message.loaded.SetInParent()
        case BlobInfo():
            message.blob.CopyFrom(blob_to_pb(result))
        case calls.Kept():
            message.kept.blob.CopyFrom(blob_to_pb(result.info))
            message.kept.named.extend(entry_to_pb(entry.brief) for entry in result.named)
            message.kept.linked.extend(entry_to_pb(entry.brief) for entry in result.linked)
            message.kept.more, message.kept.goes_ns = result.more, result.goes_ns
            message.kept.rules.extend(result.rules)
            message.kept.let_go.extend(result.let_go)
        case calls.MissingIds():
            message.missing.ids.extend(id.raw for id in result.ids)
            message.missing.SetInParent()
        case calls.Deleted():
            message.deleted.id, message.deleted.size, message.deleted.more = result.id.raw, result.size, result.more
            message.deleted.versions.extend(result.versions)
        case calls.Undeleted():
            undeleted = pb.Undeleted(id=result.id.raw, size=result.size, versions=result.versions, more=result.more)
            message.undeleted.CopyFrom(undeleted)
        case calls.Moved():
            _put_record(message.moved, result.entries)
            message.moved.before.extend(pb.Entry() if e is None else entry_to_pb(e.brief) for e in result.before)
            message.moved.skipped.extend(result.skipped)
        case Entry():
            message.entry.CopyFrom(entry_to_pb(result))
        case calls.Noted():
            message.noted.revision = result.revision
        case calls.Health():
            message.health.CopyFrom(_health_to_pb(result))
        case tasks.Snapshot():
            message.snapshot.CopyFrom(snapshot_to_pb(result))
        case tasks.Taken():
            message.taken.good, message.taken.why = result.good, cut(result.why)
            if result.snapshot is not None:
                message.taken.snapshot.CopyFrom(snapshot_to_pb(result.snapshot))
            message.taken.SetInParent()
        case tasks.Dropped():
            message.dropped.snapshots.extend(map(snapshot_to_pb, result.snapshots))
            message.dropped.SetInParent()
        case admin.Token():
            message.token.CopyFrom(token_to_pb(result))
        case admin.NewToken():
            message.new_token.token.CopyFrom(token_to_pb(result.token))
            message.new_token.secret = result.secret
        case admin.Link():
            message.link.url, message.link.seconds = result.url, result.seconds
            message.link.SetInParent()
    return message


def result_from_pb(message: pb.Result) -> calls.Result:
    """The answer that a message holds."""
    match message.WhichOneof("result"):
        case "saved":
            s = message.saved
            return calls.Saved(BlobId(s.id), s.size, s.existed, entry_from_pb(s.entry) if s.HasField("entry") else None)
        case "loaded":
            return calls.Loaded(message.loaded.length)
        case "blob":
            return blob_from_pb(message.blob)
        case "kept":
            k = message.kept
            named, linked = tuple(map(entry_from_pb, k.named)), tuple(map(entry_from_pb, k.linked))
            rules, let_go = tuple(k.rules), tuple(k.let_go)
            return calls.Kept(blob_from_pb(k.blob), named, linked, k.more, rules, let_go, k.goes_ns)
        case "missing":
            return calls.MissingIds(ids_of(message.missing.ids))
        case "deleted":
            d = message.deleted
            return calls.Deleted(BlobId(d.id), d.size, tuple(d.versions), d.more)
        case "undeleted":
            u = message.undeleted
            return calls.Undeleted(BlobId(u.id), u.size, tuple(u.versions), u.more)
        case "moved":
            m = message.moved
            before = tuple(entry_from_pb(e) if e.tag else None for e in m.before)
            return calls.Moved(_record(m), before, tuple(m.skipped))
        case "entry":
            return entry_from_pb(message.entry)
        case "noted":
            return calls.Noted(message.noted.revision)
        case "health":
            return _health_from_pb(message.health)
        case "snapshot":
            return snapshot_from_pb(message.snapshot)
        case "taken":
            t = message.taken
            return tasks.Taken(snapshot_from_pb(t.snapshot) if t.HasField("snapshot") else None, t.good, t.why)
        case "dropped":
            return tasks.Dropped(tuple(map(snapshot_from_pb, message.dropped.snapshots)))
        case "token":
            return token_from_pb(message.token)
        case "new_token":
            return admin.NewToken(token_from_pb(message.new_token.token), message.new_token.secret)
        case "link":
            return admin.Link(message.link.url, message.link.seconds)
        case "ok":
            return None
        case _:
            raise InternalError("a result that this release does not know: update the client")


def head_to_pb(number: int, head: calls.Loading, descriptor: bool) -> pb.Head:
    """The message before a load's content, or with its descriptor."""
    blob = blob_to_pb(head.info)
    return pb.Head(call=number, blob=blob, offset=head.offset, length=head.length, descriptor=descriptor)


def head_from_pb(message: pb.Head) -> calls.Loading:
    """What a load found."""
    return calls.Loading(blob_from_pb(message.blob), message.offset, message.length)


def pages_to_pb(items: Iterable[calls.Item | Event]) -> Iterator[pb.Page]:
    """Items of a list or a watch as pages of at most `PAGE_BYTES` each, or of one item that is longer; of no call yet.

    Raises `TooLarge` for an item that fits no frame, when the pages before it are given.
    """
    page = pb.Page()
    size = 0
    for item in items:
        one = pb.Page()
        match item:
            case BlobInfo():
                one.blobs.append(blob_to_pb(item))
            case Entry():
                one.entries.append(entry_to_pb(item))
            case calls.Session():
                one.sessions.append(_session_to_pb(item))
            case Event():
                _put_event(one.events.add(), item)
            case tasks.Task():
                one.tasks.append(_task_to_pb(item))
            case tasks.Snapshot():
                one.snapshots.append(snapshot_to_pb(item))
            case tasks.NodeState():
                one.states.append(state_to_pb(item))
            case tasks.Given():
                one.given.append(_given_to_pb(item))
            case tasks.Use():
                one.uses.append(_use_to_pb(item))
            case admin.Token():
                one.tokens.append(token_to_pb(item))
            case admin.Text():
                one.texts.append(item.text)
            case admin.BackupHead():
                one.backup_heads.append(_backup_to_pb(item))
            case admin.BackupBlob():
                one.backup_blobs.add(id=item.id.raw, size=item.size, saved_ns=item.saved_ns)
            case admin.LogPart():
                one.log_parts.add(segment=item.segment, data=item.data)
            case admin.BackupEnd():
                one.backup_ends.add()
            case admin.Garbage():
                one.garbage.append(garbage_to_pb(item))
            case admin.Finding():
                one.findings.append(_finding_to_pb(item))
            case admin.Checked():
                one.checked.append(_checked_to_pb(item))
        length = one.ByteSize()
        if length > limits.SMALL_BYTES - _HEAD_BYTES:
            got = f"{length} bytes: {type(item).__name__}"
            raise TooLarge("one item of the list fits no answer", expected=f"at most {PAGE_BYTES} bytes", got=got)
        if size and size + length > PAGE_BYTES:
            yield page
            page, size = one, length
        else:
            page.MergeFrom(one)
            size += length
    if size:
        yield page


def page_from_pb(page: pb.Page) -> list[calls.Item | Event]:
    """The items of a page, in order."""
    items: list[calls.Item | Event] = [*map(blob_from_pb, page.blobs), *map(entry_from_pb, page.entries)]
    items += map(_session_from_pb, page.sessions)
    for event in page.events:
        entries = tuple(map(entry_from_pb, event.entries)) if event.present else _record(event)
        items.append(Event(event.revision, entries, event.present))
    items += map(_task_from_pb, page.tasks)
    items += map(snapshot_from_pb, page.snapshots)
    items += map(state_from_pb, page.states)
    items += map(_given_from_pb, page.given)
    items += map(_use_from_pb, page.uses)
    items += map(token_from_pb, page.tokens)
    items += map(admin.Text, page.texts)
    items += map(_backup_from_pb, page.backup_heads)
    items += (admin.BackupBlob(BlobId(blob.id), blob.size, blob.saved_ns) for blob in page.backup_blobs)
    items += (admin.LogPart(part.segment, part.data) for part in page.log_parts)
    items += map(garbage_from_pb, page.garbage)
    items += (admin.BackupEnd() for _ in page.backup_ends)
    items += map(_finding_from_pb, page.findings)
    items += map(_checked_from_pb, page.checked)
    return items


def _put_event(message: pb.Event, event: Event) -> None:
    message.revision, message.present = event.revision, event.present
    if event.present:
        message.entries.extend(map(entry_to_pb, event.entries))
    else:
        _put_record(message, event.entries)


def _put_record(message: pb.Moved | pb.Event, entries: Sequence[Entry]) -> None:
    """Entries of one record: what all of them share is written once."""
    if entries:
        message.author.CopyFrom(author_to_pb(entries[0].author))
        message.note = entries[0].note
    message.entries.extend(entry_to_pb(replace(entry, author=NOBODY, note="")) for entry in entries)


def _record(message: pb.Moved | pb.Event) -> tuple[Entry, ...]:
    author, note = author_from_pb(message.author), message.note
    return tuple(replace(entry_from_pb(entry), author=author, note=note) for entry in message.entries)


def fault_to_pb(number: int, error: UdfstoreError) -> pb.Fault:
    """The message that ends a call badly."""
    message, expected, got = map(cut, (error.message, error.expected, error.got))
    return pb.Fault(call=number, code=error.code.value, message=message, expected=expected, got=got)


def fault_from_pb(fault: pb.Fault) -> UdfstoreError:
    """The error that a fault tells of."""
    return error_for(fault.code, fault.message, expected=fault.expected, got=fault.got)


_BACKUP = tuple(admin.BackupHead.__dataclass_fields__)
_CHECKED = tuple(admin.Checked.__dataclass_fields__)
_HEALTH = tuple(calls.Health.__dataclass_fields__)


def _health_to_pb(health: calls.Health) -> pb.Health:
    said = {name: getattr(health, name) for name in _HEALTH}
    return pb.Health(**{**said, "usage": [pb.Usage(**asdict(usage)) for usage in health.usage]})


def _health_from_pb(health: pb.Health) -> calls.Health:
    said = {name: getattr(health, name) for name in _HEALTH}
    return calls.Health(**{**said, "retention": tuple(health.retention), "usage": tuple(map(_usage, health.usage))})


def _usage(usage: pb.Usage) -> calls.Usage:
    quota = usage.quota if usage.HasField("quota") else None
    return calls.Usage(usage.owner, usage.blobs, usage.bytes, usage.unnamed, quota)


def _backup_to_pb(head: admin.BackupHead) -> pb.BackupHead:
    return pb.BackupHead(**{name: getattr(head, name) for name in _BACKUP})


def _backup_from_pb(head: pb.BackupHead) -> admin.BackupHead:
    return admin.BackupHead(**{name: getattr(head, name) for name in _BACKUP})


def _checked_to_pb(checked: admin.Checked) -> pb.Checked:
    return pb.Checked(**{name: getattr(checked, name) for name in _CHECKED})


def _checked_from_pb(checked: pb.Checked) -> admin.Checked:
    return admin.Checked(**{name: getattr(checked, name) for name in _CHECKED})


def _finding_to_pb(finding: admin.Finding) -> pb.Finding:
    return pb.Finding(
        kind=finding.kind.name,
        text=cut(finding.text),
        id=raw_of(finding.id),
        place=finding.place,
        refs=finding.refs,
        more=finding.more,
        mended=finding.mended,
    )


def _finding_from_pb(finding: pb.Finding) -> admin.Finding:
    kind, id = finding_kind_of(finding.kind), maybe_id(finding.id)
    return admin.Finding(kind, finding.text, id, finding.place, tuple(finding.refs), finding.more, finding.mended)


def _session_to_pb(session: calls.Session) -> pb.Session:
    return pb.Session(
        id=session.id,
        author=author_to_pb(session.author),
        since_ns=session.since_ns,
        calls=session.calls,
        following=[
            pb.Following(tag=f.tag, version=f.version, id=raw_of(f.id), error=f.error) for f in session.following
        ],
        place=place_to_pb(session.place),
        role=session.role,
        heard_ns=session.heard_ns,
    )


def _session_from_pb(session: pb.Session) -> calls.Session:
    following = tuple(calls.Following(f.tag, f.version, maybe_id(f.id), f.error) for f in session.following)
    author, place = author_from_pb(session.author), place_from_pb(session.place)
    return calls.Session(
        session.id, author, session.since_ns, session.calls, following, place, session.role, session.heard_ns
    )


def _task_to_pb(task: tasks.Task) -> pb.Task:
    return pb.Task(
        name=task.name,
        fingerprint=task.fingerprint,
        host=task.host.name,
        nodes=task.nodes,
        newest=None if task.newest is None else snapshot_to_pb(task.newest),
        confirmed_ns=task.confirmed_ns,
        automatic=task.automatic,
        named=task.named,
        chosen=raw_of(task.chosen),
        fresh=task.fresh,
        problem=cut(task.problem),
    )


def _task_from_pb(task: pb.Task) -> tasks.Task:
    return tasks.Task(
        task.name,
        task.fingerprint,
        host_kind_of(task.host),
        tuple(task.nodes),
        snapshot_from_pb(task.newest) if task.HasField("newest") else None,
        task.confirmed_ns,
        task.automatic,
        task.named,
        maybe_id(task.chosen),
        task.fresh,
        task.problem,
    )


def _given_to_pb(given: tasks.Given) -> pb.Given:
    return pb.Given(
        node=given.node,
        id=given.id,
        why=cut(given.why),
        state=None if given.state is None else state_to_pb(given.state),
        snapshot=None if given.snapshot is None else snapshot_to_pb(given.snapshot),
        lost=given.lost,
    )


def _given_from_pb(given: pb.Given) -> tasks.Given:
    state = state_from_pb(given.state) if given.HasField("state") else None
    snapshot = snapshot_from_pb(given.snapshot) if given.HasField("snapshot") else None
    return tasks.Given(given.node, given.id, given.why, state, snapshot, given.lost)


def _use_to_pb(use: tasks.Use) -> pb.Use:
    return pb.Use(
        revision=use.revision,
        time_ns=use.time_ns,
        author=author_to_pb(use.author),
        place=place_to_pb(use.place),
        tag=use.tag,
        version=use.version,
        id=use.id.raw,
        error=use.error,
    )


def _use_from_pb(use: pb.Use) -> tasks.Use:
    author, place = author_from_pb(use.author), place_from_pb(use.place)
    return tasks.Use(use.revision, use.time_ns, use.tag, use.version, BlobId(use.id), author, place, use.error)
