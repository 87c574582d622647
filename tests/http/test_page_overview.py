"""The overview in a browser: what it shows, and that it keeps itself current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from udfstore import Store


def test_the_overview_tells_what_happened(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    somebody("Ada").save(b"one", tag=f"{unique}/pump", note="two weeks of readings")
    browser.goto("/")
    assert browser.title() == "Overview · udfstore"
    line = browser.locator("#feed li", has_text=f"{unique}/pump@1").first
    assert "Ada (claimed)" in line.inner_text()
    assert "two weeks of readings" in line.inner_text()
