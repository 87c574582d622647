"""Models that a UDF reads from a file in its constructor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
import trio
import trio.testing
from host_kit import SECONDS, hosted, init, old_udf, pid_of, point, succeeded, until
from kit import ServerProcess

import udfstore
import udfstore.aio
from udfstore.bridge.host import Host, HostSettings, Shelter
from udfstore.bridge.models import Models, Undo
from udfstore.bridge.settings import ModelFile, OnMove, WithoutStore
from udfstore.digest import BlobId
from udfstore.errors import NoServer, NotFound, UdfstoreError, UsageError
from udfstore.refs import Tag
from udfstore.tasks import Model, Node


@pytest.fixture
def tag(unique: str) -> str:
    return f"{unique}/factor"


@pytest.fixture
def settings(tag: str, tmp_path: Path) -> HostSettings:
    """The UDF that multiplies by what its file says."""
    path = tmp_path / "factor"
    return HostSettings(old_udf("factor_of_file", str(path)), models=(ModelFile.parse(f"{tag}={path}"),))


def put(server: ServerProcess, tag: str, content: bytes) -> None:
    with udfstore.connect(server.socket) as store:
        store.save(content, tag=tag)


async def moved(server: ServerProcess, tag: str, content: bytes) -> None:
    await trio.to_thread.run_sync(put, server, tag, content)


async def failure_of(server: ServerProcess, tag: str, version: int) -> str:
    """The failure that was recorded for a version, once it was."""
    with trio.fail_after(SECONDS):
        async with udfstore.aio.connect(server.socket) as store:
            while True:
                found = [use async for use in store.uses(tag=tag, everything=True) if use.version == version]
                if found and found[0].error:
                    return found[0].error


async def begin(host: Host, unique: str) -> None:
    assert succeeded(await host.init(init(), Node(unique[-90:], "factor")))


async def test_the_file_lies_there_before_the_udf_starts(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(server, tag, b"3")
    async with hosted(settings, server.socket) as (host, front):
        await begin(host, unique)
        await host.data([point(2.0)])
        await host.stop()
        assert [(model.tag, model.version) for model in host.models] == [(tag, 1)]
    assert front.values == [6]


async def test_a_tag_that_moves_puts_a_new_child_on_the_new_file(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(server, tag, b"3")
    async with hosted(settings, server.socket) as (host, front):
        await begin(host, unique)
        await host.data([point(2.0)])
        before = pid_of(host)
        await moved(server, tag, b"5")
        await until(lambda: pid_of(host) != before)
        await host.data([point(2.0)])
        await host.stop()
    assert front.values == [6, 10]
    with udfstore.connect(server.socket) as store:
        (use,) = store.uses(tag=tag)
        assert (use.version, use.error, use.place.task) == (2, "", unique[-90:])


async def test_a_model_that_the_udf_cannot_start_on_leaves_the_one_before(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(server, tag, b"3")
    async with hosted(settings, server.socket) as (host, front):
        await begin(host, unique)
        before = pid_of(host)
        await moved(server, tag, b"no number")
        assert "could not convert" in await failure_of(server, tag, 2)
        assert pid_of(host) == before
        assert settings.models[0].path.read_text() == "3"
        await host.data([point(2.0)])
        await host.stop()
    assert front.values == [6]


async def test_a_model_that_kills_the_udf_in_its_first_minute_is_put_back(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(server, tag, b"3")
    async with hosted(settings, server.socket) as (host, front):
        await begin(host, unique)
        before = pid_of(host)
        await moved(server, tag, b"13")
        await until(lambda: pid_of(host) != before)
        await host.data([point(2.0)])
        assert "this model does not work" in await failure_of(server, tag, 2)
        await front.until(lambda: front.values)
        await host.stop()
        assert [model.version for model in host.models] == [1]
    assert front.values == [6]
    assert settings.models[0].path.read_text() == "3"


async def test_after_its_trial_a_model_stays(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(server, tag, b"3")
    async with hosted(replace(settings, trial_seconds=0.0), server.socket) as (host, front):
        await begin(host, unique)
        await moved(server, tag, b"5")
        folder = settings.models[0].path.parent
        await until(lambda: host.models[0].version == 2 and sorted(folder.iterdir()) == [folder / "factor"])
        await host.data([point(2.0)])
        await front.until(lambda: front.values)
    assert front.values == [10]


@pytest.mark.parametrize(("on_move", "text"), [(OnMove.WRITE, "5"), (OnMove.IGNORE, "3")])
async def test_a_udf_may_look_after_it_itself(
    server: ServerProcess, settings: HostSettings, tag: str, unique: str, on_move: OnMove, text: str
) -> None:
    put(server, tag, b"3")
    async with hosted(replace(settings, on_move=on_move), server.socket) as (host, _):
        await begin(host, unique)
        before = pid_of(host)
        await moved(server, tag, b"5")
        await until(lambda: settings.models[0].path.read_text() == text)
        assert pid_of(host) == before


async def test_a_version_that_was_asked_for_stays(server: ServerProcess, tag: str, unique: str, tmp_path: Path) -> None:
    path = tmp_path / "factor"
    put(server, tag, b"3")
    put(server, tag, b"5")
    pinned = HostSettings(old_udf("factor_of_file", str(path)), models=(ModelFile.parse(f"{tag}@1={path}"),))
    async with hosted(pinned, server.socket) as (host, front):
        await begin(host, unique)
        await host.data([point(2.0)])
        await host.stop()
    assert front.values == [6]


async def test_a_snapshot_says_which_model_was_in_use(
    server: ServerProcess, tag: str, unique: str, tmp_path: Path
) -> None:
    put(server, tag, b"3")
    model = ModelFile.parse(f"{tag}={tmp_path / 'factor'}")
    async with hosted(HostSettings(old_udf("moving_average"), models=(model,)), server.socket) as (host, _):
        await begin(host, unique)
        await host.data([point(2.0)])
        await host.snapshot()
    with udfstore.connect(server.socket) as store:
        (state,) = store.states(unique[-90:])
        assert [(used.tag, used.version) for used in state.models] == [(tag, 1)]


async def test_what_lies_there_serves_while_the_server_is_away(settings: HostSettings, unique: str) -> None:
    settings.models[0].path.write_text("4")
    async with hosted(settings) as (host, front):
        await begin(host, unique)
        await host.data([point(2.0)])
        await host.stop()
    assert front.values == [8]


async def test_without_file_and_server_nothing_can_start(settings: HostSettings) -> None:
    async with hosted(replace(settings, without_store=WithoutStore("wait", 0.05))) as (host, _):
        with pytest.raises(NoServer):
            await host.info()


async def test_a_tag_that_names_nothing(server: ServerProcess, settings: HostSettings) -> None:
    async with hosted(settings, server.socket) as (host, _):
        with pytest.raises(NotFound):
            await host.info()


@pytest.mark.parametrize("text", ["models/x", "=path", "models/x=", "sha256:" + "0" * 64 + "=path"])
def test_what_is_no_model(text: str) -> None:
    with pytest.raises(UsageError):
        ModelFile.parse(text)


@pytest.mark.parametrize("text", ["never", "wait=soon", "fresh=1", "wait=-1", ""])
def test_what_is_no_way_without_a_store(text: str) -> None:
    with pytest.raises(UdfstoreError):
        WithoutStore.parse(text)


async def test_a_place_that_cannot_be_written(server: ServerProcess, tag: str, unique: str, tmp_path: Path) -> None:
    put(server, tag, b"3")
    path = tmp_path / "none" / "factor"
    settings = HostSettings(old_udf("factor_of_file", str(path)), models=(ModelFile.parse(f"{tag}={path}"),))
    async with hosted(settings, server.socket) as (host, _):
        with pytest.raises(UsageError, match=r"/none/.*No such file"):
            await host.init(init(), Node(unique[-90:], "factor"))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class Child:
    """One that is on trial."""

    def __init__(self, undo: Undo) -> None:
        self.undo: Undo | None = undo


@pytest.mark.parametrize("dies", [False, True])
async def test_the_end_of_one_trial_is_not_that_of_the_next(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, dies: bool
) -> None:
    path, children = tmp_path / "factor", []

    async def switch(undo: Undo) -> Child:
        children.append(Child(undo))
        return children[-1]

    async def take(version: int) -> None:
        beside = tmp_path / "beside"
        beside.write_text(str(version))
        model = Model("a/factor", version, BlobId.of(beside.read_bytes()))
        await models._take(models._files[0], cast(Any, None), model, beside)

    path.write_text("1")
    settings = HostSettings(("udf",), models=(ModelFile(Tag("a/factor"), path),))
    async with Shelter([]) as shelter, trio.open_nursery() as nursery:
        models = Models(settings, shelter, switch, nursery, structlog.get_logger())
        await take(2)
        await trio.sleep(50)
        await take(3)
        await trio.sleep(50)
        undo = children[1].undo
        assert undo is not None
        if dies:
            models._files[0].undo()
            assert path.read_text() == "2"
        else:
            await trio.sleep(50)
            assert (path.read_text(), children[1].undo) == ("3", None)
        assert names(tmp_path) == ["factor"]


async def test_a_tag_is_followed_on_after_the_server_was_away(
    own_server: ServerProcess, settings: HostSettings, tag: str, unique: str
) -> None:
    put(own_server, tag, b"3")
    async with hosted(settings, own_server.socket) as (host, front):
        await begin(host, unique)
        before = pid_of(host)
        own_server.kill()
        await host.data([point(2.0)])
        await front.until(lambda: front.values)
        await trio.to_thread.run_sync(own_server.start)
        await moved(own_server, tag, b"5")
        await until(lambda: pid_of(host) != before)
        await host.data([point(2.0)])
        await host.stop()
    assert front.values == [6, 10]
