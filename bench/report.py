"""Makes docs/performance.md of the measurements in docs/data/performance: one section a file, in the order of `order`.

    python -m bench.report [--check]

Nothing in the page is written by hand but the introduction below, so no figure stands there that nobody measured. A benchmark hands on
a section like this (`bench.section`):

    {"title": …, "order": 10, "text": [paragraph, …], "command": …, "date": "2026-11-28",
     "machine": {name: value}, "versions": {name: value},
     "tables": [{"caption": …, "columns": [name, …], "rows": [[text or number, …], …]}],
     "plots": [plot, …],                                                   (`bench.plots`; may be missing)
     "ratios": [{"name": …, "value": 1.2, "target": 0.8}]}

A ratio is good up to its target; with `"at_least": true` from it on. `"distorted"` says whether User-Mode Linux distorts it; if it is
missing, that is so when the machine of the section is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import plots
from bench.section import Section, bound, is_reached, judged

DOCS = Path(__file__).resolve().parents[1] / "docs"
DATA = DOCS / "data/performance"
PAGE = DOCS / "performance.md"
PICTURES = "performance"
"""The folder of the plots, beside the page."""

INTRODUCTION = """\
# Performance

What Vipervisor costs and how fast it is, beside what others need for the same: wins and losses alike. Every section has the command that
measures it, the machine and the versions, and is made from what that command wrote into [data/performance](data/performance)
(`python -m bench.report`); `make bench` measures all of it anew in half an hour, `make bench QUICK=1` tries in five minutes whether it can.
All programs of a section ran in one run by turns, so compare within a section only: medians, with ranges in brackets. What needs IPVS
ran in User-Mode Linux where the machine's own kernel has none. There a system call costs ten times as much as elsewhere, which
distorts the ratio of programs that do little else.
"""


def published(folder: Path = DATA) -> list[Section]:
    """Return the sections of a folder."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def page(sections: Iterable[Section]) -> str:
    """Return the page that these sections make."""
    inside = sorted(sections, key=lambda section: (section["order"], section["title"]))
    return "\n".join([INTRODUCTION, *_judged(inside), *("\n".join(_section(section)) for section in inside)])


def _judged(sections: Sequence[Section]) -> Iterator[str]:
    rows = [
        [f"[{figure['name']}](#{_anchor(section['title'])})", *_verdict(figure)]
        for section in sections
        for figure in judged(section)
    ]
    if rows:
        yield "## The judged figures\n"
        missed = sum(not is_reached(figure) for section in sections for figure in judged(section))
        yield f"{len(rows) - missed} of {len(rows)} targets are reached.\n"
        yield from _table(["figure", "value", "target", "reached"], rows)


def _verdict(figure: Mapping[str, object]) -> list[object]:
    mark = " (distorted by User-Mode Linux)" if figure.get("distorted") else ""
    return [figure["value"], bound(figure), ("yes" if is_reached(figure) else "**no**") + mark]


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _section(data: Section) -> Iterator[str]:
    yield f"## {data['title']}\n"
    for paragraph in data["text"]:
        yield f"{paragraph}\n"
    of_what = {**data["machine"], **data["versions"]}
    yield f"Measured by `{data['command']}` on {data['date']}: {'; '.join(f'{name} {value}' for name, value in of_what.items())}.\n"
    for plot in data.get("plots", ()):
        yield f"![{plot['title']}]({PICTURES}/{plot['name']}.svg)\n"
    for table in data["tables"]:
        if table["caption"]:
            yield f"{table['caption']}:\n"
        yield from _table(table["columns"], table["rows"])
    if data["ratios"]:
        rows = [[figure["name"], *_verdict(figure)] for figure in judged(data)]
        yield from _table(["ratio", "value", "target", "reached"], rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "| --- " * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def undrawn(sections: Iterable[Section], pictures: Path) -> list[str]:
    """Return the names of the plots whose pictures are not there, or of other data."""
    drawn = [plot for section in sections for plot in section.get("plots", ())]
    return [plot["name"] for plot in drawn if not plots.is_of(pictures / f"{plot['name']}.svg", plot)]


def write(sections: Iterable[Section], file: Path = PAGE) -> None:
    """Write the page, and the plots beside it; says so where they cannot be drawn."""
    found = list(sections)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(found))
    pictures = file.parent / PICTURES
    pictures.mkdir(exist_ok=True)
    wanted = set(undrawn(found, pictures))
    drawn = [plot for section in found for plot in section.get("plots", ())]
    for old in {picture.stem for picture in pictures.glob("*.svg")} - {plot["name"] for plot in drawn}:
        (pictures / f"{old}.svg").unlink()
    try:
        for plot in drawn:
            if plot["name"] in wanted:
                plots.draw(plot, pictures / f"{plot['name']}.svg")
    except ImportError:
        print(f"{len(wanted)} plots are not drawn: deploy/demo/setup python docs, then python -m bench.report")


def publish(sections: Mapping[str, Section]) -> None:
    """Put sections into docs, by the names of their benchmarks, and make the page of all that are there."""
    for name, section in sections.items():
        (DATA / f"{name}.json").write_text(json.dumps(section, indent=1, ensure_ascii=False) + "\n")
    write(published())


def main() -> int:
    """Write the page; with --check only say whether it is what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the page is not what the data make"
    )
    if parser.parse_args().check:
        return 0 if PAGE.read_text() == page(published()) and not undrawn(published(), DOCS / PICTURES) else 1
    write(published())
    return 0


if __name__ == "__main__":
    sys.exit(main())
