"""What a scrape is told of a server that did a little of everything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from kit import SECONDS, eventually
from prometheus_client.parser import text_string_to_metric_families

import udfstore
from udfstore import Conflict, Denied, Node, NotFound, Store
from udfstore.admin import ListTokens
from udfstore.client.files import OpenBlob
from udfstore.http import metrics
from udfstore.http.metrics import METRICS, exposition
from udfstore.model import Author, Caller
from udfstore.quota import Quotas
from udfstore.server.limits import ServerLimits
from udfstore.server.listener import Listener
from udfstore.server.server import Server
from udfstore.service import Service
from udfstore.service.rules import Rules
from udfstore.store import Store as StoreOnDisk
from udfstore.store import StoreLimits

Samples = dict[tuple[str, tuple[str, ...]], float]
"""Values by name and the values of the labels, in the order of the labels' names."""


def told(service: Service, *, names: bool = True, process: bool = True) -> Samples:
    text = exposition(service, names, process=process)
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def serving(folder: Path, limits: StoreLimits) -> Iterator[Service]:
    """A server on a thread of this process, which can be looked into."""
    stop, started = trio.Event(), threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with server._told(), trio.open_nursery() as nursery:
            server._hosting.begin(nursery)
            nursery.start_soon(server._accept, listener, nursery)
            started.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    with StoreOnDisk(folder / "root", limits=limits, quotas=Quotas(others=1 << 40)) as store:
        server, listener = Server(store, ServerLimits(), Rules()), Listener(folder / "s", 0o600)
        thread = threading.Thread(target=trio.run, args=(serve,))
        thread.start()
        try:
            assert started.wait(SECONDS)
            yield server.service
        finally:
            trio.from_thread.run_sync(stop.set, trio_token=tokens[0])
            thread.join(SECONDS)
            listener.close()


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    with serving(folder, StoreLimits(floor_bytes=1 << 20)) as service:
        yield service


@pytest.fixture
def store(service: Service, folder: Path) -> Iterator[Store]:
    with udfstore.connect(folder / "s") as store:
        yield store


def little_of_everything(service: Service, store: Store) -> None:
    """Saves, moves, loads, a failed call, followers of all kinds, lives of a node, a removal and a sweep."""
    store.save(b"a model", tag="planted/model")
    store.save(b"a model")
    store.load("planted/model")
    with pytest.raises(NotFound):
        store.get_tag("planted/none")
    for state in (b"one", b"two"):
        with store.join(Node("planted-task", "planted-node"), snapshot=lambda state=state: state, restore=len):  # type: ignore[misc]
            pass
    removed = store.save(b"unwanted").id
    store.delete(removed, now=True)
    store.delete(store.save(b"waits in the trash").id)
    service.store.sweep()
    service.gate.rules = Rules({"nobody": ()})
    with pytest.raises(Denied):
        service.gate.check(Caller(Author("socket"), listener="nobody"), ListTokens())


@contextmanager
def followers(store: Store) -> Iterator[None]:
    """One that is current, one that lags, one that failed."""
    go_on = threading.Event()

    def waits(blob: OpenBlob) -> bytes:
        content = blob.read()
        if content == b"another model":
            go_on.wait(SECONDS)
        return content

    def fails(blob: OpenBlob) -> bytes:
        if blob.read() == b"another model":
            raise ValueError("not a model")
        return b""

    tags = ["planted/current", "planted/lags", "planted/fails"]
    for tag in tags:
        store.save(b"a model", tag=tag)
    with store.follow(tags[0], OpenBlob.read), store.follow(tags[1], waits), store.follow(tags[2], fails):
        for tag in tags:
            store.save(b"another model", tag=tag)
        yield
        go_on.set()


def all_kinds(service: Service) -> bool:
    """Whether the server knows by now what became of the followers."""
    samples = told(service)
    return [samples["udfstore_followers", (state,)] for state in ("current", "failed", "lagging")] == [1, 1, 1]


def test_every_metric_of_the_list_is_told(service: Service, store: Store) -> None:
    little_of_everything(service, store)
    with followers(store), store.join(Node("planted-task", "planted-node"), snapshot=lambda: b"3", restore=len):
        eventually(lambda: all_kinds(service))
        samples = told(service)
    names = {name for name, _ in samples}
    suffix = {"counter": "", "gauge": "", "histogram": "_count"}
    assert [metric.name for metric in METRICS if metric.name + suffix[metric.type] not in names] == []
    known = {metric.name for metric in METRICS}
    made = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names - known}
    assert made - known == set(), "and no other"


def test_help_and_type_are_those_of_the_list(service: Service, store: Store) -> None:
    little_of_everything(service, store)
    lines = exposition(service, True).splitlines()
    for metric in METRICS:
        if not metric.name.startswith("process_"):
            assert f"# HELP {metric.name} {metric.help}" in lines
        assert f"# TYPE {metric.name} {metric.type}" in lines


def test_without_names_there_are_counts_and_ages_alone(service: Service, store: Store, folder: Path) -> None:
    little_of_everything(service, store)
    with followers(store), store.join(Node("planted-task", "planted-node"), snapshot=lambda: b"3", restore=len):
        eventually(lambda: all_kinds(service))
        text, named = exposition(service, False), exposition(service, True)
    for secret in ("planted", "not a model", socket.gethostname(), str(folder), udfstore.__version__):
        assert secret not in text
    assert 'udfstore_task_nodes{task="planted-task"} 1.0' in named.splitlines()
    assert 'udfstore_tag_followers{state="failed",tag="planted/fails"} 1.0' in named.splitlines()
    assert 'udfstore_tag_version{tag="planted/fails"} 2.0' in named.splitlines()


def test_calls_and_content_are_counted_as_they_happened(service: Service, store: Store) -> None:
    store.save(b"12345", tag="models/a")
    store.load("models/a")
    store.load("models/a")
    with pytest.raises(NotFound):
        store.get_tag("models/b")
    with pytest.raises(Conflict):
        store.tag("models/a", "models/a", expected_version=9)
    samples = told(service)
    # Labels by their names: code, front, kind.
    outcomes = {labels: n for (name, labels), n in samples.items() if name == "udfstore_calls_total"}
    assert outcomes[("ok", "socket", "save")] == 1
    assert outcomes[("ok", "socket", "load")] == 2
    assert outcomes[("not-found", "socket", "get-tag")] == 1
    assert outcomes[("conflict", "socket", "move")] == 1
    assert samples["udfstore_call_seconds_count", ("socket", "load")] == 2
    assert samples["udfstore_content_received_bytes_total", ("socket",)] == 5
    assert samples["udfstore_content_sent_bytes_total", ("socket",)] == 10
    assert samples["udfstore_connections", ("socket",)] == 1
    eventually(lambda: told(service)["udfstore_buffered_bytes", ("socket",)] == 0)


def test_a_watch_is_open_until_its_client_leaves(service: Service, folder: Path) -> None:
    with udfstore.connect(folder / "s") as store:
        store.save(b"1", tag="models/a")
        for _ in store.watch("models/"):
            break
        watch = store.watch("models/", since=0)
        next(iter(watch))
        eventually(lambda: told(service)["udfstore_calls_open", ("socket", "watch")] == 1)  # the one before was left
    eventually(lambda: told(service)["udfstore_connections", ("socket",)] == 0)
    samples = told(service)
    assert samples["udfstore_calls_open", ("socket", "watch")] == 0
    assert samples["udfstore_calls_total", ("cancelled", "socket", "watch")] == 2
    assert ("udfstore_call_seconds_count", ("socket", "watch")) not in samples


def test_lives_of_a_node_are_counted(service: Service, store: Store) -> None:
    def refuses(state: bytes) -> None:
        if state:
            raise ValueError("not a state")

    node = Node("pump", "a")
    with store.join(node, snapshot=lambda: b"1", restore=len):
        samples = told(service)
        assert samples["udfstore_nodes", ("owner",)] == 1
        assert samples["udfstore_tasks", ("running",)] == 1
    with store.join(node, snapshot=lambda: b"2", restore=len):
        pass
    with store.join(node, snapshot=lambda: b"3", restore=refuses):
        pass
    samples = told(service)
    outcomes = {labels[0]: n for (name, labels), n in samples.items() if name == "udfstore_restores_total"}
    assert outcomes["ok"] == 1
    assert outcomes["failed"] >= 1
    assert outcomes["fresh"] >= 2
    assert samples["udfstore_rounds_total", ("good",)] >= 3
    assert samples["udfstore_tasks", ("stopped",)] == 1
    assert samples["udfstore_task_nodes", ("pump",)] == 0
    assert samples["udfstore_oldest_snapshot_age_seconds", ()] == 0, "nobody waits for a stopped task"


def test_named_series_are_bounded_and_the_rest_is_counted(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(b"1", tag="models/a")
    for name in "bcde":
        store.tag(f"models/{name}", "models/a")
    with store.join(Node("pump", "a"), snapshot=lambda: b"1", restore=len):
        pass
    assert told(service)["udfstore_series_left_out", ()] == 0
    monkeypatch.setattr(metrics, "MOST_NAMED", 3)
    samples = told(service)
    assert [labels[0] for name, labels in samples if name == "udfstore_tag_version"] == [
        "models/a",
        "models/b",
        "models/c",
    ]
    assert samples["udfstore_series_left_out", ()] == 2
    assert samples["udfstore_tags", ()] == 7, "with two of the task"


def test_a_store_that_cannot_be_read_is_told_and_does_not_end_the_scrape(
    service: Service, store: Store, folder: Path
) -> None:
    assert told(service)["udfstore_store_problem", ()] == 0
    service.store._parts.catalog._close_readers()
    for path in (folder / "root").glob("catalog.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    samples = told(service)
    assert samples["udfstore_store_problem", ()] == 1
    assert ("udfstore_blobs", ()) not in samples
    assert samples["udfstore_free_bytes", ()] > 0
    assert samples["udfstore_connections", ("socket",)] == 1


def test_a_text_file_has_nothing_of_the_process(service: Service) -> None:
    samples = told(service, process=False)
    assert [name for name, _ in samples if not name.startswith("udfstore_")] == []
    assert ("process_resident_memory_bytes", ()) in told(service)
