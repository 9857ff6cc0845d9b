"""Fuzz targets of what comes over our own sockets: frames, the admin socket, the exporter's readers, the exporter's link.

Bytes in; an exception comes out for a bug of ours and for nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import json
import zlib
from ipaddress import ip_address
from typing import Any

import trio
from trio.testing import MockClock

from checkers.kit import wire
from supervisor import journal, statefile
from supervisor.admin import protocol
from supervisor.admin.access import NOBODY_ELSE, Caller
from supervisor.admin.desk import Desk, Requested, Verb
from supervisor.core import entry, questions, runningtext
from supervisor.core import snapshot as snapshots
from supervisor.core.director import Director
from supervisor.core.entry import Entry, Extract
from supervisor.core.events import Tick
from supervisor.core.history import History
from supervisor.core.memory import Clocks, Recall
from supervisor.core.runningtext import RunningText
from supervisor.exporter.doorman import Doorman
from supervisor.exporter.link import SupervisorLink, View
from supervisor.exporter.server import HEAD_MAX_BYTES, Site, handle
from supervisor.model import AddressKey, Config, Endpoint, Protocol, RealServer, VirtualServer
from supervisor.runner import protocol as orders
from supervisor.statepieces import Damaged
from tests.fakes.snapshots import snapshot


def from_worker(data: bytes) -> None:
    """A frame is exactly one value, which says the same bytes again, or a WireError."""
    with contextlib.suppress(wire.WireError):
        assert wire.encode(wire.decode_from_worker(data)) == data


def from_supervisor(data: bytes) -> None:
    """A frame is exactly one value, which can be said again, or a WireError."""
    with contextlib.suppress(wire.WireError):
        frame = wire.decode_from_supervisor(data)
        assert wire.decode_from_supervisor(wire.encode(frame)) == frame


def to_runner(data: bytes) -> None:
    """An order is exactly one value, which can be said again, or a ProtocolError."""
    with contextlib.suppress(orders.ProtocolError):
        order = orders.decode_order(data)
        assert orders.decode_order(orders.encode(order)) == order


def from_runner(data: bytes) -> None:
    """A report is exactly one value, which can be said again, or a ProtocolError."""
    with contextlib.suppress(orders.ProtocolError):
        report = orders.decode_report(data)
        assert orders.decode_report(orders.encode(report)) == report


async def _echo(args: dict[str, Any], _caller: Caller) -> Any:
    await trio.lowlevel.checkpoint()
    return args


def admin_request(data: bytes) -> None:
    """Whatever an operator's program says gets one line of JSON, and leaves a record that can be written down."""
    record: list[Requested] = []
    desk = Desk({"status": Verb(_echo)}, NOBODY_ELSE, record.append)
    line = trio.run(desk.answer, data, Caller(0, 0, 1, "root")).line
    for told in record:
        assert f"{told.verb} {told.args} {told.reason}".encode()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert isinstance(json.loads(line)["ok"], bool)
    with contextlib.suppress(protocol.RequestError):
        request = protocol.decode_request(data)
        assert protocol.decode_request(protocol.encode_request(request)) == request


def admin_answer(data: bytes) -> None:
    """Whatever answers at the socket's path is a result or a RequestError."""
    with contextlib.suppress(protocol.RequestError):
        protocol.decode_answer(data)


def state(data: bytes) -> None:
    """A state file is a memory, which can be written and read again and from which a director starts, or Damaged, or Newer."""
    with contextlib.suppress(Damaged, statefile.Newer):
        memory = statefile.decode(data)
        assert statefile.decode(statefile.encode(memory)) == memory
        director = Director(_FILE, 0.0, None, Recall(memory, memory.life, Clocks(0.0, 1.8e9), memory.saved_at))
        director.start(0.0)
        director.handle(Tick(), 1.0)
        director.memories(Clocks(1.0, 1.8e9 + 1.0))


def journal_file(data: bytes) -> None:
    """A journal is a history, which can be dumped, written and read again, or Damaged, or Newer."""
    with contextlib.suppress(journal.Damaged, journal.Newer):
        found = journal.decode(data)
        history = History()
        history.reconfigure({"203.0.113.100:80/tcp": ["192.168.100.21:80"]})
        for place, told in found.entries:
            history.restore(told, place)
        dump = history.dump()
        assert journal.decode(journal.whole("x", dump.next_id, dump)).entries == tuple(dump)


def extract_line(data: bytes) -> None:
    """What the supervisor tells its exporter of the past is an extract, or none, or Malformed."""
    with contextlib.suppress(entry.Malformed):
        extract = entry.decode(data)
        assert entry.decode(entry.encode(extract)) == extract


def question_line(data: bytes) -> None:
    """What an exporter asks is a question or none; the history of a virtual server is asked for by one line alone."""
    question = questions.parse(data)
    if isinstance(question, questions.AskHistory):
        assert questions.history(question.virtual_server) == data
        assert b"\n" not in data


_FILE = Config(
    virtual_servers=(
        VirtualServer(
            AddressKey(Protocol.TCP, Endpoint(ip_address("203.0.113.100"), 80)),
            real_servers=tuple(RealServer(Endpoint(ip_address(f"192.168.100.{last}"), 80)) for last in (21, 22)),
        ),
    )
)


class Reader(trio.abc.Stream):
    """A reader of the exporter who sends what he has in pieces, and then nothing more (trio.abc.Stream)."""

    def __init__(self, said: bytes, size: int) -> None:
        self._said = said
        self._size = size
        self.answer = bytearray()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next piece."""
        await trio.lowlevel.checkpoint()
        size = min(self._size, max_bytes or self._size)
        data, self._said = self._said[:size], self._said[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what the server says."""
        await trio.lowlevel.checkpoint()
        self.answer += data

    async def wait_send_all_might_not_block(self) -> None:
        """Never block."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Be closed."""
        await trio.lowlevel.checkpoint()


class Link(SupervisorLink):
    """A supervisor that answers at once, always the same."""

    def __init__(self) -> None:
        self._snapshot = snapshot()

    async def fetch(self) -> View:
        """See `SupervisorLink.fetch`."""
        await trio.lowlevel.checkpoint()
        return View(self._snapshot, 1.7e9, 0.0)

    async def ready(self) -> bool:
        """See `SupervisorLink.ready`."""
        await trio.lowlevel.checkpoint()
        return True

    async def events(self) -> Extract:
        """See `SupervisorLink.events`."""
        await trio.lowlevel.checkpoint()
        return Extract(1.7e9, (Entry(1, 1.6e9, "daemon.ready", "info", "Ready <x9>."),))

    async def history(self, virtual_server: str) -> Extract | None:
        """See `SupervisorLink.history`."""
        return await self.events() if virtual_server else None

    async def configuration(self) -> RunningText:
        """See `SupervisorLink.configuration`."""
        await trio.lowlevel.checkpoint()
        return RunningText("/etc/a.conf", "0123456789ab", ("/etc/a.conf",), zlib.compress(b"virtual_server {\n<x9>\n}"))


@functools.cache
def _site() -> Site:
    return Site(Link(), names=("a",))


def exporter(data: bytes) -> None:
    """Whatever a stranger asks is answered with a whole answer, or with nothing, and the connection is at its end."""
    if not data:
        return
    reader = Reader(data[1:], data[0] or HEAD_MAX_BYTES)

    async def main() -> None:
        await handle(reader, _site(), Doorman())

    trio.run(main, clock=MockClock(autojump_threshold=0))
    if reader.answer:
        head, blank, body = bytes(reader.answer).partition(b"\r\n\r\n")
        assert blank
        assert head.startswith(b"HTTP/1.1 ")
        status = int(head[9:12])
        assert status in {200, 400, 404, 405, 414, 421, 431, 501, 503}
        sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        assert body == b"" or sizes == [len(body)]
        assert b"<x9>" not in body or b"text/html" not in head


def running_text_line(data: bytes) -> None:
    """What the supervisor tells its exporter of the configuration is that, with a text of bounded length, or a ValueError."""
    with contextlib.suppress(ValueError):
        running = runningtext.decode(data)
        assert runningtext.decode(runningtext.encode(running)) == running
        assert len(running.text()) <= runningtext.TEXT_MAX_BYTES


def snapshot_line(data: bytes) -> None:
    """What the supervisor tells its exporter is a snapshot or a ValueError."""
    with contextlib.suppress(ValueError):
        said = snapshots.encode(snapshots.decode(data))
        assert snapshots.encode(snapshots.decode(said)) == said
