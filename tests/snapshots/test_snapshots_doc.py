"""docs/snapshots.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from udfstore.snapshots import Policy, auto_tag, decode, named_tag, record_tag
from udfstore.snapshots.names import NAME_BYTES, RESERVED
from udfstore.snapshots.rounds import DEADLINE_S, INTERVAL_S, LEAST_INTERVAL_S
from udfstore.store.retention import rule_for
from udfstore.store.wanted import WANTED_NS

PAGE = (Path(__file__).parents[2] / "docs" / "snapshots.md").read_text()
LINE = " ".join(PAGE.split())


def test_the_tags() -> None:
    listed = re.findall(r"^\| `(snapshots/.*?)` \|", PAGE, re.MULTILINE)
    assert listed == [tag.name for tag in (auto_tag("TASK"), named_tag("TASK", "NAME"), record_tag("TASK"))]


def test_the_policies() -> None:
    assert re.findall(r"^\| `([a-z]+)`", PAGE, re.MULTILINE) == [policy.value for policy in Policy]


def test_the_numbers() -> None:
    assert f"({INTERVAL_S:g} s if none did, {LEAST_INTERVAL_S:g} s at the least)" in LINE
    assert f"answered within {DEADLINE_S:g} s" in LINE
    assert f"up to {NAME_BYTES} bytes without control characters" in LINE
    assert rule_for(auto_tag("t").name, ()).versions == 10
    assert "| automatic | the newest ten of a task |" in PAGE
    assert WANTED_NS == 5 * 60 * 10**9
    assert "stays for another five minutes" in LINE


def test_the_words_that_name_no_snapshot() -> None:
    sentence = re.search(r"A snapshot's name is no number, no ID, and not (.*?)\.", LINE)
    assert sentence
    assert set(re.findall(r"`([a-z]+)`", sentence[1])) == RESERVED


def test_the_fields_of_a_manifest() -> None:
    shown = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert shown
    whole = shown[1].replace("0d5b56dc…", "0d" * 32).replace("635c5a32…", "63" * 32)
    whole = whole.replace("sha256:…", "sha256:" + "ab" * 32).replace(', "models": […]', "")
    manifest = decode(json.dumps(json.loads(whole), separators=(",", ":")).encode())
    assert (manifest.task, manifest.nodes[0].name, manifest.nodes[0].size) == ("pump", "anomaly2", 4096)
