"""What Kapacitor's HTTP API tells of a task: its DAG, and when it was made.

The API listens only after all tasks were started, and a task waits for its UDF's Init: so Kapacitor is asked again
until it answers, while the answer to Init is held back. What was told last is remembered for a start without an answer.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit

import structlog
import trio

from udfstore.bridge.known import Known
from udfstore.errors import NoServer, NotFound, UdfstoreError, UsageError
from udfstore.snapshots import Dag, parse_dot
from udfstore.snapshots.dag import DAG_BYTES

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

ASK_SECONDS = 10.0
"""For one request. It asks for what lies in Kapacitor's memory."""

AGAIN_SECONDS = 0.5
"""Between two requests while nobody answers: a boot takes seconds."""

TASK_BYTES = 4 * DAG_BYTES
"""The largest answer that is read: script and dot, escaped."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Told:
    """A task as its Kapacitor knows it: its DAG (None: it could not be read) and when it was made (0: not told)."""

    dag: Dag | None = None
    created_ns: int = 0

    def to_json(self) -> bytes:
        """The bytes that `from_json` reads."""
        dag = None if self.dag is None else self.dag.to_json()
        return json.dumps({"created": self.created_ns, "dag": dag}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Told:
        """Read what was remembered. Raises `UsageError`."""
        try:
            value = json.loads(text)
            dag, created = value["dag"], value["created"]
            if not isinstance(created, int) or not isinstance(dag, str | None):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UsageError("not what is remembered of a task") from error
        return cls(None if dag is None else Dag.from_json(dag), created)


class Tasks(Protocol):
    """Whoever knows of tasks."""

    async def ask(self, task: str) -> Told:
        """See `Api.fetch`."""


class Api:
    """Kapacitor's HTTP API at a URL such as `http://localhost:9092`, name and password in it if it wants them."""

    def __init__(self, url: str) -> None:
        """Raises `UsageError` for what is no such URL."""
        try:
            self._url: SplitResult = urlsplit(url)
            port = self._url.port
        except ValueError as error:
            raise UsageError(f"not the URL of a Kapacitor: {error}", got=repr(url)) from error
        if self._url.scheme not in ("http", "https") or not self._url.hostname or self._url.query:
            raise UsageError("not the URL of a Kapacitor", expected="http://HOST:9092", got=repr(url))
        self._host, self._port = self._url.hostname, port

    async def ask(self, task: str) -> Told:
        """`fetch` in a thread; a cancelled one is left to end by itself."""
        return await trio.to_thread.run_sync(self.fetch, task, abandon_on_cancel=True)

    def fetch(self, task: str) -> Told:
        """Ask once; blocks. Raises `NoServer` while nobody answers, `NotFound`, `UsageError` for what is no task."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=ASK_SECONDS)
        path = f"{self._url.path.rstrip('/')}/kapacitor/v1/tasks/{quote(task, safe='')}"
        try:
            connection.request("GET", path, headers={"Accept": "application/json", **self._authorization()})
            response = connection.getresponse()
            status, body = response.status, response.read(TASK_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoServer(f"Kapacitor does not answer at {self._host}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if status == http.HTTPStatus.NOT_FOUND:
            raise NotFound("Kapacitor has no task of that name", got=repr(task))
        if status != http.HTTPStatus.OK:
            raise NoServer(f"Kapacitor answers {status} when it is asked for the task {task!r}")
        if len(body) > TASK_BYTES:
            raise UsageError(f"Kapacitor tells more than {TASK_BYTES} bytes of the task {task!r}")
        return parse_task(body)

    def _authorization(self) -> dict[str, str]:
        if self._url.username is None:
            return {}
        pair = f"{unquote(self._url.username)}:{unquote(self._url.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class Telling:
    """Asks `tasks` (None: there is nobody to ask) and remembers what they told last, for each `where` and task."""

    def __init__(self, tasks: Tasks | None, where: str, known: Known) -> None:
        self._tasks = tasks
        self._where = where
        self._known = known

    async def of(self, task: str, patience: float) -> Told:
        """What Kapacitor tells of a task; after `patience` seconds without an answer what it told last, or nothing."""
        if self._tasks is None:
            return Told()
        key = f"{self._where}\n{task}"
        try:
            told = await self._asked(self._tasks, task, patience)
        except UdfstoreError as error:
            last = self._last(key)
            _log.warning("Kapacitor does not tell the DAG", task=task, reason=str(error), remembered=bool(last))
            return last or Told()
        if told.dag is None:
            told = Told((self._last(key) or told).dag, told.created_ns)
        self._known.keep("task", key, told.to_json())
        return told

    async def _asked(self, tasks: Tasks, task: str, patience: float) -> Told:
        deadline = trio.current_time() + patience
        while True:
            try:
                with trio.fail_at(deadline):
                    return await tasks.ask(task)
            except trio.TooSlowError:
                raise NoServer(f"Kapacitor did not answer within {patience:g} s") from None
            except NoServer:
                if trio.current_time() + AGAIN_SECONDS >= deadline:
                    raise
                await trio.sleep(AGAIN_SECONDS)

    def _last(self, key: str) -> Told | None:
        kept = self._known.get("task", key)
        try:
            return None if kept is None else Told.from_json(kept)
        except UdfstoreError:
            return None


def parse_task(body: bytes) -> Told:
    """The answer of `GET /kapacitor/v1/tasks/ID`. Raises `UsageError` for what is not that at all."""
    try:
        task = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("what Kapacitor tells of a task is not JSON") from error
    if not isinstance(task, dict) or not isinstance(task.get("dot"), str):
        raise UsageError("what Kapacitor tells of a task has no dot")
    created = task.get("created")
    created_ns = parse_time(created) if isinstance(created, str) else 0
    try:
        return Told(parse_dot(task["dot"]), created_ns)
    except UdfstoreError as error:
        _log.warning("the dot of a task cannot be read", reason=str(error))
        return Told(None, created_ns)


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 from RFC 3339 as Go writes it; 0 for what is none, and for Go's zero time (year 1)."""
    match = _TIME.fullmatch(text)
    try:
        whole = match and datetime.datetime.fromisoformat(f"{match[1]}{match[3]}")
    except ValueError:
        whole = None
    if not match or not whole:
        return 0
    past = whole - _EPOCH
    seconds = past.days * 86_400 + past.seconds
    return max(0, seconds * 10**9 + int((match[2] or "").ljust(9, "0")))
