"""A state directory that exists only in a story: what stands in it, what was set aside, and a disk that goes wrong on request."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.statefolder import ASIDE_MAX, NAME, Found


@dataclass
class FakeStore:
    """`wall` is the story's wall clock, in Unix seconds."""

    wall: Callable[[], float] = lambda: 0.0
    path: Path = Path("/var/lib/vipervisor") / NAME
    data: bytes | None = None
    alive_at: float = 0.0
    aside: dict[str, bytes] = field(default_factory=dict)
    writes: list[tuple[float, bytes]] = field(default_factory=list)
    appends: list[tuple[float, bytes]] = field(default_factory=list)
    touches: int = 0
    trouble: int = 0
    """The errno that every call meets; 0: none."""

    def read(self, limit_bytes: int) -> Found | None:
        self._meet()
        return None if self.data is None else Found(self.data[: limit_bytes + 1], self.alive_at)

    def write(self, data: bytes) -> None:
        self._meet()
        self.data, self.alive_at = data, self.wall()
        self.writes.append((self.alive_at, data))

    def append(self, data: bytes) -> None:
        self._meet()
        if self.data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.data, self.alive_at = self.data + data, self.wall()
        self.appends.append((self.alive_at, data))

    def touch(self) -> None:
        self._meet()
        if self.data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.alive_at = self.wall()
        self.touches += 1

    def set_aside(self, suffix: str) -> Path:
        self._meet()
        if self.data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.aside[suffix], self.data = self.data, None
        for old in sorted(name for name in self.aside if name.startswith("damaged-"))[:-ASIDE_MAX]:
            del self.aside[old]
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _meet(self) -> None:
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))
