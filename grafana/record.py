"""Record a run for the pictures: `python -m grafana.record memory|kernel FOLDER` plays the story and asks every query of the boards.

Writes FOLDER/run.json and the daemon's log. On a real kernel:
`tests/kernel/on-ipvs -t 900 -w FOLDER -- .venv/bin/python -m grafana.record kernel FOLDER` (`make boards` does that, and draws).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from grafana.asking import answers
from grafana.boards import BOARDS, written
from grafana.panels import JSON
from grafana.story import Kernel, Memory, Story, World
from tests.kernel.lab import Lab

BEAT_S = 10.0
INTERVAL_S = 20
"""What $__rate_interval is: Grafana takes four scrapes or more; this smooths a little."""


def recorded(world: World, beat_s: float, interval_s: int) -> JSON:
    """Play the story and return what the boards show of it."""
    with Story(world, beat_s) as story:
        span = story.run()
        boards = [written(board) for board in BOARDS]
        return {
            "backend": world.backend,
            "interval_s": interval_s,
            "start": span.start,
            "end": span.end,
            "now": span.now,
            "happened": story.happened,
            "boards": {board["uid"]: answers(story.prometheus, board, span, interval_s) for board in boards},
            "names": story.prometheus.names(span),
            "rules": story.prometheus.rules(),
            "alerts": story.prometheus.over('ALERTS{alertname=~"LVS.+"}', span),
        }


def main(arguments: list[str]) -> int:
    """Record, and return the exit status."""
    backend, folder = arguments
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        Path(name).chmod(0o755)
        world: World = Memory(Path(name)) if backend == "memory" else Kernel(stack.enter_context(Lab(Path(name))))
        (Path(folder) / "run.json").write_text(json.dumps(recorded(world, BEAT_S, INTERVAL_S)))
        shutil.copy(Path(name) / "vipervisor.log", folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
