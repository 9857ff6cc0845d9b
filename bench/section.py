"""What every benchmark hands on: a section of docs/performance.md, and its judged figures.

    arguments = section.options(parser)          # --quick and --out beside its own
    section.finish(arguments, section.of(…))     # writes the section, prints the judged lines

`bench.report` says what is in a section, `bench.plots` what a plot is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bench import accounting

Section: TypeAlias = dict[str, Any]
"""As `bench.report` describes it."""


PARTS = {"title", "order", "text", "command", "date", "machine", "versions", "tables", "ratios"}
"""What every section has; plots may be missing."""


def ratio(name: str, value: float, target: float) -> dict[str, object]:
    """Return a judged figure: good up to its target."""
    return {"name": name, "value": value, "target": target}


def judged(section: Section) -> list[Section]:
    """Return the judged figures of a section; those from a guest are marked, if they do not say themselves whether that distorts them."""
    in_guest = any("User-Mode Linux" in value for value in section["machine"].values())
    return [{"distorted": in_guest, **one} for one in section["ratios"]]


def is_reached(figure: Mapping[str, Any]) -> bool:
    """Tell whether a figure is as good as its target: at most that, or with `at_least` at least that."""
    value, target = figure["value"], figure["target"]
    return bool(value >= target if figure.get("at_least") else value <= target)


def bound(figure: Mapping[str, Any]) -> str:
    """Return the target with its sign: "≤ 0.8"."""
    return f"{'≥' if figure.get('at_least') else '≤'} {figure['target']}"


def line(figure: Mapping[str, Any]) -> str:
    """Return the line that ends a run, one a judged figure."""
    mark = " (in User-Mode Linux, which distorts it)" if figure.get("distorted") else ""
    return f"ratio {figure['name']} {figure['value']} target {figure['target']}{mark}"


def options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line with what all benchmarks have in common."""
    parser.add_argument(
        "--quick", action="store_true", help="a fraction of it: whether all works, not what is published"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the section of docs/performance.md")
    return parser.parse_args()


def command(words: Sequence[str]) -> str:
    """Return the command that was typed, without the file of its result and its limit."""
    module = "bench." + Path(words[0]).stem
    rest = [word for before, word in itertools.pairwise(words) if not {before, word} & {"--out", "--limit"}]
    return " ".join(["python -m", module, *rest])


def of(
    title: str,
    order: int,
    text: Iterable[str],
    tables: Iterable[Section],
    ratios: Iterable[Mapping[str, object]],
    *,
    versions: Mapping[str, str] | None = None,
    plots: Iterable[Section] = (),
) -> Section:
    """Return a section that was measured just now by the command that runs."""
    return {
        "title": title,
        "order": order,
        "text": list(text),
        "command": command(sys.argv),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {**accounting.machine(), "load average": accounting.load()},
        "versions": dict(versions or {}),
        "tables": list(tables),
        "plots": list(plots),
        "ratios": list(ratios),
    }


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Section:
    """Return one table of a section."""
    return {"caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def write(section: Section, out: Path) -> None:
    """Write a section for `bench.report`."""
    out.write_text(json.dumps(section, indent=1, ensure_ascii=False) + "\n")


def finish(arguments: argparse.Namespace, section: Section) -> None:
    """Write the section where it is wanted, and print versions and the judged lines."""
    if arguments.out is not None:
        write(section, arguments.out)
    if section["versions"]:
        print("; ".join(f"{name}: {version}" for name, version in section["versions"].items()))
    for figure in judged(section):
        print(line(figure), flush=True)
