"""What docs/dag.md says is what the code does, and what anyone computes from its words."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from udfstore.snapshots import Dag, identity_of_name, parse_dot

DOC = (Path(__file__).parents[2] / "docs" / "dag.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def dag() -> Dag:
    (text,) = blocks("json")
    return Dag.from_json(text)


def test_table_of_ids(dag: Dag) -> None:
    rows = re.findall(r"\| `(\w+)` \| (\w+) \| (\d) \| `([0-9a-f]{64})` \|", DOC)
    assert {name: id for name, _, _, id in rows} == dag.ids
    assert {name: kind for name, kind, _, _ in rows} == {node.name: node.kind for node in dag.nodes}


def test_bytes_that_are_hashed(dag: Dag) -> None:
    hashed = [hashlib.sha256(bytes.fromhex(block)).hexdigest() for block in blocks("hex")]
    assert hashed == [dag.ids["stream0"], dag.ids["from1"]]
    assert [len(bytes.fromhex(block)) for block in blocks("hex")] == [
        int(size) for size in re.findall(r", (\d+) bytes:", DOC)
    ]


def test_fingerprint(dag: Dag) -> None:
    joined = b"".join(sorted(bytes.fromhex(id) for id in dag.ids.values()))
    assert dag.fingerprint == hashlib.sha256(joined).hexdigest()
    assert f"task above: `{dag.fingerprint}`" in DOC


def test_without_a_dag() -> None:
    assert f"the name `scores`: `{identity_of_name('scores').id}`" in DOC
    assert identity_of_name("scores").id == hashlib.sha256(b"scores").hexdigest()


def test_dot_and_json_of_one_task_agree(dag: Dag) -> None:
    (text,) = blocks("dot")
    assert parse_dot(text).ids == dag.ids


def test_json_reads_back(dag: Dag) -> None:
    (text,) = blocks("json")
    assert Dag.from_json(dag.to_json()) == dag
    assert [node.key for node in dag.nodes if node.key] == ["pump-model"]
    assert dag.to_json().count("\n") == text.count("\n") == len(dag.nodes) + 2
