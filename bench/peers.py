"""The programs that are measured side by side, each told to do the same: one check of each real server in each interval.

The request of HTTP is keepalived's own (HTTP/1.0, User-Agent KeepAliveClient), sent by all. keepalived reads the whole answer, HAProxy and
we read as far as the verdict needs; who keeps connections reads the whole answer too.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bench.accounting import ROOT, Tree, compiled, keepalived, lab_environment, program, version
from bench.targets import FIRST_ADDRESS, addresses, free_port

PER_POOL = 50
"""Real servers in one virtual server."""

TIMEOUT_S = 3
FRESH_EVERY = 10


class Kind(enum.Enum):
    """What a check does."""

    HTTP = "HTTP"
    TLS = "TLS"
    TCP = "TCP"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be checked, how often; `one_core`: by one process, so that it can be seen how much that can do."""

    kind: Kind
    servers: int
    interval_s: int
    port: int
    one_core: bool = False


Start: TypeAlias = Callable[[Work, Path], Tree]


@dataclass(frozen=True, slots=True)
class Peer:
    """One program. `parts` are the lines of a result: its name → the part of a command line that tells its processes, "" for all.

    It is measured with up to `servers_max` real servers. `turn`: only one of so many checks of a server is dearer than the others, and
    servers that began together have it together, so that what is measured is whole turns.
    """

    name: str
    start: Start
    version: Callable[[], str]
    parts: Mapping[str, str]
    kinds: frozenset[Kind] = frozenset(Kind)
    servers_max: int = 1_000_000
    turn: int = 1

    def can(self, kind: Kind, servers: int) -> bool:
        """Tell whether it can be measured with that."""
        return kind in self.kinds and servers <= self.servers_max


def keepalived_conf(work: Work, own: str = "", per_pool: int = PER_POOL) -> str:
    """Return the configuration that keepalived and we read; `own` goes into each check, `per_pool` real servers into a virtual server."""
    checker = {Kind.HTTP: "HTTP_GET", Kind.TLS: "SSL_GET", Kind.TCP: "TCP_CHECK"}[work.kind]
    inside = "" if work.kind is Kind.TCP else "url {\n path /health\n status_code 200\n }\n"
    check = f"{checker} {{\n {inside} {own}\n connect_timeout {TIMEOUT_S}\n retry 1\n delay_before_retry 1\n }}"
    pools = []
    every = addresses(work.servers)
    for pool, first in enumerate(range(0, work.servers, per_pool)):
        members = "".join(
            f"real_server {address} {work.port} {{\n weight 1\n {check}\n }}\n"
            for address in every[first : first + per_pool]
        )
        head = f"delay_loop {work.interval_s}\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
        pools.append(f"virtual_server 203.0.113.{pool % 250 + 1} {80 + pool // 250} {{\n {head} {members}}}\n")
    return "".join(pools)


def _ours(own: str, work: Work, folder: Path) -> Tree:
    file = folder / "keepalived.conf"
    file.write_text(keepalived_conf(work, own))
    command = [sys.executable, "-m", "supervisor", "run", "-f", str(file), "--backend", "memory", "--state-dir", "off"]
    options = ["--exporter", f"127.0.0.1:{free_port()}", "--admin-socket", str(folder / "run/admin.sock")]
    workers = ["--workers", "1"] if work.one_core else []
    return Tree([*command, *options, *workers], {**os.environ, "PYTHONPATH": str(ROOT)})


def _keepalived(work: Work, folder: Path) -> Tree:
    file = folder / "keepalived.conf"
    file.write_text(keepalived_conf(work))
    environment = lab_environment()
    if not Path("/proc/net/ip_vs").exists():
        environment["LD_PRELOAD"] = str(compiled("ipvs_standin.c", "-shared", "-fPIC"))
    return Tree(keepalived(file), environment)


def _haproxy(work: Work, folder: Path) -> Tree:
    file = folder / "haproxy.cfg"
    lines = [
        "global",
        " nbthread 1",
        " maxconn 100",
        "defaults",
        " mode http",
        " timeout connect 3s",
        " timeout client 3s",
    ]
    lines += [" timeout server 3s", f" timeout check {TIMEOUT_S}s", "backend pool"]
    if work.kind is not Kind.TCP:
        header = f"hdr Host {FIRST_ADDRESS}:{work.port} hdr User-Agent KeepAliveClient"
        lines += [" option httpchk", f" http-check send meth GET uri /health ver HTTP/1.0 {header}"]
        lines += [" http-check expect status 200"]
    tls = " check-ssl verify none" if work.kind is Kind.TLS else ""
    lines += [
        f" server s{number} {address}:{work.port} check inter {work.interval_s}s{tls}"
        for number, address in enumerate(addresses(work.servers))
    ]
    file.write_text("\n".join([*lines, "frontend none", f" bind 127.0.0.1:{free_port()}", " default_backend pool", ""]))
    return Tree([program("haproxy"), "-db", "-f", str(file)], lab_environment())


def _floor(work: Work, folder: Path) -> Tree:
    del folder
    command = [str(compiled("floor.c")), str(work.servers), str(work.interval_s * 1000), str(work.port)]
    return Tree([*command, str(FIRST_ADDRESS)])


def _our_version() -> str:
    return f"Python {sys.version.partition(' ')[0]}"


WHOLE, WORKERS = "", "-m checkers"
OURS, OURS_KEPT, OURS_RESUMED = "vipervisor", "vipervisor, http_keepalive", "vipervisor, tls_resume"

PEERS = (
    Peer(
        OURS, partial(_ours, ""), _our_version, {f"{OURS}: workers": WORKERS, f"{OURS}: all processes": WHOLE}
    ),
    Peer(
        OURS_KEPT,
        partial(_ours, f"http_keepalive {FRESH_EVERY}"),
        _our_version,
        {f"{OURS_KEPT} {FRESH_EVERY}: workers": WORKERS, f"{OURS_KEPT} {FRESH_EVERY}: all processes": WHOLE},
        frozenset({Kind.HTTP, Kind.TLS}),
        turn=FRESH_EVERY,
    ),
    Peer(
        OURS_RESUMED,
        partial(_ours, f"tls_resume {FRESH_EVERY}"),
        _our_version,
        {f"{OURS_RESUMED} {FRESH_EVERY}: workers": WORKERS, f"{OURS_RESUMED} {FRESH_EVERY}: all processes": WHOLE},
        frozenset({Kind.TLS}),
        turn=FRESH_EVERY,
    ),
    Peer("keepalived", _keepalived, partial(version, "keepalived", "-v"), {"keepalived": WHOLE}),
    Peer(  # its TCP check ends before the server accepts (no last packet of the handshake), so nobody can count it there
        "HAProxy",
        _haproxy,
        partial(version, "haproxy", "-v"),
        {"HAProxy": WHOLE},
        frozenset({Kind.HTTP, Kind.TLS}),
    ),
    Peer("C floor", _floor, lambda: "bench/native/floor.c", {"C floor": WHOLE}, frozenset({Kind.HTTP})),
)  # fmt: skip
