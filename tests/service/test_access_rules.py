"""Rules: how they are read, whom they fit, and what they come to together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfstore.errors import UsageError
from udfstore.model import Author
from udfstore.refs import Pattern
from udfstore.service.rules import ALL, UNKNOWN, Grant, Need, Right, Rule, Rules, parse

READ, SNAPSHOT, WRITE, DELETE, ADMIN = Right
ADA = Author("socket", 1000, (1000, 27), 77, "python")
EVERYTHING = parse(right.value for right in Right)


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("read", Grant(READ)),
        ("admin", Grant(ADMIN)),
        ("write:models/staging/*", Grant(WRITE, Pattern("models/staging/*"))),
        ("snapshot:pump-~c3~a4*", Grant(SNAPSHOT, Pattern("pump-~c3~a4*"))),
    ],
)
def test_grants_are_read(text: str, grant: Grant) -> None:
    assert Grant.parse(text) == grant


@pytest.mark.parametrize("text", ["", "Read", "reads", "read:", "read:a b", "write :a", "admin:x", ":x", "read:ä", "*"])
def test_other_text_grants_nothing(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a (right|pattern)|admin is about no tags"):
        Grant.parse(text)


@given(st.text())
def test_any_text_is_a_grant_or_a_usage_error(text: str) -> None:
    try:
        grant = Grant.parse(text)
    except UsageError:
        return
    assert text in (grant.right.value, f"{grant.right.value}:{grant.pattern}")


@given(st.sampled_from(Right), st.from_regex(r"[a-z*/]{1,12}", fullmatch=True), st.from_regex(r"[a-z/]{1,9}\Z"))
def test_a_pattern_gives_no_more_than_the_right_without_one(right: Right, pattern: str, tag: str) -> None:
    narrow, wide = Grant(right, Pattern(pattern)), Grant(right)
    for asked in Right:
        assert wide.covers(asked, tag) or not narrow.covers(asked, tag)
        assert narrow.everywhere(asked) == (pattern == ALL and wide.everywhere(asked))


@pytest.mark.parametrize(
    ("allow", "right", "tag", "may"),
    [
        ("read", READ, "a/b", True),
        ("read", READ, "snapshots/pump/auto", True),
        ("read", WRITE, "a/b", False),
        ("read:models/*", READ, "models/a", True),
        ("read:models/*", READ, "models/a/b", False),
        ("read:models/**", READ, "models/a/b", True),
        ("read:models/*", READ, "models", False),
        ("write:a", READ, "a", True),
        ("delete:a", READ, "a", True),
        ("delete:a", WRITE, "a", False),
        ("write:a", DELETE, "a", False),
        ("snapshot", SNAPSHOT, "snapshots/pump/auto", True),
        ("snapshot", READ, "snapshots/pump/named/x", True),
        ("snapshot", WRITE, "snapshots/pump/auto", False),
        ("snapshot", READ, "models/a", False),
        ("snapshot:pump", READ, "snapshots/pump/auto", True),
        ("snapshot:pump", READ, "snapshots/pump2/auto", False),
        ("snapshot:*", READ, "snapshots", False),
        ("snapshot:**", READ, "snapshotsx/a", False),
        ("write", SNAPSHOT, "snapshots/pump/auto", False),
        ("admin", READ, "a", False),
    ],
)
def test_what_a_grant_covers(allow: str, right: Right, tag: str, may: bool) -> None:
    assert Grant.parse(allow).covers(right, tag) is may


def test_everything_takes_a_grant_without_limits() -> None:
    assert Grant.parse("read:**").everywhere(READ)
    assert Grant.parse("write").everywhere(READ)
    for text in ("read:*", "read:*/**", "snapshot"):
        assert not Grant.parse(text).everywhere(READ)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(()), True),
        (Rule((), listener="people"), True),
        (Rule((), listener="udfs"), False),
        (Rule((), user=1000), True),
        (Rule((), user=1001), False),
        (Rule((), group=27), True),
        (Rule((), group=28), False),
        (Rule((), token="ci"), False),
        (Rule((), listener="people", user=1000, group=1000), True),
        (Rule((), listener="people", user=1000, group=28), False),
    ],
)
def test_whom_a_rule_fits(rule: Rule, fits: bool) -> None:
    assert rule.fits("people", ADA) is fits


def test_users_and_groups_that_the_kernel_cannot_name_fit_no_rule_about_them() -> None:
    nobody = Author("socket", UNKNOWN, (UNKNOWN,), 0)
    assert not Rule((), user=UNKNOWN).fits("x", nobody)
    assert not Rule((), group=UNKNOWN).fits("x", nobody)
    assert Rule((), listener="x").fits("x", nobody)


def test_a_claim_is_no_right() -> None:
    claiming = replace(ADA, claim=replace(ADA.claim, person="root"))
    rules = Rules(rules=(Rule(EVERYTHING, user=0),))
    rights = rules.of("", claiming)
    assert rights is not None
    assert not rights.may(READ, "a")


def test_without_rules_everybody_may_everything() -> None:
    assert Rules().of("people", ADA) is None
    assert Rules({"people": EVERYTHING}).of("people", ADA) is None
    assert Rules({"udfs": ()}).of("people", ADA) is None
    assert Rules(rules=(Rule(EVERYTHING, user=1000),)).of("people", ADA) is None


def test_rules_add_up_and_the_listener_is_their_limit() -> None:
    rules = Rules(
        {"udfs": parse(["read:models/**"])},
        (Rule(parse(["read:models/a"]), user=1000), Rule(parse(["write:models/*"]), group=27), Rule((), user=5)),
    )
    rights = rules.of("people", ADA)
    assert rights is not None
    assert rights.may(READ, "models/a")
    assert rights.may(WRITE, "models/b")
    assert not rights.may(READ, "other")
    limited = rules.of("udfs", ADA)
    assert limited is not None
    assert limited.may(READ, "models/b")
    assert not limited.may(WRITE, "models/b")
    stranger = rules.of("people", Author("socket", 7, (7,)))
    assert stranger is not None
    assert not any(stranger.may(right, "models/a") for right in Right)


def test_a_refusal_names_the_side_that_refuses() -> None:
    rules = Rules({"udfs": parse(["read"])}, (Rule(parse(["read:a", "write:a"]), user=1000),))
    rights = rules.of("udfs", ADA)
    assert rights is not None
    refused = [rights.refused(need) for need in (Need((READ,), "a"), Need((READ,), "b"), Need((WRITE,), "a"))]
    assert [side and side.name for side in refused] == [None, "the rules", "the listener udfs"]
    assert rights.refused(Need((WRITE, READ), "a")) is None
    assert rights.refused(Need((READ,), "")) is None
    assert rights.refused(Need((READ,), ALL)) is not None
