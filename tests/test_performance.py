"""docs/performance.md is what its generator makes of what was measured, and says of each ratio whether its target was reached."""

from __future__ import annotations

import json
from pathlib import Path

from bench import report


def test_the_page_is_what_the_measurements_make() -> None:
    assert report.page() == report.PAGE.read_text(), "python -m bench.report makes it anew"


def test_a_section_has_its_command_its_tables_and_wins_and_losses_alike(tmp_path: Path) -> None:
    data = {
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
    (tmp_path / "one.json").write_text(json.dumps(data))
    (tmp_path / "none.json").write_text(json.dumps({**data, "title": "First", "order": 0, "ratios": []}))
    made = report.page(tmp_path)
    assert made.index("## First") < made.index("## What it costs")
    assert "Measured by `python -m bench.something` on 2026-11-28: kernel 6.1; keepalived 2.2.7." in made
    assert "| ours | 12,345 |" in made
    assert "| won | 0.5 | ≤ 0.8 | yes |" in made
    assert "| lost | 1.5 | ≤ 0.8 | **no** |" in made
