"""The status page as text: what it says, and that nothing that anybody wrote ever becomes part of its structure."""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.alert import alert
from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry, Extract
from supervisor.core.runningtext import RunningText
from supervisor.core.snapshot import PauseView, Snapshot, StateView
from supervisor.exporter import pages, twins
from supervisor.exporter.picture import PAGE_ROWS, Choice, Picture, drawing
from tests.fakes import snapshots

NOW = 1_800_000_000.0
WORDS_OF_A_CLOSED_SET = {"health", "admin", "type", "level"}


def picture(snapshot: Snapshot | None = None) -> Picture:
    *_, last = drawing(snapshot or snapshots.snapshot(), NOW)
    assert last is not None
    return last


def happened(text: str = "GET /health") -> Extract:
    result: dict[str, Fact] = {"passed": False, "sent": text, "received": text}
    return Extract(
        NOW,
        (
            Entry(1, NOW - 9, RESULT, "info", text, "203.0.113.1:80/tcp", "192.168.100.22:80", result, count=7),
            Entry(2, NOW - 5, "real_server.state_changed", "warning", text, text, text, because=(text, text)),
        ),
        omitted=3,
    )


def running(text: str = "virtual_server 203.0.113.1 80 {") -> RunningText:
    return RunningText(text, "0123456789ab", (text, text), zlib.compress(text.encode("utf-8", "replace")))


def every_page(snapshot: Snapshot, text: str = "x", find: str = "") -> dict[str, str]:
    shown = picture(snapshot)
    choice = Choice(find)
    return {
        "overview": pages.overview(shown, choice, text),
        "down": pages.down(shown, choice, text),
        "events": pages.events(shown, happened(text), choice, text),
        "configuration": pages.configuration(shown, running(text), choice, text),
        "message": pages.message(text, text, text),
        **{
            f"virtual server {number}": pages.virtual_server(shown, standing, happened(text), choice, text)
            for number, standing in enumerate(shown.assessment.virtual_servers)
        },
    }


class Structure(HTMLParser):
    """Everything in a page but its text and the values of its attributes; and, apart, its text."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.text = ""
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag
        self.found.append((f"/{tag}",))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs), "/"))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def poisoned(value: Any, text: str, field: str = "") -> Any:
    """Return a snapshot in which every text that is not of a closed set of words is `text`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return replace(value, **{name: poisoned(part, text, name) for name, part in fields.items()})
    if isinstance(value, tuple):
        return tuple(poisoned(part, text, field) for part in value)
    if field == "addresses":
        return {text: f"conflict {text}"}
    return text if isinstance(value, str) and value and field not in WORDS_OF_A_CLOSED_SET else value


@given(
    st.text(max_size=40).map(lambda text: f'{text}<x onx="1">\'"><script>&amp;{{{{ 7 * 7 }}}}'),
)
@settings(max_examples=60, deadline=None)
def test_whatever_anybody_wrote_is_text_and_never_structure(text: str) -> None:
    text = text.replace("\x00", "").replace("\r", "").encode("utf-8", "replace").decode()
    wanted = every_page(poisoned(snapshots.snapshot(), "harmless"), "harmless")
    found = every_page(poisoned(snapshots.snapshot(), text), text)
    for name, page in found.items():
        if name == "configuration":
            assert "<x" not in page
        assert Structure(page).found == Structure(wanted[name]).found, name
        assert "<script>" not in page
        assert text in Structure(page).text


def test_the_filter_is_shown_as_text_too() -> None:
    for page in every_page(snapshots.snapshot(), find='"><x>').values():
        assert "<x" not in page


def test_the_worst_comes_first_with_the_reason_beside_it() -> None:
    page = pages.overview(picture(), Choice(), "lvs1")
    text = " ".join(Structure(page).text.split())
    assert text.index("fwm:10/ipv6") < text.index("203.0.113.1:80/tcp")
    assert "sorry server" in text
    assert "quorum lost: live weight 0 of 2" in text
    assert "1 of 2 down: no connection" in text
    assert "2 virtual servers: 1 down, 1 degraded; 1 of 4 real servers down; 6 notices." in text
    assert "The last reload was rejected; the configuration before it runs." in text


def test_the_page_of_a_virtual_server_says_why_since_when_and_what_went_over_the_wire() -> None:
    shown = picture()
    standing = shown.find("203.0.113.1:80/tcp")
    assert standing is not None
    structure = Structure(pages.virtual_server(shown, standing, happened(), Choice(), "lvs1"))
    text = " ".join(structure.text.split())
    assert "L4CON connection refused, 7 in a row" in text
    assert "SentGET /health" in text
    assert "7 times, the last at 2027-01-15 07:59:51 UTC" in text
    assert ("time", "datetime", "2027-01-15T07:59:47Z") in structure.attributes
    assert text.index("192.168.100.22:80") < text.index("192.168.100.21:80")


def test_a_probe_that_got_no_connection_sent_nothing_and_one_that_says_nothing_did_not_fail() -> None:
    shown = picture()
    standing = shown.find("203.0.113.1:80/tcp")
    assert standing is not None

    def text_after(facts: dict[str, Fact]) -> str:
        entry = Entry(1, NOW, RESULT, "warning", "TCP_CHECK", "203.0.113.1:80/tcp", "192.168.100.22:80", facts)
        page = pages.virtual_server(shown, standing, Extract(NOW, (entry,)), Choice(), "lvs1")
        return " ".join(Structure(page).text.split())

    assert "SentnothingReceivednothing" in text_after({"passed": False}).replace(" ", "")
    assert "The last failed probe" not in text_after({"passed": None, "sent": "GET"})
    assert "The last failed probe" not in text_after({"passed": True})


def test_a_page_without_history_is_still_a_page() -> None:
    shown = picture()
    page = pages.virtual_server(shown, shown.assessment.virtual_servers[0], None, Choice(), "lvs1")
    assert "The history is not to be had at the moment." in page


def test_what_an_operator_did_is_not_wrong_and_is_told_apart() -> None:
    text = " ".join(Structure(pages.down(picture(), Choice(), "lvs1")).text.split())
    wrong, on_purpose = text.split("Changed on purpose")
    assert "192.168.100.22:80" in wrong
    assert "[2001:db8::21]:80" not in wrong.partition("Real servers")[2]
    assert "by alice, for 1 h 48 min more: CHG-17" in on_purpose


def test_a_pause_of_writes_is_the_first_thing_that_a_page_says() -> None:
    paused = PauseView("alice", "INC-7", 60.0, 1740.0)
    shown = picture(Snapshot(replace(snapshots.process(), paused=paused), (snapshots.article(),)))
    said = "Writes to the kernel are paused by alice (INC-7), for 29 min more: it keeps the table that it has."
    for page in (pages.overview(shown, Choice(), "lvs1"), pages.down(shown, Choice(), "lvs1")):
        assert said in page


def test_at_three_in_the_morning_the_good_news_is_short() -> None:
    fine = replace(snapshots.article(), real_servers=(snapshots.real_server("192.168.100.21"),))
    process = replace(snapshots.process(), reload_ok=True, addresses={}, log_dropped=0, workers=(), state=StateView())
    process = replace(process, writer=replace(process.writer, drift_standing=0, standing=(), contests=()))
    shown = picture(Snapshot(process, (fine,)))
    assert "Nothing is wrong." in pages.down(shown, Choice(), "lvs1")
    assert shown.summary == "1 virtual server: none down, none degraded; none of 1 real server down."
    assert alert(shown.snapshot).text == "1 virtual server with quorum, 1 of 1 real server up"


def test_a_large_table_comes_in_pages_and_the_filter_reaches_all_of_them() -> None:
    servers = tuple(snapshots.real_server(f"10.0.{n // 250}.{n % 250 + 1}", up=n != 777) for n in range(1000))
    large = replace(snapshots.article(), real_servers=servers)
    shown = picture(Snapshot(snapshots.process(), (large,)))
    standing = shown.assessment.virtual_servers[0]
    first = Structure(pages.virtual_server(shown, standing, None, Choice(), "lvs1"))
    assert sum(each[:1] == ("tr",) for each in first.found) == PAGE_ROWS + 1
    assert ("a", "href", "/vs/203.0.113.1:80/tcp?page=2") in first.attributes
    assert "1000 real servers, page 1 of 10" in " ".join(first.text.split())
    assert first.text.index("10.0.3.28:80") < first.text.index("10.0.0.1:80")  # the one that is down
    last = Structure(pages.virtual_server(shown, standing, None, Choice(page=99), "lvs1"))
    assert "page 10 of 10" in " ".join(last.text.split())
    found = Structure(pages.virtual_server(shown, standing, None, Choice("10.0.3.250"), "lvs1"))
    assert sum(each[:1] == ("tr",) for each in found.found) == 2


@pytest.mark.parametrize(
    "name", ["overview", "down", "events", "configuration", "virtual server 0", "virtual server 1"]
)
def test_every_page_is_sound(name: str) -> None:
    page = every_page(snapshots.snapshot())[name]
    structure = Structure(page)
    assert len(structure.ids) == len(set(structure.ids))
    tags = [each[0] for each in structure.found]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert not {"style", "iframe", "img", "base", "object"} & set(tags)
    for tag, attribute, value in structure.attributes:
        assert attribute != "style"
        assert not attribute.startswith("on")
        if attribute in {"src", "href", "action"}:
            assert value.startswith(("/", "#")), (tag, value)
            assert not value.startswith("//")
    (script,) = [each for each in structure.found if each[0] == "script"]
    assert "src" in script
    assert structure.found[structure.found.index(script) + 1] == ("/script",)
    assert page.startswith("<!doctype html>")


def test_only_the_summary_is_read_out_by_itself() -> None:
    for name, page in every_page(snapshots.snapshot()).items():
        spoken = [each for each in Structure(page).found if "aria-live" in each]
        assert len(spoken) <= 1, name
        assert all(each[0] == "p" for each in spoken)


def test_drawing_a_large_table_lets_others_run() -> None:
    large = tuple(replace(snapshots.article(), virtual_server=f"fwm:{mark}/ipv4") for mark in range(2000))
    assert sum(step is None for step in drawing(Snapshot(snapshots.process(), large), NOW)) >= 10


def test_the_fingerprint_changes_with_the_state_and_not_with_ages_or_counters() -> None:
    def aged(view: Any) -> Any:
        traffic = replace(view.traffic, active=99)
        return replace(view, since_s=view.since_s + 7, traffic=traffic)

    before = snapshots.snapshot()
    servers = tuple(
        replace(aged(view), real_servers=tuple(aged(server) for server in view.real_servers))
        for view in before.virtual_servers
    )
    later = picture(replace(before, virtual_servers=servers)).assessment.fingerprint
    assert later == picture(before).assessment.fingerprint
    mended = replace(snapshots.article(), real_servers=(snapshots.real_server("192.168.100.21"),) * 2)
    assert picture(replace(before, virtual_servers=(mended,))).assessment.fingerprint != later


def test_the_twins_say_what_the_pages_say() -> None:
    shown = picture()
    overview = twins.overview(shown, Choice())
    assert overview["schema"] == 1
    assert [row["state"] for row in overview["virtual_servers"]] == ["sorry server", "degraded"]
    assert overview["real_server_states"]["down"] == 1
    down = twins.down(shown, Choice())
    assert {row["real_server"] for row in down["real_servers"]} == {"192.168.100.22:80", "[2001:db8::22]:80"}
    assert down["by_hand"][0]["override"]["reason"] == "CHG-17"
    pool = twins.virtual_server(shown, shown.assessment.virtual_servers[1], happened(), Choice())
    assert [row["state"] for row in pool["real_servers"]] == ["down", "up"]
    assert [entry["id"] for entry in pool["history"]] == [2, 1]
    assert [
        failure and failure["facts"]["sent"] for failure in (row["last_failure"] for row in pool["real_servers"])
    ] == [
        "GET /health",
        None,
    ]
    assert twins.events(shown, happened(), Choice())["omitted"] == 3
    assert twins.configuration(shown, running())["text"] == "virtual_server 203.0.113.1 80 {"
    for twin in (overview, down, pool):
        json.dumps(twin, allow_nan=False)


def test_alerts_are_one_line_that_names_what_is_down() -> None:
    said = alert(picture().snapshot)
    assert (said.status, said.word) == (2, "CRITICAL")
    assert said.text.startswith("quorum lost: fwm:10/ipv6")
    assert list(said.figures.items())[:3] == [
        ("virtual_servers", 2),
        ("virtual_servers_without_quorum", 1),
        ("real_servers", 4),
    ]
