"""What happened: what is kept of it for how long, and that it is the same history after a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry, Extract, Malformed, as_plain, decode, encode, from_plain, printable
from supervisor.core.history import (
    ENTRIES_MAX,
    EVENTS_KEPT,
    KEPT_MAX,
    KEPT_MIN,
    POOL_MAX,
    RUNS_MAX,
    Dump,
    History,
    Place,
)

POOL, OTHER = "203.0.113.100:80/tcp", "203.0.113.101:80/tcp"
ONE, TWO = "192.168.100.21:80", "192.168.100.22:80"


class Told:
    """A history of two virtual servers to which things happen, one a second."""

    def __init__(self) -> None:
        self.history = History()
        self.history.reconfigure({POOL: [ONE, TWO], OTHER: [ONE]})
        self.at = 1_800_000_000.0

    def result(
        self, code: str, *, probe: int = 0, server: str = ONE, check: str = "TCP_CHECK", pool: str = POOL
    ) -> None:
        passed = {"L4OK": True, "L7OK": True, "LATE": None}.get(code, False)
        facts = {"check": check, "target": server, "result": code, "passed": passed, "probe": probe}
        self.add(Entry(0, 0.0, RESULT, "info", f"{check} {server}: {code}", pool, server, facts))

    def turn(self, message: str, server: str = ONE, event: str = "real_server.state_changed", pool: str = POOL) -> None:
        self.add(Entry(0, 0.0, event, "warning", message, pool, server))

    def add(self, entry: Entry) -> None:
        self.at += 1
        self.history.add(replace(entry, id=self.history.next_id, at=self.at))

    def seen(self, server: str = ONE, pool: str = POOL) -> list[tuple[str, int]]:
        """What the record of a server says, and how often."""
        return [(entry.message.rpartition(": ")[2], entry.count) for entry in self.history.server(pool, server)]


def test_results_and_transitions_of_a_server_are_told_in_the_order_in_which_they_came() -> None:
    told = Told()
    told.result("L4OK")
    told.result("L4CON")
    told.turn("DOWN")
    told.result("L4TOUT")
    assert told.seen() == [("L4OK", 1), ("L4CON", 1), ("DOWN", 1), ("L4TOUT", 1)]
    assert told.seen(TWO) == told.seen(ONE, OTHER) == []


def test_the_same_failure_in_a_row_is_one_entry_that_counts_and_keeps_the_facts_of_the_last() -> None:
    told = Told()
    for probe in (7, 8, 9):
        told.result("L4CON", probe=probe)
    (entry,) = told.history.server(POOL, ONE)
    assert (entry.count, entry.facts["probe"], entry.ended_at - entry.at) == (3, 9, 2.0)
    told.result("L4OK")
    told.result("L4CON")
    assert told.seen() == [("L4CON", 3), ("L4OK", 1), ("L4CON", 1)], "after a success it is another failure"


def test_probes_that_a_worker_did_not_tell_count_with_the_result_that_they_repeated() -> None:
    told = Told()
    told.result("L4OK", probe=1)
    told.result("L4CON", probe=1000)
    told.result("L4OK", probe=1011)
    assert told.seen() == [("L4OK", 999), ("L4CON", 11), ("L4OK", 1)]
    failed = told.history.server(POOL, ONE)[1]
    assert failed.ended_at == told.at, "until when, as well as that can be known"
    told.result("L4OK", probe=1)
    assert told.seen()[-1] == ("L4OK", 2), "another worker begins to count anew"


def test_of_successes_the_last_two_runs_are_kept_and_failures_stay_much_longer() -> None:
    told = Told()
    for _ in range(5):
        told.result("L4OK")
        told.result("L4OK")
        told.result("L4CON")
    assert told.seen() == [*[("L4CON", 1)] * 3, ("L4OK", 2), ("L4CON", 1), ("L4OK", 2), ("L4CON", 1)]


def test_two_checks_of_a_server_do_not_end_each_others_runs() -> None:
    told = Told()
    for _ in range(3):
        told.result("L4CON", check="TCP_CHECK")
        told.result("L7OK", check="HTTP_GET")
    assert sorted(told.seen()) == [("L4CON", 3), ("L7OK", 3)]


def test_a_result_that_says_nothing_of_the_server_is_neither_a_success_nor_lost() -> None:
    told = Told()
    told.result("L4OK")
    told.result("LATE")
    told.result("L4OK")
    assert told.seen() == [("L4OK", 1), ("LATE", 1), ("L4OK", 1)]


def test_what_the_kernel_refuses_again_and_again_is_one_entry_and_leaves_room_for_the_rest() -> None:
    told = Told()
    told.turn("DOWN")
    for _ in range(10 * KEPT_MAX):
        told.turn("the kernel refused it", event="kernel.write_failed")
    assert told.seen() == [("DOWN", 1), ("the kernel refused it", 10 * KEPT_MAX)]


def test_sinks_and_consumed_retries_are_events_and_not_part_of_a_servers_record() -> None:
    told = Told()
    told.turn("failed, attempt 1 of 4", event="real_server.check_failed")
    told.turn("the script was run", event="notify.script_done")
    assert told.seen() == []
    assert [entry.type for entry in told.history.events()] == ["notify.script_done", "real_server.check_failed"]


def test_a_check_that_took_its_server_along_is_told_by_the_servers_transition_alone() -> None:
    told = Told()
    for up, server_up in ((False, False), (True, False), (False, True), (True, True)):
        facts = {"up": up, "real_server_up": server_up}
        told.add(Entry(0, 0.0, "check.changed", "warning", f"a check: {up} {server_up}", POOL, ONE, facts))
    assert told.seen() == [("True False", 1), ("False True", 1)]


def test_results_are_no_events() -> None:
    told = Told()
    told.result("L4CON")
    told.turn("DOWN")
    assert [entry.message for entry in told.history.events()] == ["DOWN"]


def test_failures_never_push_out_transitions_nor_the_other_way_round() -> None:
    told = Told()
    told.turn("the first transition")
    for number in range(3 * KEPT_MAX):
        told.result(f"L7STS {number}")
    assert told.seen()[0] == ("the first transition", 1)
    for number in range(3 * KEPT_MAX):
        told.turn(f"turn {number}")
    messages = [message for message, _ in told.seen()]
    assert "the first transition" not in messages
    assert messages.count(f"L7STS {3 * KEPT_MAX - 1}") == 1
    assert len(messages) == KEPT_MAX == told.history.kept


def test_a_large_site_keeps_less_of_each_server_and_never_nothing() -> None:
    history = History()
    for servers, kept in ((10, KEPT_MAX), (2000, ENTRIES_MAX // 2001), (5_000, 11), (100_000, KEPT_MIN)):
        history.reconfigure({POOL: [str(number) for number in range(servers)]})
        assert history.kept == kept


def test_the_ring_of_events_is_bounded() -> None:
    told = Told()
    for number in range(EVENTS_KEPT + 3):
        told.turn(f"{number}", event="worker.exited", pool="", server="")
    assert len(list(told.history.events())) == EVENTS_KEPT
    assert len(told.history) == EVENTS_KEPT
    extract = told.history.last_events(told.at, 2)
    assert [entry.message for entry in extract.entries] == [f"{EVENTS_KEPT + 1}", f"{EVENTS_KEPT + 2}"]
    assert extract.omitted == EVENTS_KEPT - 2
    last = extract.entries[-1].id
    assert [entry.id for entry in told.history.events(after=last - 3)] == [last, last - 1, last - 2]


def test_a_reload_keeps_what_it_keeps_and_forgets_who_left_but_for_its_events() -> None:
    told = Told()
    told.turn("DOWN", ONE)
    told.turn("DOWN", TWO)
    told.turn("QUORUM LOST", "")
    told.history.reconfigure({POOL: [ONE]})
    assert told.seen(ONE) == [("DOWN", 1)]
    assert told.seen("") == [("QUORUM LOST", 1)]
    assert told.seen(TWO) == []
    assert len(list(told.history.events())) == 3
    told.turn("UP", TWO)
    assert told.seen(TWO) == [], "of a server that is not there no record begins"


def test_a_smaller_share_after_a_reload_forgets_the_oldest() -> None:
    told = Told()
    for number in range(KEPT_MAX):
        told.turn(f"turn {number}")
    told.history.reconfigure({POOL: [ONE, *map(str, range(20_000))]})
    assert [message for message, _ in told.seen()] == [f"turn {KEPT_MAX - n}" for n in range(KEPT_MIN // 2, 0, -1)]


def test_a_pool_is_told_with_the_last_entries_of_each_of_its_servers() -> None:
    told = Told()
    told.turn("QUORUM LOST", "")
    told.turn("DOWN", TWO)
    told.turn("DOWN elsewhere", pool=OTHER)
    for number in range(5):
        told.turn(f"turn {number}")
    extract = told.history.pool(POOL, told.at, most=7)
    assert extract is not None
    assert [entry.message for entry in extract.entries] == ["QUORUM LOST", "DOWN", "turn 3", "turn 4"]
    assert (extract.omitted, extract.at) == (3, told.at)
    assert told.history.pool("203.0.113.9:80/tcp", told.at) is None


def test_an_extract_of_a_large_pool_is_bounded() -> None:
    told = Told()
    servers = [f"192.0.2.{number}:80" for number in range(2 * POOL_MAX)]
    told.history.reconfigure({POOL: servers})
    for server in servers:
        told.turn("DOWN", server)
    extract = told.history.pool(POOL, told.at)
    assert extract is not None
    assert (len(extract.entries), extract.omitted) == (POOL_MAX, POOL_MAX)
    assert extract.entries[-1].real_server == servers[-1]


# -- over restarts -----------------------------------------------------------------------------------------------------

HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["L4OK", "L7OK", "L4CON", "L7STS", "LATE", "turn", "other turn", "refusal", "notice"]),
        st.sampled_from([(POOL, ONE), (POOL, TWO), (POOL, ""), (OTHER, ONE), ("gone", ONE), ("", "")]),
        st.sampled_from(["TCP_CHECK", "HTTP_GET"]),
        st.integers(0, 4),
    ),
    max_size=120,
)


def play(told: Told, happenings: list[tuple[str, tuple[str, str], str, int]]) -> list[Entry]:
    """Let things happen; return them as they were told."""
    entries: list[Entry] = []
    history = told.history
    add = history.add

    def noted(entry: Entry) -> None:
        entries.append(entry)
        add(entry)

    history.add = noted  # type: ignore[method-assign]  # an ear at the door
    for what, (pool, server), check, probe in happenings:
        if what in {"L4OK", "L7OK", "L4CON", "L7STS", "LATE"}:
            told.result(what, probe=probe, server=server, check=check, pool=pool)
        else:
            event = {"refusal": "kernel.write_failed", "notice": "notify.sent"}.get(what, "real_server.state_changed")
            told.turn(what, server, event, pool)
    history.add = add  # type: ignore[method-assign]
    return entries


def restored(dump: Dump, later: list[Entry]) -> History:
    """A history from a dump and what was told after it."""
    history = Told().history
    for place, entry in dump:
        history.restore(entry, place)
    history.next_id = max(history.next_id, dump.next_id)
    for entry in later:
        history.restore(entry, Place.BOTH)
    return history


@given(HAPPENINGS, HAPPENINGS)
def test_a_dump_with_what_came_after_it_makes_an_equal_history(
    before: list[tuple[str, tuple[str, str], str, int]], after: list[tuple[str, tuple[str, str], str, int]]
) -> None:
    told = Told()
    play(told, before)
    dump = told.history.dump()
    later = play(told, after)
    again = restored(dump, later)
    assert again.dump() == told.history.dump()
    assert [*again.events()] == [*told.history.events()]
    for pool, server in ((POOL, ONE), (POOL, TWO), (POOL, ""), (OTHER, ONE)):
        assert again.server(pool, server) == told.history.server(pool, server)


@given(HAPPENINGS)
def test_no_record_is_longer_than_it_may_be_and_ids_always_grow(
    happenings: list[tuple[str, tuple[str, str], str, int]],
) -> None:
    told = Told()
    told.history._kept = 8
    entries = play(told, happenings)
    ids = [entry.id for entry in entries]
    assert ids == sorted(set(ids))
    assert told.history.next_id == len(ids) + 1
    for pool, server in ((POOL, ONE), (POOL, TWO), (OTHER, ONE)):
        record = told.history.record(pool, server)
        assert len(record.turns) <= 4
        assert len(record.failures) <= 4
        assert len(record.successes) <= 4 * RUNS_MAX  # a check and a target each
        assert all(entry.count >= 1 and entry.ended_at >= entry.at for entry in record.entries())


# -- the wire form -----------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=30)
FACTS = st.dictionaries(
    st.from_regex(r"[a-z][a-z_0-9]{0,9}", fullmatch=True),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e9, 1e9), TEXT),
    max_size=5,
)
ENTRIES = st.builds(
    Entry,
    id=st.integers(1, 2**53 - 1),
    at=st.floats(0, 3e9),
    type=st.from_regex(r"[a-z][a-z_.]{0,9}", fullmatch=True),
    level=st.sampled_from(["info", "warning", "error"]),
    said=TEXT,
    virtual_server=TEXT,
    real_server=TEXT,
    facts=FACTS,
    because=st.lists(TEXT, max_size=4).map(tuple),
    count=st.integers(1, 10**6),
    last_at=st.one_of(st.none(), st.floats(0, 3e9)),
)


@given(
    st.builds(
        Extract, at=st.floats(0, 3e9), entries=st.lists(ENTRIES, max_size=4).map(tuple), omitted=st.integers(0, 9)
    )
)
def test_an_extract_survives_its_wire_form(extract: Extract) -> None:
    line = encode(extract)
    assert b"\n" not in line
    assert decode(line) == extract


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"detail": "in 3 s"}, f"TCP_CHECK {ONE}: L4CON in 3 s"),
        ({}, f"TCP_CHECK {ONE}: L4CON"),
        ({"target": ""}, "TCP_CHECK: L4CON"),
    ],
)
def test_a_result_is_kept_without_the_sentence_that_its_facts_make(facts: dict[str, Fact], sentence: str) -> None:
    entry = Entry(
        1, 5.0, RESULT, "warning", "", POOL, ONE, {"check": "TCP_CHECK", "target": ONE, "result": "L4CON", **facts}
    )
    assert as_plain(entry)["message"] == entry.message == sentence
    assert from_plain(as_plain(entry)) == entry
    other = replace(entry, said="something else")
    assert from_plain(as_plain(other)) == other


def test_that_there_is_no_such_thing_survives_too() -> None:
    assert decode(encode(None)) is None


GOOD = as_plain(Entry(1, 5.0, "a.b", "info", "text", facts={"x": 1}, because=("y",)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", -1),
        ("id", 1.5),
        ("id", True),
        ("id", 2**60),
        ("at", "now"),
        ("at", float("nan")),
        ("at", 1e300),
        ("type", "Type"),
        ("type", "x" * 65),
        ("type", ["a"]),
        ("level", "fatal"),
        ("level", []),
        ("message", "two\nlines"),
        ("message", "\x1b[2J"),
        ("message", "x" * 1001),
        ("message", "\ud800"),
        ("message", None),
        ("virtual_server", 7),
        ("real_server", "x" * 257),
        ("facts", []),
        ("facts", {"x": []}),
        ("facts", {"x": float("inf")}),
        ("facts", {"X": 1}),
        ("facts", {f"x{n}": 1 for n in range(41)}),
        ("because", "text"),
        ("because", [1]),
        ("because", ["x"] * 13),
        ("count", "many"),
        ("last_at", {}),
    ],
)
def test_an_entry_that_is_none_is_refused(key: str, value: object) -> None:
    assert from_plain(GOOD) == Entry(1, 5.0, "a.b", "info", "text", facts={"x": 1}, because=("y",))
    with pytest.raises(Malformed):
        from_plain({**GOOD, key: value})


@given(st.text(max_size=60), st.integers(1, 40))
def test_what_is_made_printable_is_so_and_not_too_long(text: str, limit: int) -> None:
    made = printable(text, limit)
    assert made.isprintable()
    assert len(made) <= limit
    if text.isprintable() and len(text) <= limit:
        assert made == text
