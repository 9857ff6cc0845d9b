"""What /proc says of the supervisor, as the families that every process has by custom (process_cpu_seconds_total and so on).

The collector of prometheus_client opens files at each scrape, and behind the walls there are none. So these are opened before the walls go
up and read again from their beginning. Sources: proc(5); https://prometheus.io/docs/instrumenting/writing_clientlibs, "Process metrics".
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

STAT_MAX_BYTES = 4096
LIMITS_MAX_BYTES = 8192
TEXTS: Mapping[str, str] = {
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_cpu_seconds_total": "Total user and system CPU time spent in seconds.",
    "process_open_fds": "Number of open file descriptors.",
    "process_max_fds": "Maximum number of open file descriptors.",
}
"""The families and what they tell."""

_TICKS = os.sysconf("SC_CLK_TCK")


class WatchedProcess(Collector):
    """The files of one process. Made before the walls go up; a file that cannot be had costs its families, nothing else."""

    def __init__(self, pid: int) -> None:
        self._stat = _open(f"/proc/{pid}/stat")
        self._limits = _open(f"/proc/{pid}/limits")
        self._descriptors = _open(
            f"/proc/{pid}/fd"
        )  # only who may trace the process may look; the exporter of root may, still
        self._booted_wall = _boot_time()

    def collect(self) -> Iterator[Metric]:
        """Yield what can be told now; nothing of a process that is gone."""
        if self._stat is not None:
            yield from self._of_stat(self._stat)
        if self._descriptors is not None:
            count = len(os.listdir(self._descriptors))  # noqa: PTH208  a descriptor, not a path
            yield _family("process_open_fds", count)
        if self._limits is not None:
            for line in _read(self._limits, LIMITS_MAX_BYTES).splitlines():
                if line.startswith(b"Max open file"):
                    yield _family("process_max_fds", float(line.split()[3]))

    def _of_stat(self, stat: int) -> Iterator[Metric]:
        fields = _read(stat, STAT_MAX_BYTES).rpartition(b")")[2].split()
        if len(fields) < 22:
            return
        user, system, started, size, pages = (float(fields[index]) for index in (11, 12, 19, 20, 21))
        yield _family("process_virtual_memory_bytes", size)
        yield _family("process_resident_memory_bytes", pages * resource.getpagesize())
        yield _family("process_start_time_seconds", self._booted_wall + started / _TICKS)
        yield _family("process_cpu_seconds_total", (user + system) / _TICKS)


def _family(name: str, value: float | None) -> Metric:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, TEXTS[name], value=value)


def families_known() -> Iterator[Metric]:
    """Yield every family that a process can have, without a value."""
    return (_family(name, None) for name in TEXTS)


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _read(file: int, max_bytes: int) -> bytes:
    try:
        return os.pread(file, max_bytes, 0)
    except OSError:  # the process is gone, and soon we are too
        return b""


def _boot_time() -> float:
    for line in Path("/proc/stat").read_bytes().splitlines():
        if line.startswith(b"btime "):
            return float(line.split()[1])
    return 0.0
