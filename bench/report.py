"""Makes docs/performance.md of the measurements in docs/data/performance: one section a file, in the order of `order`.

    python -m bench.report [--check]

Nothing in the page is written by hand but the introduction below, so no figure stands there that nobody measured. A benchmark that wants
a section writes a file like this (`bench.cpu_per_check` does):

    {"title": …, "order": 10, "text": [paragraph, …], "command": …, "date": "2026-11-28",
     "machine": {name: value}, "versions": {name: value},
     "tables": [{"caption": …, "columns": [name, …], "rows": [[text or number, …], …]}],
     "ratios": [{"name": …, "value": 1.2, "target": 0.8}]}
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
DATA = DOCS / "data/performance"
PAGE = DOCS / "performance.md"

INTRODUCTION = """\
# Performance

What Vipervisor costs, beside what others cost for the same: wins and losses alike. Every section has the command that measures it,
and is made from what that wrote into [data/performance](data/performance) (`python -m bench.report`). All programs of a section ran in one
run by turns, so compare within a section only; medians, with ranges in brackets. A ratio up to its target is good.
"""


def page(folder: Path = DATA) -> str:
    """Return the page that the files of a folder make."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    sections = ["\n".join(_section(data)) for data in sorted(found, key=lambda data: (data["order"], data["title"]))]
    return "\n".join([INTRODUCTION, *sections])


def _section(data: dict[str, Any]) -> Iterator[str]:
    yield f"## {data['title']}\n"
    for paragraph in data["text"]:
        yield f"{paragraph}\n"
    of_what = {**data["machine"], **data["versions"]}
    yield f"Measured by `{data['command']}` on {data['date']}: {'; '.join(f'{name} {value}' for name, value in of_what.items())}.\n"
    for table in data["tables"]:
        if table["caption"]:
            yield f"{table['caption']}:\n"
        yield from _table(table["columns"], table["rows"])
    if data["ratios"]:
        rows = [
            [
                ratio["name"],
                ratio["value"],
                f"≤ {ratio['target']}",
                "yes" if ratio["value"] <= ratio["target"] else "**no**",
            ]
            for ratio in data["ratios"]
        ]
        yield from _table(["ratio", "value", "target", "reached"], rows)


def _table(columns: list[str], rows: list[list[object]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "| --- " * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Write the page; with --check only say whether it is what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the page is not what the data make"
    )
    if parser.parse_args().check:
        return 0 if PAGE.read_text() == page() else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
