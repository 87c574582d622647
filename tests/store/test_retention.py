"""Rules about which versions keep their content."""

from __future__ import annotations

import pytest

from udfstore.errors import UsageError
from udfstore.store.retention import DAY, Rule, floor, rule_for

History = list[tuple[int, bool, int]]


def history(*days: int, deleted: tuple[int, ...] = ()) -> History:
    """Versions made on these days, oldest first in the arguments, newest first in the result."""
    return [(n, n not in deleted, day * DAY) for n, day in enumerate(days, 1)][::-1]


def gone(rule: str, entries: History, today: int = 100, *, ends: bool = False) -> list[int]:
    lowest = floor(Rule.parse(rule), entries, today * DAY, ends=ends)
    return [version for version, names, _ in entries if names and version < lowest]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a/* keep 3", Rule("a/*", versions=3)),
        ("** keep 30d", Rule("**", days=30)),
        ("x  keep   all", Rule("x")),
    ],
)
def test_rules_are_read(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule
    assert str(rule) == " ".join(text.split())


@pytest.mark.parametrize("text", ["", "a", "a keep", "a keep 0", "a keep -1", "a keep 3w", "a b keep 3", "a[ keep 3"])
def test_other_text_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match=r"retention rule|pattern of tags"):
        Rule.parse(text)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_fits"),
    [
        ("a", ["a"], ["b", "a/b", "aa"]),
        ("a/*", ["a/b"], ["a", "a/b/c"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("*.x", ["m.x"], ["mzx", "a/m.x"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_patterns(pattern: str, fits: list[str], not_fits: list[str]) -> None:
    assert all(Rule(pattern).fits(tag) for tag in fits)
    assert not any(Rule(pattern).fits(tag) for tag in not_fits)


def test_the_first_rule_that_fits_counts() -> None:
    rules = [Rule("a/*", versions=1), Rule("**", versions=2)]
    assert rule_for("a/b", rules).versions == 1
    assert rule_for("b", rules).versions == 2
    assert rule_for("snapshots/t/auto", []).versions == 10
    assert rule_for("snapshots/t/auto", rules).versions == 10, "a rule about snapshots says so"
    of_snapshots = Rule("snapshots/**", versions=3)
    assert rule_for("snapshots/t/auto", [of_snapshots]).versions == 3, "the operator's comes before the built-in one"
    assert rule_for("b", []) == Rule("**"), "without a rule everything is kept"


def test_by_number() -> None:
    entries = history(1, 2, 3, 4)
    assert gone("t keep 2", entries) == [2, 1]
    assert gone("t keep 9", entries) == []
    assert gone("t keep all", entries) == []
    assert gone("t keep 2", entries[:1] + entries[3:]) == [1], "one between was removed"


def test_deletions_are_not_counted_and_hold_nothing() -> None:
    assert gone("t keep 2", history(1, 2, 3, 4, deleted=(3,))) == [1]
    assert gone("t keep 2", history(1, 2, 3, 4, 5, deleted=(3, 4))) == [1]
    assert gone("t keep 1", history(1, 2, 3, deleted=(3,))) == [1]
    assert gone("t keep 1", history(1, 2, deleted=(2,))) == []


def test_below_snapshots_a_deletion_ends_what_was_before_it() -> None:
    assert gone("t keep 2", history(1, 2, 3, 4, deleted=(2,)), ends=True) == [1]
    assert gone("t keep 2", history(1, 2, 3, deleted=(3,)), ends=True) == [2, 1]
    assert gone("t keep all", history(1, 2, 3, deleted=(2,)), ends=True) == [1]
    assert gone("t keep 1", history(1, 2, 3, deleted=(1,)), ends=True) == [2]


def test_by_age_counts_from_when_a_version_was_replaced() -> None:
    entries = history(1, 80, 90)
    assert gone("t keep 15d", entries) == [1]
    assert gone("t keep 10d", entries) == [1], "version 2 was the newest until ten days ago"
    assert gone("t keep 9d", entries) == [2, 1]
    assert gone("t keep 1d", entries, today=5000) == [2, 1], "the newest never goes"
    assert gone("t keep 9d", history(1, 2, deleted=(2,))) == [1]
    assert gone("t keep 9d", []) == []


def test_a_clock_that_stood_wrong_lets_nothing_go_that_was_just_replaced() -> None:
    assert gone("t keep 9d", history(97, 98, 0, 100)) == []
