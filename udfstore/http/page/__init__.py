"""The web page: what a store holds and what happens to it, for people with a browser.

Rendered here, with a little script that keeps it current and without which everything works as well. Actions are forms
that ask the service what the API would ask, each with the version it expects.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends

from udfstore.http.page import blob, compare, find, login, overview, rollback, static, tags, task_forms, tasks, udfs
from udfstore.http.page.render import note_revision

router = APIRouter(include_in_schema=False)
for part in (overview, find, tags, rollback, compare, blob, tasks, task_forms, udfs):
    router.include_router(part.router, dependencies=[Depends(note_revision)])
router.include_router(login.router)
router.include_router(static.router)
