"""A blob in a browser: what is shown of its content, and that the content itself is only ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from browser_kit import SCRIPT, safetensors

from udfstore import Store


def text(page: Any, selector: str = "main") -> str:
    return " ".join(page.locator(selector).first.inner_text().split())


def test_what_names_and_keeps_it_is_told(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store = somebody("Ada")
    needed = store.save(f"needed {unique}".encode())
    saved = store.save(f"content {unique}".encode(), tag=f"{unique}/x", note="first", links=[needed.id])
    store.tag(f"{unique}/y", f"{unique}/x")
    store.save(b"other", tag=f"{unique}/x")
    browser.goto(f"/blobs/{saved.id.hex[:10]}")
    assert browser.url.endswith(f"/blobs/{saved.id}")
    assert f"{saved.size:,} bytes" in text(browser)
    assert "1 tag now, 1 older version, 0 links" in text(browser)
    named = text(browser, "section[aria-labelledby=named] tbody")
    assert f"{unique}/y@1 now" in named
    assert f"{unique}/x@1" in named
    assert "Ada (claimed) first" in named
    browser.goto(f"/blobs/{needed.id}")
    assert f"{unique}/x@1" in text(browser, "section[aria-labelledby=linked] tbody")


def test_the_first_bytes_stand_there_in_hex(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    content = b"\x00<b>&\xff" + unique.encode() + bytes(600)
    saved = somebody().save(content, tag=f"{unique}/x")
    browser.goto(f"/blobs/{saved.id}")
    lines = browser.locator("pre.hex").inner_text().splitlines()
    assert lines[0].startswith("00000000  00 3c 62 3e 26 ff")
    assert lines[0].split("  ")[-1].startswith("·<b>&·")
    assert len(lines) == 32


def test_an_empty_blob_is_shown(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    saved = somebody().save(b"", tag=f"{unique}/x")
    browser.goto(f"/blobs/{saved.id}")
    assert "It is empty." in text(browser)


def test_the_header_of_safetensors_is_shown_as_text(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    tensors = {f"layer.{number}": ("F32", [2, 3], 24) for number in range(250)}
    content = safetensors({SCRIPT: ("BF16", [7], 14), **tensors}, {"format": "pt", "told": SCRIPT, "by": unique})
    saved = somebody().save(content, tag=f"{unique}/x")
    browser.goto(f"/blobs/{saved.id}")
    section = browser.locator("section[aria-labelledby=tensors]")
    assert "251 tensors" in section.inner_text()
    assert "and 51 more tensors" in section.inner_text()
    first = " ".join(section.locator("tbody tr").first.inner_text().split())
    assert first == f"{SCRIPT} BF16 7 14 B"
    assert section.locator("tbody tr").count() == 200
    assert browser.title() != "taken over"


def test_a_header_that_lies_is_told_and_nothing_more(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    saved = somebody().save((100).to_bytes(8, "little") + b"{" + unique.encode() + bytes(200), tag=f"{unique}/x")
    browser.goto(f"/blobs/{saved.id}")
    assert "its header cannot be shown: it is not JSON" in text(browser)


def test_content_is_only_ever_downloaded(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    content = f"<html>{SCRIPT}{unique}</html>".encode() + os.urandom(3000)
    saved = somebody().save(content, tag=f"{unique}/page.html")
    browser.goto(f"/blobs/{saved.id}")
    with browser.expect_download() as downloading:
        browser.locator("a[download]").click()
    assert downloading.value.path().read_bytes() == content
    answer = browser.request.get(f"/v1/blobs/{saved.id}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_of_what_is_gone_the_history_is_shown(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    browser.expected.append("status of 410")
    store = somebody("Ada")
    saved = store.save(f"gone {unique}".encode(), tag=f"{unique}/x", note="the first one")
    store.save(b"next", tag=f"{unique}/x")
    store.delete(saved.id)
    assert browser.goto(f"/blobs/{saved.id}").status == 410
    assert "Its history remains" in text(browser)
    assert "the first one" in text(browser, "section[aria-labelledby=named]")
    assert not browser.locator("a[download]").count()
    browser.goto(f"/tags/{unique}/x")
    assert "gone" in text(browser, "#v1")
    assert not browser.get_by_role("link", name=f"Back to {unique}/x@1").count()


def test_what_is_no_blob_is_told(browser: Any) -> None:
    browser.expected.append("status of 40")
    assert browser.goto(f"/blobs/{'0' * 64}").status == 404
    assert browser.goto("/blobs/0123").status == 400
    assert "not a blob ID" in text(browser)
