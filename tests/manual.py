"""The commands of the manual, as a reader would type them: read from the pages, so that a test can do what they say.

A block of a page that begins with "```console" is a session: a line that begins with `$ ` is typed, the lines below it are what comes.
Behind `console` may stand where it is typed. A line `…` stands for any lines, `…` within a line for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

BLOCK = re.compile(r"^```console *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Typed:
    """One command of a page: where it is typed, what is typed, and what shall come of it; empty: whatever."""

    place: str
    command: str
    answer: str

    def is_answered_by(self, text: str) -> bool:
        """Tell whether this is what the page says. White space at the end of a line does not count."""
        return self._pattern().fullmatch("".join(f"{line.rstrip()}\n" for line in text.splitlines())) is not None

    def _pattern(self) -> re.Pattern[str]:
        if not self.answer:
            return re.compile(".*", re.DOTALL)
        lines = [re.escape(line).replace("…", ".*") + r"\n" for line in self.answer.splitlines()]
        return re.compile("".join(r"(?:.*\n)*" if line == r".*\n" else line for line in lines))


def sessions(page: Path) -> Iterator[Typed]:
    """Yield every command of a page in its order. Raises ValueError for a session that begins with something else."""
    for place, text in BLOCK.findall(page.read_text()):
        first, *commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
        if first.strip():
            raise ValueError(f"{page.name}: a session begins with {first!r} instead of a command")
        for typed in commands:
            command, _, answer = typed.partition("\n")
            while command.endswith("\\"):
                more, _, answer = answer.partition("\n")
                command = command[:-1] + more.strip()
            yield Typed(place, command, answer.rstrip())
