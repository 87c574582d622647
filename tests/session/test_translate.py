"""Every call, result, item and fault comes out at the other end as it went in."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from session_kit import CALLS, ID, ITEMS, RESULTS, WELCOME, Talk, Token, ids, infos, words

from udfstore import calls
from udfstore.digest import BlobId
from udfstore.errors import UdfstoreError, error_for
from udfstore.model import Author, Claim, Entry
from udfstore.refs import Ref, Tag
from udfstore.session import answers, requests
from udfstore.session.events import Answered, Failed, Found, Opened, Paged
from udfstore.wire import limits

FAST = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
def test_every_call_arrives_as_it_was_made(kind: type) -> None:
    @FAST
    @given(CALLS[kind])
    def arrives(call: calls.Call) -> None:
        talk = Talk.greeted(descriptors=True)
        file = Token() if isinstance(call, calls.Save) and call.descriptor else None
        number = talk.udf.open(call, file=file)
        assert talk.to_host() == [Opened(number, call, file)]

    arrives()


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_every_result_arrives_as_it_was_given(kind: type) -> None:
    @FAST
    @given(RESULTS[kind])
    def arrives(result: calls.Result) -> None:
        talk = Talk.greeted()
        number = talk.udf.open(calls.Status())
        talk.to_host()
        talk.host.result(number, result)
        assert talk.to_udf() == [Answered(number, result)]

    arrives()


@FAST
@given(infos, st.integers(0, 2**63), st.integers(0, 2**63))
def test_the_head_of_a_load_arrives(info, offset: int, length: int) -> None:  # type: ignore[no-untyped-def]
    talk = Talk.greeted()
    number = talk.udf.open(calls.Load(Ref.of(ID)))
    talk.to_host()
    talk.host.head(number, calls.Loading(info, offset, length))
    assert talk.to_udf() == [Found(number, calls.Loading(info, offset, length))]


@pytest.mark.parametrize("kind", ITEMS, ids=lambda kind: kind.__name__)
def test_items_arrive_in_their_order(kind: type) -> None:
    @FAST
    @given(st.lists(ITEMS[kind], min_size=1, max_size=5))
    def arrive(some: list[object]) -> None:
        talk = Talk.greeted()
        number = talk.udf.open(calls.Sessions())
        talk.udf.grant(number, 99)
        talk.to_host()
        for page in talk.host.pages(some):  # type: ignore[arg-type]
            talk.host.page(number, page)
        came = [item for event in talk.to_udf() if isinstance(event, Paged) for item in event.items]
        assert came == some

    arrive()


@FAST
@given(st.lists(ids, max_size=2).map(tuple), words)
def test_a_commit_with_a_tag_arrives(links: tuple[BlobId, ...], note: str) -> None:
    for labels in (None, {}, {"score": "1"}):
        for expected in (None, 0, 3):
            target = calls.Target(Tag.parse("models/x"), note, labels, expected, links)
            commit = calls.Commit(3, ID, target, bytes(16))
            assert requests.commit_from_pb(requests.commit_to_pb(1, commit), bytes(16)) == commit


ERRORS = [kind for kind in UdfstoreError.__subclasses__() if kind.__module__ == UdfstoreError.__module__]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_itself(kind: type[UdfstoreError]) -> None:
    talk = Talk.greeted()
    number = talk.udf.open(calls.Status())
    talk.to_host()
    talk.host.fault(number, kind("it went wrong", expected="this", got=7))
    (event,) = talk.to_udf()
    assert isinstance(event, Failed)
    assert type(event.error) is kind
    assert (event.error.message, event.error.expected, event.error.got) == ("it went wrong", "this", "7")


def test_a_code_of_a_later_release_is_taken_for_internal_and_still_told() -> None:
    error = error_for("quota", "no more today")
    assert error.code.value == "internal"
    assert "quota" in str(error)


def test_a_fault_fits_a_small_frame_whatever_its_texts() -> None:
    error = UdfstoreError("é" * 100_000, expected="\U0001f600" * 100_000, got="\udcff" * 100_000)
    fault = answers.fault_to_pb(1, error)
    assert fault.ByteSize() < limits.SMALL_BYTES
    assert fault.message.endswith("…")


def _longest_entry(links: int) -> Entry:
    """As long as one entry of a step may be."""
    labels = {f"{number:02}": "v" * 30 for number in range(32)}
    author = Author("socket", 2**31, tuple(range(2**31, 2**31 + 64)), 2**31, "p" * 15, "", Claim("c" * 1000))
    return Entry(
        "t" * 256,
        2**63 - 1,
        ID,
        2**63 - 1,
        2**63 - 1,
        2**63 - 1,
        author,
        "n" * 4096,
        labels,
        2**63 - 1,
        "s" * 276,
        (ID,) * links,
    )


def test_the_longest_answers_fit_what_a_client_takes() -> None:
    links = 256 * 1024 // 67 // calls.MOVES  # a record of 256 KiB holds so many, in hex and in quotes
    entries = (_longest_entry(links),) * calls.MOVES
    result = answers.result_to_pb(2**64 - 1, calls.Moved(entries, entries))
    assert result.ByteSize() + 16 < limits.ANSWER_BYTES
    for page in answers.pages_to_pb(entries):
        assert page.ByteSize() + 16 < limits.SMALL_BYTES


def test_pages_are_cut_below_a_small_frame_and_lose_nothing() -> None:
    entries = [_longest_entry(0)] * 100
    pages = list(answers.pages_to_pb(entries))
    assert len(pages) > 1
    assert all(page.ByteSize() <= limits.SMALL_BYTES for page in pages)
    assert [item for page in pages for item in answers.page_from_pb(page)] == entries
    assert list(answers.pages_to_pb([])) == []


def test_the_welcome_and_the_claim_arrive() -> None:
    talk = Talk(claim=Claim("Ann", "edge-7", "train", "abc123"))
    assert talk.to_udf() == [WELCOME]
    (hello,) = talk.to_host()
    assert hello.claim == Claim("Ann", "edge-7", "train", "abc123")  # type: ignore[union-attr]
