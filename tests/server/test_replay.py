"""The recorded conversations hold: played against a live server, and against our own client."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from live_server import LiveServer
from replayed import Replayed

import udfstore
from udfstore._pb import udfstore_pb2 as pb
from udfstore.cli.replay import read, replay_client, replay_server
from udfstore.client.base import BaseStore
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, Mismatch, NotFound, TimedOut, UdfstoreError, UsageError
from udfstore.wire.transcript import RAW, Side, Transcript, parse, render

FOLDER = Path(__file__).parents[1] / "transcripts"
FILES = sorted(FOLDER.glob("*.transcript"))


def content(name: str) -> bytes:
    return f"content of {name}\n".encode()


def saved(store: BaseStore, name: str, what: str = "") -> udfstore.Saved:
    return store.save(content(what or name), tag=f"transcripts/{name}")


def failing(kind: type[UdfstoreError], do: Callable[[], object]) -> None:
    with pytest.raises(kind):
        do()


# --- what a client does to play each of these; the rest are for servers, or need a client that mixes frames ---


def save_announced(store: BaseStore) -> None:
    data = content("save-announced")
    assert not store.save(data, id=BlobId.of(data)).existed
    assert store.save(data, id=BlobId.of(data)).existed


def save_tag(store: BaseStore) -> None:
    saved = store.save(
        content("save-tag"),
        tag="transcripts/save-tag",
        note="trained on May",
        labels={"score": "0.93"},
        expected_version=0,
    )
    assert saved.entry is not None
    assert (saved.entry.version, saved.entry.labels) == (1, {"score": "0.93"})


def load(store: BaseStore) -> None:
    saved(store, "load")
    assert store.load("transcripts/load") == content("load")


def load_empty(store: BaseStore) -> None:
    store.save(b"", tag="transcripts/load-empty")
    assert store.load("transcripts/load-empty@1") == b""


def stat(store: BaseStore) -> None:
    id = saved(store, "stat").id
    assert store.stat("transcripts/stat").tags == ("transcripts/stat@1",)
    assert store.stat(id.hex[:12]).id == id


def why(store: BaseStore) -> None:
    saved(store, "why")
    saved(store, "why", "why again")
    assert [entry.ref for entry in store.why("transcripts/why@1").named] == ["transcripts/why@1"]


def missing(store: BaseStore) -> None:
    here = store.save(content("missing")).id
    never = BlobId.of(b"never 1"), BlobId.of(b"never 2")
    assert store.missing([never[0], here, never[1]]) == list(never)


def delete(store: BaseStore) -> None:
    saved(store, "delete")
    saved(store, "delete", "delete again")
    assert store.delete("transcripts/delete@1", now=True).versions == ("transcripts/delete@1",)
    failing(Gone, lambda: store.load("transcripts/delete@1"))


def move_conflict(store: BaseStore) -> None:
    name = "transcripts/move-conflict"
    saved(store, "move-conflict")
    failing(Conflict, lambda: store.tag(name, f"{name}@1", expected_version=7))
    assert store.get_tag(name).version == 1


def rollback(store: BaseStore) -> None:
    saved(store, "rollback", "rollback 1")
    saved(store, "rollback", "rollback 2")
    back = store.rollback("transcripts/rollback", expected_version=2, note="false alarms")
    assert (back.version, back.origin) == (3, 1)


def untag(store: BaseStore) -> None:
    saved(store, "untag")
    store.untag("transcripts/untag", expected_version=1, note="no longer used")
    failing(Gone, lambda: store.get_tag("transcripts/untag"))
    assert store.get_tag("transcripts/untag@1").version == 1


def hold(store: BaseStore) -> None:
    saved(store, "hold")
    assert store.hold("transcripts/hold", "audit").held
    failing(Conflict, lambda: store.untag("transcripts/hold"))
    assert not store.release("transcripts/hold").held


def get_tag(store: BaseStore) -> None:
    saved(store, "get-tag", "get-tag 1")
    saved(store, "get-tag", "get-tag 2")
    assert [store.get_tag(ref).version for ref in ("transcripts/get-tag", "transcripts/get-tag@-1")] == [2, 1]


def list_tags(store: BaseStore) -> None:
    for name in ("b", "a"):
        store.save(content("list-tags"), tag=f"transcripts/list-tags/{name}")
    assert [entry.tag[-1] for entry in store.tags("transcripts/list-tags/")] == ["a", "b"]


def history(store: BaseStore) -> None:
    saved(store, "history", "history 1")
    saved(store, "history", "history 2")
    assert [entry.version for entry in store.history("transcripts/history")] == [2, 1]


def watch(store: BaseStore) -> None:
    saved(store, "watch/a", "watch 1")
    events = store.watch("transcripts/watch/")
    assert [(event.present, len(event.entries)) for event in (next(events), next(events))] == [(True, 1), (True, 0)]
    store.save(content("watch 2"), tag="transcripts/watch/a", note="second")
    assert next(events).entries[0].note == "second"
    events.close()  # type: ignore[attr-defined]


def used(store: BaseStore) -> None:
    for version, what, error in ((1, "used", ""), (2, "used 2", "not a model")):
        id = saved(store, "used", what).id
        assert store.used("transcripts/used", version, id, error=error) == 2 * version


def not_found(store: BaseStore) -> None:
    failing(NotFound, lambda: store.load("transcripts/never"))
    failing(NotFound, lambda: store.stat(BlobId.of(b"never 3").hex))


def no_version(store: BaseStore) -> None:
    saved(store, "fault-no-version")
    failing(NotFound, lambda: store.load("transcripts/fault-no-version@9"))


def undelete(store: BaseStore) -> None:
    saved(store, "undelete")
    store.delete("transcripts/undelete@1", force=True)
    assert store.undelete("transcripts/undelete@1").versions == ("transcripts/undelete@1",)
    assert store.load("transcripts/undelete@1") == content("undelete")


def collect(store: BaseStore) -> None:
    id = store.save(content("collect")).id
    assert [one.id for one in store.collect(dry_run=True, grace=0, now=True)] == [id]


CLIENTS: dict[str, Callable[[BaseStore], object]] = {
    "save": lambda store: store.save(content("save")),
    "save-announced": save_announced,
    "undelete": undelete,
    "collect": collect,
    "save-tag": save_tag,
    "load": load,
    "load-empty": load_empty,
    "stat": stat,
    "verify": lambda store: store.verify(store.save(content("verify")).id),
    "why": why,
    "missing": missing,
    "delete": delete,
    "move-conflict": move_conflict,
    "rollback": rollback,
    "untag": untag,
    "hold": hold,
    "get-tag": get_tag,
    "list-blobs": lambda store: (store.save(content("list-blobs")), list(store.blobs())),
    "list-tags": list_tags,
    "history": history,
    "watch": watch,
    "used": used,
    "status": lambda store: store.status(),
    "sessions": lambda store: list(store.sessions()),
    "fault-not-found": not_found,
    "fault-no-version": no_version,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_server_answers_as_recorded(path: Path, live: LiveServer) -> None:
    assert replay_client(path, live.socket) >= 1


@pytest.mark.parametrize("name", CLIENTS)
def test_the_client_asks_as_recorded(name: str, tmp_path: Path) -> None:
    replayed = Replayed(FOLDER / f"{name}.transcript", tmp_path / "s")
    with replayed as outcome, udfstore.connect(tmp_path / "s", descriptors=False) as store:
        CLIENTS[name](store)
    assert not isinstance(outcome[0], Exception), outcome[0]
    assert not (tmp_path / "s").exists()


def test_every_call_and_every_answer_has_a_transcript() -> None:
    messages = [step.message for path in FILES for step in read(path).steps if step.message is not None]
    for kind in (pb.Request, pb.Response):
        names = {message.WhichOneof("message") for message in messages if isinstance(message, kind)}
        own = {field.name for field in kind.DESCRIPTOR.fields if field.number >= 32}
        assert own - names <= {"closing"}  # a server says it to everybody when it stops, so none is recorded
    calls = {m.call.WhichOneof("op") for m in messages if isinstance(m, pb.Response)}
    assert {field.name for field in pb.Call.DESCRIPTOR.oneofs_by_name["op"].fields} <= calls
    results = {m.result.WhichOneof("result") for m in messages if isinstance(m, pb.Request)}
    told = {field.name for field in pb.Result.DESCRIPTOR.oneofs_by_name["result"].fields}
    assert told - results == {"link"}  # needs HTTP, which the server of the transcripts has not


def test_every_transcript_begins_with_what_it_shows() -> None:
    assert all(path.read_text().startswith("# ") for path in FILES)


def altered(tmp_path: Path, name: str, change: Callable[[str], str]) -> Path:
    """A copy of a transcript with another text of its steps; the hex follows."""
    text = change((FOLDER / f"{name}.transcript").read_text())
    lines = [line for line in text.splitlines() if line[:1] != " "]
    path = tmp_path / "altered.transcript"
    path.write_text(render(parse("\n".join(lines), draft=True)))
    return path


def test_the_first_frame_of_a_server_that_differs_is_told(tmp_path: Path, live: LiveServer) -> None:
    path = altered(tmp_path, "fault-not-found", lambda text: text.replace('"not-found"', '"gone"'))
    with pytest.raises(Mismatch) as caught:
        replay_client(path, live.socket)
    step = next(step for step in read(path).steps if '"gone"' in step.text)
    assert f"frame 4 (line {step.line}) differs" in str(caught.value)
    assert 'code: "gone"' in caught.value.expected
    assert 'code: "not-found"' in caught.value.got


def test_a_server_that_hangs_up_early_or_says_too_much_is_told(tmp_path: Path, live: LiveServer) -> None:
    path = altered(tmp_path, "bad-order", lambda text: text.replace("< fault { ", "< fault { call: 1 "))
    with pytest.raises(Mismatch, match=r"frame 3 \(line \d+\) did not come") as caught:
        replay_client(path, live.socket)
    assert caught.value.got.startswith('fault { code: "usage"')
    path = altered(tmp_path, "status", lambda text: text.replace("< result", "# result"))
    with pytest.raises(Mismatch, match=r"frame 5 \(line \d+\) differs \(expected end, got"):
        replay_client(path, live.socket)


@pytest.mark.parametrize("name", ["node-fresh", "node-restore", "node-keepalive"])
def test_several_conversations_and_their_nodes_are_played_by_both_sides(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.transcript"
    steps = read(path).steps
    with Replayed(path, tmp_path / "s") as outcome:
        came = replay_client(path, tmp_path / "s")
    assert came == sum(step.side is Side.HOST for step in steps)
    unsaid = sum(isinstance(m := step.message, pb.Response) and m.HasField("credit") for step in steps)
    assert outcome == [sum(step.side is Side.UDF for step in steps) - unsaid]


def test_the_first_frame_of_a_client_that_differs_is_told(tmp_path: Path) -> None:
    with Replayed(FOLDER / "load.transcript", tmp_path / "s") as outcome, suppress(Mismatch):
        replay_client(FOLDER / "stat.transcript", tmp_path / "s")
    (error,) = outcome
    assert isinstance(error, Mismatch)
    assert "frame 4 (line" in str(error)
    assert "content of load" in error.expected
    assert "content of stat" in error.got


def test_the_command_says_what_differs_and_exits_with_1(tmp_path: Path, live: LiveServer) -> None:
    path = altered(tmp_path, "fault-not-found", lambda text: text.replace('"not-found"', '"gone"'))
    command = [sys.executable, "-m", "udfstore", "replay", str(path), "--socket", str(live.socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r'frame 4 \(line \d+\) differs \(expected .*"gone".*, got .*"not-found"', done.stderr)


def test_a_client_that_breaks_the_protocol_is_no_client_to_test_against(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is for servers"):
        replay_server(FOLDER / "bad-varint.transcript", tmp_path / "s")
    raw = {path.stem for path in FILES if any(s.text == RAW and s.side is Side.UDF for s in read(path).steps)}
    assert "bad-truncated" in raw
    assert raw.isdisjoint(CLIENTS)


def test_a_transcript_that_cannot_be_read_names_file_and_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.transcript"
    with pytest.raises(UsageError, match="cannot read"):
        replay_client(bad, tmp_path / "s")
    bad.write_text("# fine\nnot fine\n")
    with pytest.raises(UsageError, match=r"bad\.transcript: line 2"):
        replay_client(bad, tmp_path / "s")


def test_a_server_that_says_nothing_is_given_up(
    tmp_path: Path, live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udfstore.cli.replay.WAIT_SECONDS", 0.02)
    path = altered(tmp_path, "status", lambda text: text.split("> call")[0] + "< ok { }\n".replace("ok", "closing"))
    with pytest.raises(TimedOut, match="did not come") as caught:
        replay_client(path, live.socket)
    assert caught.value.got == "nothing"


def test_frames_of_different_calls_may_overtake_one_another(live: LiveServer, tmp_path: Path) -> None:
    transcript = read(FOLDER / "bad-number-unknown.transcript")
    steps = transcript.steps
    mixed = [steps[0], steps[1], steps[2], steps[4], steps[6], steps[7], steps[3], steps[5], *steps[8:]]
    lines = [line for line in transcript.lines if isinstance(line, str)]
    path = tmp_path / "mixed.transcript"
    path.write_text(render(Transcript((*lines, *mixed))))
    assert replay_client(path, live.socket) == 6
