"""What one does to see keepalived's checkers in Prometheus: an exporter that has it write a dump, and parses that, at each scrape.

    python -m bench.observed.dumps PID ADDRESS:PORT      PID is keepalived's (the parent's)

The published exporters do the same for VRRP; this one is made for the comparison and does its best: it removes the old dump first, waits
for the new one to be whole, and answers 503 when none comes, so that a checker which stands still is not taken for a healthy one.
The labels are node_exporter's, so that rules can join both. The dump's place and form are keepalived 2.2.7's (SIGUSR1).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

DUMP = Path("/tmp/keepalived_check.data")
PATIENCE_S = 0.8
"""Less than the time-out of a scrape each second."""
LOOK_EVERY_S = 0.01

_VIRTUAL = re.compile(r"VS VIP = (\S+), VPORT = (\d+)")
_REAL = re.compile(r"RIP = (\S+), RPORT = (\d+), WEIGHT = \d+ EFF WEIGHT = (\d+)")
_CHECKER = re.compile(r"\[(\S+)\]:\w+:(\d+) -> \[(\S+)\]:\w+:(\d+)$")
_FACTS = {
    "alive": "keepalived_real_server_alive",
    "num failed checkers": "keepalived_real_server_failed_checkers",
    "quorum_state_up": "keepalived_virtual_server_quorum_up",
    "Up": "keepalived_checker_up",
    "Has run": "keepalived_checker_has_run",
    "Retries iterations": "keepalived_checker_retries",
}


class NoDumpError(Exception):
    """Keepalived did not write a dump in time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition; `labels` by name."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: int

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.name}{{{labels}}} {self.value}"


def taken(pid: int, dump: Path = DUMP, patience_s: float = PATIENCE_S) -> str:
    """Have keepalived write a dump and return it. Raises NoDumpError."""
    dump.unlink(missing_ok=True)
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError as error:
        raise NoDumpError("there is no keepalived") from error
    end, before = time.monotonic() + patience_s, ""
    while time.monotonic() < end:
        time.sleep(LOOK_EVERY_S)
        text = dump.read_text() if dump.exists() else ""
        if text and text == before:
            return text
        before = text
    raise NoDumpError(f"no whole dump within {patience_s:g} s")


def samples(text: str) -> Iterator[Sample]:
    """Return what a dump says of virtual servers, real servers and checkers, in its order."""
    labels: tuple[tuple[str, str], ...] = ()
    weight, inhibited = 0, False
    for line in map(str.strip, text.splitlines()):
        if found := _VIRTUAL.match(line):
            labels = tuple(zip(("local_address", "local_port"), found.groups(), strict=True))
        elif found := _REAL.match(line):
            labels = (*labels[:2], ("remote_address", found[1]), ("remote_port", found[2]))
            weight, inhibited = int(found[3]), False
        elif found := _CHECKER.match(line):
            labels = tuple(
                zip(("local_address", "local_port", "remote_address", "remote_port"), found.groups(), strict=True)
            )
        key, _, value = line.partition(" = ")
        if key == "Inhibit on failure is ON":
            inhibited = True
        elif key in _FACTS and labels and (key != "alive" or len(labels) > 2):  # a virtual server has an "alive", too
            yield Sample(_FACTS[key], labels, int(value == "yes" if value in {"yes", "no"} else value))
        if key == "alive" and len(labels) > 2 and (value == "1" or inhibited):
            yield Sample("keepalived_real_server_wanted_weight", labels, weight if value == "1" else 0)


class Page(BaseHTTPRequestHandler):
    """Any path is /metrics."""

    def __init__(self, pid: int, *arguments: object) -> None:
        self._pid = pid
        super().__init__(*arguments)  # type: ignore[arg-type]  # the base class's own three

    def do_GET(self) -> None:
        """Signal, wait, parse, answer."""
        try:
            found = sorted(map(str, samples(taken(self._pid))))
            status, body = 200, "\n".join((*found, ""))
        except NoDumpError as error:
            status, body = 503, f"{error}\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""


def main(pid: str, where: str) -> None:
    """Serve until ended."""
    address, _, port = where.rpartition(":")
    HTTPServer((address, int(port)), partial(Page, int(pid))).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
