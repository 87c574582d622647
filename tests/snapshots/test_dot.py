from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_kit import PROPERTY

from udfstore.errors import TooLarge, UsageError
from udfstore.snapshots import Dag, Node, parse_dot
from udfstore.snapshots.dag import DAG_BYTES, NODES


@dataclass(frozen=True)
class Made:
    """A node as a script makes it: its parents are places in the order of making."""

    kind: str
    parents: tuple[int, ...] = ()


def dot(script: Sequence[Made], *, running: bool, task: str = "cpu-alert") -> str:
    """What Kapacitor writes of a script: a number for each edge from a parent; edges in another order once it runs."""
    names, number = [], 0
    for node in script:
        number += max(1, len(node.parents))
        names.append(f"{node.kind}{number - 1}")
    lines = [f"digraph {task} {{"] + ['graph [throughput="0.00 points/s"];', ""] * running
    for place, name in enumerate(names):
        edges = [child for child, node in enumerate(script) for parent in node.parents if parent == place]
        if running:
            lines.append(f'{name} [avg_exec_time_ns="1.2µs" errors="0" odd="a -> b; "]" ];')
        for child in reversed(edges) if running else edges:
            lines.append(f"{name} -> {names[child]}" + ' [processed="12"];' * running + ";" * (not running))
    return "\n".join([*lines, "}"])


def as_json(script: Sequence[Made]) -> Dag:
    """The same task as JSON lists it."""
    return Dag(tuple(Node(f"n{n}", m.kind, tuple(f"n{p}" for p in m.parents)) for n, m in enumerate(script)))


@st.composite
def scripts(draw: st.DrawFn, *kinds: str) -> list[Made]:
    script = [Made("stream"), Made("from", (0,))]
    for place in range(2, draw(st.integers(2, 30))):
        parents = draw(st.lists(st.integers(0, place - 1), min_size=1, max_size=3))
        script.append(Made("join" if len(parents) > 1 else draw(st.sampled_from(kinds)), tuple(parents)))
    return script


@PROPERTY
@given(scripts("from", "eval", "avg"), st.booleans())
def test_dot_and_json_of_one_task_agree(script: list[Made], running: bool) -> None:
    dag, same = parse_dot(dot(script, running=running)), as_json(script)
    assert [node.kind for node in dag.nodes] == [made.kind for made in script]
    assert [dag.ids[node.name] for node in dag.nodes] == [same.ids[node.name] for node in same.nodes]
    assert dag.fingerprint == same.fingerprint


@PROPERTY
@given(scripts("from", "eval", "avg1", "b2"))
def test_a_task_has_the_same_ids_whether_it_runs_or_not(script: list[Made]) -> None:
    assert parse_dot(dot(script, running=True)).ids == parse_dot(dot(script, running=False)).ids


@pytest.mark.parametrize("udf", ["avg1", "avg10", "v2", "model0"])
def test_a_udf_whose_name_ends_in_digits(udf: str) -> None:
    for before in range(25):
        script = [Made("stream"), *(Made("from", (0,)) for _ in range(before)), Made(udf, (0,)), Made("alert", (0,))]
        assert parse_dot(dot(script, running=True)).nodes[before + 1].kind == udf


def test_numbers_skipped_by_a_join_are_not_looked_for_elsewhere() -> None:
    # from15 could be number 5 of a kind "from1", had the join not taken 5 and 6.
    branches = [Made("from", (0,)), Made("eval", (1,)), Made("from", (0,)), Made("eval", (3,)), Made("join", (2, 4))]
    script = [Made("stream"), *branches, *(Made("log", (5,)) for _ in range(8)), Made("from", (0,))]
    dag = parse_dot(dot(script, running=True))
    assert [node.name for node in dag.nodes][5:] == ["join6", *(f"log{n}" for n in range(7, 15)), "from15"]
    assert dag.nodes[-1].kind == "from"


def test_numbers_without_gaps_are_read_too() -> None:
    text = "digraph x {\ns0 -> a1;\ns0 -> b2;\na1 -> join3;\nb2 -> join3;\njoin3 -> avg14;\n}"
    assert [node.kind for node in parse_dot(text).nodes] == ["s", "a", "b", "join", "avg1"]


def test_numbers_that_do_not_add_up_are_all_the_digits() -> None:
    assert [node.kind for node in parse_dot("digraph x {\ns10 -> a1b20;\n}").nodes] == ["s", "a1b"]


@pytest.mark.parametrize("task", ["cpu-alert", "größe", "a.b_c", "1", "насос", "two words"])
def test_the_task_is_named_as_it_is(task: str) -> None:
    assert parse_dot(dot([Made("stream"), Made("from", (0,))], running=True, task=task)).ids.keys() == {
        "stream0",
        "from1",
    }


def test_a_running_task_of_one_node() -> None:
    assert [node.name for node in parse_dot(dot([Made("batch")], running=True)).nodes] == ["batch0"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not Kapacitor's dot"),
        ("graph x {\n}", "digraph TASK"),
        ("digraph {\na0 -> b1;\n}", "digraph TASK"),
        ("digraph x {\n}", "names no node"),
        ('digraph x {\ngraph [throughput="0"];\n}', "names no node"),
        ("digraph x {", "cut off"),
        ("digraph x {\na0 -> b1;", "cut off"),
        ("digraph x {\na0 -> ;\n}", "line 2"),
        ("digraph x {\na0 -> b1 -> c2;\n}", "line 2"),
        ("digraph x {\n\na0 -- b1;\n}", "line 3"),
        ('digraph x {\n"a0" -> b1;\n}', "line 2"),
        ("digraph x {\na -> b1;\n}", "line 2.*no number"),
        ("digraph x {\n12;\n0 -> a1;\n}", "line 3.*no number"),
        ("digraph x {\na0 -> b1;\nb1 -> a0;\n}", "cycle"),
        (f"digraph x {{\n{'a' * 200}1;\n}}", "line 2.*128 bytes"),
        ("digraph x {\n" + "".join(f"a{n};\n" for n in range(NODES + 1)) + "}", "at most"),
    ],
)
def test_what_kapacitor_does_not_write(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_dot(text)


def test_a_dot_text_has_a_largest_size() -> None:
    with pytest.raises(TooLarge):
        parse_dot("digraph x {\n" + " " * DAG_BYTES + "}")


@PROPERTY
@given(st.text(st.sampled_from('ab019 ->[]{};\n"='), max_size=40))
def test_any_text_is_a_dag_or_a_usage_error(body: str) -> None:
    try:
        parse_dot(f"digraph x {{\n{body}\n}}")
    except UsageError:
        return
