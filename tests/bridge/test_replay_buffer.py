"""For a UDF that is deterministic and answers in order, no crash can be seen in what comes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfstore._pb import udfstore_pb2 as pb
from udfstore.bridge.replay import FRAME_BYTES, Gap, Mark, Replay
from udfstore.bridge.udf import BEGIN, END, POINT
from udfstore.wire.framing import Frame

MUCH = 1 << 20


def point(time: int) -> Frame:
    return Frame(POINT, pb.Request(point=pb.Point(time=time)).SerializeToString())


def time_of(frame: Frame) -> int:
    return pb.Request.FromString(bytes(frame.envelope)).point.time


def begin() -> Frame:
    return Frame(BEGIN, pb.Request(begin=pb.BeginBatch(name="b")).SerializeToString())


def end() -> Frame:
    return Frame(END, pb.Request(end=pb.EndBatch(name="b")).SerializeToString())


class Sums:
    """Answers each point with 0 to 2 points that tell the sum so far; of a batch at its end, unless it is to `echo`."""

    def __init__(self, state: int = 0, *, echo: bool = True) -> None:
        self.sum = state
        self.echo = echo
        self.held: list[Frame] = []
        self.before = state
        """The sum when the open batch began."""

    def take(self, frame: Frame) -> list[Frame]:
        if frame.kind == BEGIN:
            self.before, self.held = self.sum, [frame]
            return [frame] if self.echo else []
        if frame.kind == END:
            held, self.held = self.held, []
            return [frame] if self.echo else [*held, frame]
        self.sum += time_of(frame)
        answers = [point(self.sum)] * (time_of(frame) % 3)
        if self.held and not self.echo:
            self.held += answers
            return []
        return answers

    @property
    def state(self) -> int:
        return self.before if self.held else self.sum


class Pipeline:
    """A child, with what is on its way to it and from it."""

    def __init__(self, *, echo: bool) -> None:
        self.echo = echo
        self.replay = Replay(MUCH)
        self.base = 0
        self.out: list[Frame] = []
        self.start()

    def start(self) -> None:
        self.udf = Sums(self.base, echo=self.echo)
        self.to: deque[Frame | Mark] = deque()
        self.back: deque[Frame | tuple[Mark, int]] = deque()

    def send(self, frame: Frame) -> None:
        self.replay.sent([frame])
        self.to.append(frame)

    def ask(self) -> None:
        self.to.append(self.replay.mark)

    def work(self) -> None:
        if self.to:
            item = self.to.popleft()
            if isinstance(item, Mark):
                self.back.append((item, self.udf.state))
            else:
                self.back.extend(self.udf.take(item))

    def hear(self, most: int) -> None:
        for _ in range(min(most, len(self.back))):
            item = self.back.popleft()
            if isinstance(item, Frame):
                self.out += self.replay.came([item])
            elif self.replay.answered(item[0]):
                self.base = item[1]

    def crash(self) -> None:
        self.start()
        frames, gap = self.replay.again()
        assert gap is None
        self.to.extend(frames)

    def finish(self) -> list[Frame]:
        while self.to:
            self.work()
        self.hear(len(self.back))
        return self.out


def frames_of(shape: list[int]) -> Iterator[Frame]:
    """Points, and for each number above 4 a batch of so many less."""
    time = 0
    for number in shape:
        if number > 4:
            yield begin()
        for _ in range(number - 4 if number > 4 else 1):
            time += 1
            yield point(time)
        if number > 4:
            yield end()


steps = st.lists(st.sampled_from(["work", "work", "hear", "hear", "hear3", "ask", "crash"]), max_size=6)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(
    shape=st.lists(st.integers(0, 8), max_size=12),
    between=st.lists(steps, max_size=30),
    echo=st.booleans(),
)
def test_no_crash_can_be_seen(shape: list[int], between: list[list[str]], echo: bool) -> None:
    undisturbed = Sums(echo=echo)
    frames = list(frames_of(shape))
    expected = [answer for frame in frames for answer in undisturbed.take(frame)]
    pipeline = Pipeline(echo=echo)
    for number, frame in enumerate(frames):
        for step in between[number] if number < len(between) else []:
            {
                "work": pipeline.work,
                "hear": lambda: pipeline.hear(1),
                "hear3": lambda: pipeline.hear(3),
                "ask": pipeline.ask,
                "crash": pipeline.crash,
            }[step]()
        pipeline.send(frame)
    assert pipeline.finish() == expected


def test_what_a_snapshot_holds_is_not_told_again() -> None:
    replay = Replay(MUCH)
    replay.sent([point(1), point(2)])
    mark = replay.mark
    replay.sent([point(3)])
    replay.came([point(1)])
    assert replay.answered(mark)
    assert replay.again() == ([point(3)], None)


def test_an_answer_older_than_the_base_changes_nothing() -> None:
    replay = Replay(MUCH)
    replay.sent([point(1)])
    early = replay.mark
    replay.sent([point(2)])
    assert replay.answered(replay.mark)
    assert not replay.answered(early)
    assert replay.again() == ([], None)


def test_half_full_is_said_and_ends_with_an_answer() -> None:
    replay = Replay(4 * (FRAME_BYTES + 10))
    replay.sent([point(1), point(2)])
    assert not replay.half_full
    replay.sent([point(3)])
    assert replay.half_full
    replay.answered(replay.mark)
    assert not replay.half_full


def test_past_the_bound_a_gap_is_told_with_count_and_times() -> None:
    replay = Replay(4 * (FRAME_BYTES + 10))
    replay.sent([point(time) for time in range(1, 11)])
    frames, gap = replay.again()
    assert frames == [point(time) for time in range(7, 11)]
    assert gap == Gap(frames=6, first_ns=1, last_ns=6)


def test_a_gap_ends_with_the_next_snapshot() -> None:
    replay = Replay(4 * (FRAME_BYTES + 10))
    replay.sent([point(time) for time in range(1, 11)])
    replay.answered(replay.mark)
    assert replay.again() == ([], None)


def test_batches_go_whole() -> None:
    replay = Replay(4 * (FRAME_BYTES + 10))
    replay.sent([begin(), point(1), point(2), end(), point(3), point(4)])
    frames, gap = replay.again()
    assert frames == [point(3), point(4)]
    assert gap == Gap(frames=4, first_ns=1, last_ns=2)


def test_an_open_batch_keeps_its_begin() -> None:
    replay = Replay(4 * (FRAME_BYTES + 10))
    replay.sent([begin(), *(point(time) for time in range(1, 9))])
    frames, gap = replay.again()
    assert frames == [begin(), point(6), point(7), point(8)]
    assert gap == Gap(frames=5, first_ns=1, last_ns=5)


@pytest.mark.parametrize("frames", [[], [point(1)]])
def test_it_knows_whether_anything_was_sent(frames: list[Frame]) -> None:
    replay = Replay(MUCH)
    replay.sent(frames)
    assert replay.begun is bool(frames)
    replay.answered(replay.mark)
    assert replay.begun is bool(frames)


def test_a_new_child_that_comes_to_nothing_drops_nothing_of_the_one_before() -> None:
    replay = Replay(MUCH)
    replay.sent([begin(), point(1)])
    assert replay.came([begin(), point(1)]) == [begin(), point(1)]
    replay.again()
    replay.stays()
    assert replay.came([point(2), end()]) == [point(2), end()]
