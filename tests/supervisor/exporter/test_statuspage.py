"""The status page over HTTP, on memory streams and a virtual clock: routes, forms, and the streams of who stays."""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from supervisor.core import entry, runningtext
from supervisor.core.entry import Entry, Extract
from supervisor.core.questions import encode_ready
from supervisor.core.runningtext import RunningText
from supervisor.core.snapshot import Snapshot, encode
from supervisor.exporter import live
from supervisor.exporter.link import SupervisorLink
from supervisor.exporter.live import CLIENTS_MAX, LOOK_EVERY_S, QUEUE_MAX, SEND_MAX_S, STREAM_MAX_S
from supervisor.exporter.server import CONNECTIONS_PER_PEER_MAX, TOTAL_MAX_S, Doorkeeper, Site
from supervisor.exporter.statuspage import read_wish
from tests.fakes import snapshots
from tests.supervisor.exporter.test_server import Stream, Supervisor, exchange, split

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
TEXT = "virtual_server 203.0.113.1 80 {\n  password ********\n}"
EVENT = Entry(1, 1_799_999_000.0, "daemon.ready", "info", "Ready: <2> virtual servers")


class Talkative(Supervisor):
    """A supervisor that answers every question, though late, and can refuse to tell the past."""

    forgetful = False

    async def run(self, stream: trio.abc.Stream) -> None:
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line != b"alive":
                    self.questions += 1
                    while self.silent:  # noqa: ASYNC110  (a story sets it as it likes)
                        await trio.sleep(1)
                    await self._answer(stream, line)

    async def _answer(self, stream: trio.abc.Stream, line: bytes) -> None:
        match line.split(b" ")[0]:
            case b"snapshot":
                await stream.send_all(encode(self.snapshot) + b"\n")
            case b"ready":
                await stream.send_all(encode_ready(ready=self.snapshot.process.ready) + b"\n")
            case b"configuration":
                running = RunningText(
                    "/etc/keepalived/keepalived.conf", "0123456789ab", ("a",), zlib.compress(TEXT.encode())
                )
                await stream.send_all(runningtext.encode(running) + b"\n")
            case b"events" | b"history" if not self.forgetful:
                await stream.send_all(entry.encode(Extract(1_800_000_000.0, (EVENT,))) + b"\n")


class World:
    """A site with a supervisor behind it."""

    def __init__(self, supervisor: Talkative, site: Site, nursery: trio.Nursery) -> None:
        self.supervisor = supervisor
        self.site = site
        self.doorkeeper = Doorkeeper(site)
        self._nursery = nursery

    def connect(self, peer: str = "192.0.2.7") -> Stream:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.doorkeeper.serve, theirs, peer)
        return ours

    async def get(
        self, target: str, *headers: str, method: str = "GET", host: str = "localhost"
    ) -> tuple[int, dict[str, str], bytes]:
        head = "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "", ""))
        return split(await exchange(self.connect(), head.encode("latin-1")))

    async def subscribe(self, peer: str = "192.0.2.7") -> Stream:
        """Open a stream of events, up to its head and the first lines."""
        stream = self.connect(peer)
        await stream.send_all(b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return stream


def play(story: Callable[[World], Awaitable[None]], snapshot: Snapshot | None = None) -> None:
    async def main() -> None:
        ours, theirs = memory_stream_pair()
        supervisor = Talkative(snapshot or snapshots.snapshot())
        link = SupervisorLink(ours, wall_clock=lambda: 1_800_000_000.0 + trio.current_time())
        site = Site(link, names=("lvs1.example.org", "lvs1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run, theirs)
            nursery.start_soon(link.run)
            nursery.start_soon(site.run)
            await story(World(supervisor, site, nursery))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


PAGES = ["/", "/down", "/events", "/config", "/vs/203.0.113.1:80/tcp", "/vs/fwm:10/ipv6", "/vs/fwm:10%2Fipv6"]


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_gets_every_page_as_html_under_the_strictest_policy(path: str) -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get(path, BROWSER)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert body.startswith(b"<!doctype html>")
        assert b"lvs1.example.org" in body
        policy = headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "deny"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"

    play(story)


@pytest.mark.parametrize(
    "path", ["/index", "/down", "/events", "/config", "/alerts", "/healthz", "/readyz", "/vs/fwm:10/ipv6"]
)
def test_every_page_has_a_json_twin_with_a_schema(path: str) -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get(f"{path}.json")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body)["schema"] == 1

    play(story)


def test_who_is_no_browser_gets_a_list_of_routes_even_from_a_silent_supervisor() -> None:
    async def story(world: World) -> None:
        world.supervisor.silent = True
        status, headers, body = await world.get("/", "Accept: */*")
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        for route in (b"/down", b"/vs/NAME", b"/metrics", b"/config", b"/alerts"):
            assert route in body
        status, _, body = await world.get("/", BROWSER)
        assert status == 503
        assert b"The supervisor does not answer." in body
        status, _, body = await world.get("/index.json")
        assert (status, json.loads(body)["error"]) == (503, "the supervisor does not answer")

    play(story)


@pytest.mark.parametrize("path", ["/vs/", "/vs/198.51.100.9:80/tcp", "/nothing", "/vs/<script>", "/style.css/x", "//"])
def test_what_is_not_there_is_not_repeated(path: str) -> None:
    async def story(world: World) -> None:
        for accept in (BROWSER, "Accept: */*"):
            status, _, body = await world.get(path, accept)
            assert status == 404
            assert b"198.51" not in body
            assert b"nothing" not in body
            assert b"<script>" not in body

    play(story)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9720", "localhost.evil.example", "lvs1.example.org.evil.example"]
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/config.json", "/events/stream", "/style.css"])
def test_a_name_that_is_not_ours_is_refused_whatever_it_asks_for(host: str, path: str) -> None:
    async def story(world: World) -> None:
        status, _, body = await world.get(path, BROWSER, host=host)
        assert status == 421
        assert b"--exporter-name" in body
        assert b"evil" not in body
        assert world.supervisor.questions == 0

    play(story)


def test_prometheus_may_ask_by_address_and_by_our_names() -> None:
    async def story(world: World) -> None:
        for host in ("192.0.2.7:9720", "[2001:db8::1]:9720", "lvs1:9720", "LVS1.example.org:9720", "localhost"):
            assert (await world.get("/metrics", host=host))[0] == 200

    play(story)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed_here(method: str) -> None:
    async def story(world: World) -> None:
        for path in ("/", "/down", "/config", "/events/stream"):
            status, headers, _ = await world.get(path, method=method)
            assert (status, headers["allow"]) == (405, "get, head")

    play(story)


@pytest.mark.parametrize("path", [*PAGES, "/style.css", "/live.js", "/icon.svg", "/alerts", "/events/stream"])
def test_head_has_the_head_of_get_and_no_body(path: str) -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get(path, BROWSER, method="HEAD")
        assert (status, body) == (200, b"")
        assert "content-security-policy" in headers

    play(story)


def test_style_and_script_may_be_kept_for_ever_because_their_address_names_their_content() -> None:
    async def story(world: World) -> None:
        _, _, page = await world.get("/", BROWSER)
        for asset, kind in (("style.css", "text/css"), ("live.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
            begin = page.index(f"/{asset}?v=".encode())
            address = page[begin : page.index(b'"', begin)].decode()
            status, headers, body = await world.get(address)
            assert status == 200
            assert headers["content-type"].startswith(kind)
            assert "immutable" in headers["cache-control"]
            assert body

    play(story)


def test_the_past_is_left_out_when_it_cannot_be_had() -> None:
    async def story(world: World) -> None:
        world.supervisor.forgetful = True
        status, _, body = await world.get("/vs/fwm:10/ipv6", BROWSER)
        assert status == 200
        assert b"The history is not to be had at the moment." in body
        assert (await world.get("/events", BROWSER))[0] == 503

    play(story)


def test_events_and_configuration_are_asked_for_only_when_somebody_looks() -> None:
    async def story(world: World) -> None:
        await world.get("/", BROWSER)
        assert world.supervisor.questions == 1
        _, _, body = await world.get("/events", BROWSER)
        assert b"Ready: &lt;2&gt; virtual servers" in body
        _, _, body = await world.get("/config.json")
        assert json.loads(body)["text"] == TEXT
        assert world.supervisor.questions == 3

    play(story)


def test_alerts_are_text_for_whoever_polls() -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get("/alerts", BROWSER)
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert body.startswith(b"VIPERVISOR CRITICAL - ")
        assert body.count(b"\n") == 1

    play(story)


@pytest.mark.parametrize(
    ("query", "find", "page"),
    [
        ("", "", 1),
        ("find=+10.0.0.1+&page=3", "10.0.0.1", 3),
        ("page=0", "", 1),
        ("page=-3", "", 1),
        ("page=9999999", "", 1_000_000),
        ("page=99999999999999999999", "", 1),
        ("page=²", "", 1),
        ("find=" + "x" * 500, "x" * 100, 1),
        ("&".join(["find=x"] * 50), "", 1),
    ],
)
def test_a_query_is_read_as_far_as_it_makes_sense(query: str, find: str, page: int) -> None:
    wish = read_wish("/down", query, "")
    assert (wish.choice.find, wish.choice.page) == (find, page)


# -- live ----------------------------------------------------------------------------------------------------------------


async def received(stream: Stream, seconds: float) -> bytes:
    """Return what comes within some time."""
    found = b""
    with trio.move_on_after(seconds):
        async for data in stream:
            found += data
    return found


def news(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


def test_who_stays_is_told_the_state_and_every_change_of_it() -> None:
    async def story(world: World) -> None:
        stream = await world.subscribe()
        first = await received(stream, 1)
        assert b"Content-Type: text/event-stream" in first
        assert b"Transfer-Encoding: chunked" in first
        assert b"retry: 5000\n" in first
        (said,) = news(first)
        assert said["summary"] == "2 virtual servers: 1 down, 1 degraded; 1 of 4 real servers down; 6 notices."
        world.supervisor.snapshot = Snapshot(snapshots.process(), (snapshots.article(),))
        later = news(await received(stream, 2 * LOOK_EVERY_S))
        assert later[-1]["revision"] != said["revision"]
        assert later[-1]["state"] == "degraded"
        await stream.aclose()

    play(story)


def test_nobody_is_asked_for_snapshots_while_nobody_listens() -> None:
    async def story(world: World) -> None:
        await trio.sleep(100)
        assert world.supervisor.questions == 0
        stream = await world.subscribe()
        await received(stream, 9)
        assert 2 <= world.supervisor.questions <= 9 / LOOK_EVERY_S + 2
        await stream.aclose()
        await trio.sleep(5)
        asked = world.supervisor.questions
        await trio.sleep(100)
        assert world.supervisor.questions == asked

    play(story)


def test_a_slow_supervisor_is_asked_less_often() -> None:
    async def story(world: World) -> None:
        async def slow(stream: trio.abc.Stream, line: bytes) -> None:
            await trio.sleep(1)
            await Talkative._answer(world.supervisor, stream, line)

        world.supervisor._answer = slow  # type: ignore[method-assign]
        stream = await world.subscribe()
        await received(stream, 100)
        assert 8 <= world.supervisor.questions <= 12
        await stream.aclose()

    play(story)


def test_there_is_room_for_twenty_and_they_take_no_place_of_scrapes() -> None:
    async def story(world: World) -> None:
        streams = [await world.subscribe() for _ in range(CONNECTIONS_PER_PEER_MAX)]
        await trio.sleep(1)
        while len(streams) < CLIENTS_MAX:
            streams.append(await world.subscribe())
            await trio.sleep(0.1)
        status, headers, _ = await world.get("/events/stream")
        assert (status, headers["retry-after"]) == (503, "30")
        assert (await world.get("/metrics"))[0] == 200
        await streams.pop().aclose()
        await trio.sleep(1)
        assert b"200" in await received(await world.subscribe(), 1)

    play(story)


def test_a_stream_outlives_the_patience_for_requests_and_not_an_hour() -> None:
    async def story(world: World) -> None:
        stream = await world.subscribe()
        begin = trio.current_time()
        data = await received(stream, 2 * STREAM_MAX_S)
        assert trio.current_time() - begin == pytest.approx(STREAM_MAX_S, abs=5)
        assert len(news(data)) > 10 * TOTAL_MAX_S

    play(story)


def test_a_reader_who_takes_nothing_is_dropped() -> None:
    class Clogged(trio.abc.Stream):
        closed_at: float | None = None

        async def receive_some(self, _max_bytes: int | None = None) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        async def send_all(self, _data: bytes | bytearray | memoryview) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def story(world: World) -> None:
        begin = trio.current_time()
        await world.site._page.live.pour(Clogged(), bytes)
        assert trio.current_time() - begin == pytest.approx(SEND_MAX_S)

    play(story)


def test_a_client_whose_queue_is_full_is_dropped_and_the_others_stay() -> None:
    async def story(world: World) -> None:
        hub = world.site._page.live
        stream = await world.subscribe()
        await trio.sleep(1)
        queue, kept = trio.open_memory_channel[bytes](QUEUE_MAX)
        hub._clients.add(live._Client(queue))
        await trio.sleep(LOOK_EVERY_S * (QUEUE_MAX + 2))
        assert len(hub._clients) == 1
        assert kept.statistics().open_send_channels == 0
        assert news(await received(stream, 1))

    play(story)


def test_the_silence_of_the_supervisor_ends_no_stream() -> None:
    async def story(world: World) -> None:
        world.supervisor.silent = True
        stream = await world.subscribe()
        assert news(await received(stream, 10)) == []
        world.supervisor.silent = False
        assert news(await received(stream, 40))

    play(story)


@given(
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map("/".__add__),
    accept=st.sampled_from([BROWSER, "Accept: */*"]),
    host=st.one_of(st.just("localhost"), st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=30)),
)
@settings(max_examples=100, deadline=None)
def test_no_address_can_break_it(target: str, accept: str, host: str) -> None:
    async def story(world: World) -> None:
        status, _, body = await world.get(target, accept, host=host)
        assert status in {200, 400, 404, 421}
        assert b"<x" not in body
        assert (await world.get("/index.json"))[0] == 200

    play(story, replace(snapshots.snapshot()))
