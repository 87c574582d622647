"""Kapacitor's `dot` text of a task, read as a DAG. Pure.

    digraph TASK {                            TASK as it is, quoted never: `cpu-alert`, `größe`, `a.b`
    graph [throughput="0.00 points/s"];       of a running task only
    stream0 [avg_exec_time_ns="0s" ];         of a running task only, one for each node
    stream0 -> from1 [processed="12"];        attributes of a running task only
    }

This is a reader of our own for these five lines, not for the DOT language. pydot 4.0 was tried: on `digraph cpu-alert`
it prints to stdout and returns None, and 500 nodes take it 1.5 s; no other parser of DOT for Python was found that is
alive and typed. What stands between brackets is skipped unread: Kapacitor does not escape it.

Kapacitor names a node by its kind and a number, counted as the script makes the nodes. A running task lists its edges
the other way round from a stored one, so the order of siblings is taken from the numbers, which both have.

A node takes one number for each of its edges from a parent and bears the last of them: a join of two skips one
(`eval4`, then `join6`). From that the end of a kind that itself ends in a digit is found: `avg12` is either number 12,
or number 2 of the UDF `avg1`. Should two readings add up, one is taken, for one text always the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from udfstore.errors import TooLarge, UsageError
from udfstore.snapshots.dag import DAG_BYTES, NODES, Dag, Node
from udfstore.snapshots.names import check_name

_HEAD = re.compile(r"digraph (?P<task>.*\S)\s*\{")
_NAME = r"[^\s\[\]{};\"=>-]+"
_LINE = re.compile(rf"(?P<node>{_NAME})(?:\s*->\s*(?P<child>{_NAME}))?(?:\s*\[.*\])?\s*;?")
_NUMBERED = re.compile(r"(?P<kind>.+?)(?P<digits>[0-9]+)", re.ASCII)
_STEPS = 20
"""Tries for each node in the search for the numbers; without dead ends it takes one."""


def parse_dot(text: str) -> Dag:
    """The DAG of a task from what Kapacitor's HTTP API and `kapacitor show` give as its `dot`.

    Raises `UsageError` that names the line for anything that Kapacitor does not write, a text without nodes included,
    and `TooLarge`.
    """
    if len(text) > DAG_BYTES:
        raise TooLarge(f"a dot text has at most {DAG_BYTES} characters", got=len(text))
    parents: dict[str, list[str]] = {}
    for number, node, child in _statements(text):
        for name in (node, child):
            if name and _NUMBERED.fullmatch(check_name(name, f"line {number}: a node's name")) is None:
                raise UsageError(f"line {number}: not the name of a node: it ends in no number", got=repr(name[:80]))
        parents.setdefault(node, [])
        if child:
            parents.setdefault(child, []).append(node)
    if not parents:
        raise UsageError("the dot text names no node", got=repr(text[:80]))
    if len(parents) > NODES:
        raise UsageError(f"a DAG has at most {NODES} nodes", got=len(parents))
    numbers = _numbers(parents)
    return Dag(tuple(_node(name, numbers[name], parents[name]) for name in sorted(parents, key=numbers.__getitem__)))


def _statements(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, node and child (or nothing) of every statement about nodes."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines or _HEAD.fullmatch(lines[0][1]) is None:
        raise UsageError("not Kapacitor's dot", expected="digraph TASK {", got=repr(lines[0][1][:80] if lines else ""))
    if len(lines) < 2 or lines[-1][1] != "}":
        raise UsageError("the dot text is cut off", expected="} on the last line", got=repr(lines[-1][1][:80]))
    for number, line in lines[1:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"line {number}: not Kapacitor's dot", expected="A -> B; or A […];", got=repr(line[:80]))
        if match["node"] != "graph" or match["child"]:
            yield number, match["node"], match["child"] or ""


def _node(name: str, number: int, parents: Sequence[str]) -> Node:
    return Node(name, name.removesuffix(str(number)), tuple(dict.fromkeys(parents)))


def _numbers(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The number of each node: as many in all as sources and edges, or counted 0 to n-1, whichever adds up.

    Where neither does, all digits at the end are read as the number.
    """
    readings = {name: _readings(name) for name in parents}
    by_edges = {name: max(1, len(above)) for name, above in parents.items()}
    one_each = dict.fromkeys(parents, 1)
    return (
        _count(readings, parents, by_edges)
        or _count(readings, parents, one_each)
        or {name: max(found) for name, found in readings.items()}
    )


def _count(
    readings: Mapping[str, Sequence[int]], parents: Mapping[str, Sequence[str]], takes: Mapping[str, int]
) -> dict[str, int] | None:
    """Make the nodes again, in the order in which Kapacitor made them: each after its parents, no number left out.

    A search in depth: where several names fit, the one goes first that can wait the least, whose longest reading is
    the smallest. None when nothing adds up, or not within a bound far above what any real task needs.
    """
    ending: dict[int, list[str]] = defaultdict(list)
    for name in sorted(readings, key=lambda name: max(readings[name])):
        for number in readings[name]:
            ending[number - takes[name] + 1].append(name)
    found: dict[str, int] = {}

    def fits(at: int) -> Iterator[str]:
        for name in ending[at]:
            if name not in found and all(parent in found for parent in parents[name]):
                yield name
                if max(readings[name]) == at + takes[name] - 1:
                    return

    at, choices = 0, [fits(0)]
    for _ in range(_STEPS * len(readings)):
        name = next(choices[-1], "")
        if name:
            found[name] = at + takes[name] - 1
            at += takes[name]
            if len(found) == len(readings):
                return found
            choices.append(fits(at))
        elif found:
            choices.pop()
            at -= takes[found.popitem()[0]]
        else:
            return None
    return None


def _readings(name: str) -> list[int]:
    """The numbers that a name may end in; a kind has at least one character, a number no leading zero."""
    match = _NUMBERED.fullmatch(name)
    digits = match["digits"] if match else ""
    ends = (digits[start:] for start in range(len(digits)))
    return [int(end) for end in ends if end == "0" or not end.startswith("0")]
