"""Clients of every kind at one server, for as long as you like, with kills, restarts and collections in between.

For two fifths of the time the server is killed or stopped every few seconds, and after each start all that was
acknowledged is looked for. From then on it lives to the end, and when the clients are gone it holds no more than at its
start.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import udfstore
from tests.bench.machine import describe
from tests.kit import SECONDS, ServerProcess
from tests.soak.book import RULE, Book
from tests.soak.clients import CLIENTS, Client, Place
from tests.soak.report import FORMAT, as_table
from tests.soak.samples import CATALOG_MOST, Growth, Sample, count
from udfstore.admin import Finding
from udfstore.store.store import ELSEWHERE, HASHING

FOLDER = ".soak"
PACE_SECONDS = 0.02
"""Between two steps of a client: there is more to be seen of it in many lives than in many calls."""

KILLS_UNTIL = 0.4
"""Of the whole time."""

STEPS = (40, 160)
"""Of all clients together, between two of the things that happen to them: some seconds."""

OPTIONS: dict[str, float | str] = {
    "retention": RULE,
    "trash_grace_s": 5,
    "upload_expiry_s": 5,
    "scrub_days": 1e-9,  # everything is due at each start
    "scrub_bytes": "2MiB",
}

POOLS = HASHING + ELSEWHERE + 1
"""Threads of the store's pools (the last one removes files): each is made when it is first needed, and stays."""

ENDS = ("kill -9", "stop")
"""What ends a life of the server."""

TELL_SECONDS = 10.0
HOUR = 3600.0


class Soak:
    """One server, its clients, and what happened."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.seconds = seconds
        self.place = Place(folder)
        self.server = ServerProcess(self.place.root, self.place.socket, http=f"unix:{self.place.http}", **OPTIONS)
        self.books = {name: Book(name) for name in CLIENTS}
        self._writers = [book for name, book in self.books.items() if name != "operator"]
        """All but who looks at everything, and takes longer for it than others should wait."""
        self.steps: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self.ends: dict[str, Sample] = {}
        """The server when its longest life began, and at the end of that, with nobody there."""
        self._own: list[tuple[int, int]] = []
        """Descriptors and threads of this process without clients, at first and in the end."""
        self._chance = random.Random(0)
        self._began = self._told = time.monotonic()
        self._stop = threading.Event()
        self._stirred = threading.Condition()
        self._failed: list[BaseException] = []

    @property
    def passed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    # --- the course of it ---

    def run(self) -> None:
        """All of it. Raises `AssertionError`, and whatever a client met, when something is not as it should be."""
        with self.server:
            self._own.append(_own())
            with self._shift():
                self._until(KILLS_UNTIL, (self._kill, self._restart, self._collect))
            self._restart()
            self.ends["started"] = self.look()
            with self._shift():
                self._until(1, (self._collect,))
            self._come(self._settled)
            self.ends["idle"] = self.look()
            self._own.append(_own())
            self._judge()
            self._end()

    def _until(self, part: float, events: Sequence[Callable[[], object]]) -> None:
        """Let things happen in turn, each at least once, until a part of the time is over."""
        for number, event in enumerate(cycle(events)):
            if number >= len(events) and self.passed >= part * self.seconds:
                return
            self._go_on(self._chance.randint(*STEPS))
            self.sample()
            event()

    def _go_on(self, steps: int) -> None:
        """Return after so many more steps of the clients."""
        with self._stirred:
            goal = self.steps.total() + steps
            come = self._stirred.wait_for(lambda: self.steps.total() >= goal or self._failed, 2 * SECONDS)
        if self._failed:
            raise self._failed[0]
        assert come, f"the clients stand still: {dict(self.steps)}"

    def _kill(self) -> None:
        self.happened["kill -9"] += 1
        self.server.restart()
        self.check(pages=1)

    def _restart(self) -> None:
        self.happened["stop"] += 1
        assert self.server.stop() == 0, "the server did not stop as it should"
        self.server.start()
        self.check(pages=1)

    def _collect(self) -> None:
        """Remove at once what nothing keeps, while everybody goes on."""
        self.happened["gc --grace 0"] += 1
        self._all_books(lambda book: book.collect(True))
        with udfstore.connect(self.place.socket) as store:
            self.happened["removed"] += sum(1 for _ in store.collect(grace=0, now=self._chance.random() < 0.5))
        self._all_books(lambda book: book.collect(False))

    def _all_books(self, do: Callable[[Book], object]) -> None:
        for book in self._writers:
            with book.lock:
                do(book)

    def check(self, pages: int) -> None:
        """Nobody is at work: all that was acknowledged, in that many tags of each client, is there."""
        with ExitStack() as stack, udfstore.connect(self.place.socket) as store:
            for book in self._writers:
                stack.enter_context(book.lock)
            self._empty("staging")
            for book in self._writers:
                book.check(self.place.root, store, pages)

    # --- the clients ---

    @contextmanager
    def _shift(self) -> Iterator[None]:
        """The clients are at work while it is open."""
        self._stop.clear()
        threads = [threading.Thread(target=self._work, args=item, daemon=True) for item in CLIENTS.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(2 * SECONDS)
        if self._failed:
            raise self._failed[0]
        assert not any(thread.is_alive() for thread in threads), "a client does not end"

    def _work(self, name: str, client: Client) -> None:
        book = self.books[name]
        try:
            with closing(client(self.place, book)) as steps:
                while not self._stop.is_set():
                    with book.lock:
                        next(steps)
                    with self._stirred:
                        self.steps[name] += 1
                        self._stirred.notify_all()
                    self._stop.wait(PACE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - raised where the course of it is
            error.add_note(f"met by the client {name}")
            with self._stirred:
                self._failed.append(error)
                self._stirred.notify_all()

    # --- what it holds ---

    def look(self) -> Sample:
        """The server now."""
        life = 1 + sum(self.happened[end] for end in ENDS)
        return Sample.of(self.server.pid, self.place.root, self.passed, life)

    def sample(self) -> None:
        """Look at the server at work, and tell now and then."""
        self.samples.append(self.look())
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            happened = ", ".join(f"{count} {name}" for name, count in self.happened.items())
            print(f"{self.passed:6.0f} s  {self.steps.total():,} steps; {happened}; {self.samples[-1]}", flush=True)

    def _settled(self) -> bool:
        """Whether it holds no more than when it was started. Idle threads of its pools end after ten seconds."""
        then, now = self.ends["started"], self.look()
        return now.threads <= then.threads + POOLS and now.descriptors <= then.descriptors

    def _empty(self, name: str) -> None:
        assert self._come(lambda: not count(self.place.root / name)), f"files are left in {name}/"

    def _come(self, look: Callable[[], bool]) -> bool:
        """Whether it comes to be in time."""
        pause, deadline = threading.Event(), time.monotonic() + SECONDS
        while not (come := look()) and time.monotonic() < deadline:
            pause.wait(0.1)
        return come

    def _judge(self) -> None:
        started, idle = self.ends.values()
        growth = Growth.of(self.samples)
        descriptors, threads = zip(*self._own, strict=True)
        self._expect(idle.threads <= started.threads + POOLS, f"threads stay: {idle.threads}, not {started.threads}")
        self._expect(
            idle.descriptors <= started.descriptors, f"it left open: {idle.descriptors}, {started.descriptors}"
        )
        self._expect(idle.catalog <= CATALOG_MOST, f"readers of the catalog stay: {idle.catalog} descriptors")
        self._expect(not growth.leaks, f"memory grows: {growth.thirds} MiB")
        self._expect(descriptors[1] <= descriptors[0], f"descriptors of clients stay: {descriptors}")
        self._expect(threads[1] <= threads[0], f"threads of clients stay: {threads}")

    def _end(self) -> None:
        """Everything that may go goes, and all else is there."""
        with udfstore.connect(self.place.socket) as store:
            self._all_books(lambda book: book.collect(True))
            self.happened["removed"] += sum(1 for _ in store.collect(grace=0, now=True))
        self._restart()
        for name in ("trash", "uploads"):
            self._empty(name)
        with udfstore.connect(self.place.socket) as store:
            found = [item for item in store.check() if isinstance(item, Finding)]
        self._expect(not found, f"check found: {found}")
        self.check(pages=sys.maxsize)
        assert self.server.stop() == 0
        said = [json.loads(line) for line in self.server.said if line.startswith("{")]
        self.happened["scrubbed"] = sum(line["blobs"] for line in said if line["event"] == "content was verified")
        errors = [line for line in said if line["level"] in ("error", "critical")]
        errors += [line for line in self.server.said if not line.startswith("{")]
        self._expect(not errors, f"the server's log has errors: {errors[:5]}")

    def told(self, machine: Mapping[str, str]) -> dict[str, Any]:
        """What there is to tell, as JSON has it. `FORMAT` changes when something here changes its meaning."""
        return {
            "format": FORMAT,
            "machine": dict(machine),
            "seconds": self.passed,
            "steps": dict(self.steps),
            "happened": dict(self.happened),
            "acknowledged": {
                "saved": sum(len(page.ledger.saved) for book in self.books.values() for page in book.pages),
                "moves": sum(page.version for book in self.books.values() for page in book.pages),
            },
            "server": {when: asdict(sample) for when, sample in self.ends.items()},
            "memory": asdict(Growth.of(self.samples)),
            "samples": [asdict(sample) for sample in self.samples],
            "problems": self.problems,
        }

    def _expect(self, good: bool, otherwise: str) -> None:
        if not good:
            self.problems.append(otherwise)


def _own() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    gc.collect()  # what a cycle holds is no leak
    return count(Path("/proc/self/fd")), threading.active_count()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=HOUR, help="how long (default: an hour)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--folder", type=Path, default=Path(), help=f"work in {FOLDER} there, which is emptied")
    given = parser.parse_args(arguments)
    folder = (given.folder / FOLDER).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    machine = describe(folder)
    soak = Soak(folder, given.seconds)
    try:
        soak.run()
    except BaseException:
        print("what the server said last:", *soak.server.said[-20:], f"all of it is left in {folder}", sep="\n")
        raise
    shutil.rmtree(folder)
    told = soak.told(machine)
    print(as_table(told))
    if given.json:
        given.json.write_text(json.dumps(told, indent=2) + "\n")
    if soak.problems:
        raise SystemExit(1)
