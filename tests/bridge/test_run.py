"""`udfstore run` as a process: lines in, lines out, and the state that comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from host_kit import SECONDS, old_udf
from kit import ServerProcess, eventually, in_thread

import udfstore
from udfstore.bridge.host import HostSettings, Shelter
from udfstore.bridge.points import Reading
from udfstore.bridge.run import RunSettings
from udfstore.bridge.run import run as drive
from udfstore.tasks import HostKind, Node

MEAN = old_udf("moving_average")


class Run:
    """A run that is fed by hand."""

    def __init__(self, folder: Path, socket: Path, *options: str, udf: tuple[str, ...] = MEAN) -> None:
        unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "udfstore", "run", "--socket", str(socket), *options, "--", *udf],
            env=unnamed | {"HOME": str(folder), "UDFSTORE_STATE": str(folder / "state")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def means(self, *values: float) -> list[float]:
        """Feed these and take as many answers."""
        for value in values:
            self.stdin.write(f"m value={value} {int(value)}\n")
        return [mean_of(self.stdout.readline()) for _ in values]

    def end(self, number: int = 0) -> tuple[int, list[str], str]:
        """End its input, or send it a signal: status, what it still printed, and its log."""
        if number:
            self.process.send_signal(number)
        out, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out.splitlines(), said


def mean_of(line: str) -> float:
    point = Reading().point(line.removesuffix("\n"), lambda: 0)
    assert point is not None
    return point.fieldsDouble["mean"]


def once(
    folder: Path, socket: Path, text: str, *options: str, udf: tuple[str, ...] = MEAN
) -> tuple[int, list[str], str]:
    """A whole run over a text."""
    run = Run(folder, socket, *options, udf=udf)
    with run.process:
        out, said = run.process.communicate(text, timeout=SECONDS)
    return run.process.returncode, out.splitlines(), said


def node(task: str, *more: str) -> tuple[str, ...]:
    return ("--task", task, "--node", "mean2", "--opt", "field=value", "--opt", "size=3", *more)


def test_lines_go_in_and_come_out(folder: Path, server: ServerProcess, task: str) -> None:
    text = 'm,pipe=a\\ b value=1,n=2i,ok=true,why="x \\"y\\"" 5\nm value=3 6\n'
    status, lines, said = once(folder, server.socket, text, *node(task))
    assert status == 0, said
    assert [mean_of(line) for line in lines] == [1, 2]
    assert "2 points in, 2 out" in said


def test_points_of_groups_are_told_apart(folder: Path, server: ServerProcess, task: str) -> None:
    text = "".join(f"m,h={host} value={value} {value}\n" for host, value in (("a", 1), ("b", 10), ("a", 3), ("b", 30)))
    _, lines, _ = once(folder, server.socket, text, *node(task, "--group-by", "h"))
    assert [mean_of(line) for line in lines] == [1, 10, 2, 20]


def test_blank_lines_end_the_batches_of_a_batch_udf(folder: Path, server: ServerProcess, task: str) -> None:
    text = "m value=1 1\nm value=2 2\n\nm value=5 3\n"
    status, lines, said = once(folder, server.socket, text, "--task", task, "--node", "sum", udf=old_udf("batch_sum"))
    assert status == 0, said
    assert [line.split()[1] for line in lines if line] == ["sum=1.0", "sum=3.0", "sum=8.0"]
    assert lines.count("") == 2


def test_how_much_is_logged_and_in_which_form_may_be_said(folder: Path, server: ServerProcess, task: str) -> None:
    options = node(task, "--log-level", "debug", "--log-format", "human")
    status, _, said = once(folder, server.socket, "m value=1 1\n", *options)
    assert status == 0, said
    assert "the UDF started" in said
    assert '"event"' not in said


def test_a_line_that_is_none_is_told_with_its_number(folder: Path, server: ServerProcess, task: str) -> None:
    status, lines, said = once(folder, server.socket, "m value=1 1\nnonsense\n# a comment\nm value=3 2\n", *node(task))
    assert (status, [mean_of(line) for line in lines]) == (0, [1, 2])
    assert '"line": 2' in said
    assert "1 lines passed over" in said


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--opt", "colour=red"), "no such option (expected field, size, got 'colour')"),
        (("--opt", "size=many"), "a value of the option 'size' (expected a whole number of 64 bits, got 'many')"),
        (("--restore", "nobody"), "nobody"),
        (("--log-level", "all"), "--log-level (expected debug, info, warning, error, got 'all')"),
        (("--log-format", "xml"), "--log-format (expected auto, human, json, got 'xml')"),
        (("--policy", "lax"), "expected strict, upstream, key, got 'lax'"),
        (("--snapshot-interval", "often"), "not a duration (expected 10s, 1h30m, 250ms, got 'often')"),
        (("--task", "a\nb"), "the name of the task holds no control characters"),
        (("--node", "n" * 129), "the name of the node has at most 128 bytes"),
        (("--timeout", "-5s"), "--timeout is too short (expected 0.1 s or more, got -5s)"),
        (("--snapshot-interval", "10ms"), "--snapshot-interval is too short (expected 1 s or more, got 10ms)"),
        (("--pin", "models/x"), "not a pin (expected TAG@VERSION, got 'models/x')"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    folder: Path, server: ServerProcess, task: str, option: tuple[str, ...], says: str
) -> None:
    status, lines, said = once(folder, server.socket, "m value=1 1\n", *node(task, *option))
    assert status in (2, 3)
    assert lines == []
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_udf_that_refuses_its_options_says_why(folder: Path, server: ServerProcess, task: str) -> None:
    status, _, said = once(folder, server.socket, "", "--task", task, "--node", "mean2")
    assert status == 2
    assert "must supply a field name" in said.splitlines()[-1]


def test_a_state_comes_back_after_the_end_of_the_input(folder: Path, server: ServerProcess, task: str) -> None:
    assert once(folder, server.socket, "m value=1 1\nm value=2 2\n", *node(task))[0] == 0
    _, lines, said = once(folder, server.socket, "m value=3 3\n", *node(task))
    assert [mean_of(line) for line in lines] == [2], said


def test_a_signal_takes_a_last_snapshot(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        run = Run(folder, server.socket, *node(task))
        assert run.means(1, 2) == [1, 1.5]
        status, _, said = run.end(signal.SIGINT)
        assert status == 0, said
        assert [snapshot.reason.value for snapshot in store.snapshots(task)] == ["stop"]


def test_after_a_kill_the_last_round_comes_back(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        run = Run(folder, server.socket, *node(task))
        assert run.means(1, 2) == [1, 1.5]
        assert store.save_snapshot(task).good
        run.end(signal.SIGKILL)
        run = Run(folder, server.socket, *node(task))
        assert run.means(3) == [2]
        run.end()


def test_a_run_that_saves_nothing_leaves_nothing(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        assert once(folder, server.socket, "m value=1 1\n", *node(task))[0] == 0
        taken = list(store.snapshots(task))
        _, lines, _ = once(folder, server.socket, "m value=3 3\n", *node(task, "--no-save"))
        assert [mean_of(line) for line in lines] == [2], "it has a copy of the state"
        _, lines, _ = once(folder, server.socket, "m value=3 3\n", *node(task, "--no-save", "--restore", "none"))
        assert [mean_of(line) for line in lines] == [3]
        assert list(store.snapshots(task)) == taken


def test_a_fork_begins_with_the_state_of_another_task(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        once(folder, server.socket, "m value=1 1\n", *node(task))
        store.name_snapshot(task, "monday")
        once(folder, server.socket, "m value=100 2\n", *node(task))
        source = task.replace("/", "~2f").replace(" ", "~20").replace("ö", "~c3~b6").replace("ß", "~c3~9f")
        source = source.replace("水", "~e6~b0~b4")
        _, lines, said = once(
            folder, server.socket, "m value=3 3\n", *node(f"{task} again", "--fork", f"{source}/monday")
        )
        assert [mean_of(line) for line in lines] == [2], said


def test_a_named_snapshot_is_restored_when_it_is_asked_for(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        once(folder, server.socket, "m value=1 1\n", *node(task))
        store.name_snapshot(task, "good")
        once(folder, server.socket, "m value=100 2\n", *node(task))
        _, lines, said = once(folder, server.socket, "m value=3 3\n", *node(task, "--restore", "good"))
        assert [mean_of(line) for line in lines] == [2], said


def test_a_changed_dag_begins_fresh_and_a_policy_may_keep_the_state(
    folder: Path, server: ServerProcess, task: str
) -> None:
    before, after = folder / "before.json", folder / "after.dot"
    before.write_text(
        '{"nodes": [{"name": "stream0", "kind": "stream"}, {"name": "mean2", "kind": "mean", "parents": ["stream0"]}]}'
    )
    after.write_text("digraph t {\nstream0 -> mean2;\nstream0 -> log3;\n}")
    once(folder, server.socket, "m value=1 1\n", *node(task, "--dag", str(before)))
    kept = once(
        folder, server.socket, "m value=3 2\n", *node(task, "--dag", str(after), "--policy", "upstream", "--no-save")
    )
    fresh = once(folder, server.socket, "m value=3 2\n", *node(task, "--dag", str(after), "--no-save"))
    assert [[mean_of(line) for line in lines] for _, lines, _ in (kept, fresh)] == [[2], [3]], kept[2]


def test_a_task_of_another_host_is_not_taken_over_in_silence(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        with store.join(udfstore.tasks.Node(task, "mean2"), snapshot=lambda: b'{"": [5.0]}', restore=print) as member:
            assert member.take().good
        status, lines, said = once(folder, server.socket, "m value=7 1\n", *node(task))
        assert (status, lines) == (4, []), said
        assert "take it over" in said.splitlines()[-1]
        status, lines, said = once(folder, server.socket, "m value=7 1\n", *node(task, "--take-over"))
        assert [mean_of(line) for line in lines] == [6], said


def test_without_a_server_it_scores_all_the_same(folder: Path, task: str) -> None:
    status, lines, said = once(folder, folder / "nobody", "m value=1 1\nm value=3 2\n", *node(task))
    assert (status, [mean_of(line) for line in lines]) == (0, [1, 2]), said


def test_a_udf_that_dies_again_and_again_ends_the_run_with_its_last_words(
    folder: Path, server: ServerProcess, task: str
) -> None:
    udf = (sys.executable, "-c", "import sys; print('no licence', file=sys.stderr); sys.exit(3)")
    status, lines, said = once(folder, server.socket, "m value=1 1\n", "--task", task, "--node", "n", udf=udf)
    assert (status, lines) == (1, [])
    assert "no licence" in said.splitlines()[-1]


def test_a_hung_udf_is_given_up(folder: Path, server: ServerProcess, task: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(MEAN[1]).parent)!r})\n"
        "from moving_average import MovingAverage\n"
        "class Hung(MovingAverage):\n"
        "    def point(self, point):\n"
        "        import threading; threading.Event().wait()\n"
        "Hung().serve()\n"
    )
    run = Run(folder, server.socket, *node(task, "--timeout", "1s"), udf=(sys.executable, "-c", code))
    run.stdin.write("m value=1 1\n")
    with run.process:
        assert run.process.wait(SECONDS) == 1
        assert run.process.stderr is not None
        assert "said nothing for 1 s" in run.process.stderr.read().splitlines()[-1]


def test_a_line_without_end_is_refused(folder: Path, server: ServerProcess, task: str) -> None:
    status, _, said = once(folder, server.socket, "m value=" + "1" * (5 << 20), *node(task))
    assert status == 2
    assert "a line of points without end" in said.splitlines()[-1]


def test_a_chosen_state_goes_before_what_the_run_began_with(folder: Path, server: ServerProcess, task: str) -> None:
    with udfstore.connect(server.socket) as store:
        run = Run(folder, server.socket, *node(task, "--restore", "none"))
        run.means(1, 2)
        assert store.save_snapshot(task).good
        run.means(100)
        store.use_snapshot(task, "1", now=True)
        eventually(lambda: run.means(3) == [2])
        assert run.end()[0] == 0


def test_a_restart_from_a_chosen_state_loses_no_point(folder: Path, server: ServerProcess, task: str) -> None:
    count = 20_000
    with udfstore.connect(server.socket) as store:
        run = Run(folder, server.socket, *node(task))
        run.means(1)
        assert store.save_snapshot(task).good
        feed = in_thread(lambda: run.stdin.writelines(f"m value=1 {number}\n" for number in range(count)))
        heard = [run.stdout.readline() for _ in range(1_000)]
        chosen = in_thread(lambda: store.use_snapshot(task, "1", now=True))
        heard += [run.stdout.readline() for _ in range(count - len(heard))]
        feed.result(SECONDS)
        chosen.result(SECONDS)
        status, rest, said = run.end()
        assert (status, rest, len(heard)) == (0, [], count), said


def test_a_udf_that_fails_over_its_points_fails_the_run(folder: Path, server: ServerProcess, task: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(MEAN[1]).parent)!r})\n"
        "from moving_average import MovingAverage\n"
        "class Failing(MovingAverage):\n"
        "    def point(self, point):\n"
        "        sys.exit('too much')\n"
        "Failing().serve()\n"
    )
    status, lines, said = once(folder, server.socket, "m value=1 1\n", *node(task), udf=(sys.executable, "-c", code))
    assert (status, lines) == (1, []), said
    assert "too much" in said.splitlines()[-1]


def test_snapshots_name_the_models_of_files_and_nobody_waits_for_them(
    folder: Path, server: ServerProcess, task: str, unique: str
) -> None:
    factor, tag = folder / "factor", f"{unique}/x"
    with udfstore.connect(server.socket) as store:
        store.save(b"2", tag=tag)
        run = Run(folder, server.socket, *node(task, "--model", f"{tag}={factor}"))
        assert run.means(1) == [1]
        assert store.save_snapshot(task).good
        (state,) = store.states(task)
        assert [(model.tag, model.version) for model in state.models] == [(tag, 1)]
        moved = store.save(b"3", tag=tag).entry
        assert moved is not None
        sessions = store.await_followers(tag, moved.version, SECONDS)
        versions = {
            following.version for session in sessions for following in session.following if following.tag == tag
        }
        assert versions == {2}, "those that hold an older one in a snapshot are not waited for"
        assert factor.read_bytes() == b"3"
        run.end()


@pytest.mark.parametrize(
    ("dag", "says"),
    [
        ('{"nodes": [{"name": "mean2", "kind": "m", "parents": ["mean2"]}]}', "cycle"),
        ('{"nodes": [{"name": "mean2", "kind": "m"}, {"name": "mean2", "kind": "m"}]}', "mean2"),
        ('{"nodes": [{"name": "mean2", "kind": "m", "parents": ["away"]}]}', "away"),
        ("digraph t {\nstream0 -> ", "dot"),
    ],
    ids=["cycle", "duplicate", "missing parent", "dot"],
)
def test_a_dag_that_is_none_is_refused(folder: Path, server: ServerProcess, task: str, dag: str, says: str) -> None:
    (folder / "dag").write_text(dag)
    status, lines, said = once(folder, server.socket, "m value=1 1\n", *node(task, "--dag", str(folder / "dag")))
    assert (status, lines) == (2, [])
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said


def test_points_come_from_a_file_and_a_model_is_pinned(
    folder: Path, server: ServerProcess, task: str, unique: str
) -> None:
    tag, factor, points = f"{unique}/x", folder / "factor", folder / "points"
    points.write_text("m value=3 1\n")
    with udfstore.connect(server.socket) as store:
        store.save(b"2", tag=tag)
        store.save(b"5", tag=tag)
    udf = old_udf("factor_of_file", str(factor))
    options = ("--task", task, "--node", "f", "--points", str(points), "--model", f"{tag}={factor}")
    for more, value in (((), 15.0), (("--pin", f"{tag}@1"), 6.0)):
        status, lines, said = once(folder, server.socket, "", *options, *more, udf=udf)
        assert (status, lines) == (0, [f"m value={value} 1"]), said


def test_a_reader_that_goes_away_ends_the_run_with_a_last_snapshot(
    folder: Path, server: ServerProcess, task: str
) -> None:
    with udfstore.connect(server.socket) as store:
        run = Run(folder, server.socket, *node(task))
        assert run.means(1, 2) == [1, 1.5]
        run.stdout.close()
        run.stdin.write("m value=3 3\n")
        assert run.process.wait(SECONDS) == 141
        assert [snapshot.reason.value for snapshot in store.snapshots(task)] == ["stop"]
        run.stdin.close()
        assert run.process.stderr is not None
        run.process.stderr.close()


SLOW = (
    f"import sys, time; sys.path.insert(0, {str(Path(MEAN[1]).parent)!r})\n"
    "from moving_average import MovingAverage\n"
    "class Slow(MovingAverage):\n"
    "    def point(self, point):\n"
    "        time.sleep(0.1)\n"
    "        super().point(point)\n"
    "Slow().serve()\n"
)


@pytest.mark.parametrize("no_save", [False, True])
async def test_the_end_of_the_input_waits_for_a_slow_udf(
    folder: Path, server: ServerProcess, task: str, no_save: bool
) -> None:
    """Longer than a UDF that was told to end is given."""
    points, out = folder / "points", folder / "out"
    points.write_text("".join(f"m value={value} {value}\n" for value in range(20)))
    settings = RunSettings(
        host=HostSettings((sys.executable, "-c", SLOW), stop_seconds=1.5),
        node=Node(task, "mean2", host=HostKind.RUN, no_save=no_save),
        options=("field=value", "size=3"),
    )
    with points.open("rb") as reads, out.open("wb") as writes, trio.fail_after(SECONDS):
        async with Shelter([server.socket]) as shelter:
            await drive(settings, shelter, reads.fileno(), writes.fileno(), trio.Event())
    assert len(out.read_text().splitlines()) == 20
    with udfstore.connect(server.socket) as store:
        assert bool([one for one in store.tasks() if one.name == task and one.newest]) is not no_save


def test_a_signal_ends_a_run_whose_udf_never_starts(folder: Path, server: ServerProcess, task: str) -> None:
    udf = (sys.executable, "-c", "import sys, threading; print('up', file=sys.stderr); threading.Event().wait()")
    run = Run(folder, server.socket, "--task", task, "--node", "n", udf=udf)
    assert run.process.stderr is not None
    while '"up"' not in run.process.stderr.readline():
        pass
    status, lines, said = run.end(signal.SIGTERM)
    assert (status, lines) == (0, []), said
