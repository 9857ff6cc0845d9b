"""A benchmark that needs IPVS: its host side boots a kernel to throw away, and makes a section of docs/performance.md of the results.

    found = guest.played("bench.kernel_writer", ["--quick"], limit_s=120)      # on the host: `--guest FILE` is added to the words
    guest.hand_over(file, results, guest.versions("ipvsadm"))                  # in the guest
    guest.tell(guest.Section(…), found, out)                                   # on the host: prints, and writes `out`

The shape of the file is `bench.report`'s.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench import accounting
from bench import section as sections

ON_IPVS = accounting.ROOT / "tests/kernel/on-ipvs"
BOOT_S = 30
"""So long a guest may take to begin and to end, beside its work."""
DISTORTED = (
    "Played in User-Mode Linux, because the machine's own kernel has no IPVS: one processor, on which a system call costs some"
    " 13 µs instead of a fraction of one, and starting a program some 15 ms."
)
"""What the page says of where it was measured; each benchmark adds what that does to its ratios."""
UNDISTORTED = "Played on the machine's own kernel, in a private network namespace."

Cell: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class Found:
    """What a guest handed over. `is_uml`: it was User-Mode Linux."""

    results: Any
    versions: Mapping[str, str]
    kernel: str
    is_uml: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a section."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A judged figure; up to `target` is good. `distorted`: User-Mode Linux makes it another than elsewhere, if it ran there."""

    name: str
    value: float
    target: float
    distorted: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """What a benchmark says. `distortion`: what User-Mode Linux does to its figures."""

    title: str
    order: int
    text: Sequence[str]
    distortion: str
    tables: Sequence[Table]
    ratios: Sequence[Ratio]


def played(module: str, words: Sequence[str], limit_s: float) -> Found:
    """Run a benchmark's inner side in a guest and return what it handed over. Raises RuntimeError when the guest failed."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        file = Path(folder) / "found.json"
        inside = [sys.executable, "-m", module, *words, "--guest", str(file)]
        command = [str(ON_IPVS), "-q", "-t", str(math.ceil(limit_s + BOOT_S)), "-w", folder, "--", *inside]
        status = subprocess.run(command, cwd=accounting.ROOT, check=False).returncode
        if status or not file.exists():
            raise RuntimeError(f"{module} in its guest ended with status {status} (124: not within {limit_s:g} s)")
        data = json.loads(file.read_text())
    return Found(**data)


def hand_over(file: Path, results: object, found_versions: Mapping[str, str]) -> None:
    """Leave what was found to the host."""
    is_uml = "User Mode Linux" in Path("/proc/cpuinfo").read_text()
    data = {"results": results, "versions": dict(found_versions), "kernel": platform.release(), "is_uml": is_uml}
    file.write_text(json.dumps(data))


def versions(*names: str) -> dict[str, str]:
    """Return what these programs say of their version."""
    question = {"ipvsadm": "--version", "keepalived": "--version", "ldirectord": "--version"}
    return {name: accounting.version(name, question[name]) for name in names}


def tell(section: Section, found: Found | None, out: Path | None) -> None:
    """Print a section, its judged figures last, and write it for `bench.report`. `found` None: nothing of it is from a guest."""
    text = list(section.text)
    if found is not None:
        text.append(f"{DISTORTED} {section.distortion}" if found.is_uml else UNDISTORTED)
    for table in section.tables:
        print(f"\n{table.caption}" if table.caption else "")
        _print(table)
    print()
    for ratio in section.ratios:
        print(f"ratio {ratio.name} {ratio.value} target {ratio.target}")
    if out is None:
        return
    tables = [sections.table(table.caption, table.columns, table.rows) for table in section.tables]
    distorting = found is not None and found.is_uml
    ratios = [
        {**sections.ratio(ratio.name, ratio.value, ratio.target), "distorted": ratio.distorted and distorting}
        for ratio in section.ratios
    ]
    versions = found.versions if found is not None else {}
    data = sections.of(section.title, section.order, text, tables, ratios, versions=versions)
    if found is not None:
        data["machine"]["IPVS kernel"] = f"{found.kernel}{' (User-Mode Linux)' if found.is_uml else ''}"
    sections.write(data, out)


def _print(table: Table) -> None:
    lines = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed: the worst for 0.99 of fewer than 100."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def span(values: Sequence[float], digits: int = 2) -> str:
    """Return the median, and the range in brackets."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
