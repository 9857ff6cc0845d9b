"""Tables as benchmarks look at them: the kernel's, and one of which every change is written down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

IPVS = Path("/proc/net/ip_vs")


class KernelTable:
    """The kernel's, of this network namespace."""

    def __init__(self) -> None:
        self._file = os.open(IPVS, os.O_RDONLY)

    def count(self) -> int:
        """Return how many destinations there are."""
        found, offset = -1, 0  # its head has an arrow, too
        while part := os.pread(self._file, 1 << 16, offset):  # it comes in whole lines
            found += len(re.findall(rb"^  -> ", part, re.MULTILINE))
            offset += len(part)
        return found


class WrittenTable:
    """One of which every change of a destination is a line of a file (`bench.timed_daemon`, bench/native/ipvs_standin.c)."""

    def __init__(self, file: Path) -> None:
        self._file, self._read_bytes = file, 0
        self._weights: dict[str, int] = {}

    def weights(self) -> Mapping[str, int]:
        """Return the weight of each destination by its endpoint."""
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            lines = file.readlines()  # each is written whole, by one call
        self._read_bytes += sum(map(len, lines))
        for line in lines:
            _, endpoint, weight = line.decode().split()
            if int(weight) < 0:
                self._weights.pop(endpoint, None)
            else:
                self._weights[endpoint] = int(weight)
        return self._weights

    def count(self) -> int:
        """Return how many destinations there are."""
        return len(self.weights())
