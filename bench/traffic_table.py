"""The figures of bench.traffic_under_faults: added up into docs/data/traffic_under_faults.json, and from there into docs/guarantees.md.

The page's section between the two marks is generated; everything around it is written by hand.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kernel import storm
from tests.kernel.load import TIMEOUT_S

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "data" / "traffic_under_faults.json"
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- traffic under faults: generated -->", "<!-- end of traffic under faults -->"

FAULTS = {
    "nothing": "nothing at all",
    "reload": "reload, nothing changed",
    "reload_weight": "reload: a weight changed, and back",
    "reload_server": "reload: a server removed, and added again",
    "reload_scheduler": "reload: another scheduler, and back",
    "reload_missing_scheduler": "reload: one more virtual server, whose scheduler the kernel has no module of, and back",
    "restart": "stop and start",
    "upgrade": "stop, and start of another version of the code",
    "kill": "`kill -9` of the main process, and start",
    "upgrade_after_kill": "`kill -9` of the main process, and start of another version",
    "kill_all": "`kill -9` of all processes, and start",
    "kill_checker": "`kill -9` of the process that checks",
    "kill_exporter": "`kill -9` of the exporter",
    "kill_runner": "`kill -9` of the runner of scripts",
    "stop_checker": "SIGSTOP of the process that checks, for 4 s",
    "stop_main": "SIGSTOP of the main process, for 4 s",
    "flush": "`ipvsadm -C`",
    "delete": "`ipvsadm -d` of a server that serves",
    "edit_to_0": "`ipvsadm -e … -w 0` of a server that serves, and `-w 1` after 2.5 s",
    "edit_to_5": "`ipvsadm -e … -w 5` of a server that serves",
}
WHO = ("vipervisor", "keepalived", "keepalived -I", "nobody")
HEAD = ("Vipervisor", "keepalived 2.2.7", "keepalived -I", "nobody")
INTERFERENCE = ("flush", "delete", "edit_to_5")

INTRODUCTION = (
    "`{command}`, on an IPVS kernel ({kernel}, User-Mode Linux, one processor): NAT, round robin, three web servers and a fourth real"
    " server that is dead; {requests_per_second:g} requests a second, each on a connection of its own, every tenth held open for half a"
    " second before it asks. Each fault at random moments, one after another. A request has failed when it was refused, reset, answered"
    " wrongly or not answered within {patience_s:g} s. Vipervisor runs as its unit starts it (a stop leaves the table), keepalived in"
    " its default configuration; both are started again at once when they were killed. *keepalived -I* leaves the table at a stop."
)
BETWEEN = (
    "Failed requests, and how often the fault was played. What `ipvsadm -C` and `-d` break they break whoever keeps the"
    " table; then what matters is how soon it is whole again, and that nothing fails afterwards:"
)

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]


def write(raw: Path, command: str) -> None:
    """Add up what was played and write data and page."""
    DATA.parent.mkdir(exist_ok=True)
    kernels = {json.loads(path.read_text())["kernel"] for path in raw.glob("*.json")}
    data = {
        "command": command,
        "kernel": ", ".join(sorted(kernels)),
        "requests_per_second": storm.RATE,
        "figures": _figures(raw),
    }
    DATA.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    text = PAGE.read_text() if PAGE.exists() else f"# Guarantees\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{section(data)}\n{END}{after}")


def _figures(raw: Path) -> dict[str, dict[str, dict[str, Any]]]:
    events: dict[tuple[str, str], list[storm.Event]] = {}
    for path in sorted(raw.glob("*.json")):
        lane = storm.LANES[path.name.partition(".")[0]]
        for record in json.loads(path.read_text())["events"]:
            event = storm.Event(**record)
            events.setdefault((event.fault, lane.contender), []).append(event)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (fault, contender), those in events.items():
        if fault in FAULTS:
            found.setdefault(fault, {})[contender] = _summary(those)
    return found


def _summary(events: list[storm.Event]) -> dict[str, Any]:
    repaired = sorted(event.repaired_s for event in events if event.repaired_s is not None and not event.undone)
    failed = sum((Counter(event.failed) for event in events), Counter[str]())
    return {
        "times": len(events),
        "requests": sum(event.requests for event in events),
        "failed": dict(sorted(failed.items())),
        "failed_by_the_keeper": sum(event.failed_by_us for event in events),
        "never_repaired": sum(event.undone for event in events),
        "repaired_median_s": round(statistics.median(repaired), 2) if repaired else None,
        "repaired_worst_s": round(repaired[-1], 2) if repaired else None,
    }


def section(data: Mapping[str, Any]) -> str:
    """Return the section of the page. `remark` in the data is what has to be known of these very figures; a new run has none."""
    figures: Figures = data["figures"]
    return "\n".join(
        (
            "## Client requests that failed while all this was done",
            "",
            INTRODUCTION.format(**data, patience_s=TIMEOUT_S),
            "",
            *((f"**{data['remark']}**", "") if data.get("remark") else ()),
            f"| fault | {' | '.join(HEAD)} |",
            f"| --- {'| --- ' * len(HEAD)}|",
            *(
                f"| {words} | {' | '.join(_cell(figures[fault].get(who)) for who in WHO)} |"
                for fault, words in FAULTS.items()
                if fault in figures
            ),
            f"| *requests in all* | {' | '.join(_requests(figures, who) for who in WHO)} |",
            "",
            BETWEEN,
            "",
            "| | until the table was as wanted again: median, worst | failed of those that began afterwards |",
            "| --- | --- | --- |",
            *(
                f"| {FAULTS[fault]}, {head} | {_repair(figures[fault][who])} | {_afterwards(figures[fault][who])} |"
                for fault in INTERFERENCE
                for who, head in (("vipervisor", "Vipervisor"), ("keepalived", "keepalived"))
                if who in figures.get(fault, {})
            ),
            "",
        )
    )


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    failed = sum(figure["failed"].values())
    if not failed:
        return f"0 in {figure['times']}"
    return f"**{failed:,}** in {figure['times']} ({failed / figure['times']:.0f} each)"


def _requests(figures: Figures, who: str) -> str:
    return f"{sum(those[who]['requests'] for those in figures.values() if who in those):,}"


def _repair(figure: Mapping[str, Any]) -> str:
    if figure["repaired_median_s"] is None:
        return "never (looked for 3 s)" if figure["never_repaired"] else "it never was otherwise"
    often = f", {figure['never_repaired']} times not at all" if figure["never_repaired"] else ""
    return f"{figure['repaired_median_s']:.2f} s, {figure['repaired_worst_s']:.2f} s{often}"


def _afterwards(figure: Mapping[str, Any]) -> str:
    if figure["never_repaired"] == figure["times"]:
        return "never whole again"
    return f"{figure['failed_by_the_keeper']:,}"
