"""The journal's format: golden, read as far as it is whole, and safe against whatever stands there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import journal
from supervisor.core.entry import RESULT, Entry
from supervisor.core.history import History, Place
from supervisor.journal import LINE_MAX_BYTES, Damaged, Journal, Newer

POOL, ONE = "203.0.113.100:80/tcp", "192.168.100.21:80"
FAILED = Entry(
    7, 1_800_000_000.25, RESULT, "warning", "TCP_CHECK 192.168.100.21:80: L4CON connection refused", POOL, ONE,
    {"check": "TCP_CHECK", "target": ONE, "result": "L4CON", "passed": False, "duration_s": 0.001},
    count=3, last_at=1_800_000_009.0,
)  # fmt: skip
DOWN = Entry(
    9, 1_800_000_010.0, "real_server.state_changed", "warning", "Server … is DOWN.", POOL, ONE,
    {"to": "DOWN", "weight_old": 1}, ("TCP_CHECK of 192.168.100.21:80: L4CON", "failed 4 times in a row"),
)  # fmt: skip
GOLDEN = (
    b'{"format":1,"version":"9.9.9","next_id":12}\n'
    b'{"id":7,"at":1800000000.25,"type":"check.result","level":"warning",'
    b'"message":"TCP_CHECK 192.168.100.21:80: L4CON connection refused","virtual_server":"203.0.113.100:80/tcp",'
    b'"real_server":"192.168.100.21:80","facts":{"check":"TCP_CHECK","target":"192.168.100.21:80","result":"L4CON",'
    b'"passed":false,"duration_s":0.001},"count":3,"last_at":1800000009.0,"in":"record"}\n'
    b'{"id":9,"at":1800000010.0,"type":"real_server.state_changed","level":"warning","message":"Server \\u2026 is DOWN.",'
    b'"virtual_server":"203.0.113.100:80/tcp","real_server":"192.168.100.21:80","facts":{"to":"DOWN","weight_old":1},'
    b'"because":["TCP_CHECK of 192.168.100.21:80: L4CON","failed 4 times in a row"],"in":"events"}\n'
)
DUMPED = ((Place.RECORD, FAILED), (Place.EVENTS, DOWN))
APPENDED = journal.line(DOWN)


def test_the_names_in_what_is_read_are_those_that_are_there_already() -> None:
    pool, one = POOL.encode().decode(), ONE.encode().decode()  # objects of their own
    history = History()
    history.reconfigure({pool: [one]})
    (_, entry), _ = journal.decode(GOLDEN, history.names()).entries
    assert entry.virtual_server is pool
    assert entry.real_server is one
    assert entry.facts["target"] is one
    assert journal.decode(GOLDEN).entries == journal.decode(GOLDEN, history.names()).entries


def test_the_format_is_what_it_was() -> None:
    assert journal.whole("9.9.9", 12, DUMPED) == GOLDEN
    assert journal.decode(GOLDEN) == Journal(12, DUMPED)


def test_what_is_appended_follows_and_belongs_everywhere() -> None:
    assert journal.decode(GOLDEN + APPENDED) == Journal(12, (*DUMPED, (Place.BOTH, DOWN)))


def test_a_line_that_its_writer_did_not_live_to_finish_is_no_damage_but_nothing_may_follow_it() -> None:
    for cut in range(1, len(APPENDED)):
        assert journal.decode(GOLDEN + APPENDED[:cut]) == Journal(12, DUMPED, whole=False)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0" * 512,
        b"[" * 60000,
        b"{}",
        b"[]",
        APPENDED[:-1].replace(b'"id":9', b'"id":"9"'),
        APPENDED[:-1].replace(b'"level"', b'"in":"nowhere","level"'),
        APPENDED[:-1].replace(b'"level"', b'"in":[],"level"'),
        APPENDED[:-1].replace(b"DOWN", b"\\u001b[2J"),
        b'"' + b"x" * LINE_MAX_BYTES + b'"',
        b"\xff",
    ],
)
def test_damage_in_the_middle_ends_the_reading_there_and_what_stands_before_it_holds(line: bytes) -> None:
    found = journal.decode(GOLDEN + line + b"\n" + APPENDED)
    assert found.entries == DUMPED
    assert found.damage.startswith("line 4: ")
    assert not found.whole


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\0" * 4096,
        b"{}\n",
        b"[1]\n",
        b'{"format":1}\n',
        b'{"format":"1","next_id":1}\n',
        b'{"format":true,"next_id":1}\n',
        b'{"format":0,"next_id":1}\n',
        b'{"format":1,"next_id":0}\n',
        b'{"format":1,"next_id":1e300}\n',
        b'{"format":1,"next_id":1}',
        b"[" * 100_000 + b"\n",
    ],
)
def test_what_does_not_begin_as_a_journal_is_none(data: bytes) -> None:
    with pytest.raises(Damaged):
        journal.decode(data)


def test_one_that_is_too_long_is_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SIZE_MAX_BYTES", 100)
    with pytest.raises(Damaged, match="at most 100 bytes"):
        journal.decode(b"x" * 101)


def test_the_journal_of_a_newer_program_is_told_apart() -> None:
    with pytest.raises(Newer, match="format 2, and this program knows 1 at most"):
        journal.decode(b'{"format":2,"next_id":1,"something":"else"}\n')


def test_keys_of_a_later_program_are_passed_over() -> None:
    raw = json.loads(APPENDED)
    line = json.dumps({**raw, "colour": "red"}).encode() + b"\n"
    assert journal.decode(GOLDEN + line).entries[-1] == (Place.BOTH, DOWN)


def test_the_largest_entry_fits_a_line() -> None:
    entry = Entry(
        1, 1.8e9, "x.y", "info", "ü" * 1000, "v" * 256, "r" * 256,
        {f"fact_{number}": "ü" * 1000 for number in range(40)}, ("ü" * 1000,) * 12,
    )  # fmt: skip
    assert len(journal.line(entry)) <= LINE_MAX_BYTES


@given(st.binary(max_size=300))
def test_whatever_stands_there_is_a_journal_or_refused(data: bytes) -> None:
    for text in (data, GOLDEN + data):
        try:
            found = journal.decode(text)
        except (Damaged, Newer):
            continue
        history = History()
        for place, entry in found.entries:
            history.restore(entry, place)
        assert journal.decode(journal.whole("x", found.next_id, found.entries)).entries == found.entries
