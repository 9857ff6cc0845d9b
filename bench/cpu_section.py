"""The section of docs/performance.md that `cpu_per_check` makes: tables, plots, judged ratios, and what is to be said of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import ldirectord, peers, section
from bench.cpu_rows import COLUMNS, Case, Found, Purpose, median_us, row
from bench.peers import Kind, Peer, Work
from bench.section import Section


@dataclass(frozen=True, slots=True)
class Goal:
    """A judged ratio: the median of one line by that of another, with GOAL_SERVERS, plain HTTP."""

    name: str
    ours: str
    theirs: str
    target: float


_ALL = f"{peers.OURS}: all processes"
_KEPT = f"{peers.OURS_KEPT} {peers.FRESH_EVERY}: all processes"
OURS = {peers.OURS, peers.OURS_KEPT, peers.OURS_RESUMED}
GOAL_SERVERS = 1000
GOALS = (
    Goal("http_fresh_by_keepalived", _ALL, "keepalived", 0.8),
    Goal("http_fresh_by_haproxy", _ALL, "HAProxy", 1.2),
    Goal("http_fresh_by_c_floor", _ALL, "C floor", 2.0),
    Goal("http_kept_by_keepalived", _KEPT, "keepalived", 0.3),
)

TEXT = (
    """User + system CPU of all processes of a program for each check, and their resident memory (shared pages counted for each process).
The targets are one process that answers as nginx does (a Date that changes each second, bodies of 1 KiB) on as many loopback addresses as
there are real servers; for TLS it is nginx. All send keepalived's request but ldirectord, which sends what its library sends, on a
fresh connection but for `http_keepalive`, with a whole handshake but for `tls_resume`. Of ours, one line is for the checker processes
alone, walls included, and one, which is judged, for all: supervisor, exporter and checkers, the table in memory. Without IPVS, keepalived
is given a kernel that agrees to everything (`bench/native/ipvs_standin.c`), and ldirectord an `ipvsadm` that does. HAProxy's TCP check
ends before the server accepts, so it cannot be counted there. The C floor does nothing but check.""",
    """On a busy machine, programs that wake for each event cost less for each check, because more events wait for them when their turn
comes; on an idle one they cost more. Ours wakes ten to twenty times a second and for what comes in between, whatever the machine does.
At saturation each program has one process for its checks; the machine's other core is the targets'.""",
)
"""What the page says of it."""


def of(found: Mapping[Case, Found], some: Sequence[Peer]) -> Section:
    """Return the section."""
    tables = [
        section.table(
            case.caption,
            ("program", *COLUMNS[case.purpose]),
            [[name, *row(case.purpose, samples)] for name, samples in lines.items()],
        )
        for case, lines in found.items()
        if lines
    ]
    measured = {name for lines in found.values() for name in lines}
    versions = {
        peer.name: peer.version()
        for peer in some
        if measured & set(peer.parts) and peer.name not in {*OURS, ldirectord.FORKING}
    }
    text = [*TEXT, *_of_ldirectord(found)]
    return section.of("What a check costs", 10, text, tables, judged(found), versions=versions, plots=_plots(found))


def judged(found: Mapping[Case, Found]) -> list[dict[str, object]]:
    """Return the judged ratios of what was measured."""
    at = (Kind.HTTP, GOAL_SERVERS, Purpose.RATE)
    cost = {
        name: median_us(samples)
        for case, lines in found.items()
        if (case.kind, case.servers, case.purpose) == at
        for name, samples in lines.items()
    }
    return [
        section.ratio(goal.name, round(cost[goal.ours] / cost[goal.theirs], 2), goal.target)
        for goal in GOALS
        if goal.ours in cost and cost.get(goal.theirs)
    ]


def _of_ldirectord(found: Mapping[Case, Found]) -> Iterator[str]:
    if not ldirectord.is_there():
        yield "ldirectord was not measured: " + ldirectord.ABSENT
    for case, lines in found.items():
        if case.purpose is Purpose.SERIAL and ldirectord.NAME in lines:
            rate_hz = statistics.median(sample.rate_hz for sample in lines[ldirectord.NAME])
            most = ldirectord.interval_kept_by(rate_hz, Work(case.kind, case.servers, case.interval_s, 0))
            told = f" With about {most:,} the period is\ntwice what its file says." if most else ""
            yield (
                "As it comes, ldirectord checks one real server after another and sleeps `checkinterval` after each:\n"
                f"{case.servers:,} come round every {case.servers / rate_hz:.1f} s instead of {case.interval_s} s.{told}\n"
                "A server that does not answer keeps all others waiting for `negotiatetimeout`. With `fork` there is a\n"
                "process for each virtual server."
            )


def _plots(found: Mapping[Case, Found]) -> Iterator[Section]:
    for case, lines in found.items():
        if case.purpose is Purpose.RATE and case.servers == GOAL_SERVERS and lines:
            yield {
                "name": f"check-{case.kind.value.lower()}",
                "title": case.caption,
                "unit": "µs of CPU a check",
                "bars": [_bar(name, [round(one.cost_us, 1) for one in samples]) for name, samples in lines.items()],
            }
    growing: dict[str, list[list[float]]] = {}
    for case, lines in sorted(found.items(), key=lambda item: item[0].servers):
        if case.purpose is Purpose.RATE and case.kind is Kind.HTTP:
            for name, samples in lines.items():
                if not name.startswith(ldirectord.NAME):
                    growing.setdefault(name, []).append([case.servers, round(median_us(samples), 1)])
    lasting = {name: points for name, points in growing.items() if len(points) > 1}
    if lasting:
        title = "HTTP check by the number of real servers"
        yield {
            "name": "check-growth",
            "title": title,
            "unit": "µs of CPU a check",
            "x": "real servers",
            "lines": lasting,
        }


def _bar(name: str, values: list[float]) -> list[object]:
    return [name, round(statistics.median(values), 1), min(values), max(values)]
