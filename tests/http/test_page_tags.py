"""From an alert to the model, and back to the one before; clicked through in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browser_kit import SCRIPT, sideways
from kit import ServerProcess

from udfstore import Node, Store


def versions(store: Store, tag: str) -> None:
    """Three versions of a model."""
    store.save(b"one", tag=tag, note="two weeks of readings", labels={"recall": "0.91"})
    store.save(b"two!", tag=tag, note="lighter", labels={"recall": "0.89", "only": "here"})
    store.save(b"three", tag=tag, note="weekly")


def run_task(somebody: Callable[..., Store], task: str, tag: str) -> None:
    """A node uses the version that there is, and leaves a snapshot."""
    store = somebody("pump-7", task, "score")
    with (
        store.follow(tag, lambda blob: blob.read()),
        store.join(Node(task, "score"), snapshot=lambda: tag.encode(), restore=len),
    ):
        pass


def text(page: Any, selector: str = "main") -> str:
    return " ".join(page.locator(selector).first.inner_text().split())


def test_from_the_line_of_an_alert_to_the_version_and_back(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag, task = f"{unique}/pump", f"water {unique[-60:]}"
    ada = somebody("Ada")
    ada.save(b"one", tag=tag, note="two weeks of readings")
    run_task(somebody, task, tag)
    ada.save(b"two", tag=tag, note="lighter: looks at the flow alone")
    run_task(somebody, task, tag)

    browser.get_by_label("What the alert says").fill(f"water,model={tag}@2,pipe=main flow=104.1,score=6.97 16527312000")
    browser.get_by_role("button", name="Find it").click()
    assert browser.url.endswith(f"/tags/{tag}@2")
    asked = text(browser, "section[aria-labelledby=asked]")
    assert "this is what the tag has now" in asked
    assert "Ada (claimed)" in asked
    assert "lighter: looks at the flow alone" in asked
    assert f"{task} / score" in asked

    browser.get_by_role("link", name="Roll back to the version before").click()
    assert "Then: version 3, the content of version 1" in text(browser)
    browser.get_by_label("Why?").fill("false alarms since the evening")
    browser.get_by_label(re.compile(f"{re.escape(task)} from snapshot 1")).check()
    browser.get_by_role("button", name="Roll back to the content of @1").click()

    done = text(browser, ".notice.ok")
    assert f"{tag}@3 was made" in done
    assert "by Grace (claimed): the content of version 1 again" in done
    assert f"{task} starts from the snapshot 1" in done
    store = somebody()
    entry = store.get_tag(tag)
    assert (entry.version, entry.origin, entry.note) == (3, 1, "false alarms since the evening")
    assert str(entry.author) == "Grace (claimed)"
    found = next(told for told in store.tasks() if told.name == task)
    assert found.chosen == store.snapshot(task, 1).id

    browser.get_by_role("link", name="Undo: back to @2").click()
    browser.get_by_role("button", name="Roll back to the content of @2").click()
    assert store.load(tag) == b"two"
    assert store.get_tag(tag).version == 4


def test_a_version_that_was_rolled_back_since_says_so(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    versions(store, tag)
    store.rollback(tag, note="@3 suspected")
    browser.goto(f"/tags/{tag}@3")
    assert "rolled back" in text(browser, "section[aria-labelledby=asked]")
    assert not browser.get_by_role("link", name=re.compile("^Roll back")).count()
    browser.goto(f"/rollback?tag={tag}&suspect=3")
    assert "there is nothing to roll back" in text(browser)
    assert not browser.get_by_role("button", name=re.compile("^Roll back")).count()


def test_a_held_tag_says_so_and_has_no_button(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody("Ada"), f"{unique}/x"
    versions(store, tag)
    store.hold(tag, "the inspector looks at it")
    browser.goto(f"/tags?under={unique}/")
    assert "held the inspector looks at it" in text(browser, "#tree")
    for address in (f"/tags/{tag}", f"/tags/{tag}@2"):
        browser.goto(address)
        told = text(browser, "#newest")
        assert "Ada (claimed)" in told
        assert "held the inspector looks at it" in told
        assert f"udfstore release {tag}" in told
        assert not browser.get_by_role("link", name=re.compile("^(Roll b|B)ack to")).count()
    browser.goto(f"/rollback?tag={tag}")
    assert "The tag is held" in text(browser)
    assert not browser.get_by_role("button", name=re.compile("^Roll back")).count()
    store.release(tag)
    browser.goto(f"/tags/{tag}")
    assert browser.get_by_role("link", name="Roll back to the version before").count() == 1


def test_an_alert_about_a_version_that_was_made_by_a_rollback_leads_to_the_button(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    versions(store, tag)
    store.rollback(tag)
    store.rollback(tag, to=3)
    browser.goto(f"/tags/{tag}@5")
    assert "this is what the tag has now" in text(browser, "section[aria-labelledby=asked]")
    button = browser.get_by_role("link", name="Roll back to the version before")
    assert "suspect=5" in button.get_attribute("href")
    button.click()
    assert "Then: version 6, the content of version 2" in text(browser)


@pytest.mark.parametrize("asked", ["", "@1", "@2", "@3"])
def test_no_button_leads_to_where_there_is_nothing_to_go_back_to(
    browser: Any, somebody: Callable[..., Store], unique: str, asked: str
) -> None:
    browser.expected.append("status of 404")
    store, tag = somebody(), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.save(b"two", tag=tag)
    store.rollback(tag)
    browser.goto(f"/tags/{tag}{asked}")
    assert not browser.get_by_role("link", name=re.compile("^Roll back")).count()
    assert browser.goto(f"/rollback?tag={tag}").status == 404
    assert "has no version before" in text(browser)
    browser.get_by_role("link", name="Choose another version").click()
    assert browser.url.endswith(f"/tags/{tag}")


def test_a_version_that_somebody_put_right_by_hand_has_no_button(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    for content in (b"one", b"two", b"one"):
        store.save(content, tag=tag)
    browser.goto(f"/tags/{tag}@2")
    assert not browser.get_by_role("link", name=re.compile("^Roll back")).count()
    browser.goto(f"/tags/{tag}")
    assert browser.get_by_role("link", name="Roll back to the version before").count() == 1


def test_the_name_of_a_label_stays_whole_beside_a_long_value(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag = f"{unique}/x"
    somebody().save(b"one", tag=tag, labels={"data": "v" * 200, "a b": "w" * 200})
    browser.goto(f"/tags/{tag}")
    for key in browser.locator("#v1 .labels .key").all():
        assert key.evaluate("key => key.offsetHeight < 2 * parseFloat(getComputedStyle(key).lineHeight)")


def test_what_nobody_was_in_use_from_before_cannot_be_ticked(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag, task = f"{unique}/x", f"task {unique[-60:]}"
    somebody().save(b"one", tag=tag)
    somebody().save(b"two", tag=tag)
    run_task(somebody, task, tag)
    browser.goto(f"/rollback?tag={tag}")
    assert f"{task}: no snapshot is kept from before" in text(browser)
    assert browser.locator("input[name=state]").count() == 0


def test_two_people_do_not_step_on_each_other(
    open_page: Callable[..., Any], somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody("Ada"), f"{unique}/x"
    versions(store, tag)
    mine = open_page()
    mine.expected.append("status of 409")
    mine.goto(f"/rollback?tag={tag}&to=1")
    store.rollback(tag, to=2, note="I was faster")
    mine.get_by_role("button", name="Roll back to the content of @1").click()
    assert mine.locator("h1").inner_text() == "Somebody was faster"
    now = text(mine, "section[aria-labelledby=now]")
    assert f"{tag}@4" in now
    assert "Ada (claimed)" in now
    assert "I was faster" in now
    assert store.get_tag(tag).version == 4
    mine.get_by_role("link", name="Roll back to @1 all the same").click()
    mine.get_by_role("button", name="Roll back to the content of @1").click()
    assert store.get_tag(tag).version == 5


def test_a_form_that_is_sent_twice_changes_things_once(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    store, tag = somebody(), f"{unique}/x"
    versions(store, tag)
    browser.goto(f"/rollback?tag={tag}")
    hidden = browser.locator("form[action='/rollback'] input[type=hidden]")
    fields = {field.get_attribute("name"): field.get_attribute("value") for field in hidden.all()}
    for _ in range(2):
        answer = browser.request.post("/rollback", form=fields)
        assert answer.url.endswith(f"/tags/{tag}?made=4")
    assert store.get_tag(tag).version == 4


def test_a_state_that_cannot_be_had_is_told_though_the_model_is_back(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    browser.expected.append("status of 409")
    store, tag, task = somebody(), f"{unique}/x", f"task {unique[-60:]}"
    store.save(b"one", tag=tag)
    run_task(somebody, task, tag)
    store.save(b"two", tag=tag)
    run_task(somebody, task, tag)
    browser.goto(f"/rollback?tag={tag}")
    browser.get_by_label(re.compile(f"{re.escape(task)} from snapshot 1")).check()
    store.delete_snapshots(task, [1])
    browser.get_by_role("button", name="Roll back to the content of @1").click()
    assert browser.locator("h1").inner_text() == "The model is back; a state is not"
    assert "no snapshot of the task" in text(browser, ".notice.bad")
    assert store.get_tag(tag).version == 3


def test_what_an_address_says_was_made_is_shown_as_the_store_has_it(
    browser: Any, somebody: Callable[..., Store], unique: str
) -> None:
    tag = f"{unique}/x"
    versions(somebody("Ada"), tag)
    browser.goto(f"/tags/{tag}?made=2&state=no-such-task")
    told = text(browser, ".notice.ok")
    assert f"{tag}@2 was made" in told
    assert "Ada (claimed)" in told
    assert "The tag has moved again since" in told
    assert "no-such-task" not in told
    browser.goto(f"/tags/{tag}?made=99")
    assert not browser.locator(".notice").count()


def test_two_versions_are_compared(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    tag = f"{unique}/x"
    versions(somebody(), tag)
    browser.goto(f"/tags/{tag}")
    browser.get_by_label(f"Compare {tag}@1 as A").check()
    browser.get_by_label(f"Compare {tag}@2 as B").check()
    browser.get_by_role("button", name="Compare A with B").click()
    assert "Their contents differ: 3 and 4 bytes." in text(browser)
    rows = [" ".join(row.inner_text().split()) for row in browser.locator("tbody tr").all()]
    assert rows == ["only \N{EN DASH} here only in B", "recall 0.91 0.89 differs"]


def test_the_tree_has_folders_and_leads_to_a_tag(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store = somebody()
    for name in ("deep/er/one", "deep/two"):
        store.save(name.encode(), tag=f"{unique}/{name}", note=f"note of {name}")
    browser.goto(f"/tags?under={unique}/")
    assert [summary.inner_text() for summary in browser.locator("summary").all()] == ["deep/", "er/"]
    assert "note of deep/two" in text(browser, ".tree")
    browser.get_by_role("link", name="two@1").click()
    assert browser.locator("h1").inner_text() == f"{unique}/deep/two"
    browser.get_by_role("link", name="deep", exact=True).click()
    assert browser.locator("h1").inner_text() == f"{unique}/deep/"


def test_a_long_history_comes_in_parts(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    ids = [store.save(content).id for content in (b"a", b"b")]
    for number in range(130):
        store.tag(tag, ids[number % 2])
    browser.goto(f"/tags/{tag}")
    assert browser.locator("tbody tr[id]").count() == 100
    browser.get_by_role("link", name="Older versions").click()
    browser.locator("tbody tr[id]").nth(29).wait_for()
    assert browser.locator("tbody tr[id]").count() == 30
    browser.goto(f"/tags/{tag}@5")
    assert browser.locator("tr.marked th a.ref").inner_text() == "@5"


def test_a_deleted_tag_is_found_and_brought_back(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    store, tag = somebody(), f"{unique}/x"
    store.save(b"one", tag=tag)
    store.untag(tag, note="of no use")
    browser.goto(f"/find?q={tag}")
    assert browser.url.endswith(f"/tags/{tag}")
    assert "the tag was deleted; a rollback brings it back" in text(browser)
    browser.get_by_role("link", name="Roll back to the version before").click()
    browser.get_by_role("button", name="Roll back to the content of @1").click()
    assert store.load(tag) == b"one"


def test_what_is_not_there_is_told(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    browser.expected.append("status of 4")
    tag = f"{unique}/x"
    somebody().save(b"one", tag=tag)
    for path, status, says in (
        ("/tags/no/such", 404, "there is no tag no/such"),
        (f"/tags/{tag}@9", 404, "has no version 9"),
        ("/tags/..%2f..%2fetc", 400, "not a tag"),
        (f"/rollback?tag={tag}", 404, "has no version before"),
        (f"/compare?a={tag}@1&b=nothing", 404, "there is no tag nothing"),
        ("/compare", 400, "a: Field required"),
        ("/nowhere", 404, "there is nothing at this address"),
    ):
        assert browser.goto(path).status == status
        assert says in text(browser), path


@pytest.mark.parametrize("kind", ["tag", "piece", "id", "short", "task"])
def test_the_search_leads_from_any_name_to_its_page(
    browser: Any, somebody: Callable[..., Store], unique: str, kind: str
) -> None:
    tag, task = f"{unique}/needle-{kind}", f"pumps & <valves> {unique[-60:]}"
    saved = somebody().save(unique.encode(), tag=tag)
    if kind == "task":
        run_task(somebody, task, tag)
    said, path = {
        "tag": (f"model: {tag}.", f"/tags/{tag}"),
        "piece": (f"needle-{kind}", f"/tags/{tag}"),
        "id": (str(saved.id), f"/blobs/{saved.id}"),
        "short": (saved.id.hex[:12], f"/blobs/{saved.id}"),
        "task": (task, "/tasks/pumps~20~26~20~3cvalves~3e~20"),
    }[kind]
    browser.goto("/tags")
    browser.get_by_label("Find a tag, a version, an ID or a task").fill(said)
    browser.keyboard.press("Enter")
    browser.wait_for_url(lambda url: path in url)


def test_what_is_planted_stays_text(
    open_page: Callable[..., Any], pages: ServerProcess, somebody: Callable[..., Store], unique: str
) -> None:
    tag, task = f"{unique}/x", f"<script>alert(1)</script>{unique[-50:]}"
    evil = somebody(SCRIPT)
    evil.save(b"one", tag=tag, note=SCRIPT, labels={SCRIPT[:60]: SCRIPT})
    evil.save(SCRIPT.encode(), tag=tag, note=f"{SCRIPT} again")
    run_task(somebody, task, tag)
    page = open_page()
    page.expected.append("status of 404")
    for path in (
        "/",
        f"/tags?under={unique}/",
        f"/tags/{tag}@2",
        f"/rollback?tag={tag}",
        f"/compare?a={tag}@1&b={tag}@2",
        f"/blobs/{evil.get_tag(tag).id}",
        "/find?q=%3Cscript%3Ealert(1)%3C/script%3Enothing",
    ):
        page.goto(path)
        assert page.title() != "taken over", path
        assert page.locator("main script, main img, [onerror]").count() == 0, path
        shown = page.locator("main").inner_html()
        assert "&lt;script&gt;" in shown, path
    assert sideways(page) == 0


def test_a_tag_of_snapshots_has_no_rollback(browser: Any, somebody: Callable[..., Store], unique: str) -> None:
    tag, task = f"{unique}/x", f"t-{unique[-40:]}"
    somebody().save(b"one", tag=tag)
    run_task(somebody, task, tag)
    run_task(somebody, task, tag)
    (auto,) = (entry.tag for entry in somebody().tags(f"snapshots/{task}/") if entry.tag.endswith("/auto"))
    assert browser.goto(f"/tags/{auto}").status == 200
    assert not browser.get_by_role("link", name=re.compile("^(Roll back|Back to)")).count()
