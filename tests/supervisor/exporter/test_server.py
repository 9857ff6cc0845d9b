"""The exporter's HTTP side on memory streams and a virtual clock: what it answers, and what no reader can make it do."""

import contextlib
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from trio.testing import MemoryReceiveStream, MockClock, memory_stream_pair

from supervisor.core.questions import encode_ready
from supervisor.core.snapshot import Snapshot, encode
from supervisor.exporter.extent import Extent
from supervisor.exporter.families import SCOPES, families
from supervisor.exporter.link import CACHE_S, SupervisorLink
from supervisor.exporter.listen import parse_listen
from supervisor.exporter.names import names as known_names
from supervisor.exporter.names import told
from supervisor.exporter.rendering import SLICE_SAMPLES, Written, ending, slices
from supervisor.exporter.server import (
    CONNECTIONS_MAX,
    CONNECTIONS_PER_PEER_MAX,
    READ_MAX_S,
    TOTAL_MAX_S,
    WARM_UP_AFTER_S,
    WARM_UP_EVERY_S,
    Doorkeeper,
    Site,
)
from tests.fakes import snapshots

Stream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Supervisor:
    """The other end of the link: answers each question, counts them, and can fall silent."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.questions = 0
        self.silent = False

    async def run(self, stream: trio.abc.Stream) -> None:
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == b"alive":
                    continue
                assert line in {b"snapshot", b"ready"}
                self.questions += line == b"snapshot"
                answer = encode_ready(ready=self.snapshot.process.ready) if line == b"ready" else encode(self.snapshot)
                if not self.silent:
                    await stream.send_all(answer + b"\n")


class World:
    """A doorkeeper with a supervisor behind it."""

    def __init__(self, supervisor: Supervisor, doorkeeper: Doorkeeper, nursery: trio.Nursery) -> None:
        self.supervisor = supervisor
        self.doorkeeper = doorkeeper
        self._nursery = nursery

    def connect(self, peer: str = "192.0.2.7") -> Stream:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.doorkeeper.serve, theirs, peer)
        return ours

    async def get(self, target: str, *headers: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        head = "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""))
        return await self.ask(head.encode())

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        return split(await exchange(self.connect(), request))


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


async def exchange(stream: Stream, request: bytes) -> bytes:
    """Send, read to the end, close."""
    await stream.send_all(request)
    answer = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            answer += data
    await stream.aclose()
    return answer


def play(
    story: Callable[[World], Awaitable[None]], snapshot: Snapshot | None = None, extent: Extent = Extent()
) -> None:
    """Run a story against a served snapshot."""

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        supervisor = Supervisor(snapshot or snapshots.snapshot())
        link = SupervisorLink(ours, wall_clock=lambda: 1_800_000_000.0 + trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run, theirs)
            nursery.start_soon(link.run)
            await story(World(supervisor, Doorkeeper(Site(link, extent=extent)), nursery))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_metrics_are_plain_text_for_who_asks_for_nothing_else() -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get("/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["connection"] == "close"
        assert int(headers["content-length"]) == len(body)
        assert b"\nlvs_ready 1.0\n" in body
        assert b"lvs_real_server_up{" in body
        assert b'lvs_metrics_render_duration_seconds{scope="real_server"}' in body

    play(story)


def test_prometheus_gets_openmetrics_and_gzip_when_it_asks() -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.get(
            "/metrics",
            "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "Accept-Encoding: deflate, gzip;q=0.8",
        )
        assert status == 200
        assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(body).endswith(b"# EOF\n")
        _, headers, body = await world.get("/metrics", "Accept-Encoding: gzip;q=0")
        assert "content-encoding" not in headers
        assert body.startswith(b"# HELP")

    play(story)


def test_head_has_the_same_head_and_no_body() -> None:
    async def story(world: World) -> None:
        _, wanted, body = await world.get("/metrics")
        status, headers, nothing = await world.get("/metrics", method="HEAD")
        assert (status, headers, nothing) == (200, wanted, b"")
        assert body

    play(story)


def test_a_scrape_can_choose_scopes_and_names() -> None:
    async def story(world: World) -> None:
        _, _, body = await world.get("/metrics?scope=virtual_server")
        names = {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")}
        assert "lvs_virtual_server_quorum" in names
        assert not {name for name in names if name.startswith(("lvs_real_server_", "lvs_ready"))}
        _, _, body = await world.get("/metrics?scope=process,real_server&name[]=lvs_ready&name%5B%5D=lvs_checks_total")
        names = {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")}
        assert names == {"lvs_ready", "lvs_checks_total"}
        _, _, body = await world.get("/metrics?name[]=lvs_verdict_to_kernel_seconds_count")
        assert body.startswith(b"# HELP lvs_verdict_to_kernel_seconds ")

    play(story)


@pytest.mark.parametrize(
    "query",
    ["scope=everything", "scope=process,", "scope=", "colour=red", "name[]=red", "&".join(["name[]=lvs_ready"] * 200)],
)
def test_a_query_for_what_does_not_exist_is_refused_without_repeating_it(query: str) -> None:
    async def story(world: World) -> None:
        status, _, body = await world.get(f"/metrics?{query}")
        if query == "scope=":  # an empty value is no value
            assert status == 200
            return
        assert status == 400
        for word in (b"everything", b"colour", b"red"):
            assert word not in body

    play(story)


def test_other_methods_and_paths_are_refused_without_repeating_them() -> None:
    async def story(world: World) -> None:
        status, headers, _ = await world.get("/metrics", method="POST")
        assert (status, headers["allow"]) == (405, "get, head")
        status, _, body = await world.get("/<script>alert(1)</script>")
        assert status == 404
        assert b"script" not in body
        status, headers, body = await world.get("/")
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert b"/metrics" in body

    play(story)


def test_health_and_readiness_are_different_things() -> None:
    async def story(world: World) -> None:
        assert (await world.get("/healthz"))[0] == 200
        assert (await world.get("/readyz"))[0] == 503
        await world.get("/metrics")  # a snapshot that is there already says the same
        assert (await world.get("/readyz"))[0] == 503

    play(story, Snapshot(replace(snapshots.process(), ready=False), ()))

    async def ready(world: World) -> None:
        assert (await world.get("/readyz"))[0] == 200

    play(ready)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz.json", "/readyz.json"])
def test_whoever_asks_for_health_asks_for_no_snapshot(path: str) -> None:
    async def story(world: World) -> None:
        for _ in range(3):
            assert (await world.get(path))[0] == 200
            await trio.sleep(CACHE_S + 0.1)
        assert world.supervisor.questions == 0

    play(story)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_a_silent_supervisor_is_reported_after_two_seconds(path: str) -> None:
    async def story(world: World) -> None:
        world.supervisor.silent = True
        begin = trio.current_time()
        status, _, body = await world.get(path)
        assert (status, body) == (503, b"the supervisor does not answer\n")
        assert trio.current_time() - begin < 3
        assert (await world.get("/"))[0] == 200

    play(story)


def test_one_snapshot_serves_everybody_for_a_second() -> None:
    async def story(world: World) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(world.get, "/metrics")
        await world.get("/metrics?scope=process")
        assert world.supervisor.questions == 1
        await trio.sleep(CACHE_S + 0.1)
        await world.get("/metrics")
        assert world.supervisor.questions == 2

    play(story)


def test_a_scrape_never_shows_an_older_state_than_a_second() -> None:
    async def story(world: World) -> None:
        assert b"\nlvs_ready 1.0\n" in (await world.get("/metrics"))[2]
        world.supervisor.snapshot = Snapshot(replace(snapshots.process(), ready=False), ())
        await trio.sleep(CACHE_S + 0.1)
        assert b"\nlvs_ready 0.0\n" in (await world.get("/metrics"))[2]

    play(story)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",  # no Host
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[::1/metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_malformed_requests_get_a_plain_no(request_bytes: bytes) -> None:
    async def story(world: World) -> None:
        status, headers, body = await world.ask(request_bytes)
        assert 400 <= status < 500
        assert headers["x-content-type-options"] == "nosniff"
        assert len(body) < 100

    play(story)


def test_a_head_beyond_8_kib_is_refused() -> None:
    async def story(world: World) -> None:
        status, _, _ = await world.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000)
        assert status == 431

    play(story)


def test_who_says_nothing_is_dropped_after_a_second() -> None:
    async def story(world: World) -> None:
        begin = trio.current_time()
        stream = world.connect()
        assert await stream.receive_some() == b""
        assert trio.current_time() - begin == pytest.approx(READ_MAX_S)

    play(story)


def test_who_drips_a_byte_at_a_time_is_dropped_too() -> None:
    async def story(world: World) -> None:
        stream = world.connect()
        begin = trio.current_time()
        with contextlib.suppress(trio.BrokenResourceError):
            for byte in b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n":
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.1)
        assert await stream.receive_some() == b""
        assert trio.current_time() - begin <= READ_MAX_S + 0.2

    play(story)


def test_who_does_not_take_the_answer_is_dropped_in_time() -> None:
    class Clogged(trio.abc.Stream):
        """Sends a whole request, then takes nothing."""

        def __init__(self) -> None:
            self.closed_at: float | None = None
            self._said = [b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"]

        async def receive_some(self, _max_bytes: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            if self._said:
                return self._said.pop()
            await trio.sleep_forever()
            raise AssertionError

        async def send_all(self, _data: bytes | bytearray | memoryview) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep_forever()

        async def aclose(self) -> None:
            self.closed_at = trio.current_time()
            await trio.lowlevel.checkpoint()

    async def story(world: World) -> None:
        stream = Clogged()
        begin = trio.current_time()
        await world.doorkeeper.serve(stream, "192.0.2.7")
        assert stream.closed_at is not None
        assert stream.closed_at - begin == pytest.approx(TOTAL_MAX_S)

    play(story)


def test_one_peer_cannot_take_every_place() -> None:
    async def story(world: World) -> None:
        idle = [world.connect("192.0.2.66") for _ in range(CONNECTIONS_PER_PEER_MAX)]
        await trio.testing.wait_all_tasks_blocked()
        refused = world.connect("192.0.2.66")
        begin = trio.current_time()
        assert await refused.receive_some() == b""
        assert trio.current_time() == begin
        assert (await world.get("/healthz"))[0] == 200  # somebody else is served
        await trio.sleep(TOTAL_MAX_S)
        assert split(await exchange(world.connect("192.0.2.66"), b"GET / HTTP/1.0\r\n\r\n"))[0] == 200
        assert len(idle) == CONNECTIONS_PER_PEER_MAX

    play(story)


def test_all_peers_together_cannot_take_more_places_than_there_are() -> None:
    async def story(world: World) -> None:
        idle = [world.connect(f"192.0.2.{number}") for number in range(CONNECTIONS_MAX)]
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await world.connect("198.51.100.1").receive_some() == b""
        assert trio.current_time() == begin
        await trio.sleep(READ_MAX_S + 0.1)
        assert (await world.get("/healthz"))[0] == 200
        assert len(idle) == CONNECTIONS_MAX

    play(story)


def test_a_reader_that_leaves_early_hurts_nobody() -> None:
    async def story(world: World) -> None:
        world.supervisor.silent = True
        stream = world.connect()
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.aclose()
        await trio.sleep(10)
        world.supervisor.silent = False
        assert (await world.get("/"))[0] == 200
        await trio.testing.wait_all_tasks_blocked()
        assert world.doorkeeper._open.total() == 0

    play(story)


def samples_of(body: bytes) -> set[str]:
    """The names of the families in a text."""
    return {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")}


@given(
    scopes=st.lists(st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3).map(",".join), max_size=3),
    wanted=st.lists(st.sampled_from(sorted(known_names())), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_filters_cut_out_whole_families_and_change_nothing_in_them(scopes: list[str], wanted: list[str]) -> None:
    """Whatever scopes and names are asked for, each part is a part of the whole, and nothing is missing that was asked for."""

    async def story(world: World) -> None:
        _, _, whole = await world.get("/metrics")
        query = "&".join([f"scope={scope}" for scope in scopes] + [f"name[]={name}" for name in wanted])
        status, _, part = await world.get(f"/metrics?{query}")
        assert status == 200
        chosen = {scope for value in scopes for scope in value.split(",")} or set(SCOPES)
        kept = {line for line in part.splitlines() if b"render_duration" not in line and b"requests_total{" not in line}
        assert kept <= set(whole.splitlines())
        expected = {
            family.name + ("_total" if family.type == "counter" else "")
            for scope in chosen
            for family in told((scope,), Extent())
            if not wanted
            or {family.name, *(f"{family.name}{end}" for end in ("_total", "_bucket", "_count", "_sum"))} & set(wanted)
        }
        assert expected & samples_of(whole) <= samples_of(part) | {"lvs_metrics_render_duration_seconds"}
        assert samples_of(part) <= expected | {"lvs_metrics_render_duration_seconds"}

    play(story)


def test_beyond_the_limit_a_scrape_has_no_real_servers_and_says_so() -> None:
    async def story(world: World) -> None:
        _, _, body = await world.get("/metrics")
        assert b"\nlvs_metrics_real_servers_omitted 1.0\n" in body
        assert b"lvs_real_server_" not in body
        assert (await world.get("/metrics?scope=real_server&name[]=lvs_real_server_up"))[2] == b""

    play(story, extent=Extent(series_max=10))


def many(servers: int) -> Snapshot:
    """A virtual server with so many real ones."""
    pool = tuple(snapshots.real_server(f"10.0.{number // 250}.{number % 250}") for number in range(servers))
    return Snapshot(snapshots.process(), (replace(snapshots.article(), real_servers=pool),))


def test_while_a_large_table_is_written_others_are_served() -> None:
    async def story(world: World) -> None:
        done: list[str] = []

        async def get(path: str) -> None:
            assert (await world.get(path))[0] == 200
            done.append(path)

        await get("/healthz")  # the snapshot is there now
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get, "/metrics?scope=real_server")
            await trio.lowlevel.checkpoint()
            for _ in range(3):
                nursery.start_soon(get, "/readyz")
        assert done == ["/healthz", "/readyz", "/readyz", "/readyz", "/metrics?scope=real_server"]

    play(story, many(1400))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_slices_are_what_the_library_writes_at_one_stroke(openmetrics: bool) -> None:
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0" if openmetrics else "")

    class Whole(Collector):
        def collect(self) -> list[Metric]:
            return list(families(many(SLICE_SAMPLES + 7), 1_800_000_000.0))

    pieces = list(slices(Whole().collect(), encode))
    assert b"".join(pieces) + ending(openmetrics) == encode(Whole())
    assert max(piece.count(b"\n") for piece in pieces) <= SLICE_SAMPLES + 2 * 100, "short strokes"


class Counted:
    """An encoder of the library's that counts the samples it was given."""

    def __init__(self, openmetrics: bool) -> None:
        self._encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0" if openmetrics else "")
        self.samples = 0

    def __call__(self, collector: Collector) -> bytes:
        self.samples += sum(len(family.samples) for family in collector.collect())
        return self._encode(collector)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_what_has_not_changed_since_the_last_scrape_is_not_written_again(openmetrics: bool) -> None:
    written: Written = {}

    def scrape(snapshot: Snapshot) -> int:
        """Write; hold it against what the library writes at one stroke; return how many samples it wrote."""
        found = list(families(snapshot, 1_800_000_000.0, ("real_server",), Extent(0)))
        counted = Counted(openmetrics)
        text = b"".join(slices(found, counted, written)) + ending(openmetrics)
        assert text == b"".join(slices(found, Counted(openmetrics))) + ending(openmetrics)
        return counted.samples

    before = many(4 * SLICE_SAMPLES)
    everything = scrape(before)
    assert everything > 14 * 4 * SLICE_SAMPLES * 0.9
    assert scrape(before) < SLICE_SAMPLES, "small families, which are not kept"
    pool = before.virtual_servers[0]
    one = replace(pool.real_servers[7], health="DOWN", weight_kernel=0)
    servers = (*pool.real_servers[:7], one, *pool.real_servers[8:])
    changed = Snapshot(before.process, (replace(pool, real_servers=servers),))
    assert SLICE_SAMPLES <= scrape(changed) < 4 * SLICE_SAMPLES, "the slices that have that server"
    fewer = Snapshot(before.process, (replace(pool, real_servers=servers[: 2 * SLICE_SAMPLES + 5]),))
    scrape(fewer)
    scrape(before)
    assert scrape(before) < SLICE_SAMPLES
    assert {len(parts) for parts in written.values()} <= {4, 8}, "nothing is kept of what is gone"


HEADER_WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)


@given(
    request=st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda target, accept, encoding: (
                f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAccept-Encoding: {encoding}\r\n\r\n"
            ).encode("latin-1"),
            st.one_of(
                st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map("/metrics?".__add__)
            ),
            st.one_of(HEADER_WORDS, HEADER_WORDS.map("application/openmetrics-text;version=".__add__)),
            HEADER_WORDS,
        ),
    )
)
@settings(max_examples=100, deadline=None)
def test_no_bytes_at_all_can_break_it(request: bytes) -> None:
    async def story(world: World) -> None:
        stream = world.connect()
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(request)
            assert isinstance(stream.send_stream, trio.testing.MemorySendStream)
            await stream.send_eof()
        assert isinstance(stream.receive_stream, MemoryReceiveStream)
        answer = b""
        async for data in stream:
            answer += data
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert (await world.get("/"))[0] == 200

    play(story, Snapshot(snapshots.process(), ()))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9720", ("127.0.0.1", 9720)),
        ("[::1]:9720", ("::1", 9720)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_listen_addresses_are_read(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9720",
        "127.0.0.1",
        "127.0.0.1:",
        "::1:9720",
        "[127.0.0.1]:1",
        "localhost:1",
        "127.0.0.1:65536",
        "1.2.3.4:-1",
    ],
)
def test_other_listen_addresses_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a numeric ADDRESS:PORT like 127\.0\.0\.1:9720"):
        parse_listen(text)


def warming(story: Callable[[World, Site], Awaitable[None]], snapshot: Snapshot | None = None) -> None:
    """Run a story beside an exporter that writes beforehand."""

    async def beside(world: World) -> None:
        site = world.doorkeeper._site
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.warm_up)
            await story(world, site)
            nursery.cancel_scope.cancel()

    play(beside, snapshot)


def test_the_metrics_are_written_once_before_anybody_asks() -> None:
    async def story(world: World, site: Site) -> None:
        await trio.sleep(WARM_UP_AFTER_S + 0.1)
        assert world.supervisor.questions == 1
        assert ["openmetrics" in kind for kind in site._written] == [True]
        await trio.sleep(20 * WARM_UP_EVERY_S)
        assert world.supervisor.questions == 1
        assert site.requests.total() == 0

    warming(story)


def test_they_are_not_written_beforehand_until_everything_was_checked() -> None:
    async def story(world: World, site: Site) -> None:
        await trio.sleep(2 * WARM_UP_AFTER_S)
        assert world.supervisor.questions == 0
        world.supervisor.snapshot = snapshots.snapshot()
        await trio.sleep(2 * WARM_UP_EVERY_S)
        assert world.supervisor.questions == 1
        assert site._written

    warming(story, Snapshot(replace(snapshots.process(), ready=False), ()))


def test_nothing_is_written_beforehand_where_somebody_has_asked() -> None:
    async def story(world: World, site: Site) -> None:
        assert (await world.get("/metrics"))[0] == 200
        await trio.sleep(2 * WARM_UP_AFTER_S)
        assert world.supervisor.questions == 1
        assert ["openmetrics" in kind for kind in site._written] == [False]

    warming(story)
