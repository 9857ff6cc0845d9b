"""Named pipes that exist only in a story: what was written to each, and how much one holds."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from supervisor.model import Fifo


@dataclass
class FakePipe:
    """One open pipe."""

    path: str
    pipes: FakePipes

    def write(self, line: bytes) -> bool:
        """Write one line unless it is full."""
        lines = self.pipes.lines.setdefault(self.path, [])
        if len(lines) >= self.pipes.room:
            return False
        lines.append(line.decode())
        return True

    def close(self) -> None:
        """Close and remove it."""
        self.pipes.open_paths.remove(self.path)


@dataclass
class FakePipes:
    """All pipes. `refused` are paths that cannot be opened, `room` is how many lines a pipe holds."""

    lines: dict[str, list[str]] = field(default_factory=dict)
    open_paths: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    room: int = 1000
    opened: int = 0
    """How often a pipe was opened."""

    def open(self, fifo: Fifo) -> FakePipe:
        """Open one. Raises OSError."""
        if fifo.path in self.refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.open_paths.append(fifo.path)
        self.opened += 1
        return FakePipe(fifo.path, self)
