"""The three boards, and the program that writes them: `python -m grafana.boards` makes grafana/*.json (`--check`: says what differs).

Overview: is everything served, and if not, what is out. Virtual server: one of them (or some) and its real servers.
Itself: whether Vipervisor does its own work in time. docs/boards.md shows each with the data of a real run.

Names of metrics are those of supervisor/exporter. Two directors of a pair check the same servers, so what is counted for a whole
installation takes the worst of the directors (`max by`), not their sum. Overview asks for nothing of single real servers but lists
that end (`topk`), so that 10,000 of them are no burden.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana.classic import write
from grafana.itself import ITSELF
from grafana.overview import OVERVIEW
from grafana.panels import JSON, Board
from grafana.virtualserver import VIRTUAL_SERVER

FOLDER = Path(__file__).parent

BOARDS: tuple[Board, ...] = (OVERVIEW, VIRTUAL_SERVER, ITSELF)


def file_of(board: Board) -> Path:
    """Return where the JSON of a board is kept."""
    return FOLDER / f"{board.uid}.json"


def written(board: Board) -> JSON:
    """Return a board as Grafana's Classic JSON."""
    return write(board, BOARDS)


def main(arguments: list[str]) -> int:
    """Write the files, or with --check name those that are not what this program writes; return the exit status."""
    stale = 0
    for board in BOARDS:
        text = json.dumps(written(board), indent=2, ensure_ascii=False) + "\n"
        file = file_of(board)
        if file.exists() and file.read_text() == text:
            continue
        stale += 1
        if "--check" not in arguments:
            file.write_text(text)
        print(file)
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
