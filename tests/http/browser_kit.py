"""What tests of the web page share: a server with HTTP, browsers on it, and stores to fill it with.

`pages` is a server with HTTP that all tests share; take names below `unique`. `browser` is one page of a Chromium
that is logged in, and `anonymous` one that is not: both fail their test for an error in the console, for what the
Content-Security-Policy forbade, and for a request to any other place. `somebody` connects under a name.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit import ServerProcess

import udfstore
from udfstore import Claim, Place, Store

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

PHONE = {"width": 390, "height": 844}

needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no chromium is installed")

SCRIPT = "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"
"""What somebody plants who wants a page to do something."""


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with HTTP, for all tests."""
    folder = tmp_path_factory.mktemp("p")
    with ServerProcess(folder / "root", folder / "s", http="127.0.0.1:0") as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser, for the tests of a module: while it is there an event loop runs, and other tests need their own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, pages: ServerProcess) -> Iterator[Callable[..., Any]]:
    """Opens a page in a context of its own, logged in unless `anonymous`; further options are the context's."""
    with ExitStack() as stack:

        def opened(*, anonymous: bool = False, **options: Any) -> Any:
            link = login_link(pages)
            base = link.partition("/login")[0]
            page = stack.enter_context(watched(chromium, base, **options))
            if not anonymous:
                page.goto(link)
            return page

        yield opened


@pytest.fixture
def browser(open_page: Callable[..., Any]) -> Any:
    """A page that is logged in, at the overview."""
    return open_page()


@pytest.fixture
def anonymous(open_page: Callable[..., Any]) -> Any:
    """A page that is not logged in, and nowhere yet."""
    return open_page(anonymous=True)


@pytest.fixture
def somebody(pages: ServerProcess) -> Iterator[Callable[..., Store]]:
    """Connects to the server as whoever, at a node of a task."""
    with ExitStack() as stack:

        def connected(name: str = "Ada", task: str = "", node: str = "") -> Store:
            store = udfstore.connect(pages.socket, claim=Claim(person=name), place=Place(task, node))
            return stack.enter_context(store)

        yield connected


def login_link(server: ServerProcess, name: str = "Grace") -> str:
    """A link that logs a browser in."""
    with udfstore.connect(server.socket, claim=Claim(person=name)) as store:
        return store.web_link().url


@contextmanager
def watched(chromium: Any, base: str, **options: Any) -> Iterator[Any]:
    """A page in a context of its own, with everything that may not happen on any page held against it at the end.

    `page.expected` are patterns of console messages that belong to what a test does, such as an answer with 404.
    """
    wrong: list[str] = []
    context = chromium.new_context(base_url=base, **options)
    page = context.new_page()
    page.expected = []
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on(
        "console",
        lambda said: wrong.append(f"console: {said.text} {said.location['url']}") if said.type == "error" else None,
    )
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda asked: None if asked.url.startswith(f"{base}/") else wrong.append(f"request to {asked.url}")
    )
    page.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"
    )
    try:
        yield page
    finally:
        context.close()
    left = [what for what in wrong if not any(re.search(pattern, what) for pattern in page.expected)]
    assert not left, left


def sideways(page: Any) -> int:
    """By how many pixels the page is wider than its window: it must never scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def safetensors(tensors: dict[str, tuple[str, list[int], int]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of tensors by name: type, shape and bytes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)
