"""docs/performance.md is what its generator makes of what was measured, and says of each figure whether its target was reached."""

from __future__ import annotations

from pathlib import Path

from bench import plots, report

SECTION = {
    "title": "What it costs",
    "order": 1,
    "text": ["Words."],
    "command": "python -m bench.something",
    "date": "2026-11-28",
    "machine": {"kernel": "6.1"},
    "versions": {"keepalived": "2.2.7"},
    "tables": [{"caption": "HTTP", "columns": ["program", "KB"], "rows": [["ours", 12345]]}],
    "ratios": [{"name": "won", "value": 0.5, "target": 0.8}, {"name": "lost", "value": 1.5, "target": 0.8}],
}
BARS = {"name": "bars", "title": "HTTP", "unit": "µs", "bars": [["ours", 2.0, 1.0, 3.0]]}


def test_the_page_is_what_the_measurements_make() -> None:
    assert report.page(report.published()) == report.PAGE.read_text(), "python -m bench.report makes it anew"


def test_the_plots_are_of_the_data_that_stand_there() -> None:
    pictures = report.DOCS / report.PICTURES
    assert report.undrawn(report.published(), pictures) == [], "python -m bench.report draws them anew"


def test_a_picture_of_other_data_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "bars.svg").write_text(f"<svg>{plots.digest(BARS)}</svg>")
    assert report.undrawn([{**SECTION, "plots": [BARS]}], tmp_path) == []
    other = {**BARS, "bars": [["ours", 2.5, 1.0, 3.0]]}
    assert report.undrawn([{**SECTION, "plots": [other]}], tmp_path) == ["bars"]


def test_a_section_has_its_command_its_tables_and_wins_and_losses_alike() -> None:
    first = {**SECTION, "title": "First", "order": 0, "ratios": [], "plots": [BARS]}
    made = report.page([SECTION, first])
    assert made.index("## First") < made.index("## What it costs")
    assert "Measured by `python -m bench.something` on 2026-11-28: kernel 6.1; keepalived 2.2.7." in made
    assert "![HTTP](performance/bars.svg)" in made
    assert "| ours | 12,345 |" in made
    assert "| won | 0.5 | ≤ 0.8 | yes |" in made
    assert "| lost | 1.5 | ≤ 0.8 | **no** |" in made


def test_the_page_begins_with_all_judged_figures() -> None:
    made = report.page([SECTION])
    assert "1 of 2 targets are reached." in made
    assert "| [lost](#what-it-costs) | 1.5 | ≤ 0.8 | **no** |" in made


def test_what_user_mode_linux_distorts_is_marked_and_a_least_value_is_one() -> None:
    more = {"name": "times", "value": 55, "target": 40, "at_least": True, "distorted": True}
    assert "| times | 55 | ≥ 40 | yes (distorted by User-Mode Linux) |" in report.page([{**SECTION, "ratios": [more]}])
