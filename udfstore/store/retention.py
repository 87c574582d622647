"""Retention: which versions of a tag's history still keep their content. Pure; the one rule engine.

    rule = pattern "keep" ( number | number "d" | "all" )          the pattern as in refs.py

`keep 10` keeps the newest ten versions that name content, `keep 30d` those that were the tag's newest within the last
30 days, `keep all` everything. The first rule whose pattern fits a tag is the one that counts; where none fits,
everything is kept. The newest version and pinned ones are kept by every rule.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from udfstore.errors import UsageError
from udfstore.model import Entry
from udfstore.refs import Pattern

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

    def fits(self, tag: str) -> bool:
        """Whether the rule is about that tag."""
        return Pattern(self.pattern).fits(tag)


AUTOMATIC = Rule("snapshots/*/auto", versions=10)
"""What a task's automatic snapshots keep. What they drop the log sheds in time; it keeps all that anybody asked for."""

BUILT_IN = (AUTOMATIC, Rule("snapshots/*/task", versions=1))
"""Rules that hold behind whatever the operator gave. Of a task's record only the newest counts: what it chose before
must not keep a snapshot."""


def rule_for(tag: str, rules: Iterable[Rule]) -> Rule:
    """The rule that counts for a tag."""
    return next((rule for rule in (*rules, *BUILT_IN) if rule.fits(tag)), Rule("**"))


def let_go(rule: Rule, history: Sequence[Entry], now_ns: int, pinned: Collection[int] = ()) -> list[Entry]:
    """The entries of one tag that need not keep their content any longer, newest first.

    `history` is all of the tag's entries, newest first; `now_ns` the present time; `pinned` version numbers that never
    go. Deletions hold nothing and are neither counted nor told.
    """
    gone: list[Entry] = []
    counted = 0
    replaced_ns: int | None = None
    for entry in history:
        newest = replaced_ns is None
        if entry.id is not None:
            counted += 1
            over = rule.versions is not None and counted > rule.versions
            old = rule.days is not None and replaced_ns is not None and now_ns - replaced_ns > rule.days * DAY
            if (over or old) and not newest and entry.version not in pinned:
                gone.append(entry)
        replaced_ns = entry.time_ns
    return gone
