"""The few files that pages need beside themselves, under names that change with their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from udfstore.errors import NotFound

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def _named(path: Path, content: bytes) -> str:
    return f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"


_FILES = {path: path.read_bytes() for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _TYPES}
_URLS = {path.name: f"/static/{_named(path, content)}" for path, content in _FILES.items()}
_SERVED = {_named(path, content): (content, _TYPES[path.suffix]) for path, content in _FILES.items()}

router = APIRouter()


def static_url(name: str) -> str:
    """Where a file is served: `style.css` under a name with a digest of its content."""
    return _URLS[name]


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """One of the files."""
    if name not in _SERVED:
        raise NotFound("there is nothing at this address", got=name[:80])
    content, media_type = _SERVED[name]
    return Response(content, media_type=media_type, headers=_FOREVER)
