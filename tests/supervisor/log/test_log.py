"""The log: its catalogue, its lines, and the bridge from the standard library."""

import itertools
import json
import logging
import os
import pathlib
import pty
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.log import CATALOGUE, CatalogueError, Log, _Bridge, open_log
from supervisor.log.entry import COMMON
from supervisor.log.render import LINE_MAX_BYTES
from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SERVICE = AddressKey(Protocol.TCP, Endpoint(IPv4Address("203.0.113.1"), 80))
SERVER = Endpoint(IPv4Address("192.168.100.22"), 80)


class Lines:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.raw: list[tuple[bytes, str]] = []

    def __call__(self, line: bytes, level: str) -> None:
        self.raw.append((line, level))

    @property
    def last(self) -> dict[str, Any]:
        loaded = json.loads(self.raw[-1][0])
        assert isinstance(loaded, dict)
        return loaded

    @property
    def text(self) -> str:
        return self.raw[-1][0].decode()


def make(lines: Lines, **options: Any) -> Log:
    usual: dict[str, Any] = {"wall_clock": lambda: NOON, "host": "lvs1", "pid": 7, "strict": True}
    return Log(lines, **(usual | options))


SAMPLES = {"text": "word", "integer": 3, "number": 1.5, "boolean": True}


def sample(event: str) -> dict[str, Any]:
    return {name: SAMPLES[kind] for name, kind in CATALOGUE[event].fields.items()}


def test_the_catalogue_is_the_golden_one() -> None:
    told = {
        name: {
            "level": entry.level,
            **({"info_when": list(entry.calm)} if entry.calm else {}),
            "fields": dict(entry.fields),
        }
        for name, entry in sorted(CATALOGUE.items())
    }
    assert told == json.loads((GOLDEN / "events.json").read_text()), "names and kinds are API: changed on purpose?"


def test_the_lines_of_a_failover_are_the_golden_ones() -> None:
    lines = Lines()
    log = make(lines)
    log.config_digest = "0123456789ab"
    log.emit("daemon.ready", "Ready.", version="0.1.0", virtual_servers=1, real_servers=3, startup_s=0.25)
    changed: dict[str, Any] = {"from": "UP", "to": "DOWN", "cause": "check", "check": "HTTP_GET", "result": "L4CON"}
    log.emit(
        "real_server.state_changed",
        "Server 192.168.100.22:80 of 203.0.113.1:80/tcp is DOWN.",
        virtual_server=SERVICE,
        real_server=SERVER,
        detail="connection refused",
        failures=4,
        weight_old=1,
        weight_new=None,
        duration_s=1,
        **changed,
    )
    log.emit("virtual_server.quorum_lost", "Quorum lost.", virtual_server=FwmarkKey(4, 10), weight_up=0, quorum=1)
    assert b"".join(line for line, _ in lines.raw).decode() == (GOLDEN / "events.jsonl").read_text()


@pytest.mark.parametrize("event", CATALOGUE)
def test_every_event_can_be_told_with_all_its_fields(event: str) -> None:
    lines = Lines()
    make(lines).emit(event, "A sentence.", **sample(event))
    told = lines.last
    assert told["level"] in {CATALOGUE[event].level, "info"}
    assert {name: told[name] for name in CATALOGUE[event].fields} == sample(event)
    assert set(told) == {*COMMON, *CATALOGUE[event].fields}
    assert not any(isinstance(value, dict | list) for value in told.values()), "lines are flat"


def test_every_event_has_its_sentence_and_every_trouble_says_what_to_do() -> None:
    for event, entry in CATALOGUE.items():
        assert entry.means.endswith("."), event
        assert len(entry.means) > 20, event
        if entry.level == "error":
            assert entry.remedy.endswith("."), f"{event} wakes people up: what shall they do?"


def test_a_name_has_one_kind_in_all_events() -> None:
    """Elasticsearch and others give a field one type, whichever event it comes with."""
    kinds: dict[str, set[str]] = {}
    for entry in CATALOGUE.values():
        for name, kind in entry.fields.items():
            kinds.setdefault(name, set()).add(kind)
    assert not {name for name, found in kinds.items() if len(found) > 1}


def test_no_event_takes_a_common_field_for_its_own() -> None:
    assert not [event for event, entry in CATALOGUE.items() if entry.fields.keys() & {*COMMON, "uncatalogued"}]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("daemon.sleeping", {}),
        ("daemon.ready", {"colour": "red"}),
        ("daemon.ready", {"virtual_servers": "3"}),
        ("daemon.ready", {"virtual_servers": True}),
        ("daemon.ready", {"startup_s": "fast"}),
        ("daemon.ready", {"version": 1}),
        ("daemon.ready", {"pid": 1}),
        ("check.changed", {"up": 1}),
    ],
)
def test_a_strict_log_refuses_what_the_catalogue_does_not_know(event: str, fields: dict[str, Any]) -> None:
    with pytest.raises(CatalogueError, match=event):
        make(Lines()).emit(event, "A sentence.", **fields)


def test_production_loses_nothing_and_says_what_is_wrong() -> None:
    lines = Lines()
    log = make(lines, strict=False)
    log.emit("daemon.ready", "Ready.", colour="red", virtual_servers="3", pid=99)
    assert lines.last["colour"] == "red"
    assert lines.last["virtual_servers_uncatalogued"] == "3"
    assert "virtual_servers" not in lines.last
    assert lines.last["pid"] == 7
    assert lines.last["pid_uncatalogued"] == "99"
    assert lines.last["uncatalogued"] == (
        "unknown field colour; field virtual_servers: expected integer, got str; unknown field pid"
    )
    log.emit("daemon.sleeping", "Zzz.")
    assert lines.last["event"] == "daemon.sleeping"
    assert lines.last["uncatalogued"] == "unknown event daemon.sleeping"


def test_a_number_is_always_a_json_float_and_never_nan() -> None:
    lines = Lines()
    log = make(lines)
    log.emit("loop.lagging", "Late.", lag_s=2, stack="")
    assert '"lag_s": 2.0' in lines.text
    log.emit("loop.lagging", "Late.", lag_s=float("nan"), stack="")
    assert lines.last["lag_s"] is None


def test_level_follows_the_direction_of_the_change() -> None:
    lines = Lines()
    log = make(lines)
    log.emit("real_server.state_changed", "Down.", to="DOWN")
    log.emit("real_server.state_changed", "Up.", to="UP")
    log.emit("check.changed", "Fails.", up=False)
    log.emit("check.changed", "Passes.", up=True)
    assert [level for _, level in lines.raw] == ["warning", "info", "warning", "info"]


def test_whoever_listens_hears_an_event_as_values_also_one_that_is_not_written() -> None:
    lines, heard = Lines(), list[tuple[Any, ...]]()
    log = Log(lines, lowest="error", strict=True)
    log.listener = lambda *told: heard.append(told)
    log.emit("real_server.drained", "It is empty.", real_server=SERVER, virtual_server=SERVICE, in_time=True)
    assert lines.raw == []
    fields = {"real_server": str(SERVER), "virtual_server": str(SERVICE), "in_time": True}
    assert heard == [("info", "real_server.drained", "It is empty.", fields)]


def test_lines_are_counted_by_level_and_numbered() -> None:
    lines = Lines()
    log = make(lines, lowest="warning")
    log.emit("cage.incomplete", "It lacks something.")
    log.emit("daemon.ready", "Too quiet to be written.")
    log.emit("config.rejected", "No.")
    assert log.counts == {"debug": 0, "info": 0, "warning": 1, "error": 1}
    assert [json.loads(line)["seq"] for line, _ in lines.raw] == [1, 2]


def test_times_are_utc_with_microseconds_whatever_the_clocks_zone() -> None:
    lines = Lines()
    make(lines, wall_clock=lambda: NOON.astimezone(timezone(timedelta(hours=2)))).emit("daemon.ready", "Ready.")
    assert lines.last["timestamp"] == "2026-11-22T12:00:00.123456Z"


def test_the_running_configuration_is_on_every_line() -> None:
    lines = Lines()
    log = make(lines)
    log.config_digest = "abc"
    log.emit("daemon.ready", "Ready.")
    assert lines.last["config_hash"] == "abc"


@given(text=st.text(st.characters(), max_size=300), style=st.sampled_from(["json", "text"]))
@settings(max_examples=300, deadline=None)
def test_no_text_can_break_a_line_or_move_a_cursor(text: str, style: str) -> None:
    lines = Lines()
    make(lines, style=style).emit("config.rejected", text, text=text, reason=text)
    line = lines.raw[-1][0]
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert not any(byte < 0x20 or byte == 0x7F for byte in line[:-1])
    for evil in ("\x85", "\x9b", "\u2028", "\u202e"):
        assert evil.encode() not in line
    if style == "json":
        assert json.loads(line)["reason"] == text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("letter", ["x", "\x00", "é", "😀", "\udc80"])
def test_a_line_stays_below_16_kb_whatever_is_in_it(style: str, letter: str) -> None:
    lines = Lines()
    fields = dict.fromkeys(
        (name for name, kind in CATALOGUE["real_server.state_changed"].fields.items() if kind == "text"),
        letter * 20_000,
    )
    make(lines, style=style).emit("real_server.state_changed", letter * 20_000, **fields)
    assert len(lines.raw[-1][0]) <= LINE_MAX_BYTES
    assert "real_server.state_changed" in lines.text


def test_a_terminal_line_reads_like_a_sentence() -> None:
    lines = Lines()
    make(lines, style="text").emit(
        "check.changed", "HTTP_GET fails.", real_server=SERVER, detail="HTTP 503, wanted 200", up=False, check=None
    )
    assert lines.text == (
        "2026-11-22 12:00:00.123Z warning HTTP_GET fails.  [check.changed]"
        ' real_server=192.168.100.22:80 detail="HTTP 503, wanted 200" up=no\n'
    )


def test_colours_come_only_when_asked_for() -> None:
    lines = Lines()
    make(lines, style="text", colours=True).emit("daemon.ready", "Ready.")
    assert "\x1b[" in lines.text
    make(lines, style="text", colours=False).emit("daemon.ready", "Ready.")
    assert "\x1b[" not in lines.text


@pytest.fixture
def bridged() -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    lines = Lines()
    make(lines).bridge_standard_library()
    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_what_libraries_log_comes_out_as_events(bridged: Lines) -> None:
    library = logging.getLogger("pyroute2.something")
    library.info("not this")
    library.warning("odd message %d", 5)
    assert len(bridged.raw) == 1
    assert bridged.last["event"] == "library.message"
    assert bridged.last["library"] == "pyroute2.something"
    assert bridged.last["message"] == "odd message 5"
    assert bridged.last["level"] == "warning"
    try:
        json.loads("{")
    except ValueError:
        library.exception("it broke")
    assert bridged.last["level"] == "error"
    assert "JSONDecodeError" in bridged.last["exception"]


def test_a_librarys_broken_format_string_hurts_nobody() -> None:
    lines = Lines()
    logger = logging.getLogger("clumsy")
    logger.propagate = False
    logger.addHandler(_Bridge(make(lines)))
    logger.warning("%d", "x")
    assert lines.last["message"] == "%d ('x',)"


def test_python_warnings_come_out_as_events(bridged: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert "old thing" in bridged.last["message"]


def test_auto_means_json_on_a_pipe(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        log, writer = open_log("auto", out.fileno(), environ={})
        log.emit("daemon.ready", "Ready.", version="1")
        assert writer.close(5)
    assert json.loads((tmp_path / "out").read_text())["version"] == "1"


def test_text_can_be_asked_for_and_is_plain_off_a_terminal(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        log, writer = open_log("text", out.fileno(), environ={})
        log.emit("daemon.ready", "Ready.")
        assert writer.close(5)
    assert "info    Ready.  [daemon.ready]" in (tmp_path / "out").read_text()


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_colours_unless_told_otherwise(environ: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    log, writer = open_log("auto", theirs, environ=environ)
    log.emit("daemon.ready", "Ready.")
    assert writer.close(5)
    seen = os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)
    assert b"Ready." in seen
    assert (b"\x1b[" in seen) is coloured


def test_a_line_costs_little() -> None:
    """A bound that only a blunder breaks: the measured cost is some ten microseconds."""
    lines = Lines()
    log = make(lines)
    begin = time.process_time()
    for _ in itertools.repeat(None, 2000):
        log.emit("real_server.state_changed", "Down.", virtual_server=SERVICE, real_server=SERVER, to="DOWN")
    assert (time.process_time() - begin) / 2000 < 0.001


def test_a_library_that_repeats_itself_is_heard_now_and_then() -> None:
    """A listener without descriptors says so ten times a second."""
    lines = Lines()
    now = [0.0]
    bridge = _Bridge(make(lines), lambda: now[0])
    record = logging.LogRecord("trio.serve_listeners", logging.ERROR, "trio.py", 12, "accept returned EMFILE", (), None)
    for _ in range(300):
        bridge.emit(record)
        now[0] += 0.1
    assert len(lines.raw) == 3
