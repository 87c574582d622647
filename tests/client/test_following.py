"""Followers: the newest model at hand, the old one when the new one cannot be had."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kit import SECONDS, Relay, ServerProcess, eventually, in_thread

import udfstore
from udfstore import NoServer, NotFound, OpenBlob

Content = Callable[..., bytes]


class Loader:
    """A loader that tells when it was called; content that begins with `bad` it refuses."""

    def __init__(self) -> None:
        self.called: queue.Queue[int | None] = queue.Queue()

    def __call__(self, blob: OpenBlob) -> bytes:
        content = blob.read()
        self.called.put(blob.version)
        if content.startswith(b"bad"):
            raise ValueError("not a model")
        return content


def in_use(store: Any, model: Any, version: int | None, *, failed: bool = False) -> None:
    """Wait until the follower has a version in use, and has said so to the store."""
    eventually(lambda: store.status() and model.version == version and (model.error is not None) == failed)


def test_the_newest_version_is_there_at_once_and_the_next_when_the_tag_moves(
    store: Any, unique: str, content: Content
) -> None:
    name, loader = f"{unique}/x", Loader()
    first = store.save(content(1), tag=name).entry
    with store.follow(name, loader) as model:
        assert (model.value, model.version, model.id, model.entry) == (content(1), 1, first.id, first)
        second = store.save(content(2), tag=name).entry
        in_use(store, model, 2)
        assert model.current == (content(2), second)
    assert model.value == content(2), "the value stays when following ends"


def test_value_and_entry_never_belong_to_two_versions(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    store.save(content(1), tag=name)
    with store.follow(name, lambda blob: blob.version) as model:
        for number in range(2, 8):
            store.save(content(number), tag=name)
        while (current := model.current)[1].version < 7:
            assert current[0] == current[1].version


def test_a_loader_that_raises_leaves_the_old_model_and_is_asked_again_only_when_the_tag_moves(
    store: Any, unique: str, content: Content
) -> None:
    name, loader = f"{unique}/x", Loader()
    store.save(content(1), tag=name)
    with store.follow(name, loader) as model:
        assert loader.called.get(timeout=SECONDS) == 1
        store.save(b"bad " + content(2), tag=name)
        assert loader.called.get(timeout=SECONDS) == 2
        in_use(store, model, 1, failed=True)
        assert model.value == content(1)
        assert isinstance(model.error, ValueError)

        store.save(content(3), tag=f"{unique}/other")
        store.save(content(4), tag=name)
        assert loader.called.get(timeout=SECONDS) == 4 - 1, "and not once more for version 2"
        in_use(store, model, 3)
        assert model.value == content(4)


def test_what_became_of_each_version_is_recorded_once(store: Any, unique: str, content: Content) -> None:
    """A record of its own each: revisions count moves and what followers said of them."""
    name, loader = f"{unique}/x", Loader()
    before = store.save(content(1), tag=name).entry.revision
    with store.follow(name, loader) as model:
        eventually(lambda: store.status().revision == before + 1)
        store.save(b"bad " + content(2), tag=name)
        eventually(lambda: store.status().revision == before + 3)
        store.tag(name, f"{name}@1")
        eventually(lambda: store.status().revision == before + 5)
        in_use(store, model, 3)
    assert loader.called.qsize() == 2


def test_who_follows_what_is_shown_with_its_failure(connected: Any, content: Content) -> None:
    connected.save(content(1), tag="models/x")

    def shown(version: int, error: str) -> bool:
        following = [told for session in connected.sessions() for told in session.following]
        return [(told.tag, told.version, told.error) for told in following] == [("models/x", version, error)]

    with connected.follow("models/x", Loader()):
        eventually(lambda: shown(1, ""))
        connected.save(b"bad", tag="models/x")
        eventually(lambda: shown(1, "@2: ValueError: not a model"))
        connected.save(content(3), tag="models/x")
        eventually(lambda: shown(3, ""))


def test_a_move_onto_the_same_content_loads_nothing(store: Any, unique: str, content: Content) -> None:
    name, loader = f"{unique}/x", Loader()
    store.save(content(1), tag=name)
    with store.follow(name, loader) as model:
        store.save(content(1), tag=name, note="again")
        in_use(store, model, 2)
        assert model.entry.note == "again"
        assert loader.called.qsize() == 1


def test_a_deleted_tag_takes_no_model_away(store: Any, unique: str, content: Content) -> None:
    name, loader = f"{unique}/x", Loader()
    store.save(content(1), tag=name)
    with store.follow(name, loader) as model:
        store.untag(name)
        store.save(content(3), tag=name)
        in_use(store, model, 3)
        assert loader.called.qsize() == 2
        assert model.error is None


def test_without_the_tag_the_fallback_is_in_use_until_there_is_one(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    with store.follow(name, Loader(), fallback=b"built in") as model:
        assert (model.value, model.version, model.id, model.entry) == (b"built in", None, None, None)
        assert isinstance(model.error, NotFound)
        store.save(content(1), tag=name)
        in_use(store, model, 1)
        assert model.value == content(1)


def test_the_fallback_is_in_use_while_the_model_cannot_be_loaded(store: Any, unique: str, content: Content) -> None:
    name = f"{unique}/x"
    store.save(b"bad " + content(), tag=name)
    with store.follow(name, Loader(), fallback=b"built in") as model:
        assert (model.value, model.version) == (b"built in", None)
        assert isinstance(model.error, ValueError)


def test_the_log_says_what_is_in_use_when_a_version_cannot_be_loaded(
    store: Any, unique: str, content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{unique}/x"
    store.save(b"bad " + content(1), tag=name)
    with store.follow(name, Loader(), fallback=b"built in") as model:
        store.save(content(2), tag=name)
        in_use(store, model, 2)
        store.save(b"bad " + content(3), tag=name)
        in_use(store, model, 2, failed=True)
    with pytest.raises(ValueError, match="not a model"), store.follow(name, Loader()):
        pass
    failure = "ValueError('not a model')"
    told = [record.getMessage() for record in caplog.records if "could not be loaded" in record.getMessage()]
    assert told == [
        f"{name}@1 could not be loaded, the fallback is in use: {failure}",
        f"{name}@3 could not be loaded, {name}@2 stays in use: {failure}",
        f"{name}@3 could not be loaded, and nothing is in use: {failure}",
    ]


def test_without_tag_and_fallback_there_is_nothing_to_follow(store: Any, unique: str, content: Content) -> None:
    with pytest.raises(NotFound, match=f"no tag {unique}/x"), store.follow(f"{unique}/x", Loader()):
        pass
    store.save(b"bad " + content(), tag=f"{unique}/x")
    with pytest.raises(ValueError, match="not a model"), store.follow(f"{unique}/x", Loader()):
        pass
    assert store.load(f"{unique}/x") == b"bad " + content(), "the store is as good as before"


class Model:
    """A value that can be referred to weakly."""


@pytest.mark.parametrize(("swap", "kept"), [("beside", True), ("replace", False)])
def test_the_old_model_stays_while_the_new_one_loads_unless_it_is_replaced(
    store: Any, unique: str, content: Content, swap: str, kept: bool
) -> None:
    name = f"{unique}/x"
    models: list[weakref.ref[Model]] = []
    alive: queue.Queue[bool] = queue.Queue()

    def load(blob: OpenBlob) -> Model:
        if models:
            gc.collect()
            alive.put(models[-1]() is not None)
        model = Model()
        models.append(weakref.ref(model))
        return model

    store.save(content(1), tag=name)
    with store.follow(name, load, swap=swap) as model:
        store.save(content(2), tag=name)
        assert alive.get(timeout=SECONDS) == kept
        in_use(store, model, 2)


def test_a_replaced_model_that_could_not_be_loaded_is_not_said_to_be_in_use(
    store: Any, unique: str, content: Content
) -> None:
    name, loader = f"{unique}/x", Loader()
    store.save(content(1), tag=name)
    with store.follow(name, loader, fallback=b"built in", swap="replace") as model:
        store.save(b"bad " + content(2), tag=name)
        in_use(store, model, None, failed=True)
        assert model.current == (b"built in", None)
        store.rollback(name)
        in_use(store, model, 3)
        assert model.value == content(1)


def test_following_goes_on_when_the_server_is_back(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content
) -> None:
    store, loader = connect_to(own_server.socket), Loader()
    store.save(content(1), tag="models/x")
    with store.follow("models/x", loader) as model:
        own_server.kill()
        assert model.value == content(1), "scoring goes on without a server"
        own_server.start()
        store.save(content(2), tag="models/x")
        in_use(store, model, 2)
        assert loader.called.qsize() == 2, "and nothing was loaded again for the new connection"


def test_who_follows_what_is_told_to_a_server_that_was_restarted(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content
) -> None:
    store = connect_to(own_server.socket)
    store.save(content(1), tag="models/x")
    with store.follow("models/x", Loader()):
        eventually(lambda: store.await_followers("models/x", 1, 0))
        own_server.restart()
        (session,) = eventually(lambda: store.await_followers("models/x", 1, 0))
        assert session.following[0].version == 1
        assert len(list(store.uses(tag="models/x", everything=True))) == 1, "with no second record"


def test_a_version_whose_load_outlasts_the_patience_is_loaded_when_the_server_is_back(
    own_server: ServerProcess,
    connect_to: Callable[[Path], Any],
    folder: Path,
    content: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("udfstore.client.retry.PATIENCE_SECONDS", 0.1)
    gone = threading.Event()

    def cut(data: bytes, went: int) -> bool:
        if content(2) not in data or gone.is_set():
            return False
        own_server.kill()
        gone.set()
        return True

    with udfstore.connect(own_server.socket) as other:
        other.save(content(1), tag="models/x")
        relay = Relay(folder / "relay", own_server.socket, cut)
        with relay, connect_to(relay.path).follow("models/x", Loader()) as model:
            with suppress(NoServer):  # its answer may go down with the server
                other.save(content(2), tag="models/x")
            assert gone.wait(SECONDS)
            assert model.value == content(1)
            own_server.start()
            eventually(lambda: model.version == 2)
            assert (model.value, model.error) == (content(2), None)


@pytest.mark.parametrize("away", ["killed", "hanging"])
def test_following_can_end_while_the_server_is_away(
    own_server: ServerProcess, connect_to: Callable[[Path], Any], content: Content, away: str
) -> None:
    store = connect_to(own_server.socket)
    store.save(content(1), tag="models/x")
    following = threading.Event()
    end = threading.Event()

    def follow() -> bytes:
        with store.follow("models/x", Loader()) as model:
            following.set()
            assert end.wait(SECONDS)
            value: bytes = model.value
            return value

    done = in_thread(follow)
    assert following.wait(SECONDS)
    if away == "killed":
        own_server.kill()
    else:
        own_server.pause()
    end.set()
    assert done.result(SECONDS) == content(1)


def test_a_model_whose_server_is_away_takes_its_fallback(own_server: ServerProcess) -> None:
    with udfstore.connect(own_server.socket) as store:
        own_server.kill()
        with store.follow("models/x", Loader(), fallback=b"built in") as model:
            assert model.value == b"built in"


def test_closing_the_store_ends_its_followers(store: Any, unique: str, content: Content) -> None:
    store.save(content(1), tag=f"{unique}/x")
    with store.follow(f"{unique}/x", Loader()) as model:
        store.close()
    assert model.value == content(1)
    assert model.error is None, "which is no failure of the model"


def test_a_follower_can_end_from_within_its_loader(unique: str, server: ServerProcess, content: Content) -> None:
    models: list[Any] = []
    ended = threading.Event()

    def load(blob: OpenBlob) -> bytes:
        for model in models:
            model.close()
            ended.set()
        return blob.read()

    with udfstore.connect(server.socket) as store:
        store.save(content(1), tag=f"{unique}/x")
        models.append(store.follow(f"{unique}/x", load))
        store.save(content(2), tag=f"{unique}/x")
        assert ended.wait(SECONDS)
        models[0].close()
    assert models[0].version == 1
