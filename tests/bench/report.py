"""The results, as a table for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.bench.rows import Result, Unit

FORMAT = 1
HEADS = ("what", "median", "lowest to highest", "of floor", "goal")


def as_table(machine: Mapping[str, str], groups: Mapping[str, Sequence[Result]], rounds: int) -> str:
    """A heading for each group, a line for each row."""
    lines = [f"{name:24}{value}" for name, value in machine.items()]
    lines += [f"{'rounds':24}{rounds}, after one to warm up; memory: once", ""]
    rows = [HEADS] + [_cells(result) for results in groups.values() for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]

    def line(cells: Sequence[str]) -> str:
        first, *figures, last = cells
        middle = "  ".join(cell.rjust(width) for cell, width in zip(figures, widths[1:-1], strict=True))
        return f"{first.ljust(widths[0])}  {middle}  {last}".rstrip()

    lines += [line(HEADS), "-" * (sum(widths) + 2 * len(widths) - 2)]
    for results in groups.values():
        lines += [*(line(_cells(result)) for result in results), ""]
    return "\n".join(lines)


def as_json(machine: Mapping[str, str], groups: Mapping[str, Sequence[Result]], *, quick: bool) -> str:
    """Everything, each round's figures included; `FORMAT` changes when what stands here changes its meaning."""
    rows = [
        {
            "group": name,
            "name": result.row.name,
            "unit": result.row.unit.value,
            "goal": result.row.goal,
            "floor": result.row.floor,
            "gap": result.row.gap,
            "median": result.median,
            "of_floor": result.share,
            "rounds": result.figures,
        }
        for name, results in groups.items()
        for result in results
    ]
    return json.dumps({"format": FORMAT, "machine": machine, "quick": quick, "rows": rows}, indent=2) + "\n"


def _cells(result: Result) -> tuple[str, ...]:
    unit, figures, middle = result.row.unit, result.figures, result.median
    if middle is None:
        return result.row.name, "", "", "", result.row.gap
    return (
        result.row.name,
        f"{_number(middle, unit)} {unit.value:5}",
        f"{_number(min(figures), unit)} to {_number(max(figures), unit)}",
        "" if result.share is None else f"{result.share:.2f}",
        result.row.goal,
    )


def _number(figure: float, unit: Unit) -> str:
    digits = {Unit.MILLISECONDS: 2, Unit.SECONDS: 3, Unit.BYTES: 1}.get(unit, 0)
    return f"{figure:,.{digits}f}"
