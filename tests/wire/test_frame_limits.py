"""Which link carries frames of which kind, and how long they may be."""

from __future__ import annotations

from udfstore.wire import limits

SMALL, ANSWER, DATA = limits.SMALL_BYTES, limits.ANSWER_BYTES, limits.DATA_BYTES
CHUNK, PAGE, RESULT = 35, 36, 37


def test_what_clients_and_hosts_say_to_each_other() -> None:
    for of, longer in (
        (limits.of_clients(1000), {CHUNK: 1064}),
        (limits.of_hosts(1000), {CHUNK: 1064, RESULT: ANSWER, PAGE: ANSWER}),
    ):
        assert min(of) >= 32, "none of Kapacitor's"
        assert {kind: most for kind, most in of.items() if most != SMALL} == longer
    assert set(limits.of_strangers().values()) == {SMALL}


def test_a_state_inside_a_message_is_as_long_as_was_agreed() -> None:
    assert {kind: most for kind, most in limits.of_nodes(plain_bytes=7).items() if kind < 32} == {
        3: SMALL,
        4: SMALL + 7,
        5: SMALL,
    }
    assert {kind: most for kind, most in limits.of_hosts_of_nodes(plain_bytes=7).items() if kind < 32} == {
        3: SMALL,
        4: SMALL,
        5: SMALL + 7,
    }
    assert limits.of_nodes()[4] == limits.of_hosts_of_nodes()[5] == SMALL


def test_what_kapacitor_and_its_udfs_say_to_each_other() -> None:
    data = {16: DATA, 17: DATA, 18: DATA}
    rest = {1: SMALL, 2: SMALL, 3: SMALL}
    plain = limits.PLAIN_BYTES
    assert limits.of_kapacitor_udfs(7) == {**rest, 4: 7, 5: plain, 6: SMALL, **data}
    assert limits.of_kapacitor(7) == {**rest, 4: plain, 5: 7, **data}
