"""UDFs in a browser: who is connected, with which models, and what failed to load."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from browser_kit import PHONE, SCRIPT, sideways

from udfstore import Node, OpenBlob, Store
from udfstore.snapshots import escape


def row(browser: Any, text: str) -> Any:
    """The one line of the connections that has this text."""
    return browser.locator("#sessions tbody tr", has_text=text)


def test_nodes_are_shown_with_who_they_are_and_when_they_were_heard(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    node = Node(unique[-60:], "score", timeout=60)
    owner, copy = somebody("pump-7", node.task, "score"), somebody("Grace", node.task, "score")
    with (
        owner.join(node, snapshot=lambda: b"1", restore=len),
        copy.join(Node(node.task, "score", no_save=True), snapshot=lambda: b"1", restore=len),
    ):
        browser.goto("/udfs")
        first = row(browser, "pump-7").inner_text()
        assert re.search(r"● ?owner|owner", first)
        assert "pump-7 (claimed)" in first
        assert re.search(r"uid \d+, pid \d+", first)
        assert row(browser, "pump-7").locator("td[data-label='Last heard'] time").count() == 1
        assert "copy, stores nothing" in row(browser, node.task).filter(has_text="Grace").inner_text()
        browser.get_by_role("link", name=node.task).first.click()
        assert browser.get_by_role("heading", level=1).inner_text() == node.task


def test_a_follower_that_is_behind_catches_up_without_a_reload(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag, task = f"{unique}/pump", unique[-60:]
    ada, udf = somebody("Ada"), somebody("pump-7", task, "score")
    first = ada.save(b"one", tag=tag)
    udf.used(tag, 1, first.id)
    browser.goto("/udfs")
    browser.evaluate("window.same = true")
    line = row(browser, f"{tag}@1")
    assert "current" in line.inner_text()
    second = ada.save(b"two", tag=tag)
    line.get_by_text("1 version behind @2").wait_for()
    udf.used(tag, 2, second.id)
    row(browser, f"{tag}@2").get_by_text("current").wait_for()
    ada.rollback(tag)
    row(browser, f"{tag}@2").get_by_text("1 version behind @3").wait_for()
    udf.used(tag, 3, first.id)
    row(browser, f"{tag}@3").get_by_text("current").wait_for()
    assert browser.evaluate("window.same")


def test_the_same_content_under_a_later_version_is_not_behind(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag = f"{unique}/pump"
    ada, udf = somebody("Ada"), somebody("pump-7", unique[-60:], "score")
    first = ada.save(b"one", tag=tag)
    udf.used(tag, 1, first.id)
    ada.save(b"two", tag=tag)
    ada.rollback(tag)
    browser.goto("/udfs")
    assert "content of @3" in row(browser, f"{tag}@1").inner_text()


def test_a_failed_load_is_shown_with_the_words_of_the_loader(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag, task = f"{unique}/pump", unique[-60:]
    ada, udf = somebody("Ada"), somebody("pump-7", task, "score")
    ada.save(b"good", tag=tag)

    def load(blob: OpenBlob) -> bytes:
        content = blob.read()
        if content == b"bad":
            raise ValueError(f"seven features, not five\n  {SCRIPT}")
        return content

    with udf.follow(tag, load) as followed:
        browser.goto("/udfs")
        ada.save(b"bad", tag=tag)
        shown = row(browser, f"{tag}@1")
        shown.get_by_text("failed on @2").wait_for()
        assert "seven features, not five" in shown.inner_text()
        failure = browser.locator("#failed li", has_text=f"{tag}@2")
        failure.wait_for()
        assert SCRIPT in failure.inner_text()
        assert followed.version == 1
        browser.goto(f"/tasks/{escape(task)}")
        model = browser.locator("#model-rows tr", has_text=f"{tag}@1").inner_text()
        assert "failed on @2" in model
        assert "seven features" in model
        browser.goto("/udfs")
        failure.get_by_role("link", name=f"Roll back {tag}").click()
        browser.get_by_role("button", name="Roll back to the content of @1").click()
        browser.goto("/udfs")
        browser.locator("#failed li", has_text=f"{tag}@2").wait_for(state="detached")


def test_connections_that_are_no_udf_are_shown_on_request(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    name = f"somebody of {unique[-40:]}"
    somebody(name)
    browser.goto("/udfs")
    assert row(browser, name).count() == 0
    browser.get_by_role("link", name="All connections").click()
    assert "client" in row(browser, name).inner_text()


def test_the_page_is_not_wider_than_a_phone(
    open_page: Callable[..., Any], somebody: Callable[..., Store], unique: str
) -> None:
    tag = f"{unique}/{'a-long-name-' * 5}"[:250]
    saved = somebody("Ada").save(b"one", tag=tag)
    somebody("pump-7", "t" * 128, "n" * 128).used(tag, 1, saved.id, error="x" * 500)
    page = open_page(viewport=PHONE)
    page.goto("/udfs")
    assert sideways(page) == 0
