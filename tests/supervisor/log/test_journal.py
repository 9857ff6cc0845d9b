"""Our lines by journald's rules: one line is one record, with its priority, whole."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.log import CATALOGUE, Log, open_log
from supervisor.log.bursts import KIND_LINES_MAX, WINDOW_S
from supervisor.log.entry import PRIORITIES
from supervisor.log.render import LINE_MAX_BYTES
from tests.fakes import journal

DOCKER_BYTES = 16 << 10
"""Docker's copier hands on so much at once; a longer line comes in parts (moby, daemon/logger/copier.go)."""

KINDS_MAX = 16
"""So many kinds of crowds may be busy at once: the catalogue has more, yet not all of one moment."""


def stored(folder: pathlib.Path, *told: tuple[str, str, dict[str, Any]]) -> list[journal.Record]:
    """Return what the journal has of events that were told to a stream of its own."""
    with (folder / "stream").open("wb") as out:
        status = os.fstat(out.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log, writer = open_log("auto", out.fileno(), environ=environ, lowest="debug")
        for event, message, fields in told:
            log.emit(event, message, **fields)
        assert writer.close(10)
    return list(journal.records((folder / "stream").read_bytes()))


def test_the_rules_are_journalds() -> None:
    stream = b"<4>warned\n  plain \n\n<9>no priority\n<4\n<3>\n<6> a\0b\n" + b"x" * (48 * 1024 + 1) + b"\nrest"
    assert [(record.priority, len(record.message), record.message[:12]) for record in journal.records(stream)] == [
        (4, 6, b"warned"),
        (6, 5, b"plain"),
        (6, 14, b"<9>no priori"),
        (6, 2, b"<4"),
        (6, 1, b"a"),
        (6, 1, b"b"),
        (6, 49_152, b"x" * 12),
        (6, 1, b"x"),
        (6, 4, b"rest"),
    ]


def test_every_event_is_one_record_with_the_priority_of_its_level(tmp_path: pathlib.Path) -> None:
    events = list(CATALOGUE)
    found = stored(tmp_path, *((event, f"About {event}.", {}) for event in events))
    assert len(found) == len(events)
    for event, record in zip(events, found, strict=True):
        told = json.loads(record.message)
        assert told["event"] == event
        assert record.priority == PRIORITIES[CATALOGUE[event].level]


@given(text=st.text(st.characters(), max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_of_a_server_makes_two_records_or_another_priority(text: str) -> None:
    lines: list[bytes] = []
    log = Log(lambda line, level: lines.append(b"<%d>%b" % (PRIORITIES[level], line)), strict=True)
    log.emit("check.changed", text, detail=text, up=False)
    (record,) = journal.records(b"".join(lines))
    assert record.priority == PRIORITIES["warning"]
    assert json.loads(record.message)["detail"] == text.encode("utf-8", "backslashreplace").decode().replace(
        "\0", "\\x00"
    )


@pytest.mark.parametrize("letter", ["x", "é", "\x00", "😀"])
def test_the_longest_line_is_whole_for_docker_and_for_journald(tmp_path: pathlib.Path, letter: str) -> None:
    text = letter * 30_000
    (record,) = stored(tmp_path, ("config.rejected", text, dict.fromkeys(("text", "reason", "path"), text)))
    assert json.loads(record.message)["event"] == "config.rejected"
    assert LINE_MAX_BYTES + len("<3>\n") < DOCKER_BYTES < journal.LINE_MAX_BYTES


def test_the_rate_of_bursts_stays_below_journalds_limit() -> None:
    windows = journal.RATE_LIMIT_S / WINDOW_S
    assert KINDS_MAX * (KIND_LINES_MAX + 1) * windows < journal.RATE_LIMIT_LINES
