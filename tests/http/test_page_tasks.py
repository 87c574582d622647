"""Tasks in a browser: what their pages show, and what can be done there, on a real server with real nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from browser_kit import PHONE, SCRIPT, sideways
from kit import eventually

from udfstore import Node, Store
from udfstore.snapshots import escape

DAG = {
    "nodes": [
        {"name": "stream0", "kind": "stream"},
        {"name": "score1", "kind": "anomaly", "parents": ["stream0"]},
        {"name": SCRIPT, "kind": "alert", "parents": ["score1"]},
    ]
}


class Host:
    """Nodes of a task, each with a state that a test sets."""

    def __init__(self, connect: Callable[..., Store], task: str, stack: ExitStack) -> None:
        self.task = task
        self.url = f"/tasks/{escape(task)}"
        self.states: dict[str, bytes] = {}
        self.given: list[bytes] = []
        """The states that nodes were restored from, in order."""
        self.stores: dict[str, Store] = {}
        self._connect = connect
        self._stack = stack

    def join(self, name: str = "score1", state: bytes = b"first", dag: object = None, refuse: bytes = b"none") -> Any:
        """A node; it cannot take up the state `refuse`."""
        self.states[name] = state
        store = self.stores[name] = self._connect("pump-7", self.task, name)

        def restore(given: bytes) -> None:
            if given == refuse:
                raise ValueError("of another release")
            self.given.append(given)
            self.states[name] = given

        node = Node(self.task, name, json.dumps(dag).encode() if dag else b"")
        return self._stack.enter_context(store.join(node, snapshot=lambda: self.states[name], restore=restore))

    def keep(self, state: bytes, node: str = "score1") -> Any:
        """Have a snapshot taken with that state of a node."""
        self.states[node] = state
        taken = self.stores[node].save_snapshot(self.task)
        assert taken.good, taken.why
        return taken.snapshot


@pytest.fixture
def host(somebody: Callable[..., Store], request: pytest.FixtureRequest) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(somebody, f"task of {request.node.name}"[:100], stack)


@pytest.fixture
def store(somebody: Callable[..., Store]) -> Store:
    return somebody("Ada")


def chosen(store: Store, task: str) -> Any:
    return next(known for known in store.tasks() if known.name == task)


# --- flows ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_named_used_and_deleted(browser: Any, host: Host, store: Store) -> None:
    host.join()
    browser.goto("/tasks")
    browser.get_by_role("link", name=host.task, exact=True).click()
    browser.get_by_role("button", name="Take a snapshot now").click()
    assert "The states are kept in snapshot 1" in browser.get_by_role("status").last.inner_text()
    (first,) = store.snapshots(host.task)
    assert (first.number, first.reason.value) == (1, "manual")

    browser.get_by_role("link", name="snapshot 1").first.click()
    browser.get_by_label("Name", exact=True).fill("before the night")
    browser.get_by_role("button", name="Name it").click()
    assert "kept until its names are deleted: before the night" in browser.locator(".notice").inner_text()
    assert next(store.snapshots(host.task)).names == ("before the night",)

    host.keep(b"second")
    browser.get_by_role("button", name="Use snapshot 1").click()
    assert "The next start is from snapshot 1" in browser.locator(".notice").inner_text()
    assert chosen(store, host.task).chosen == first.id
    assert browser.locator(".moment.chosen").count() == 1

    browser.expected += ["409", "404"]  # the second where the page of what is deleted looks for news of it
    browser.get_by_role("link", name="snapshot 1").first.click()
    browser.get_by_text("The snapshot with its name").click()
    browser.get_by_role("button", name="Delete snapshot 1").click()
    refused = browser.get_by_role("alert").inner_text()
    assert "is chosen for the next start" in refused
    assert "Nothing was changed" in refused
    assert len(list(store.snapshots(host.task))) == 2

    browser.goto(host.url)
    browser.get_by_label("the newest snapshot as it is now").check()
    browser.get_by_role("button", name="Use it for the next start").click()
    assert "The next start is from snapshot 2" in browser.locator(".notice").inner_text()
    browser.get_by_role("link", name="snapshot 1", exact=True).last.click()
    browser.get_by_text("The snapshot with its name").click()
    browser.get_by_role("button", name="Delete snapshot 1").click()
    assert "The snapshot is deleted" in browser.locator(".notice").inner_text()
    assert [snapshot.number for snapshot in store.snapshots(host.task)] == [2]


def test_nodes_are_restarted_from_an_older_state(browser: Any, host: Host) -> None:
    host.join()
    host.keep(b"good")
    host.keep(b"spoilt")
    browser.goto(host.url)
    browser.get_by_role("link", name="Use snapshot 1 for the next start").click()
    browser.get_by_label("Restart the connected nodes now").check()
    browser.get_by_role("button", name="Use snapshot 1").click()
    assert "were told to restart" in browser.locator(".notice").inner_text()
    assert eventually(lambda: host.given == [b"good"])
    browser.get_by_role("row", name=re.compile("score1.*from snapshot 1")).wait_for()


def test_a_task_starts_from_before_a_model_was_in_use(browser: Any, host: Host, store: Store, unique: str) -> None:
    tag = f"{unique}/pump"
    host.join()
    before = host.keep(b"good")
    saved = store.save(b"bad model", tag=tag)
    host.stores["score1"].used(tag, 1, saved.id)
    host.keep(b"spoilt")
    browser.goto(host.url)
    browser.get_by_role("link", name=f"Start from the state from before {tag}@1").click()
    assert browser.get_by_label("Version of a model").input_value() == f"{tag}@1"
    browser.get_by_role("button", name="Use it for the next start").click()
    assert "The next start is from snapshot 1" in browser.locator(".notice").inner_text()
    assert chosen(store, host.task).chosen == before.id


def test_two_people_do_not_choose_over_each_other(browser: Any, host: Host, store: Store) -> None:
    host.join()
    first = host.keep(b"first")
    browser.goto(f"{host.url}/snapshots/{first.id}")
    store.use_snapshot(host.task, "fresh")
    browser.expected.append("409")
    browser.get_by_role("button", name="Use snapshot 1").click()
    assert "somebody has chosen for the next start since" in browser.get_by_role("alert").inner_text()
    assert chosen(store, host.task).fresh
    browser.get_by_role("button", name="Use snapshot 1").click()
    assert chosen(store, host.task).chosen == first.id


def test_a_name_that_is_taken_is_told_beside_the_form(browser: Any, host: Host, store: Store) -> None:
    host.join()
    store.name_snapshot(host.task, "good", host.keep(b"first").number)
    second = host.keep(b"second")
    browser.goto(f"{host.url}/snapshots/{second.id}")
    browser.expected.append("409")
    browser.get_by_label("Name", exact=True).fill("good")
    browser.get_by_role("button", name="Name it").click()
    assert "has the name 'good'" in browser.get_by_role("alert").inner_text()
    assert browser.url.endswith("/name")
    assert browser.goto(browser.url).url.endswith(f"/snapshots/{second.id}"), "what is refused can be loaded again"
    assert browser.get_by_role("heading", name="Snapshot 2").count() == 1


def test_a_task_is_deleted_only_when_nobody_is_connected_and_by_its_name(
    browser: Any, host: Host, store: Store
) -> None:
    member = host.join()
    host.keep(b"first")
    browser.expected.append("40[049]")  # 404: the page looks for news of what is just deleted

    def delete(name: str) -> None:
        browser.goto(host.url)
        browser.get_by_text("Delete its automatic snapshots").click()
        browser.get_by_label("Type the name of the task").fill(name)
        browser.get_by_role("button", name="Delete the task").click()

    delete(host.task)
    assert "stop them first" in browser.get_by_role("alert").inner_text()
    member.close()
    delete("another")
    assert "type the name of the task" in browser.get_by_role("alert").inner_text()
    assert host.task in {known.name for known in store.tasks()}
    delete(host.task)
    assert "Deleted: 1 snapshot" in browser.locator(".notice").inner_text()
    assert host.task not in {known.name for known in store.tasks()}


def test_what_could_not_be_taken_says_why(open_page: Callable[..., Any], host: Host) -> None:
    member = host.join()
    page = open_page(java_script_enabled=False)
    page.goto(host.url)
    member.close()
    page.expected.append("409")
    page.get_by_role("button", name="Take a snapshot now").click()
    assert "no snapshot was taken: no node of the task is connected" in page.get_by_role("alert").inner_text()


def test_a_form_without_its_secret_changes_nothing(browser: Any, host: Host, store: Store) -> None:
    host.join()
    host.keep(b"first")
    origin = {"Origin": browser.url.rstrip("/")}
    answer = browser.request.post(f"{host.url}/use", form={"from": "fresh", "chosen": ""}, headers=origin)
    assert answer.status == 403
    assert not chosen(store, host.task).fresh


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_dag_is_a_picture_and_a_list_and_names_do_nothing(browser: Any, host: Host) -> None:
    host.join(dag=DAG)
    host.keep(b"first")
    browser.goto(host.url)
    picture = browser.get_by_role("img", name=re.compile("The nodes of the task"))
    assert picture.count() == 1
    assert browser.locator(".dag-node").count() == 3
    assert "keeps state" in browser.locator(".dag-state title").text_content()
    browser.get_by_text("The same as a list").click()
    listed = browser.locator("#dag-list li").all_inner_texts()
    assert listed[0].startswith("stream0")
    assert "from stream0" in listed[1]
    assert "connected, keeps state" in listed[1]
    assert listed[2].startswith(SCRIPT)
    assert browser.title() == f"{host.task} · udfstore"


def test_a_state_that_could_not_be_restored_is_shown(browser: Any, host: Host) -> None:
    member = host.join()
    host.keep(b"good")
    host.keep(b"spoilt")
    member.abandon()
    host.join(state=b"third", refuse=b"spoilt")
    browser.goto(host.url)
    told = browser.locator("#node-rows").inner_text()
    assert "could not take up the state" in told
    assert "of snapshot 2" in told
    assert browser.get_by_role("row", name=re.compile("score1.*from snapshot 1")).count() == 1


def test_the_timeline_tells_what_each_snapshot_changed(browser: Any, host: Host, store: Store, unique: str) -> None:
    tag = f"{unique}/pump"
    host.join()
    host.keep(b"first")
    saved = store.save(b"model", tag=tag)
    host.stores["score1"].used(tag, 1, saved.id)
    host.keep(b"second, longer")
    browser.goto(host.url)
    lines = browser.locator(".moment").all_inner_texts()
    assert lines[0].startswith("snapshot 2")
    assert "1 state changed, +9 B" in lines[0]
    assert f"{tag}@1 taken into use at score1" in lines[1]
    assert lines[2].startswith("snapshot 1")
    assert "the oldest that is kept" in lines[2]


def test_models_in_use_at_a_time_in_the_zone_of_the_browser(
    open_page: Callable[..., Any], host: Host, store: Store, unique: str
) -> None:
    tag = f"{unique}/pump"
    host.join()
    for number in (1, 2):
        saved = store.save(b"model %d" % number, tag=tag)
        host.stores["score1"].used(tag, number, saved.id)
    page = open_page(timezone_id="Asia/Kolkata")

    def at(moment: datetime) -> str:
        page.goto(host.url)
        page.get_by_label("At what time?").fill(f"{moment.astimezone(ZoneInfo('Asia/Kolkata')):%Y-%m-%dT%H:%M:%S}")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**at=**")
        return str(page.locator("#model-rows").inner_text())

    now = datetime.now(UTC)
    assert "No node has told that it uses a model by then" in at(now - timedelta(hours=1))
    assert f"{tag}@2" in at(now + timedelta(minutes=1))
    page.get_by_role("link", name=f"{tag}@2").first.click()
    assert page.locator("tr.marked").get_attribute("id") == "v2"
    page.go_back()
    page.get_by_role("link", name=f"Roll back to the version before {tag}@2").click()
    assert page.get_by_role("button", name="Roll back to the content of @1").count() == 1


def test_a_state_is_downloaded_as_it_was_saved(browser: Any, host: Host) -> None:
    host.join()
    snapshot = host.keep(b"\x00 what it learned")
    browser.goto(f"{host.url}/snapshots/{snapshot.id}")
    with browser.expect_download() as downloading:
        browser.get_by_role("link", name="Download the state of score1").click()
    assert downloading.value.path().read_bytes() == b"\x00 what it learned"


def test_a_new_snapshot_appears_without_a_reload(browser: Any, host: Host) -> None:
    host.join()
    browser.goto(host.url)
    browser.evaluate("window.same = true")
    assert browser.locator(".moment").count() == 0
    host.keep(b"second")
    browser.locator(".moment", has_text="snapshot 1").wait_for()
    assert browser.evaluate("window.same")


def test_no_page_of_a_task_is_wider_than_a_phone(open_page: Callable[..., Any], host: Host, store: Store) -> None:
    long = "a-node-with-a-name-that-goes-on-and-on-" * 3
    member = host.join(long, dag={"nodes": [{"name": long, "kind": long}]})
    snapshot = host.keep(b"x" * 2000, node=long)
    store.name_snapshot(host.task, "name-" * 25)
    member.close()
    store.delete_task(host.task)  # its number goes: from here on the name is all that it is called by
    store.use_snapshot(host.task, "name-" * 25)
    page = open_page(viewport=PHONE)
    for url in ("/tasks", host.url, f"{host.url}/snapshots/{snapshot.id}"):
        assert page.goto(url).status == 200
        assert sideways(page) == 0, url


def test_what_is_not_there_is_a_page(browser: Any) -> None:
    browser.expected.append("404")
    assert browser.goto("/tasks/nobody").status == 404
    assert "there is no task 'nobody'" in browser.locator("main").inner_text()
