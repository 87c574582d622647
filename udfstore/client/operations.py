"""What a client does, one generator an operation: pure conversations that any shell can drive.

An operation yields what it has to wait for and returns its result:

    Wait(ready)   go on once `ready()` is true
    Work(do)      run `do()`, which may block on a disk, and send its result back in
    Give(items)   hand `items` to whoever iterates

The shell throws into it when the connection is lost; then, and when it is closed early, the call is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from udfstore import calls
from udfstore.client.conversation import Conversation
from udfstore.client.files import pieces
from udfstore.client.hashing import Check
from udfstore.client.sources import Handed
from udfstore.errors import Busy, InternalError, Mismatch, Unsupported
from udfstore.model import Event
from udfstore.refs import Ref
from udfstore.session.events import Answered, Content, Failed, Found, Granted, Paged
from udfstore.session.tokens import Token

WINDOW_BYTES = 4 * 1024 * 1024
"""Content of one load on its way at once: hides the latency of both ends' threads; costs each open load as much."""

WINDOW_PAGES = 4
"""Pages of one list on their way at once."""

CHUNKS_WAITING = 2
"""Chunks of a save that wait to be sent, beside the one on its way."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on once `ready()` is true."""

    ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """Run `do()` where it may block, and send its result in."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Give:
    """Hand these to whoever iterates over the operation. Only `pages` yields it."""

    items: tuple[calls.Item | Event, ...]


Step = Wait | Work | Give
Operation = Generator[Step, Any, Any]
Read = Callable[[int], bytes | bytearray | memoryview]
"""Gives the next bytes of what is to be saved, at most so many, none at the end."""
Take = Callable[[memoryview], object]
"""Takes the next bytes of what is loaded."""


@contextmanager
def _opened(talk: Conversation, call: calls.Call, credit: int = 0, file: Token | None = None) -> Iterator[int]:
    number = talk.open(call, credit, file=file)
    try:
        yield number
    finally:
        talk.leave(number)


def _room(talk: Conversation) -> Operation:
    while not talk.has_room:
        yield Wait(lambda: talk.has_room)


def _event(talk: Conversation, number: int) -> Operation:
    """The next event of a call; what the server says went wrong is raised."""
    if not talk.has(number):
        yield Wait(lambda: talk.has(number))
    event = talk.next(number)
    if isinstance(event, Failed):
        raise event.error
    return event


def ask(talk: Conversation, call: calls.PlainCall) -> Operation:
    """One question, one answer."""
    yield from _room(talk)
    with _opened(talk, call) as number:
        event = yield from _event(talk, number)
        if not isinstance(event, Answered):
            raise InternalError("an answer of another kind than was asked for", got=type(event).__name__)
        return event.result


def save(
    talk: Conversation, call: calls.Save, read: Read, commit: calls.Commit, handed: Handed | None = None
) -> Operation:
    """Send content as `read` gives it, then `commit` with the size that it turned out to have.

    `handed`: the file that the content is in, to be handed over instead where the server takes it.
    """
    yield from _room(talk)
    file = None if handed is None or not talk.session.descriptors else handed.maybe_again()
    saved = None
    if handed is not None and file is not None:
        whole = replace(call, size=handed.size, descriptor=True, offset=handed.offset)
        saved = yield from _hand_over(talk, whole, file, commit)
        if saved is not None:
            yield Work(handed.skip)
    if saved is None:
        with _opened(talk, call) as number:
            if call.size is None:  # what a pipe gave cannot be had again: first see whether the connection is alive
                yield Wait(lambda: not talk.session.outbox)
            saved = yield from _send(talk, number, read)
            if saved is None:
                if talk.session.is_open(number):
                    talk.session.commit(number, commit)
                saved = yield from _saved(talk, number)
    target = commit.target
    if target is None or saved.entry is not None:
        return saved
    step = calls.Step(target.tag, Ref.of(saved.id), target.expected, target.labels, target.links)
    moved = yield from ask(talk, calls.Move((step,), target.note, commit.request))
    return replace(saved, entry=moved.entries[0])


def _hand_over(talk: Conversation, call: calls.Save, file: Token, commit: calls.Commit) -> Operation:
    """Save by descriptor. Returns None where the server has its hands full of files to copy."""
    with _opened(talk, call, file=file) as number:
        talk.session.commit(number, commit)
        try:
            return (yield from _saved(talk, number))
        except (Busy, Unsupported):  # nothing was read yet
            return None


def _saved(talk: Conversation, number: int) -> Operation:
    while isinstance(event := (yield from _event(talk, number)), Granted):
        pass
    return event.result


def _send(talk: Conversation, number: int, read: Read) -> Operation:
    """Send all content. Returns None, or what the server answered because it has the content already."""
    while True:
        if talk.has(number):
            event = yield from _event(talk, number)
            if isinstance(event, Answered):
                return event.result
        elif not _can_send(talk, number):
            yield Wait(lambda: talk.has(number) or _can_send(talk, number))
        else:
            most = min(talk.chunk_bytes, talk.session.credit(number))
            data = yield Work(partial(read, most))
            if not data:
                return None
            if talk.session.is_open(number):
                talk.session.chunk(number, data)


def _can_send(talk: Conversation, number: int) -> bool:
    return talk.session.credit(number) > 0 and talk.session.outbox.waiting(number) < CHUNKS_WAITING


def find(talk: Conversation, ref: Ref) -> Operation:
    """What is known of a blob, and its file if the server gives a descriptor of it, else None."""
    if not talk.session.descriptors:
        return (yield from ask(talk, calls.Stat(ref))), None
    yield from _room(talk)
    with _opened(talk, calls.Load(ref, descriptor_from=0)) as number:
        found = yield from _found(talk, number)
        return found.head.info, found.file


def _found(talk: Conversation, number: int) -> Operation:
    """The head of a load. Who takes it closes its file."""
    found = yield from _event(talk, number)
    if not isinstance(found, Found):
        raise InternalError("a load that begins with something else than its head", got=type(found).__name__)
    return found


def load(talk: Conversation, call: calls.Load, begin: Callable[[calls.Loading], Take]) -> Operation:
    """Receive content: `begin` is told what was found and gives the taker. A whole blob is checked against its ID.

    Raises `Mismatch` when a whole blob's bytes are not those of its ID.
    """
    yield from _room(talk)
    if talk.session.descriptors and not call.offset and call.length is None:
        call = replace(call, descriptor_from=0)  # quicker than content even for 4 KiB
    with _opened(talk, call, WINDOW_BYTES) as number:
        found = yield from _found(talk, number)
        if found.file is not None:
            yield from _read(found.head, found.file, begin)
        elif not found.lost:
            yield from _receive(talk, number, found.head, begin)
    if found.lost:
        return (yield from load(talk, replace(call, descriptor_from=None), begin))
    return found.head


def _read(head: calls.Loading, file: Token, begin: Callable[[calls.Loading], Take]) -> Operation:
    """Take a whole blob's content out of its file."""
    with closing(file), closing(_copied(head, file, begin)) as steps:
        while (yield Work(partial(next, steps, False))):
            pass


def _copied(head: calls.Loading, file: Token, begin: Callable[[calls.Loading], Take]) -> Generator[bool]:
    """Read a file and check it, a piece a step; True while there is more: a small blob takes one step."""
    take, left = begin(head), head.info.size
    with Check(head.info.id, left) as check:
        for data in pieces(file.fileno(), left):
            _take(data, check, take)
            left -= len(data)
            if left:
                yield True
        check.end()


def _receive(talk: Conversation, number: int, head: calls.Loading, begin: Callable[[calls.Loading], Take]) -> Operation:
    """Take content as it comes."""
    take = yield Work(partial(begin, head))
    check = Check(head.info.id, head.info.size) if head.length == head.info.size else None
    taken = ungranted = 0
    try:
        while isinstance(event := (yield from _event(talk, number)), Content):
            yield Work(partial(_take, event.data, check, take))
            taken += len(event.data)
            ungranted += len(event.data)
            if ungranted >= WINDOW_BYTES // 4:
                talk.session.grant(number, ungranted)
                ungranted = 0
        if taken != head.length:
            raise Mismatch("a load of another length than was announced", expected=head.length, got=taken)
        if check is not None:
            yield Work(check.end)
    finally:
        if check is not None:
            check.close()


def _take(data: memoryview, check: Check | None, take: Take) -> None:
    if check is not None:
        check.update(data)
    take(data)


def told(talk: Conversation) -> Operation:
    """The next thing that the server says to its node; None once it has closed because the node left."""
    yield Wait(lambda: bool(talk.to_node) or talk.left)
    return talk.to_node.popleft() if talk.to_node else None


def left(talk: Conversation) -> Operation:
    """Say goodbye, and wait until the server has closed."""
    talk.goodbye()
    yield Wait(lambda: talk.left)


def pages(talk: Conversation, call: calls.StreamCall) -> Operation:
    """Give the items of a list or a watch, page by page."""
    yield from _room(talk)
    with _opened(talk, call, WINDOW_PAGES) as number:
        while isinstance(event := (yield from _event(talk, number)), Paged):
            yield Give(event.items)
            talk.session.grant(number, 1)
