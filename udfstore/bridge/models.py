"""Models that lie in files: in place before a UDF starts, and replaced when their tag moves.

A file is written beside its place, complete and checked, and renamed. The one before is kept beside it for as long as
the UDF is on trial on the new one, and put back when the UDF cannot start on it or dies within that time.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import structlog
import trio

from udfstore.aio import AsyncStore
from udfstore.bridge.settings import HostSettings, ModelFile, OnMove
from udfstore.bridge.shelter import Shelter
from udfstore.client.files import OpenBlob
from udfstore.digest import BlobId
from udfstore.errors import Closing, NoServer, UdfstoreError, UsageError
from udfstore.model import Entry
from udfstore.tasks import Model, Place


class OnTrial(Protocol):
    """A child on a new file."""

    undo: Callable[[str], None] | None
    """To be called with the reason when it dies on trial."""


Undo = Callable[[str], None]
Switch = Callable[[Undo], Awaitable[OnTrial]]


class _File:
    """One model's place."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.holds: Model | None = None
        """What lies there; None: not known."""
        self.kept: tuple[Path, Model | None] | None = None
        """The file before, and what it holds, while there is a way back to it."""

    def put(self, beside: Path, holds: Model) -> None:
        """Put a file in its place, and keep the one before."""
        self.settle()
        path = self.model.path
        if path.exists():
            kept = path.with_name(f".{path.name}.before")
            kept.unlink(missing_ok=True)
            os.link(path, kept)
            self.kept = kept, self.holds
        beside.replace(path)
        self.holds = holds

    def undo(self) -> bool:
        """Put the file before in its place again. False if there is none."""
        if self.kept is None:
            return False
        kept, self.holds = self.kept
        kept.replace(self.model.path)
        self.kept = None
        return True

    def settle(self) -> None:
        """The file is there to stay."""
        if self.kept is not None:
            self.kept[0].unlink(missing_ok=True)
            self.kept = None


class Models:
    """The models of one UDF.

    `switch` puts a new child on the files in the place of the one that runs, with what to do if it dies on trial.
    """

    def __init__(
        self,
        settings: HostSettings,
        shelter: Shelter,
        switch: Switch,
        nursery: trio.Nursery,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._settings, self._shelter, self._switch = settings, shelter, switch
        self._nursery, self._log = nursery, log
        self._files = [_File(model) for model in settings.models]
        self._one_by_one = trio.Lock()

    @property
    def in_use(self) -> tuple[Model, ...]:
        """What lies in the files now, as far as that is known."""
        return tuple(file.holds for file in self._files if file.holds is not None)

    async def ready(self) -> None:
        """See to it that all files are in place. What lies there serves while the server is away.

        Raises `NotFound` for a tag that names nothing, `NoServer` when the server is away and a file missing, and
        `UsageError` for a place that cannot be written.
        """
        missing = [file for file in self._files if file.holds is None or not file.model.path.exists()]
        if not missing:
            return
        needed = not all(file.model.path.exists() for file in missing)
        try:
            store = await self._shelter.reach(self._settings.without_store.patience if needed else 0.0)
        except (NoServer, Closing) as error:
            if needed:
                raise
            self._log.warning("the server is away: the UDF starts on the models that lie there", why=str(error))
            return
        try:
            for file in missing:
                await self._fetch(store, file)
        except OSError as error:
            raise UsageError(f"a model cannot be put in its place: {error.filename}: {error.strerror}") from error
        finally:
            await self._shelter.leave(store)

    async def _fetch(self, store: AsyncStore, file: _File) -> None:
        entry = await store.get_tag(file.model.ref)
        holds = _model_of(entry)
        if await trio.to_thread.run_sync(_has, file.model.path, holds.blob):
            file.holds = holds
            return
        with await store.open(entry.ref) as blob:
            beside = await trio.to_thread.run_sync(_written, blob, file.model.path)
        beside.replace(file.model.path)
        file.holds = holds
        self._log.info("a model is in place", model=entry.ref, path=str(file.model.path))

    # --- tags that move ---

    def follow(self, place: Place) -> None:
        """Look after the tags from now on: the node is in place."""
        if self._settings.on_move is not OnMove.IGNORE:
            for file in self._files:
                if file.model.version is None:
                    self._nursery.start_soon(self._follow, file, place)

    async def _follow(self, file: _File, place: Place) -> None:
        store = await self._shelter.reach(math.inf, place)
        loader = partial(self._load, file, store)
        async with store.follow(file.model.tag, loader, fallback=file.holds or NOTHING):
            await trio.sleep_forever()

    def _load(self, file: _File, store: AsyncStore, blob: OpenBlob) -> Model:
        """Take a version into use; in a thread. What this raises is recorded as the failure of its use."""
        assert blob.entry is not None
        model = _model_of(blob.entry)
        if file.holds is None and _has(file.model.path, model.blob):
            file.holds = model  # begun without a server
        if file.holds is not None and file.holds.blob == model.blob:
            file.holds = model
            return model
        beside = _written(blob, file.model.path)
        try:
            trio.from_thread.run(self._take, file, store, model, beside)
        finally:
            beside.unlink(missing_ok=True)
        return model

    async def _take(self, file: _File, store: AsyncStore, model: Model, beside: Path) -> None:
        said = {"model": f"{model.tag}@{model.version}", "path": str(file.model.path)}
        async with self._one_by_one:
            file.put(beside, model)
            if self._settings.on_move is OnMove.WRITE:
                file.settle()
                self._log.info("a model was replaced; the UDF looks after it", **said)
                return
            try:
                child = await self._switch(partial(self._put_back, file, store, model))
            except BaseException as error:
                file.undo()
                if isinstance(error, UdfstoreError):
                    self._log.error(
                        "the UDF cannot go on with a model; it keeps the one before", why=str(error), **said
                    )
                raise
            self._log.info("the UDF goes on with another model", **said)
            self._nursery.start_soon(self._settle, file, child)

    async def _settle(self, file: _File, child: OnTrial) -> None:
        """The trial is over. It is not when another one has begun meanwhile."""
        kept = file.kept
        try:
            await trio.sleep(self._settings.trial_seconds)
        finally:
            if file.kept is kept:
                child.undo = None
                file.settle()

    def _put_back(self, file: _File, store: AsyncStore, model: Model, why: str) -> None:
        """The UDF died on trial."""
        if file.undo():
            self._log.error(
                "the UDF died on a new model; it gets the one before", model=f"{model.tag}@{model.version}", why=why
            )
            self._nursery.start_soon(self._tell, store, model, why)

    async def _tell(self, store: AsyncStore, model: Model, why: str) -> None:
        try:
            await store.used(model.tag, model.version, model.blob, error=why[:1000])
        except UdfstoreError as error:
            self._log.warning("that a model failed could not be recorded", why=str(error))


NOTHING = Model("none", 0, BlobId.of(b""))
"""Stands for what lay there before a server told what it is."""


def _model_of(entry: Entry) -> Model:
    if entry.id is None:
        raise UsageError("the model's tag was deleted", got=entry.ref)
    return Model(entry.tag, entry.version, entry.id)


def _has(path: Path, id: BlobId) -> bool:
    """Whether the file has that content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == id.raw
    except FileNotFoundError:
        return False


def _written(blob: BinaryIO, path: Path) -> Path:
    """Its content in a file beside that place, on disk; a link there goes on pointing where it does."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with beside.open("xb") as file:
            shutil.copyfileobj(blob, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    return beside
