"""Retention: which versions of a tag's history still keep their content. Pure; the one rule engine.

    rule = pattern "keep" ( number | number "d" | "all" )          the pattern as in refs.py

`keep 10` keeps the newest ten versions that name content, `keep 30d` those that were the tag's newest within the last
30 days, `keep all` everything. The first rule whose pattern fits a tag is the one that counts; where none fits,
everything is kept. The newest version is kept by every rule. Rules about snapshots say so: only a pattern that begins
with `snapshots/` fits a tag below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from udfstore.errors import UsageError
from udfstore.refs import SNAPSHOTS, Pattern

DAY = 86_400 * 1_000_000_000
"""A day in nanoseconds."""

_KEEP = re.compile(r"(?:([1-9][0-9]{0,8})(d?)|all)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep so many versions, or what was newest within so many days; both None: everything."""

    pattern: str
    versions: int | None = None
    days: int | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read `PATTERN keep N`, `PATTERN keep Nd` or `PATTERN keep all`. Raises `UsageError`."""
        words = text.split()
        match = _KEEP.fullmatch(words[2]) if len(words) == 3 and words[1] == "keep" else None
        if match is None:
            raise UsageError(
                "not a retention rule", expected="PATTERN keep 10, keep 30d or keep all", got=repr(text[:80])
            )
        Pattern.parse(words[0])
        if match[1] is None:
            return cls(words[0])
        return cls(words[0], days=int(match[1])) if match[2] else cls(words[0], versions=int(match[1]))

    def __str__(self) -> str:
        """As `parse` reads it."""
        kept = "all" if self.keeps_all else f"{self.days}d" if self.days is not None else str(self.versions)
        return f"{self.pattern} keep {kept}"

    @property
    def keeps_all(self) -> bool:
        """Whether every version keeps its content."""
        return self.versions is None and self.days is None

    def fits(self, tag: str) -> bool:
        """Whether the rule is about that tag."""
        if tag.startswith(SNAPSHOTS) and not self.pattern.startswith(SNAPSHOTS):
            return False
        return Pattern(self.pattern).fits(tag)


AUTOMATIC = Rule("snapshots/*/auto", versions=10)
"""What a task's automatic snapshots keep. What they drop the log sheds in time; it keeps all that anybody asked for."""

BUILT_IN = (AUTOMATIC, Rule("snapshots/*/task", versions=1))
"""Rules that hold behind whatever the operator gave. Of a task's record only the newest counts: what it chose before
must not keep a snapshot."""


def rule_for(tag: str, rules: Iterable[Rule]) -> Rule:
    """The rule that counts for a tag."""
    return next((rule for rule in (*rules, *BUILT_IN) if rule.fits(tag)), Rule("**"))


def floor(rule: Rule, history: Iterable[tuple[int, bool, int]], now_ns: int, *, ends: bool) -> int:
    """The lowest version of a tag that keeps its content by a rule.

    `history` is version, whether it names content (else it is a deletion), and time of all versions, newest first, of
    which only those are read that are kept; `now_ns` the present time. Deletions are not counted. `ends`: what was
    before the last deletion is let go.
    """
    if rule.keeps_all and not ends:
        return 0
    newest = deletions = 0
    replaced_ns: int | None = None
    for version, names, time_ns in history:
        newest = newest or version
        if names:
            # By numbers: versions may be missing that were removed one by one.
            over = rule.versions is not None and newest - version - deletions >= rule.versions
            if replaced_ns is not None and (over or _is_old(rule, max(replaced_ns, time_ns), now_ns)):
                return version + 1
        elif ends:
            return version + 1
        else:
            deletions += 1
        replaced_ns = time_ns
    return 0


def _is_old(rule: Rule, replaced_ns: int, now_ns: int) -> bool:
    """Whether a version was replaced too long ago. By a clock that stood wrong, no earlier than it was made."""
    return rule.days is not None and now_ns - replaced_ns > rule.days * DAY
