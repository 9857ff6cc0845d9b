"""What was played becomes docs/data/observed.json, and that the generated parts of docs/observed.md; the rest is written by hand."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.observed.faults import DUMPS, FAULTS, NODE, OURS
from bench.observed.lanes import FOR_S, SCRAPE_S
from bench.observed.questions import ALL, Cell, Grade

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs" / "data" / "observed.json"
PAGE = ROOT / "docs" / "observed.md"
PARTS = ("how soon", "questions")

WHO = {OURS: "Vipervisor", DUMPS: "keepalived: dumps and node_exporter", NODE: "keepalived: node_exporter alone"}
LANES = {OURS: "vipervisor", DUMPS: "keepalived", NODE: "keepalived"}
DEATHS = {"killed": "SIGKILL of the web server", "503": "the web server answers 503"}
OTHERS = {
    "weight": "`ipvsadm -e … -w 5` of a server that serves",
    "flush": "`ipvsadm -C`",
    "frozen": "SIGSTOP of the process that checks; then a server dies",
}
SIGNS = {Grade.YES: "✔", Grade.PARTLY: "◐", Grade.NO: "✖"}

Trial = Mapping[str, Any]
"""A `faults.Seen` as it is in the data."""

INTRODUCTION = (
    "`{command}`, on an IPVS kernel ({kernel}, User-Mode Linux, one processor that others wanted, too), {versions}: every fault {times}"
    " times in both lanes at the same moment. One Prometheus scrapes everybody every {scrape} s (a scrape took {scrapes}) and looks at"
    " the rules as often; every alert has `for: {patience}s`, so that what it waits is the same for all. Seconds from the fault: median"
    " (least to most)."
)
READ = (
    "A figure has the scrape and the rules' pace in it, up to a second each, which depends on nobody's program. Where something is"
    " missing in a part of the runs, the number of those in which it came stands beside it. Each fault waited for a moment in which the"
    " machine had time; the guest was idle for {idle:.0%} of the time (median; least {least:.0%}), and where it hardly was, everything in"
    " it was late."
)


def write(raw: Path, command: str) -> None:
    """Add up what was played and write data and page."""
    rounds = [json.loads(path.read_text()) for path in sorted(raw.glob("trials.*.json"))]
    asked = json.loads((raw / "questions.json").read_text())
    data = {
        "command": command,
        "kernel": ", ".join(sorted({record["kernel"] for record in rounds})),
        "versions": asked["versions"],
        "scrape_s": {
            job: round(statistics.median(record["scrape_s"][job] for record in rounds), 3)
            for job in sorted(rounds[0]["scrape_s"])
        },
        "answers": asked["answers"],
        "seen": [seen for record in rounds for seen in record["seen"]],
    }
    DATA.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    text = PAGE.read_text() if PAGE.exists() else "".join(f"{_begin(part)}\n{_end(part)}\n" for part in PARTS)
    for part in PARTS:
        before, _, rest = text.partition(_begin(part))
        text = f"{before}{generated(data, part)}{rest.partition(_end(part))[2]}"
    PAGE.write_text(text)


def generated(data: Mapping[str, Any], part: str) -> str:
    """Return one of PARTS between its marks."""
    lines = _soon(data) if part == PARTS[0] else _asked(data)
    return "\n".join((_begin(part), "", *lines, _end(part)))


def _begin(part: str) -> str:
    return f"<!-- {part}: generated -->"


def _end(part: str) -> str:
    return f"<!-- end of {part} -->"


# -- how soon ------------------------------------------------------------------------------------------------------------------


def _soon(data: Mapping[str, Any]) -> Iterator[str]:
    trials: Sequence[Trial] = data["seen"]
    idle = [trial["idle"] for trial in trials]
    times = {sum(trial["fault"] == fault for trial in trials) for fault in FAULTS}
    yield INTRODUCTION.format(
        command=data["command"],
        kernel=data["kernel"],
        versions=", ".join(data["versions"]),
        times=f"{min(times)} to {max(times)}" if len(times) > 1 else min(times),
        scrape=SCRAPE_S,
        scrapes=", ".join(f"{seconds * 1000:.0f} ms of {job}" for job, seconds in data["scrape_s"].items()),
        patience=FOR_S,
    )
    yield from ("", READ.format(idle=statistics.median(idle), least=min(idle)), "")
    yield from _rows(trials, DEATHS, DEATH_COLUMNS)
    yield from ("", "What no check finds by itself:", "")
    yield from _rows(trials, OTHERS, OTHER_COLUMNS)
    yield ""


def _rows(
    trials: Sequence[Trial], faults: Mapping[str, str], columns: Mapping[str, Callable[[Sequence[Trial], str], str]]
) -> Iterator[str]:
    yield f"| fault | seen by | {' | '.join(columns)} |"
    yield f"| --- | --- {'| --- ' * len(columns)}|"
    for fault, words in faults.items():
        those = [trial for trial in trials if trial["fault"] == fault]
        for who, name in WHO.items():
            yield f"| {words} | {name} | {' | '.join(cell(those, who) for cell in columns.values())} |"


def _table(trials: Sequence[Trial], who: str) -> str:
    return _cell(trials, [trial["table_s"][LANES[who]] for trial in trials])


def _figure(what: str) -> Callable[[Sequence[Trial], str], str]:
    def cell(trials: Sequence[Trial], who: str) -> str:
        if any(what not in trial["shown_s"][who] for trial in trials):
            return "no such sign"
        return _cell(trials, [trial["shown_s"][who][what] for trial in trials])

    return cell


def _behind(trials: Sequence[Trial], who: str) -> str:
    pairs = [(trial["shown_s"][who]["seen"], trial["table_s"][LANES[who]]) for trial in trials]
    return _cell(trials, [None if None in pair else max(0.0, pair[0] - pair[1]) for pair in pairs])


def _cell(trials: Sequence[Trial], values: Sequence[float | None]) -> str:
    found = sorted(value for value in values if value is not None)
    if not found:
        return f"not within {FAULTS[trials[0]['fault']].window_s:g} s"
    often = "" if len(found) == len(values) else f", in {len(found)} of {len(values)}"
    return f"{statistics.median(found):.1f} ({found[0]:.1f} to {found[-1]:.1f}){often}"


ALERTS = {"alert pending": _figure("pending"), "firing": _figure("firing")}
DEATH_COLUMNS = {
    "out of the table": _table,
    "a failed probe in the metrics": _figure("first"),
    "down in the metrics": _figure("seen"),
    "that is after the table": _behind,
    **ALERTS,
}
OTHER_COLUMNS = {"table as it should be": _table, "in the metrics": _figure("seen"), **ALERTS}


# -- questions -----------------------------------------------------------------------------------------------------------------


def _asked(data: Mapping[str, Any]) -> Iterator[str]:
    yield "| the operator asks | Vipervisor | keepalived, with its exporters |"
    yield "| --- | --- | --- |"
    for question in ALL:
        yield f"| {question.asks} | {_answer(question.ours)} | {_answer(question.theirs)} |"
    sums = (sum(getattr(question, side).grade is Grade.YES for question in ALL) for side in ("ours", "theirs"))
    yield "| *answered whole* | {} of {count} | {} of {count} |".format(*sums, count=len(ALL))
    yield from ("", "What the commands printed (the lines that matter):", "")
    for record in data["answers"]:
        yield from (f"**{record['asks']}**", "", "```console")
        for side, prompt in (("ours", "vipervisor"), ("theirs", "keepalived")):
            for command, output in record[side]:
                yield f"{prompt}$ {command}"
                yield from output.splitlines()
        yield from ("```", "")


def _answer(cell: Cell) -> str:
    commands = ", ".join(f"`{look.command.replace('|', chr(92) + '|')}`" for look in cell.looks)
    words = f"{cell.grade.value}: {cell.says}" if cell.says else cell.grade.value
    return f"{SIGNS[cell.grade]} {words}. {commands}"
