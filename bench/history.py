"""What the history of 10,000 real servers weighs and costs: `python -m bench.history`.

Idle: every server has been up since the start, one result each. Worst: every record and the ring of events are full of entries that
have nothing in common. Time is that of the decision loop: one entry in, one extract out for the exporter, a dump for the journal.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace

from supervisor import journal
from supervisor.core import entry
from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry, printable
from supervisor.core.history import EVENTS_KEPT, History

POOLS, SERVERS = 100, 100


def _pool(number: int) -> str:
    return f"203.0.113.{number}:443/tcp"


def _server(number: int) -> str:
    return f"192.168.{number % 200}.{number // 200}:8080"


def _site() -> dict[str, list[str]]:
    return {_pool(pool): [_server(pool * SERVERS + n) for n in range(SERVERS)] for pool in range(POOLS)}


def _result(server: str, pool: str, code: str, detail: str, *, passed: bool) -> Entry:
    facts: dict[str, Fact] = {"check": "HTTP_GET", "target": printable(server), "result": code, "passed": passed}
    facts |= {"detail": printable(detail), "probe": 1000, "duration_s": float(server.count("1")) + 0.012345}
    if not passed:
        facts |= {
            "failures": 3,
            "sent": f"GET /{detail} HTTP/1.1\\r\\nHost: {server}",
            "received": f"HTTP/1.1 500 {detail}" * 5,
        }
    return _entry(RESULT, f"HTTP_GET {server}: {code} {detail}", pool, server, facts)


def _entry(
    event: str, message: str, pool: str, server: str, facts: dict[str, Fact], because: Iterable[str] = ()
) -> Entry:
    names = printable(pool), printable(server)
    return Entry(0, time.time(), event, "info", printable(message), *names, facts, tuple(because))


def _turn(server: str, pool: str, number: int) -> Entry:
    text = f"Server {server} of {pool} is DOWN, reason: L7STS HTTP 500 ({number}), check duration: 12ms. 99 active servers left."
    names = "failures threshold duration_s previous_state_s weight_old weight_new up_left weight_left quorum"
    facts: dict[str, Fact] = {"check": "HTTP_GET", "result": "L7STS", "detail": printable(f"HTTP 500 ({number})")}
    facts |= {"from": "UP", "to": "DOWN"}
    facts |= dict.fromkeys(names.split(), number)
    because = (f"{link} {server} {number}: something of the usual length that led to it" for link in "ab")
    return _entry("real_server.state_changed", text, pool, server, facts, because)


def _weight(fill: Callable[[History], None]) -> tuple[History, int]:
    """Fill a history; return it and the bytes that it weighs."""
    history = History()
    gc.collect()
    tracemalloc.start()
    history.reconfigure(_site())
    empty = tracemalloc.get_traced_memory()[0]
    fill(history)
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0] - empty
    tracemalloc.stop()
    return history, weight


def _add(history: History, told: Entry) -> None:
    history.add(replace(told, id=history.next_id))


def _idle(history: History) -> None:
    for pool, servers in _site().items():
        for server in servers:
            _add(history, _result(server, pool, "L7OK", "HTTP 200", passed=True))


def _worst(history: History) -> None:
    for number in range(history.kept):
        for pool, servers in _site().items():
            for server in servers:
                _add(history, _result(server, pool, "L7STS", f"HTTP {number}", passed=False))
                _add(history, _turn(server, pool, number))
    _idle(history)


def _timed(what: str, work: Callable[[], object]) -> None:
    took_s: list[float] = []
    for _ in range(3):
        begun = time.thread_time()
        work()
        took_s.append(time.thread_time() - begun)
    print(f"{what:<58} {min(took_s) * 1e3:9.2f} ms of processor")


def _measure(name: str, fill: Callable[[History], None]) -> None:
    history, weight = _weight(fill)
    print(
        f"{name}: {len(history)} entries, {weight / 1e6:.1f} MB, {weight / (POOLS * SERVERS):.0f} bytes for each server"
    )
    gc.collect()
    gc.freeze()  # as the program does
    _timed("  extract of a virtual server of 100, encoded", lambda: entry.encode(history.pool(_pool(1), 1.8e9)))
    _timed("  last 500 events, encoded", lambda: entry.encode(history.last_events(1.8e9, 500)))
    _timed("  dump (on the loop)", history.dump)
    dump = history.dump()
    data = journal.whole("bench", dump.next_id, dump)
    _timed(f"  journal of {len(data) / 1e6:.1f} MB (in a thread)", lambda: journal.whole("bench", dump.next_id, dump))
    _timed("  the same, read (in a thread)", lambda: journal.decode(data))


def main() -> None:
    """Measure and print."""
    _measure("idle", _idle)
    _measure("worst", _worst)
    history = History()
    history.reconfigure(_site())
    told = [_turn(_server(n), _pool(0), n) for n in range(EVENTS_KEPT)]

    def tell() -> None:
        for one in told:
            _add(history, one)

    _timed(f"{EVENTS_KEPT} transitions in", tell)


if __name__ == "__main__":
    main()
