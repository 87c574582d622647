"""How pages are made: one Jinja environment, its filters, and what every page is given.

Everything that a store holds is text of others: it is escaped wherever it stands (`autoescape`), and no page holds
script or style of its own (the guard's Content-Security-Policy forbids both).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from udfstore.digest import BlobId
from udfstore.errors import Denied, UsageError
from udfstore.http.guard import Receive, Scope, Send, Visitor, check_csrf
from udfstore.http.house import House
from udfstore.http.page.static import static_url
from udfstore.model import REQUEST_BYTES, Author, datetime_of
from udfstore.snapshots import names
from udfstore.version import __version__

FIELDS = 200
"""Fields of one form: a rollback with a checkbox for each of a hundred tasks fits."""

_MINUTE, _HOUR, _DAY = 60, 60 * 60, 24 * 60 * 60

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_HEADERS = {"Referrer-Policy": "same-origin"}
"""A browser that may send no referrer at all sends no Origin with a form either, and the guard asks for that."""


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one: `1.2 MiB`."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(_UNITS))
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}"


def when(time_ns: int) -> Markup:
    """A time to the second, in UTC; the page's script shows it in the browser's zone."""
    if not time_ns:
        return Markup('<span class="muted">unknown</span>')
    return _time(time_ns, "when", f"{datetime_of(time_ns):%Y-%m-%d %H:%M:%S} UTC")


def ago(time_ns: int) -> Markup:
    """How long ago a time was; the page's script keeps it going."""
    if not time_ns:
        return Markup('<span class="muted">never</span>')
    return _time(time_ns, "ago", f"{lasting((time.time_ns() - time_ns) / 1e9)} ago")


def lasting(seconds: float) -> str:
    """A stretch of time, roughly: `12 min`."""
    whole = max(0, int(seconds))
    for least, unit, word in ((2 * _DAY, _DAY, "days"), (2 * _HOUR, _HOUR, "h"), (2 * _MINUTE, _MINUTE, "min")):
        if whole >= least:
            return f"{whole // unit} {word}"
    return f"{whole} s"


def _time(time_ns: int, kind: str, text: str) -> Markup:
    at = datetime_of(time_ns)
    return Markup('<time class="{}" datetime="{}" title="{} UTC">{}</time>').format(
        kind, f"{at:%Y-%m-%dT%H:%M:%S}Z", f"{at:%Y-%m-%d %H:%M:%S}", text
    )


def who(author: Author) -> Markup:
    """Who it was; what is verified and what else was claimed stands in the title."""
    claim = author.claim
    facts = [
        f"claims to be {claim.person}" if claim.person else "",
        f"token {author.token}" if author.token else "",
        f"uid {author.uid}" if author.uid >= 0 else "",
        f"program {author.program}" if author.program else "",
        f"over {author.front}" if author.front else "",
        *(
            f"{name} {text}"
            for name, text in (("host", claim.host), ("job", claim.job), ("commit", claim.commit))
            if text
        ),
    ]
    title = ", ".join(fact for fact in facts if fact)
    name, claimed = (claim.person, True) if claim.person else (str(author) or "unknown", False)
    mark = Markup(' <span class="claimed">(claimed)</span>') if claimed else ""
    return Markup('<span class="who" title="{}">{}{}</span>').format(title, name, mark)


def count(number: int, one: str, many: str = "") -> str:
    """`1 blob`, `2,000 blobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def tag_url(tag: str, version: int = 0) -> str:
    """The page of a tag, with one of its versions marked."""
    return f"/tags/{quote(tag)}" + (f"@{version}" if version else "")


def blob_url(id: BlobId) -> str:
    """The page of a blob."""
    return f"/blobs/{id}"


def task_url(task: str) -> str:
    """The page of a task."""
    return f"/tasks/{quote(names.escape(task))}"


def link(path: str, **query: object) -> str:
    """A path with a query; what is None is left out."""
    given = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
    return f"{path}?{given}" if given else path


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters.update(
    size=size, when=when, ago=ago, lasting=lasting, who=who, count=count, tag_url=tag_url, blob_url=blob_url,
    task_url=task_url,
)  # fmt: skip
_ENVIRONMENT.globals.update(static=static_url, version=__version__, link=link)


def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    here: str = "",
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """A page. `here` is the part of the navigation that it belongs to: overview, tags, tasks or udfs."""
    house: House = request.app.state.house
    return _Page(house, template, _given(request.scope, here) | values, status, headers)


def render(
    scope: MutableMapping[str, Any],
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """As `page`, at once and also where no route was found; for small pages."""
    return HTMLResponse(_rendered(template, _given(scope, "") | values), status, _HEADERS | dict(headers or {}))


class _Page(HTMLResponse):
    """A page that is rendered in a thread, when it is sent: a hundred versions take twenty milliseconds."""

    def __init__(
        self, house: House, template: str, values: dict[str, Any], status: int, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__("", status, _HEADERS | dict(headers or {}))
        self._house, self._template, self._values = house, template, values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = (await self._house.reading(_rendered, self._template, self._values)).encode(errors="replace")
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def _rendered(template: str, values: dict[str, Any]) -> str:
    return _ENVIRONMENT.get_template(template).render(values)


def _given(scope: MutableMapping[str, Any], here: str) -> dict[str, Any]:
    """What every page is given."""
    state = scope.get("state", {})
    visitor: Visitor | None = state.get("visitor")
    web = visitor.web if visitor else None
    return {
        "here": here,
        "known": visitor is not None and visitor.can is not None,
        "author": visitor.caller.author if visitor else None,
        "csrf": web.csrf if web else "",
        "revision": state.get("revision"),
        "now_ns": time.time_ns(),
    }


def go(path: str, **query: object) -> Response:
    """The answer to a form: the page to look at now. The query says what was made, in codes and numbers."""
    return RedirectResponse(link(path, **query), 303, _HEADERS)


def note_revision(request: Request) -> None:
    """What the page is about to show is as of this revision or later: from here on its script follows the events."""
    house: House = request.app.state.house
    request.scope["state"]["revision"] = house.service.store.revision


@dataclass(frozen=True, slots=True)
class Form:
    """What a form of ours was sent with."""

    fields: dict[str, list[str]]

    def text(self, name: str) -> str:
        """The field of that name, "" without one. Raises `UsageError` where there are several."""
        found = self.fields.get(name, [""])
        if len(found) != 1:
            raise UsageError(f"the field {name} is given twice")
        return found[0].replace("\r\n", "\n").strip()

    def number(self, name: str) -> int | None:
        """The number in a field; None: it is empty. Raises `UsageError`."""
        return number(self.text(name), name)

    def chosen(self, name: str) -> list[str]:
        """The checkboxes of that name that are ticked."""
        return self.fields.get(name, [])

    def ticked(self, name: str) -> bool:
        """Whether the one checkbox of that name is ticked."""
        return bool(self.fields.get(name))

    @property
    def request(self) -> bytes:
        """The number of this request: a form that is sent twice changes things once."""
        try:
            given = bytes.fromhex(self.text("request"))
        except ValueError:
            given = b""
        if len(given) != REQUEST_BYTES:
            raise UsageError("this form is incomplete; load its page again")
        return given


def number(text: str, what: str) -> int | None:
    """A number as it stands in a form or a query; None for "". Raises `UsageError`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise UsageError(f"{what} is a number", got=repr(text[:80]))
    return int(text)


def request_number() -> str:
    """A new request number, for a form."""
    return os.urandom(REQUEST_BYTES).hex()


_ENVIRONMENT.globals["request_number"] = request_number


async def form(request: Request) -> Form:
    """The fields of a form that a page of ours made for this visitor. Raises `Denied`, `UsageError`."""
    visitor: Visitor = request.scope["state"]["visitor"]
    if visitor.web is None:
        raise Denied("pages change something only for browsers that are logged in; programs ask below /v1")
    body = await request.body()
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=FIELDS)
    except ValueError:
        raise UsageError("this is not what a form of this page sends") from None
    read = Form(fields)
    check_csrf(visitor.web, read.text("csrf"))
    return read
