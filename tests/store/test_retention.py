"""Rules about which versions keep their content."""

from __future__ import annotations

import pytest
from store_kit import AUTHOR

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.model import Entry
from udfstore.store.retention import DAY, Rule, let_go, rule_for

ID = BlobId.of(b"x")


def history(*days: int, deleted: tuple[int, ...] = ()) -> list[Entry]:
    """Versions made on these days, oldest first in the arguments, newest first in the result."""
    entries = [Entry("t", n, None if n in deleted else ID, 1, n, day * DAY, AUTHOR) for n, day in enumerate(days, 1)]
    return entries[::-1]


def gone(rule: str, entries: list[Entry], today: int = 100, pinned: tuple[int, ...] = ()) -> list[int]:
    return [entry.version for entry in let_go(Rule.parse(rule), entries, today * DAY, pinned)]


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


@pytest.mark.parametrize("text", ["", "a", "a keep", "a keep 0", "a keep -1", "a keep 3w", "a b keep 3", "a[ keep 3"])
def test_other_text_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a (retention rule|pattern)"):
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
    assert rule_for("snapshots/t/auto", rules).versions == 2, "a rule of the operator's comes before the built-in one"
    assert rule_for("b", []) == Rule("**"), "without a rule everything is kept"


def test_by_number() -> None:
    entries = history(1, 2, 3, 4)
    assert gone("t keep 2", entries) == [2, 1]
    assert gone("t keep 9", entries) == []
    assert gone("t keep all", entries) == []
    assert gone("t keep 1", entries, pinned=(2,)) == [3, 1]


def test_deletions_are_not_counted_and_hold_nothing() -> None:
    assert gone("t keep 2", history(1, 2, 3, 4, deleted=(3,))) == [1]
    assert gone("t keep 1", history(1, 2, 3, deleted=(3,))) == [1]


def test_by_age_counts_from_when_a_version_was_replaced() -> None:
    entries = history(1, 80, 90)
    assert gone("t keep 15d", entries) == [1]
    assert gone("t keep 10d", entries) == [1], "version 2 was the newest until ten days ago"
    assert gone("t keep 9d", entries) == [2, 1]
    assert gone("t keep 1d", entries, today=5000) == [2, 1], "the newest never goes"
    assert gone("t keep 9d", history(1, 2, deleted=(2,))) == [1]
    assert gone("t keep 9d", []) == []
