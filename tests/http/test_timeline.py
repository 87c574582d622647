"""What a timeline tells: in which order, and what each snapshot changed."""

from __future__ import annotations

from typing import Any

from udfstore.digest import BlobId
from udfstore.http.page.timeline import Swap, changes, told
from udfstore.snapshots import NO_DAG, Fingerprint, Manifest, Model, NodeId, NodeSnapshot, Reason, Snapshot
from udfstore.tasks import Use


def blob(text: str) -> BlobId:
    return BlobId.of(text.encode())


def node(name: str, state: str = "s", size: int = 10, **more: Any) -> NodeSnapshot:
    return NodeSnapshot(NodeId("0" * 64), name, blob(state), size, **more)


def snapshot(number: int, *nodes: NodeSnapshot, dag: str = NO_DAG) -> Snapshot:
    manifest = Manifest("t", Fingerprint(dag), number * 100, Reason.INTERVAL, nodes)
    return Snapshot(blob(f"manifest {number}"), manifest, number)


def use(time_ns: int, tag: str = "models/x") -> Use:
    return Use(time_ns, time_ns, tag, 1, blob("model"))


def test_a_snapshot_tells_what_it_changed() -> None:
    before = snapshot(
        1,
        node("same", models=(Model("m/a", 1, blob("1")), Model("m/b", 4, blob("4")))),
        node("other", "old", size=10),
        node("gone"),
    )
    after = snapshot(
        2,
        node("same", models=(Model("m/a", 2, blob("2")), Model("m/c", 1, blob("1")))),
        node("other", "new", size=15, restored=before.id, carried=True),
        node("here", size=30),
        dag="f" * 64,
    )

    found = changes(after, before)

    assert found.other_dag
    assert not found.first
    assert (found.states, found.came, found.went, found.bytes) == (1, ("here",), ("gone",), 25)
    assert found.swaps == (Swap("same", "m/a", 1, 2), Swap("same", "m/b", 4, 0), Swap("same", "m/c", 0, 1))
    assert found.restored == (("other", before.id),)
    assert found.carried == ("other",)
    assert changes(before, None).first


def test_snapshots_and_uses_stand_in_the_order_of_time() -> None:
    kept = [snapshot(3), snapshot(2), snapshot(1)]

    lines = told(kept, [use(350), use(150), use(50)], 0, 10)

    assert [moment.time_ns for moment in lines] == [350, 300, 200, 150, 100, 50]


def test_pages_of_a_timeline_have_every_moment_once() -> None:
    kept = [snapshot(number) for number in range(9, 0, -1)]
    uses = [use(time_ns) for time_ns in range(1050, 0, -70)]

    pages = [told(kept, uses, skip, 2) for skip in range(0, 9, 2)]

    times = [moment.time_ns for page in pages for moment in page]
    assert times == sorted(times, reverse=True)
    assert sorted(times) == sorted([s.manifest.time_ns for s in kept] + [u.time_ns for u in uses])


def test_the_last_of_a_page_is_held_against_the_first_of_the_next() -> None:
    kept = [snapshot(2, node("a", "new")), snapshot(1, node("a", "old"))]

    (line,) = told(kept, [], 0, 1)

    assert line.changes is not None
    assert line.changes.states == 1
