"""Pages keep themselves current, work without script, by keyboard and on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from browser_kit import PHONE, login_link, sideways, watched
from kit import ServerProcess

from udfstore import Store


def text(page: Any, selector: str = "main") -> str:
    return " ".join(page.locator(selector).first.inner_text().split())


def test_what_another_client_does_appears_without_a_reload(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody("Ada"), f"{unique}/x"
    store.save(b"one", tag=tag)
    browser.goto(f"/tags/{tag}")
    browser.locator(".connection", has_text="live").wait_for()
    browser.evaluate("window.stayed = true")
    browser.locator("#v1 a.ref").focus()
    store.save(b"two", tag=tag, note="while you look")
    browser.locator("#v2", has_text="while you look").wait_for()
    assert "Now: version 2" not in text(browser, "#v1")
    assert "while you look" in text(browser, "#newest")
    assert browser.evaluate("window.stayed")
    assert browser.evaluate("document.activeElement.closest('tr').id") == "v1"
    store.tag(tag, f"{tag}@1")
    browser.locator("#v3").wait_for()


def test_what_names_the_present_version_moves_with_the_tag(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody("Ada"), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.save(b"two", tag=tag)
    browser.goto(f"/tags/{tag}")
    browser.locator(".connection", has_text="live").wait_for()
    revision = text(browser, "#revision")
    browser.get_by_role("link", name="Roll back to the version before").focus()
    store.save(b"three", tag=tag)
    browser.locator("#v3").wait_for()
    assert text(browser, "#now") == "Now: version 3"
    button = browser.get_by_role("link", name="Roll back to the version before")
    assert "suspect=3" in button.get_attribute("href")
    assert button.evaluate("button => button === document.activeElement")
    assert text(browser, "#revision") != revision


def test_a_version_that_is_replaced_while_you_look_says_so(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody("Ada"), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.save(b"two", tag=tag)
    browser.goto(f"/tags/{tag}@2")
    browser.locator(".connection", has_text="live").wait_for()
    assert "this is what the tag has now" in text(browser, "section[aria-labelledby=asked]")
    store.rollback(tag)
    browser.locator("#v3").wait_for()
    assert "rolled back" in text(browser, "section[aria-labelledby=asked]")
    assert not browser.get_by_role("link", name="Roll back").count()


def test_a_page_that_shows_nothing_live_follows_nothing(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag = f"{unique}/x"
    somebody().save(b"one", tag=tag)
    somebody().save(b"two", tag=tag)
    asked: list[Any] = []
    browser.on("request", lambda request: asked.append(request))
    browser.goto(f"/rollback?tag={tag}")
    browser.goto(f"/tags/{tag}")
    browser.locator(".connection", has_text="live").wait_for()
    following = [request.headers.get("referer", "") for request in asked if "/v1/events" in request.url]
    assert any("/tags/" in page for page in following)
    assert not any("/rollback" in page for page in following)


def test_the_overview_follows(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    browser.goto("/")
    browser.locator(".connection", has_text="live").wait_for()
    browser.get_by_label("What the alert says").fill("half typed")
    somebody("Ada").save(b"one", tag=f"{unique}/x", note="while you type")
    line = browser.locator("#feed li", has_text=f"{unique}/x@1")
    line.wait_for()
    assert "Ada (claimed)" in line.inner_text()
    assert browser.get_by_label("What the alert says").input_value() == "half typed"
    assert browser.evaluate("document.activeElement.id") == "which-text"


def test_what_is_chosen_in_a_list_stays_chosen(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    for content in (b"1", b"2", b"3"):
        store.save(content, tag=tag)
    browser.goto(f"/tags/{tag}")
    browser.locator(".connection", has_text="live").wait_for()
    browser.get_by_label(f"Compare {tag}@1 as A").check()
    browser.locator("h1").click()
    store.save(b"4", tag=tag, note="newest of all")
    browser.locator("#newest", has_text="newest of all").wait_for()
    assert browser.get_by_label(f"Compare {tag}@1 as A").is_checked()


def test_what_is_selected_to_be_copied_stays_selected(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    store.save(b"1", tag=tag)
    browser.goto(f"/tags/{tag}")
    browser.locator(".connection", has_text="live").wait_for()
    browser.locator("#newest .mono").first.select_text()
    chosen = browser.evaluate("getSelection().toString()")
    store.save(b"2", tag=tag)
    browser.locator("#v2").wait_for()
    assert browser.evaluate("getSelection().toString()") == chosen


def test_folders_that_were_closed_stay_closed(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store = somebody()
    store.save(b"1", tag=f"{unique}/one/x")
    store.save(b"1", tag=f"{unique}/two/x")
    browser.goto(f"/tags?under={unique}/")
    browser.locator(".connection", has_text="live").wait_for()
    browser.locator("summary", has_text="one/").click()
    store.save(b"2", tag=f"{unique}/two/x", note="second")
    browser.locator(".leaf", has_text="second").wait_for()
    assert [d.get_attribute("open") is not None for d in browser.locator(".tree details").all()] == [False, True]


def test_a_lost_connection_is_told_and_found_again(chromium: Any, folder: Any) -> None:
    with ServerProcess(folder / "root", folder / "s", http="127.0.0.1:0") as server:  # type: ignore[arg-type]
        link = login_link(server)
        base = link.partition("/login")[0]
        with watched(chromium, base) as page:
            page.expected += ["ERR_", "status of 401"]
            page.goto(link)
            page.locator(".connection", has_text="live").wait_for()
            server.kill()
            page.locator(".connection.lost", has_text="connection lost").wait_for()
            again = ServerProcess(server.root, server.socket, http=base.removeprefix("http://"))  # type: ignore[arg-type]
            with again:
                # Sessions end with the server: the page says so instead of waiting for ever.
                page.get_by_role("link", name="log in again").wait_for()
                page.goto(login_link(again))
                page.locator(".connection", has_text="live").wait_for()


def test_everything_works_without_script(
    open_page: Callable[..., Any], somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.save(b"two", tag=tag)
    page = open_page(java_script_enabled=False)
    page.get_by_label("What the alert says").fill(f"{tag}@2")
    page.get_by_role("button", name="Find it").click()
    page.get_by_role("link", name="Roll back to the version before").click()
    page.get_by_role("button", name="Roll back to the content of @1").click()
    assert f"{tag}@3 was made" in text(page, ".notice.ok")
    page.get_by_role("button", name="Log out").click()
    assert page.locator("h1").inner_text() == "You are logged out"


def test_a_rollback_by_keyboard_alone(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.save(b"two", tag=tag)
    keys = browser.keyboard

    def tab_to(name: str) -> None:
        for _ in range(60):
            keys.press("Tab")
            said = browser.evaluate(
                "(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)"
                "(document.activeElement).trim()"
            )
            if said.startswith(name):
                outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", f"no focus to be seen on {name}"
                return
        raise AssertionError(f"{name} is not reached")

    browser.goto("/")
    keys.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert browser.locator(".skip").bounding_box()["y"] >= 0
    keys.press("Enter")
    tab_to("What the alert says")
    keys.type(f"{tag}@2")
    keys.press("Enter")
    browser.wait_for_url(lambda url: url.endswith(f"/tags/{tag}@2"))
    tab_to("Roll back to the version before")
    keys.press("Enter")
    browser.wait_for_url(lambda url: "/rollback" in url)
    tab_to("Why?")
    keys.type("by keyboard")
    tab_to("Roll back to the content of @1")
    keys.press("Enter")
    browser.wait_for_url(lambda url: "made=3" in url)
    assert store.get_tag(tag).note == "by keyboard"


@pytest.mark.parametrize("options", [{"viewport": PHONE}, {"viewport": {"width": 360, "height": 640}}, {}])
def test_no_page_scrolls_sideways(
    open_page: Callable[..., Any], somebody: Callable[..., Store], unique: str, options: dict[str, Any]
) -> None:
    store = somebody("A person with quite a long name who claims it")
    tag = f"{unique[:150]}/{'a-very-long-name-of-a-model' * 3}"
    wide = {"labels": {"w" * 60: "v" * 200}, "note": "n" * 400}
    saved = store.save(b"one", tag=tag, **wide)
    store.save(b"two" + bytes(2000), tag=tag, **wide)
    page = open_page(**options)
    page.expected.append("status of 404")
    for path in (
        "/",
        f"/tags?under={unique[:150]}/",
        f"/tags/{tag}@1",
        f"/rollback?tag={tag}",
        f"/compare?a={tag}@1&b={tag}@2",
        f"/blobs/{saved.id}",
        f"/find?q={'a' * 300}",
        "/tags/no/such",
        "/login",
    ):
        page.goto(path)
        assert sideways(page) == 0, path


def test_headings_are_in_order_and_fields_have_labels(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    saved = store.save(b"one", tag=tag, labels={"a": "b"})
    store.save(b"two", tag=tag)
    for path in ("/", "/tags", f"/tags/{tag}@2", f"/rollback?tag={tag}", f"/compare?a={tag}@1&b={tag}@2",
                 f"/blobs/{saved.id}", "/find?q="):  # fmt: skip
        browser.goto(path)
        levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(later - sooner <= 1 for sooner, later in pairwise(levels)), path
        unlabelled = browser.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]),select,textarea')]"
            ".filter(f => !f.labels.length && !f.ariaLabel).map(f => f.outerHTML)"
        )
        assert unlabelled == [], path
        assert browser.evaluate("[...document.querySelectorAll('[id]')].length") == browser.evaluate(
            "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
        ), path
        assert browser.locator("[style]").count() == 0, path


def test_times_are_shown_in_the_zone_of_whoever_looks(
    open_page: Callable[..., Any], somebody: Callable[..., Store], unique: str
) -> None:
    entry = somebody().save(b"one", tag=f"{unique}/x").entry
    assert entry is not None
    page = open_page(timezone_id="Asia/Tokyo")
    page.goto(f"/tags/{unique}/x")
    shown = page.locator("#v1 time.when").inner_text()
    assert shown == f"{entry.time.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M:%S}"
    assert f"{entry.time:%Y-%m-%d %H:%M:%S} UTC" in page.locator("#v1 time.when").get_attribute("title")
