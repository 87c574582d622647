"""Who gets into the pages, and how they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from browser_kit import login_link
from kit import ServerProcess

import udfstore
from udfstore import Store

UNSEEN = r"status of 40[13]"
"""What a browser's console says to an answer that refuses."""


def test_a_link_logs_in_once(anonymous: Any, pages: ServerProcess) -> None:
    anonymous.expected.append(UNSEEN)
    link = login_link(pages, "Grace")
    anonymous.goto(link)
    assert anonymous.url == f"{link.partition('/login')[0]}/"
    assert "Grace" in anonymous.locator(".person").inner_text()
    anonymous.goto(link)
    assert anonymous.locator("h1").inner_text() == "This link does not work any more"
    assert "udfstore web" in anonymous.locator("main").inner_text()


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Any) -> None:
    (cookie,) = browser.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == ("udfstore", True, "Strict", "/")
    assert cookie["expires"] == -1
    assert browser.evaluate("document.cookie") == ""


@pytest.mark.parametrize("path", ["/", "/tags", "/tags/models/x", "/blobs/0123456789", "/no-such-page", "/tasks"])
def test_without_a_session_a_page_tells_how_to_get_in(anonymous: Any, path: str) -> None:
    anonymous.expected.append(UNSEEN)
    answer = anonymous.goto(path)
    assert answer.status == 401
    assert anonymous.locator("h1").inner_text() == "Log in"
    assert anonymous.locator("pre").inner_text().strip() == "udfstore web"
    assert not anonymous.locator("nav[aria-label=Parts]").count()


def test_programs_are_answered_in_their_own_form(pages: ServerProcess) -> None:
    base = login_link(pages).partition("/login")[0]
    refused = httpx.get(f"{base}/v1/tags", headers={"Accept": "text/html"})
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    assert httpx.get(f"{base}/tags").headers["content-type"] == "application/problem+json"
    page = httpx.get(f"{base}/tags", headers={"Accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_logging_out_ends_the_session(browser: Any) -> None:
    browser.expected.append(UNSEEN)
    (cookie,) = browser.context.cookies()
    browser.get_by_role("button", name="Log out").click()
    assert browser.locator("h1").inner_text() == "You are logged out"
    assert browser.context.cookies() == []
    browser.context.add_cookies([cookie])
    assert browser.goto("/").status == 401


def test_only_a_form_of_ours_changes_something(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    for content in (b"1", b"2"):
        store.save(content, tag=tag)
    fields = {"tag": tag, "to": "1", "expected": "2", "request": "0" * 32}
    for csrf in ({}, {"csrf": "wrong"}):
        answer = browser.request.post("/rollback", form=fields | csrf, headers={"Accept": "text/html"})
        assert answer.status == 403
        assert "reload the page" in answer.text()
    assert store.get_tag(tag).version == 2


def test_a_token_may_look_at_pages_but_not_use_forms(
    pages: ServerProcess, somebody: Callable[..., Store], unique: str
) -> None:
    store = somebody()
    store.save(b"1", tag=f"{unique}/x")
    store.save(b"2", tag=f"{unique}/x")
    secret = (pages.root / "http-token").read_text().strip()
    base = login_link(pages).partition("/login")[0]
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {secret}", "Accept": "text/html"}) as client:
        page = client.get(f"/tags/{unique}/x")
        assert page.status_code == 200
        assert "Back to this" not in page.text
        refused = client.post("/rollback", content="tag=x")
        assert refused.status_code == 403
        assert "browsers that are logged in" in refused.text


def test_static_files_are_kept_by_their_content(anonymous: Any) -> None:
    anonymous.expected.append(UNSEEN)
    anonymous.goto("/")
    style = anonymous.locator("link[rel=stylesheet]").get_attribute("href")
    answer = anonymous.request.get(style)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert anonymous.request.get("/static/style.000000000000.css").status == 404
    assert anonymous.request.get("/static/..%2F__init__.py").status in (400, 404)


def test_over_a_proxy_with_https_the_cookie_is_for_https(folder: Any) -> None:
    with (
        ServerProcess(  # type: ignore[arg-type]
            folder / "root", folder / "s", http=f"unix:{folder}/h", http_url="https://localhost"
        ) as server,
        httpx.Client(transport=httpx.HTTPTransport(uds=f"{folder}/h"), base_url="http://localhost") as client,
        udfstore.connect(server.socket) as store,
    ):
        for proto, secure in (("https", True), ("http", False)):
            code = store.web_link().url.partition("/login")[2]
            answer = client.get(f"/login{code}", headers={"X-Forwarded-Proto": proto})
            assert ("Secure" in answer.headers["set-cookie"]) is secure
