"""The overview in a browser: what it shows, and that it keeps itself current."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser_kit import watched
from kit import ServerProcess, eventually

import udfstore
from udfstore import Store


def test_the_overview_tells_what_happened(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    somebody("Ada").save(b"one", tag=f"{unique}/pump", note="two weeks of readings")
    browser.goto("/")
    assert browser.title() == "Overview · udfstore"
    line = browser.locator("#feed li", has_text=f"{unique}/pump@1").first
    assert "Ada (claimed)" in line.inner_text()
    assert "two weeks of readings" in line.inner_text()


def test_what_storing_content_once_saves_is_counted(chromium: Any, folder: Path) -> None:
    with (
        ServerProcess(folder / "root", folder / "s", http="127.0.0.1:0") as server,  # type: ignore[arg-type]
        udfstore.connect(server.socket) as store,
    ):
        store.save(bytes(4096), tag="a")
        store.save(bytes(4096), tag="b")
        store.tag("c", "a")
        store.save(b"another", tag="c")
        store.rollback("c")
        link = store.web_link().url
        with watched(chromium, link.partition("/login")[0]) as page:
            page.goto(link)
            cards = {c.locator(".label").inner_text(): c.inner_text() for c in page.locator(".card").all()}
        assert "4.0 KiB" in cards["Stored"]
        assert "2 blobs" in cards["Stored"]
        saved = cards["Saved by storing content once"]
        assert "12.0 KiB" in saved
        assert re.search(r"since the server started, \d+ s ago, 1 of 3 saves brought what was there: 4.0 KiB", saved)
        assert "3\n" in cards["Tags"]


def test_a_disk_near_its_floor_stands_out(chromium: Any, folder: Path) -> None:
    for floor, kind in ("0", "card"), ("1000 TiB", "card bad"):
        with (
            ServerProcess(folder / "root", folder / "s", http="127.0.0.1:0", floor_bytes=floor) as server,  # type: ignore[arg-type]
            udfstore.connect(server.socket) as store,
        ):
            link = store.web_link().url
            with watched(chromium, link.partition("/login")[0]) as page:
                page.goto(link)
                assert page.locator(".card", has_text="Free on disk").get_attribute("class") == kind


def test_an_empty_store_says_how_to_begin(chromium: Any, folder: Path) -> None:
    with (
        ServerProcess(folder / "root", folder / "s", http="127.0.0.1:0") as server,  # type: ignore[arg-type]
        udfstore.connect(server.socket) as store,
    ):
        link = store.web_link().url
        with watched(chromium, link.partition("/login")[0]) as page:
            page.goto(link)
            assert "udfstore put FILE --tag models/NAME" in page.locator("#feed").inner_text()
            assert "No task has snapshots" in page.locator("#tasks").inner_text()
            page.goto("/tags")
            assert "udfstore put FILE --tag models/NAME" in page.locator("#tree").inner_text()


def test_a_follower_that_failed_is_counted(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    store.save(b"good", tag=tag)

    def load(blob: Any) -> bytes:
        if (content := blob.read()) != b"good":
            raise ValueError("not what was expected")
        return bytes(content)

    with somebody("pump-7", "a", "b").follow(tag, load):
        store.save(b"bad", tag=tag)
        eventually(lambda: any(use.error for use in store.uses(tag=tag)))
        browser.goto("/")
        browser.locator(".card.bad", has_text="failed to load it").wait_for()
