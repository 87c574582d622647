"""Two versions side by side: what is different between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from udfstore.errors import UsageError
from udfstore.http.asking import Asked
from udfstore.http.page.blob import Content, content_of
from udfstore.http.page.render import page
from udfstore.http.page.safetensors import TENSORS
from udfstore.model import Entry
from udfstore.refs import Ref
from udfstore.store import Store

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Difference:
    """A name and what it has on either side (None: it is not there)."""

    name: str
    a: str | None
    b: str | None

    @property
    def same(self) -> bool:
        """Whether both sides agree."""
        return self.a == self.b


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions. `tensors` differ between their safetensors headers, and the first are shown; None: no headers."""

    a: Entry
    b: Entry
    labels: list[Difference]
    metadata: list[Difference]
    tensors: list[Difference] | None
    whole: bool
    """Whether all tensors were compared."""


@router.get("/compare")
async def compare(
    request: Request,
    house: Asked,
    a: Annotated[str, Query(max_length=1024)],
    b: Annotated[str, Query(max_length=1024)],
) -> Response:
    """Compare two versions, of one tag or of two."""
    found = await house.reading(_compare, house.service.store, a, b)
    return page(request, "compare.html", here="tags", found=found, one=found.a.tag == found.b.tag)


def _compare(store: Store, a: str, b: str) -> Comparison:
    one, other = (_entry(store, text) for text in (a, b))
    left, right = _content(store, one), _content(store, other)
    tensors, metadata, whole = None, [], True
    if left.header and right.header and not left.header.problem and not right.header.problem:
        headers = left.header, right.header
        shapes = [{t.name: f"{t.dtype} {list(t.shape)}" for t in header.tensors} for header in headers]
        tensors = [found for found in _differences(*shapes) if not found.same][:TENSORS]
        metadata = [*_differences(*(dict(header.metadata) for header in headers))]
        whole = all(header.count == len(header.tensors) for header in headers)
    return Comparison(one, other, list(_differences(one.labels, other.labels)), metadata, tensors, whole)


def _entry(store: Store, text: str) -> Entry:
    ref = Ref.parse(text)
    if ref.tag is None:
        raise UsageError("what is compared are versions of tags", expected="models/pump@3", got=repr(text[:80]))
    return store.entry(ref)


def _content(store: Store, entry: Entry) -> Content:
    return content_of(store, entry.id) if entry.id is not None else Content()


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> Iterable[Difference]:
    return [Difference(name, a.get(name), b.get(name)) for name in sorted({*a, *b})]
