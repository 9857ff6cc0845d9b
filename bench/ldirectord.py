"""ldirectord as a peer: Debian's program with a stand-in for `ipvsadm` that agrees to everything.

It looks for ipvsadm in /sbin and keeps its pid in /var/run, without an option for either, so a copy of the script with two other paths
is run. The checks are its own (LWP). It cannot be told a request like keepalived's: it sends HTTP/1.1 with LWP's headers.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from bench.accounting import Missing, Tree, lab_environment, program, version
from bench.peers import PER_POOL, TIMEOUT_S, Kind, Peer, Work
from bench.targets import addresses

NAME, FORKING = "ldirectord", "ldirectord, fork"
SERVERS_MAX = 200
"""Of each round; its start takes a process for each (it reads the table with ipvsadm again and again)."""

ABSENT = "it is not on this machine, nor in .lab (`deploy/demo/setup programs ldirectord`), or perl lacks a module that it needs."


def configuration(work: Work, folder: Path, *, fork: bool) -> str:
    """Return a file with virtual servers of PER_POOL real servers."""
    lines = [f"checktimeout = {TIMEOUT_S}", f"negotiatetimeout = {TIMEOUT_S}", f"checkinterval = {work.interval_s}"]
    lines += ["autoreload = no", "quiescent = yes", "supervised", f"fork = {'yes' if fork else 'no'}"]
    lines += [f'logfile = "{folder}/log"']
    every = addresses(work.servers)
    for pool, first in enumerate(range(0, work.servers, PER_POOL)):
        lines.append(f"virtual = 203.0.113.{pool % 250 + 1}:{80 + pool // 250}")
        lines += [f"\treal = {address}:{work.port} masq" for address in every[first : first + PER_POOL]]
        lines += ["\tservice = http", "\tchecktype = negotiate", '\trequest = "health"', '\treceive = "x"']
        lines += ["\tscheduler = rr", "\tprotocol = tcp"]
    return "\n".join([*lines, ""])


def _start(work: Work, folder: Path, *, fork: bool) -> Tree:
    standin, script, file = folder / "ipvsadm", folder / "ldirectord", folder / "ldirectord.cf"
    standin.write_text("#!/bin/sh\nexit 0\n")
    standin.chmod(0o755)
    text = Path(program("ldirectord")).read_text(encoding="latin-1")
    moved = text.replace('"/sbin/ipvsadm"', f'"{standin}"').replace('"/var/run/ldirectord"', f'"{folder}/pid"')
    script.write_text(moved, encoding="latin-1")
    file.write_text(configuration(work, folder, fork=fork))
    return Tree(["perl", str(script), str(file), "start"], {**lab_environment(), "PERLIO": "perlio"})


def start_serial(work: Work, folder: Path) -> Tree:
    """Start it as it comes: one process, one check after another."""
    return _start(work, folder, fork=False)


def start_forking(work: Work, folder: Path) -> Tree:
    """Start it with a process for each virtual server."""
    return _start(work, folder, fork=True)


def interval_kept_by(rate_hz: float, work: Work) -> int | None:
    """Return the real servers with which a round of checks, one after another, takes as long as the interval; None: cannot be told.

    It sleeps an interval after each round, so with so many its period is twice what the file says. `rate_hz`: checks a second as
    measured with `work`.
    """
    check_s = 1 / rate_hz - work.interval_s / work.servers
    return round(work.interval_s / check_s / 10) * 10 if check_s > 0 else None


def is_there() -> bool:
    """Tell whether it can be run here: the script and all modules of perl that it needs."""
    try:
        command = ["perl", "-MLWP::UserAgent", "-wc", program("ldirectord")]
        return subprocess.run(command, capture_output=True, env=lab_environment(), check=False).returncode == 0
    except (Missing, FileNotFoundError):
        return False


PEERS = tuple(
    Peer(name, start, partial(version, "ldirectord", "-v"), {name: ""}, frozenset({Kind.HTTP}), SERVERS_MAX)
    for name, start in ((NAME, start_serial), (FORKING, start_forking))
)
