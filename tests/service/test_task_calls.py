"""What can be asked of tasks and snapshots, and what can be changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import service_kit
from service_kit import CALLER, DAG, OTHER_DAG, Box, request

from udfstore import calls, tasks
from udfstore.digest import BlobId
from udfstore.errors import Conflict, Gone, NotFound, UsageError
from udfstore.refs import Ref, Tag
from udfstore.service import Live
from udfstore.snapshots import Aside as SetAside
from udfstore.snapshots import Dag, NodeId
from udfstore.store import StoreLimits


def numbers(box: Box, task: str = "pump") -> list[int]:
    return [snapshot.number for snapshot in box.ask(tasks.ListSnapshots(task))]


def rounds(box: Box, count: int, task: str = "pump") -> list[BlobId]:
    return [box.commit({"a": b"%s %d" % (task.encode(), n)}, task) for n in range(1, count + 1)]


def name(box: Box, name: str, snapshot: str = "", note: str = "") -> tasks.Snapshot:
    told: tasks.Snapshot = box.ask(tasks.NameSnapshot("pump", name, snapshot, note, request()))
    return told


def drop(box: Box, *snapshots: str, everything: bool = False) -> list[str]:
    dropped = box.ask(tasks.DeleteSnapshots("pump", snapshots, everything, request()))
    return [" ".join((str(s.number), *s.names)) for s in dropped.snapshots]


# --- reads ---


def test_snapshots_are_told_newest_first(box: Box) -> None:
    ids = rounds(box, 3)
    name(box, "golden", "2")
    told = box.ask(tasks.ListSnapshots("pump"))
    assert [(s.number, s.id, s.names) for s in told] == [(3, ids[2], ()), (2, ids[1], ("golden",)), (1, ids[0], ())]
    newest = told[0]
    assert (newest.task, newest.reason, newest.nodes, newest.bytes) == ("pump", tasks.Reason.INTERVAL, 1, 6)
    assert (newest.fingerprint, newest.time_ns > told[1].time_ns) == ("none", True)
    with pytest.raises(NotFound, match="no task"):
        box.ask(tasks.ListSnapshots("nobody"))


def test_one_snapshot_by_all_its_names(box: Box) -> None:
    ids = rounds(box, 3)
    name(box, "golden", "2")
    for text, number in (
        ("", 3),
        ("1", 1),
        ("golden", 2),
        (ids[0].hex, 1),
        (str(ids[1]), 2),
        (ids[2].hex[:12], 3),
        (f"sha256:{ids[2].hex[:8]}", 3),
    ):
        assert box.ask(tasks.FindSnapshot("pump", text)).number == number
    for text in ("7", "silver", "0" * 12, "0" * 64):
        with pytest.raises(NotFound):
            box.ask(tasks.FindSnapshot("pump", text))
    with pytest.raises(NotFound, match="no snapshot"):
        box.ask(tasks.FindSnapshot("nobody"))


def test_the_states_of_a_snapshot(box: Box) -> None:
    model = tasks.Model("models/m", 3, BlobId.of(b"model"))
    box.commit({"a": b"1", "b": b"22"}, models=(model,))
    states = box.ask(tasks.ListStates("pump"))
    assert [(s.name, s.blob, s.size, s.models) for s in states] == [
        ("a", BlobId.of(b"1"), 1, (model,)),
        ("b", BlobId.of(b"22"), 2, (model,)),
    ]


def test_tasks(box: Box) -> None:
    rounds(box, 2)
    name(box, "golden")
    box.commit({"x": b"x"}, "näh/e")
    box.tasks.began(tasks.Node("began", "a", DAG, host=tasks.HostKind.KAPACITOR))
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    box.tasks.live = lambda: {"live": Live(("n",), "none", tasks.HostKind.RUN, 9, "a node left")}
    told = {task.name: task for task in box.ask(tasks.ListTasks())}
    assert list(told) == ["began", "live", "näh/e", "pump"]
    pump = told["pump"]
    assert pump.newest
    assert (pump.newest.number, pump.automatic, pump.named, pump.confirmed_ns) == (2, 2, 1, pump.newest.time_ns)
    assert (pump.chosen, pump.fresh, pump.nodes) == (box.ask(tasks.FindSnapshot("pump", "1")).id, False, ())
    began = told["began"]
    assert (began.host, began.fingerprint) == (tasks.HostKind.KAPACITOR, Dag.from_json(DAG).fingerprint)
    assert (began.newest, began.automatic, began.confirmed_ns) == (None, 0, 0)
    live = told["live"]
    assert (live.nodes, live.host, live.confirmed_ns, live.problem) == (("n",), tasks.HostKind.RUN, 9, "a node left")


def test_one_task_is_told_as_in_the_list_of_all(box: Box) -> None:
    rounds(box, 2)
    box.tasks.live = lambda: {"live": Live(("n",), "none", tasks.HostKind.RUN)}
    for told in box.ask(tasks.ListTasks()):
        assert box.tasks.find_task(CALLER, told.name) == told
    with pytest.raises(NotFound, match="no task 'fan'"):
        box.tasks.find_task(CALLER, "fan")


def test_a_plan_says_what_each_node_would_get(box: Box) -> None:
    box.commit({"a": b"a1", "b": b"b1"}, dag=DAG)
    revision = box.store.revision
    same = box.ask(tasks.PlanRestore("pump", DAG))
    assert [(g.node, g.state and g.state.blob, g.lost) for g in same] == [
        ("a", BlobId.of(b"a1"), False),
        ("b", BlobId.of(b"b1"), False),
    ]
    assert same[0].snapshot
    assert (same[0].snapshot.number, same[0].why) == (1, "the same node")
    strict = box.ask(tasks.PlanRestore("pump", OTHER_DAG))
    assert [(g.node, g.state is None, g.lost) for g in strict[:2]] == [("a", True, False), ("c", True, False)]
    upstream = box.ask(tasks.PlanRestore("pump", OTHER_DAG, tasks.Policy.UPSTREAM))
    assert [(g.node, g.state is not None, g.lost) for g in upstream] == [
        ("a", True, False),
        ("c", False, False),
        ("b", True, True),
    ]
    fresh = box.ask(tasks.PlanRestore("pump", DAG, snapshot="fresh"))
    assert [g.why for g in fresh] == ["a fresh start was chosen"] * 2
    with pytest.raises(Conflict):
        box.ask(tasks.PlanRestore("pump", OTHER_DAG, snapshot="1"))
    with pytest.raises(UsageError):
        box.ask(tasks.PlanRestore("pump", b"dag"))
    assert box.store.revision == revision


def test_a_plan_without_a_dag(box: Box) -> None:
    box.commit({"a": b"a1"})
    assert [(g.node, g.why) for g in box.ask(tasks.PlanRestore("pump", b""))] == [("a", "the same node")]


# --- names and choices ---


def test_a_name_is_given_once(box: Box) -> None:
    ids = rounds(box, 2)
    told = name(box, "golden", "1", "before the change")
    assert (told.id, told.number, told.names) == (ids[0], 1, ("golden",))
    entry = box.store.entry(Ref.parse("snapshots/pump/named/golden"))
    assert (entry.note, entry.author, entry.id) == ("before the change", CALLER.author, ids[0])
    assert entry.links == (BlobId.of(b"pump 1"),)
    assert name(box, "golden", "1") == told
    with pytest.raises(Conflict):
        name(box, "golden", "2")
    with pytest.raises(UsageError):
        name(box, "12")
    odd = name(box, "früh / 6 Uhr")
    assert odd.names == ("früh / 6 Uhr",)


def test_a_repeat_is_answered_with_what_was_done_first(box: Box) -> None:
    ids = rounds(box, 2)
    naming = tasks.NameSnapshot("pump", "golden", "", request=request())
    using = tasks.UseSnapshot("pump", "", request=request())
    deleting = tasks.DeleteSnapshots("pump", ("1",), request=request())
    first = [box.ask(call) for call in (naming, using, deleting)]
    rounds(box, 3)
    again = [box.ask(call) for call in (naming, using, deleting)]
    assert [a.id for a in again[:2]] == [f.id for f in first[:2]] == [ids[1]] * 2
    assert [s.id for s in again[2].snapshots] == [s.id for s in first[2].snapshots] == [ids[0]]
    box.tasks.shelf._manifests.clear()
    (told,) = box.ask(deleting).snapshots
    assert (told.id, told.number, told.nodes) == (ids[0], 1, 1)
    unnaming = tasks.DeleteSnapshots("pump", ("golden",), request=request())
    assert [s.id for s in box.ask(unnaming).snapshots] == [s.id for s in box.ask(unnaming).snapshots] == [ids[1]]
    for other in (
        tasks.NameSnapshot("pump", "silver", "", request=using.request),
        tasks.UseSnapshot("pump", "", request=naming.request),
        tasks.DeleteSnapshots("pump", ("2",), request=using.request),
        tasks.DeleteTask("pump", request=naming.request),
    ):
        with pytest.raises(Conflict, match="another change"):
            box.ask(other)


def test_choosing(box: Box) -> None:
    ids = rounds(box, 2)
    told = box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    assert told.id == ids[0]
    entry = box.store.entry(Ref.parse("snapshots/pump/task"))
    assert (entry.links, entry.author) == ((ids[0],), CALLER.author)
    assert box.ask(tasks.UseSnapshot("pump", "fresh", request=request())) is None
    assert box.ask(tasks.ListTasks())[0].fresh
    assert box.ask(tasks.UseSnapshot("pump", "", request=request())).id == ids[1]
    for call in (tasks.UseSnapshot("pump", "9", request=request()), tasks.UseSnapshot("x", "fresh", request=request())):
        with pytest.raises(NotFound):
            box.ask(call)
    with pytest.raises(UsageError):
        box.ask(tasks.UseSnapshot("pump", "1", Ref.parse("models/m"), request=request()))


def test_the_newest_from_before_a_model_was_in_use(box: Box) -> None:
    old, new = box.save(b"old"), box.save(b"new")
    moved = [
        box.service.move(CALLER, calls.Move((calls.Step(Tag.parse("models/m"), Ref.of(id)),), request=request()))
        for id in (old, new)
    ]
    assert [m.result().entries[0].version for m in moved] == [1, 2]
    models = [(tasks.Model("models/m", n, id),) for n, id in ((1, old), (2, new))]
    box.commit({"a": b"1"}, models=models[0])
    box.commit({"a": b"2"}, models=models[0])
    box.commit({"a": b"3"}, models=models[1])
    before = tasks.UseSnapshot("pump", before=Ref.parse("models/m"), request=request())
    assert box.ask(before).number == 2
    with pytest.raises(NotFound):
        box.ask(tasks.UseSnapshot("pump", before=Ref.parse("models/m@1"), request=request()))


def test_a_use_between_two_snapshots_counts(box: Box) -> None:
    id = box.save(b"m")
    step = calls.Step(Tag.parse("models/m"), Ref.of(id))
    box.service.move(CALLER, calls.Move((step,), request=request())).result()
    rounds(box, 1)
    box.ask(calls.Used(Tag.parse("models/m"), 1, id, request=request()))
    rounds(box, 2)
    assert box.ask(tasks.UseSnapshot("pump", before=Ref.parse("models/m"), request=request())).number == 1


def test_choosing_lifts_what_was_set_aside_of_that_snapshot_alone(box: Box) -> None:
    rounds(box, 2)
    node = NodeId("0" * 64)
    for n in (1, 2):
        box.tasks.set_aside("pump", SetAside(node, BlobId.of(b"pump %d" % n)))
    box.ask(tasks.UseSnapshot("pump", "2", request=request()))
    record = box.tasks.shelf.record("pump")
    assert record
    assert record.aside == (SetAside(node, BlobId.of(b"pump 1")),)


# --- deletion ---


def test_a_deleted_number_is_gone_with_its_states(box: Box) -> None:
    box.commit({"a": b"only 1", "b": b"both"})
    box.commit({"a": b"only 2", "b": b"both"})
    files = box.files()
    assert drop(box, "1") == ["1"]
    assert box.files() == files - 2
    assert (box.here(b"only 1"), box.here(b"only 2"), box.here(b"both")) == (False, True, True)
    assert numbers(box) == [2]
    for ask in (
        lambda: box.ask(tasks.FindSnapshot("pump", "1")),
        lambda: box.store.resolve(Ref.parse("snapshots/pump/auto@1")),
    ):
        with pytest.raises(Gone):
            ask()
    rounds(box, 1)
    assert numbers(box) == [3, 2], "a number is never given twice"


def test_a_state_that_a_tag_names_stays(box: Box) -> None:
    rounds(box, 1)
    step = calls.Step(Tag.parse("kept/state"), Ref.of(BlobId.of(b"pump 1")))
    box.service.move(CALLER, calls.Move((step,), request=request())).result()
    drop(box, "1")
    box.settle()
    assert box.here(b"pump 1")


def test_a_named_one_lives_until_its_last_name_is_gone(box: Box) -> None:
    rounds(box, 1)
    name(box, "golden")
    name(box, "silver")
    with pytest.raises(Conflict, match="golden, silver"):
        drop(box, "1")
    assert drop(box, "golden") == ["1 golden silver"]
    assert box.ask(tasks.FindSnapshot("pump", "1")).names == ("silver",)
    assert drop(box, "1", "silver") == ["1 silver"]
    assert (box.files(), box.here(b"pump 1")) == (0, False)
    with pytest.raises(Gone, match="deleted"):
        box.ask(tasks.FindSnapshot("pump", "golden"))
    rounds(box, 1)
    assert name(box, "golden").number == 2, "the name is free again"


def test_an_id_means_all_of_a_snapshot(box: Box) -> None:
    (id,) = rounds(box, 1)
    name(box, "golden")
    assert drop(box, id.hex) == ["1 golden"]
    assert box.files() == 0


def test_a_chosen_snapshot_is_not_deleted(box: Box) -> None:
    rounds(box, 2)
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    with pytest.raises(Conflict, match="chosen"):
        drop(box, "1")
    assert drop(box, everything=True) == ["2", "1"]
    assert not box.ask(tasks.ListTasks())[0].chosen
    assert (numbers(box), box.files()) == ([], 1), "what is known of the task"


def test_what_a_running_task_builds_on_is_not_deleted(box: Box) -> None:
    rounds(box, 3)
    box.tasks.live = lambda: {"pump": Live(("a",), "none", tasks.HostKind.DIRECT)}
    for snapshots in (("3",), ("1", "3"), ()):
        with pytest.raises(Conflict, match="newest snapshot"):
            drop(box, *snapshots, everything=not snapshots)
    assert drop(box, "1", "2") == ["1", "2"]


@pytest.mark.parametrize("snapshots", [(), ("1",) * 33])
def test_how_many_are_deleted_at_once(box: Box, snapshots: tuple[str, ...]) -> None:
    rounds(box, 1)
    with pytest.raises(UsageError):
        drop(box, *snapshots)


def test_a_task_is_deleted_but_for_what_has_a_name(box: Box) -> None:
    rounds(box, 3)
    name(box, "golden", "1")
    box.tasks.began(tasks.Node("pump", "a"))
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    box.tasks.live = lambda: {"pump": Live(("a",), "none", tasks.HostKind.DIRECT)}
    with pytest.raises(Conflict, match="stop them"):
        box.ask(tasks.DeleteTask("pump", request=request()))
    box.tasks.live = dict
    dropped = box.ask(tasks.DeleteTask("pump", request=request()))
    assert [s.number for s in dropped.snapshots] == [3, 2]
    assert [(s.number, s.names) for s in box.ask(tasks.ListSnapshots("pump"))] == [(0, ("golden",))]
    assert (box.files(), box.tasks.shelf.record("pump")) == (2, None)
    assert box.given()[0] == b"pump 1"
    dropped = box.ask(tasks.DeleteTask("pump", everything=True, request=request()))
    assert [s.names for s in dropped.snapshots] == [("golden",)]
    assert (box.files(), box.here(b"pump 1")) == (1, True), "a node was given it just now"
    box.clock.ns += 300 * 10**9
    box.store.sweep()
    assert (box.files(), box.ask(tasks.ListTasks())) == (0, [])
    with pytest.raises(NotFound):
        box.ask(tasks.DeleteTask("pump", request=request()))


def test_what_the_log_has_shed_is_not_kept_any_more(folder_of_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = StoreLimits(
        floor_bytes=0, reserve_bytes=4096, segment_bytes=14 << 10, group_bytes=6 << 10, record_bytes=5 << 10
    )
    monkeypatch.setattr(service_kit, "LIMITS", small)
    box = Box(folder_of_root / "root")

    def an_hour_later() -> None:
        box.store._parts.remover._pool.submit(int).result()
        box.clock.ns += 7200 * 10**9
        box.store.sweep()

    rounds(box, 40)
    name(box, "golden", "31")
    rounds(box, 30, "fan")
    with pytest.raises(Gone, match="not kept any more"):
        box.ask(tasks.FindSnapshot("pump", "1"))
    an_hour_later()
    with pytest.raises(Gone, match="not kept any more"):
        box.store.resolve(Ref.parse("snapshots/pump/auto@1"))
    with pytest.raises(Gone, match="not kept any more"):
        box.ask(tasks.FindSnapshot("pump", "1"))
    with pytest.raises(NotFound):
        box.ask(tasks.FindSnapshot("pump", "41"))
    rounds(box, 5)
    assert numbers(box) == [*range(45, 35, -1), 0], "the one with a name behind them"
    assert len(box.ask(tasks.DeleteTask("pump", everything=True, request=request())).snapshots) == 11
    rounds(box, 1, "tank")
    box.ask(tasks.NameSnapshot("tank", "golden", "1", "", request()))
    number = request()
    assert len(box.ask(tasks.DeleteTask("tank", request=number)).snapshots) == 0
    assert len(box.ask(tasks.DeleteTask("tank", everything=True, request=request())).snapshots) == 1
    rounds(box, 60, "fan")
    an_hour_later()
    assert box.ask(tasks.DeleteTask("tank", request=number)).snapshots == (), "what it was about is not known any more"
    rounds(box, 1)
    assert numbers(box) == [47]
    box.store.close()


def test_many_names_are_deleted_with_their_task(box: Box) -> None:
    rounds(box, 1)
    for n in range(70):
        name(box, f"n{n}")
    call = tasks.DeleteTask("pump", everything=True, request=request())
    assert len(box.ask(call).snapshots[0].names) == 70
    assert box.files() == 0
    assert [s.number for s in box.ask(call).snapshots] == [1], "and so says the repeat"


# --- uses ---


def test_who_used_what(box: Box) -> None:
    ids = [box.save(bytes([n])) for n in range(3)]
    for id in ids:
        step = calls.Step(Tag.parse("models/m"), Ref.of(id))
        box.service.move(CALLER, calls.Move((step,), request=request())).result()
    times = []
    for version, error in ((1, ""), (2, ""), (3, "no such layer")):
        box.ask(calls.Used(Tag.parse("models/m"), version, ids[version - 1], error, request()))
        times.append(box.clock())
    other = calls.Used(Tag.parse("models/m"), 1, ids[0], request=request())
    box.service.used(type(CALLER)(CALLER.author), other).result()
    (failed,) = box.ask(tasks.ListUses("pump"))
    assert (failed.version, failed.error, failed.place, failed.author) == (
        3,
        "no such layer",
        CALLER.place,
        CALLER.author,
    )
    assert [(u.version, u.place.task) for u in box.ask(tasks.ListUses(tag=Tag.parse("models/m")))] == [
        (1, ""),
        (3, "pump"),
    ]
    assert [u.version for u in box.ask(tasks.ListUses("pump", at_ns=times[1]))] == [2]
    assert [u.version for u in box.ask(tasks.ListUses("pump", everything=True))] == [3, 2, 1]
    assert [u.version for u in box.ask(tasks.ListUses(everything=True))] == [1, 3, 2, 1]
    assert box.ask(tasks.ListUses("pump", Tag.parse("models/other"))) == []


def test_digits_are_a_number_first_and_then_the_beginning_of_an_id(box: Box) -> None:
    by_digits = {}
    for round in range(2_000):
        id = box.commit({"a": b"%d" % round})
        if id.hex[:8].isdigit() and id.hex[0] != "0":
            by_digits[id.hex[:8]] = id
            break
    ((digits, id),) = by_digits.items()
    assert box.tasks.shelf.find("pump", digits).id == id
    assert box.tasks.shelf.find("pump", str(box.tasks.shelf.find("pump", digits).number)).id == id


def test_a_name_that_is_taken_says_by_which_snapshot(box: Box) -> None:
    box.commit({"a": b"a1"})
    box.commit({"a": b"a2"})
    box.ask(tasks.NameSnapshot("pump", "monday", "1", request=request()))
    with pytest.raises(Conflict, match="snapshot 1 of the task 'pump' has the name 'monday'"):
        box.ask(tasks.NameSnapshot("pump", "monday", "2", request=request()))


def test_a_snapshot_that_only_a_choice_keeps_is_told_by_its_id(box: Box) -> None:
    (first,) = rounds(box, 1)
    box.ask(tasks.UseSnapshot("pump", "1", request=request()))
    rounds(box, 11)
    drop(box, "3")
    with pytest.raises(NotFound) as told:
        box.ask(tasks.FindSnapshot("pump", "nix"))
    assert told.value.expected == f"12, 11, 10, 9, 8, 7, 6, 5, 4, {first.short}"


def test_the_beginning_of_an_id_is_no_name(box: Box) -> None:
    id = box.commit({"a": b"a1"})
    with pytest.raises(UsageError, match="the beginning of an ID"):
        box.ask(tasks.NameSnapshot("pump", id.short, "1", request=request()))
