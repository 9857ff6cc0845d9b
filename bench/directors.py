"""The programs that notice dead servers, with equal timings: ours, keepalived and ldirectord, each on a director of a farm.

`ARTICLE` are the timings of the article's file, `AGGRESSIVE` those of who is in a hurry. ldirectord knows no pause before a retry (it
retries at its next round) and checks the servers of one virtual server one after another, so each of its servers has a virtual server, and
with it a process, of its own, which is to its favour; and it is given the first of the servers only.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import ROOT, keepalived, program
from bench.farm import Farm, address

LDIRECTORD_SERVERS = 8
VIRTUAL = "203.0.113.100"


@dataclass(frozen=True, slots=True)
class Timing:
    """When a server is looked at, in seconds."""

    name: str
    delay_loop_s: int
    connect_timeout_s: int
    retry: int
    delay_before_retry_s: int

    def __str__(self) -> str:
        return (
            f"`delay_loop {self.delay_loop_s}`, `connect_timeout {self.connect_timeout_s}`, `retry {self.retry}`,"
            f" `delay_before_retry {self.delay_before_retry_s}`"
        )


ARTICLE = Timing("the article's timings", 5, 5, 3, 3)
AGGRESSIVE = Timing("aggressive timings", 1, 1, 1, 1)


class Who(enum.Enum):
    """A contender."""

    OURS = "vipervisor"
    SENTINEL = "vipervisor, `sentinel`"
    FAST = "vipervisor, `sentinel`, `fast_interval`"
    KEEPALIVED = "keepalived"
    LDIRECTORD = "ldirectord"


CONTENDERS: Mapping[Timing, tuple[Who, ...]] = {
    ARTICLE: (Who.OURS, Who.SENTINEL, Who.KEEPALIVED, Who.LDIRECTORD),
    AGGRESSIVE: (Who.OURS, Who.FAST, Who.KEEPALIVED, Who.LDIRECTORD),
}

FAST_CHECK = "TCP_CHECK {\n delay_loop 1\n connect_timeout 0.2\n retry 4\n }\n"
"""What `deploy/examples/fast.conf` has more: whether the host is there at all."""


def watched(who: Who, servers: int) -> int:
    """Return how many of the real servers a contender is given, from the first on."""
    return min(servers, LDIRECTORD_SERVERS) if who is Who.LDIRECTORD else servers


def keepalived_conf(who: Who, timing: Timing, servers: int) -> str:
    """Return the file of keepalived and of ours."""
    own = {Who.OURS: "sentinel no", Who.SENTINEL: "sentinel", Who.FAST: "sentinel\n fast_interval 0.05"}.get(who, "")
    check = (
        f"HTTP_GET {{\n url {{\n path /\n status_code 200\n }}\n connect_timeout {timing.connect_timeout_s}\n"
        f" retry {timing.retry}\n delay_before_retry {timing.delay_before_retry_s}\n {own}\n }}\n"
    )
    check += FAST_CHECK.replace("}", f"{own}\n }}") if who is Who.FAST else ""
    members = "".join(
        f"real_server {address(number)} 80 {{\n weight 1\n inhibit_on_failure\n {check}}}\n"
        for number in range(servers)
    )
    head = f"delay_loop {timing.delay_loop_s}\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
    return f"global_defs {{\n router_id BENCH\n}}\nvirtual_server {VIRTUAL} 80 {{\n {head} {members}}}\n"


def ldirectord_cf(timing: Timing, servers: int) -> str:
    """Return ldirectord's file. Its indentation counts."""
    lines = [
        f"checktimeout = {timing.connect_timeout_s}",
        f"negotiatetimeout = {timing.connect_timeout_s}",
        f"checkinterval = {timing.delay_loop_s}",
        f"failurecount = {timing.retry + 1}",
        "autoreload = no",
        "quiescent = yes",
        "fork = yes",
        "supervised = yes",
    ]
    for number in range(servers):
        lines += [
            f"virtual = 203.0.113.{101 + number}:80",
            f"\treal = {address(number)}:80 masq 1",
            "\tservice = http",
            "\tscheduler = rr",
            "\tprotocol = tcp",
            "\tchecktype = negotiate",
            '\trequest = "/"',
            '\treceive = "ok"',
        ]
    return "\n".join(lines) + "\n"


def start(who: Who, farm: Farm, folder: Path, timing: Timing) -> None:
    """Start a contender on its director."""
    place = folder / who.name
    place.mkdir()
    place.chmod(0o755)
    servers, file = watched(who, farm.count), place / "configuration"
    command: list[str]
    match who:
        case Who.LDIRECTORD:
            file.write_text(ldirectord_cf(timing, servers))
            command = [program("ldirectord"), str(file), "start"]
        case Who.KEEPALIVED:
            file.write_text(keepalived_conf(who, timing, servers))
            command = keepalived(file)
        case Who.OURS | Who.SENTINEL | Who.FAST:
            file.write_text(keepalived_conf(who, timing, servers))
            command = [sys.executable, "-m", "supervisor", "run", "-f", str(file), "--backend", "kernel"]
            command += [
                "--workers",
                "1",
                "--exporter",
                "off",
                "--state-dir",
                "off",
                "--admin-socket",
                str(place / "run/admin.sock"),
            ]
    farm.run(who.name, command, place / "output", {"PYTHONPATH": str(ROOT)})
