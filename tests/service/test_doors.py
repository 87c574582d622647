"""Links work once and for a while; sessions last as long as they are used."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from udfstore.errors import Unsupported
from udfstore.model import Author, Caller, Claim
from udfstore.service.doors import LINK_SECONDS, LINKS, SESSION_SECONDS, SESSIONS, Doors, WebSession

CLAIM = Claim("Ada", "edge-7")
ADA = Caller(Author("socket", 1000, (1000, 27), 77, "python", claim=CLAIM), 5, listener="people")
HOUR = 3600


class Time:
    def __init__(self) -> None:
        self.seconds = 0

    def __call__(self) -> int:
        return self.seconds * 10**9


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def doors(time: Time) -> Doors:
    doors = Doors(time)
    doors.url = "http://127.0.0.1:8080"
    return doors


def code(doors: Doors) -> str:
    return parse_qs(urlsplit(doors.link(ADA).url).query)["code"][0]


def entered(doors: Doors) -> WebSession:
    session = doors.open(code(doors))
    assert session is not None
    return session


def test_a_link_lets_in_once_as_who_asked_for_it(doors: Doors) -> None:
    link = doors.link(ADA)
    assert link.url.startswith("http://127.0.0.1:8080/login?code=")
    assert link.seconds == 300
    secret = parse_qs(urlsplit(link.url).query)["code"][0]
    session = doors.open(secret)
    assert session is not None
    assert session.caller == Caller(Author("http", 1000, (1000, 27), -1, "web", claim=CLAIM), listener="people")
    assert doors.open(secret) is None
    assert doors.session(session.cookie) == session


def test_secrets_are_long_and_all_different(doors: Doors) -> None:
    secrets = [code(doors), code(doors)]
    for _ in range(2):
        session = entered(doors)
        secrets += [session.cookie, session.csrf]
    assert len(set(secrets)) == 6
    assert all(len(secret) == 43 for secret in secrets)
    assert not any(secret in repr(session) for secret in secrets)


def test_a_link_is_worth_nothing_after_five_minutes(doors: Doors, time: Time) -> None:
    late, soon = code(doors), code(doors)
    time.seconds = LINK_SECONDS - 1
    assert doors.open(soon) is not None
    time.seconds = LINK_SECONDS
    assert doors.open(late) is None


def test_a_session_lasts_while_it_is_used(doors: Doors, time: Time) -> None:
    used, unused = entered(doors), entered(doors)
    for _ in range(3):
        time.seconds += 11 * HOUR
        assert doors.session(used.cookie) == used
    assert doors.session(unused.cookie) is None
    time.seconds += SESSION_SECONDS
    assert doors.session(used.cookie) is None


def test_to_ask_whether_a_session_lasts_is_no_use_of_it(doors: Doors, time: Time) -> None:
    session = entered(doors)
    time.seconds += SESSION_SECONDS - 1
    assert doors.lasts(session.cookie)
    time.seconds += 1
    assert not doors.lasts(session.cookie)


def test_a_closed_session_is_over(doors: Doors) -> None:
    session, other = entered(doors), entered(doors)
    doors.close(session.cookie)
    doors.close("nobody's")
    assert doors.session(session.cookie) is None
    assert doors.session(other.cookie) == other


@pytest.mark.parametrize("wrong", ["", "x", "\udcff", "A" * 100_000], ids=len)
def test_what_nobody_was_given_lets_nobody_in(doors: Doors, wrong: str) -> None:
    entered(doors)
    assert doors.open(wrong) is None
    assert doors.session(wrong) is None


def test_a_code_is_no_cookie_and_a_cookie_no_code(doors: Doors) -> None:
    secret = code(doors)
    assert doors.session(secret) is None
    session = doors.open(secret)
    assert session is not None
    assert doors.open(session.cookie) is None


def test_of_too_many_the_one_used_longest_ago_goes(doors: Doors) -> None:
    sessions = [entered(doors) for _ in range(SESSIONS)]
    assert doors.session(sessions[0].cookie) == sessions[0]
    sessions.append(entered(doors))
    assert [doors.session(session.cookie) is None for session in sessions[:3]] == [False, True, False]
    codes = [code(doors) for _ in range(LINKS + 1)]
    assert doors.open(codes[0]) is None
    assert doors.open(codes[1]) is not None


def test_without_http_there_is_no_link(time: Time) -> None:
    with pytest.raises(Unsupported, match="--http"):
        Doors(time).link(ADA)
