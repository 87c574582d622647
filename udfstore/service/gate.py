"""The one place where it is judged what a caller may ask, and what it may be told. Without rules it judges nothing.

Where there are rules, to know an ID is no right. Content may be read by whoever may read a tag of which a version names
or links it, or brought it over the same connection. What a caller may not read is not there for it.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache, partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from udfstore import calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import Denied, NotFound, UsageError
from udfstore.model import NOWHERE, Author, BlobInfo, Caller, Entry, Event
from udfstore.refs import Ref
from udfstore.service.needs import DELETE, NEEDS, READ, reading
from udfstore.service.rules import Need, Right, Rights, Rules
from udfstore.snapshots import auto_tag
from udfstore.store import Store

BROUGHT = 4096
"""Blobs that are remembered of what one connection brought, the newest: it names them with a tag soon."""

CALLERS = 4096
"""Different callers whose rights are kept: twice as many as have connections."""

_SHOWN_TAGS = 100
"""Tags that one answer names of a blob, as the store does it."""

_VERBS = {
    Right.READ: "read",
    Right.SNAPSHOT: "take part in",
    Right.WRITE: "write",
    Right.DELETE: "delete",
    Right.ADMIN: "administer",
}

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_More = ParamSpec("_More")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody may not do something: who, what, and `by` what it was refused."""

    caller: Caller
    right: Right
    what: str
    by: str


class Gate:
    """The judgement for one store. For any thread; `audit` is called with each refusal, on the thread that found it."""

    def __init__(self, store: Store) -> None:
        self.audit: Callable[[Refusal], None] = lambda _: None
        self._store = store
        self._brought: dict[Hashable, OrderedDict[BlobId, None]] = {}
        self._refused = Counter[tuple[str, str, str]]()
        self._lock = threading.Lock()
        self.rules = Rules()

    @property
    def rules(self) -> Rules:
        """What it judges by."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._rules = rules
        self._open = not rules.listeners and not rules.rules

        @lru_cache(CALLERS)
        def of(listener: str, uid: int, gids: tuple[int, ...], token: str) -> Rights | None:
            return rules.of(listener, Author("", uid, gids, token=token))

        self._of = of

    def rights(self, caller: Caller) -> Rights | None:
        """What a caller may do; None: everything."""
        if self._open:
            return None
        author = caller.author
        return self._of(caller.listener, author.uid, author.gids, author.token)

    def sees_all(self, caller: Caller) -> bool:
        """Whether a caller may read everything there is."""
        rights = self.rights(caller)
        return rights is None or rights.everywhere(READ)

    def refused(self) -> dict[tuple[str, str, str], int]:
        """How often something was refused: by front, right, and what refused it."""
        with self._lock:
            return dict(self._refused)

    # --- what is asked ---

    def check(self, caller: Caller, call: _Value) -> _Value:
        """Let a call pass, with each ref that it holds as the caller may read it. Raises `Denied`, `NotFound`.

        Beside calls it judges the commit of a save, and a node that wants to join.
        """
        rights = self.rights(caller)
        if rights is None:
            return call
        for need in NEEDS[type(call)](call):
            self._demand(caller, rights, need)
        return cast("_Value", self._read(caller, rights, call))

    def _demand(self, caller: Caller, rights: Rights, need: Need) -> None:
        side = rights.refused(need)
        if side is None:
            return
        right = need.rights[0]
        self.refuse(caller, right, need.what, side.name)
        raise Denied(
            f"{_known(caller.author)} may not {_VERBS[right]} {need.what}: {side.name} "
            f"do{'' if side.name == 'the rules' else 'es'} not allow it; that is set in {self.rules.place}"
        )

    def _read(self, caller: Caller, rights: Rights, call: object) -> object:
        """The call, once the caller may read all that it refers to."""
        match call:
            case calls.Load() | calls.Stat() | calls.Verify() | calls.Why() | calls.GetTag():
                return replace(call, ref=self._ref(caller, rights, call.ref))
            case calls.Delete() | calls.Undelete():
                return replace(call, ref=self._removable(caller, rights, self._ref(caller, rights, call.ref)))
            case calls.Move():
                steps = tuple(replace(step, ref=self._ref(caller, rights, step.ref)) for step in call.steps)
                self._check_links(caller, [id for step in steps for id in step.links])
                return replace(call, steps=steps)
            case calls.Commit() if call.target is not None:
                self._check_links(caller, call.target.links)
            case tasks.UseSnapshot() if call.before is not None:
                return replace(call, before=self._ref(caller, rights, call.before))
        return call

    def _ref(self, caller: Caller, rights: Rights, ref: Ref) -> Ref:
        """A ref that the caller may read, with one reading left."""
        if ref.id is not None:
            if self.hides(caller, ref.id):
                raise self._absent(caller, f"there is no blob {ref.id}", f"blob {ref.id.short}")
            return ref
        if not ref.short:
            assert ref.tag is not None
            self._demand(caller, rights, reading(ref.tag.name))
            return ref
        if ref.tag is not None and rights.may(READ, ref.tag.name) and self._store.known(ref.tag):
            return Ref(ref.text, tag=ref.tag)
        found = [id for id in self._store.beginning_with(ref.short) if not self.hides(caller, id)]
        if len(found) > 1:
            raise UsageError(f"several blob IDs begin with {ref.short}; give more digits")
        if not found:
            told = f"nothing is called {ref.text}: no tag, and no blob ID begins so"
            raise self._absent(caller, told, f"what {ref.text} may be")
        return Ref(ref.text, id=found[0])

    def _check_links(self, caller: Caller, links: Sequence[BlobId]) -> None:
        """To link content is to let it be read."""
        for id in links:
            if self.hides(caller, id):
                raise self._absent(caller, f"there is no blob {id}", f"blob {id.short}")

    def _removable(self, caller: Caller, rights: Rights, ref: Ref) -> Ref:
        """The content that a ref names, once the caller may delete every tag that has a part in it."""
        id = ref.id or self._store.entry(ref).id
        if id is None:
            return ref
        for tag in self._store.tags_with(id):
            what = f"the content of {tag}" if rights.may(READ, tag) else "content that other tags name"
            self._demand(caller, rights, Need((DELETE,), tag, what))
        return Ref(ref.text, id=id)

    def _absent(self, caller: Caller, told: str, what: str) -> NotFound:
        self.refuse(caller, READ, what, "no tag that may be read")
        return NotFound(told)

    def refuse(self, caller: Caller, right: Right, what: str, by: str) -> None:
        """Note that something was refused: here, or by a token or a signature that does not do."""
        with self._lock:
            self._refused[caller.author.front, right.value, by] += 1
        self.audit(Refusal(caller, right, what, by))

    # --- content by its ID ---

    def hides(self, caller: Caller, id: BlobId) -> bool:
        """Whether a blob is not there for a caller, though it may be."""
        rights = self.rights(caller)
        if rights is None or rights.everywhere(READ) or id in self._brought.get(caller.holder, ()):
            return False
        return not self._store.named_by(id, partial(rights.may, READ))

    def saved(self, caller: Caller, saved: calls.Saved) -> calls.Saved:
        """A caller has brought content: it may read it. Whether others had brought it before is not told to it."""
        if self.rights(caller) is None:
            return saved
        hidden = saved.existed and self.hides(caller, saved.id)
        self.lent(caller, saved.id)
        return replace(saved, existed=False) if hidden else saved

    def lent(self, caller: Caller, id: BlobId) -> None:
        """A caller may read a blob for as long as it is connected."""
        if self.rights(caller) is None:
            return
        with self._lock:
            brought = self._brought.setdefault(caller.holder, OrderedDict())
            brought[id] = None
            brought.move_to_end(id)
            if len(brought) > BROUGHT:
                brought.popitem(last=False)

    def left(self, caller: Caller) -> None:
        """The connection of a caller is over."""
        self._brought.pop(caller.holder, None)

    # --- what is told ---

    def shown(self, caller: Caller, value: _Value) -> _Value:
        """An answer as the caller may see it: what it may not read is left out of it."""
        rights = self.rights(caller)
        return value if rights is None else cast("_Value", self._shown(caller, rights, value))

    def _shown(self, caller: Caller, rights: Rights, value: object) -> object:
        show = partial(self._shown, caller, rights)
        match value:
            case Entry():
                return _entry(rights, value)
            case BlobInfo():
                return self._info(caller, rights, value)
            case calls.Kept():
                return self._kept(caller, rights, value)
            case calls.Moved():
                before = tuple(entry and _entry(rights, entry) for entry in value.before)
                return replace(value, entries=_entries(rights, value.entries), before=before)
            case Event():
                entries = _entries(rights, value.entries)
                return replace(value, entries=entries) if entries or not value.entries else None
            case calls.Session():
                place, role = (value.place, value.role) if _sees_task(rights, value.place.task) else (NOWHERE, "")
                following = tuple(one for one in value.following if rights.may(READ, one.tag))
                return replace(value, following=following, place=place, role=role)
            case tasks.Task():
                return value if _sees_task(rights, value.name) else None
            case tasks.Use():
                if not rights.may(READ, value.tag):
                    return None
                return value if _sees_task(rights, value.place.task) else replace(value, place=NOWHERE)
            case list():
                return [one for one in map(show, value) if one is not None]
            case Iterator():
                return _each(show, value)
            case Future():
                return later(value, show)
        return value

    def _info(self, caller: Caller, rights: Rights, info: BlobInfo) -> BlobInfo | None:
        if self.hides(caller, info.id):
            return None
        heads = [ref for ref in self._store.heads_with(info.id) if rights.may(READ, ref.partition("@")[0])]
        named = sum(1 for tag, _ in self._store.refs_with(info.id)[0] if rights.may(READ, tag))
        entry = info.entry and _entry(rights, info.entry)
        return replace(info, tags=tuple(heads[:_SHOWN_TAGS]), history=named - len(heads), entry=entry)

    def _kept(self, caller: Caller, rights: Rights, kept: calls.Kept) -> calls.Kept:
        named, linked = _entries(rights, kept.named), _entries(rights, kept.linked)
        ruled = dict(zip((entry.ref for entry in kept.named), kept.rules, strict=True))
        rules = {entry.ref: ruled[entry.ref] for entry in named}
        all = sum(1 for refs in self._store.refs_with(kept.info.id) for tag, _ in refs if rights.may(READ, tag))
        info = self._info(caller, rights, kept.info)
        assert info is not None, "the ref was judged"
        return replace(
            kept,
            info=info,
            named=named,
            linked=linked,
            more=all - len(named) - len(linked),
            rules=tuple(rules.values()),
            let_go=tuple(ref for ref in kept.let_go if ref in rules),
        )


class Gated(Protocol):
    """Who answers calls behind a gate."""

    @property
    def gate(self) -> Gate: ...


_Self = TypeVar("_Self", bound=Gated)


def judged(
    answer: Callable[Concatenate[_Self, Caller, _Value, _More], _Result],
) -> Callable[Concatenate[_Self, Caller, _Value, _More], _Result]:
    """Let a call pass before it is answered, and show the answer as its caller may see it."""

    @wraps(answer)
    def ask(self: _Self, caller: Caller, call: _Value, /, *args: _More.args, **more: _More.kwargs) -> _Result:
        gate = self.gate
        if gate.rights(caller) is None:
            return answer(self, caller, call, *args, **more)
        return gate.shown(caller, answer(self, caller, gate.check(caller, call), *args, **more))

    return ask


def _each(show: Callable[[object], object], parts: Iterator[object]) -> Generator[object]:
    """Part by part; to close this closes those."""
    try:
        yield from map(show, parts)
    finally:
        if isinstance(parts, Generator):
            parts.close()


def later(future: Future[Any], show: Callable[[Any], Any]) -> Future[Any]:
    """What comes of a future, shown."""
    shown = Future[Any]()
    shown.set_running_or_notify_cancel()

    def settle(done: Future[Any]) -> None:
        try:
            shown.set_result(show(done.result()))
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to who asked
            shown.set_exception(error)

    future.add_done_callback(settle)
    return shown


def _known(author: Author) -> str:
    """Who a caller is taken for, by what is verified alone."""
    if author.token:
        return f"the token {author.token}"
    if author.uid >= 0:
        return f"uid {author.uid}" + (f" ({author.program})" if author.program else "")
    return f"a caller of {author.front}"


def _entry(rights: Rights, entry: Entry) -> Entry | None:
    """An entry of a tag that may be read, without the name of another tag that it was made from and that may not."""
    if not rights.may(READ, entry.tag):
        return None
    source = Ref.parse(entry.source).tag if entry.source else None
    return entry if source is None or rights.may(READ, source.name) else replace(entry, source="")


def _entries(rights: Rights, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(filter(None, (_entry(rights, entry) for entry in entries)))


def _sees_task(rights: Rights, task: str) -> bool:
    return not task or rights.may(READ, auto_tag(task).name)
