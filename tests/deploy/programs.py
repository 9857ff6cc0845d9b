"""Programs of Debian's that judge what we ship: the machine's own, or unpacked into .lab by `deploy/demo/setup programs`.

One that is missing skips its test, with the remedy; under CI it is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".lab" / "root"


def path_of(program: str, package: str) -> str:
    """Return where `program` is. Skips the test when it is nowhere, and fails it under CI."""
    found = shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *folders("usr/bin", "usr/sbin")]))
    if found is None:
        remedy = f"{program} is missing: `deploy/demo/setup programs {program}` gets it (Debian package {package})"
        assert not os.environ.get("CI"), remedy
        pytest.skip(remedy)
    return found


def folders(*patterns: str) -> list[str]:
    """Return the folders of .lab/root that match, in the order of the patterns."""
    return [str(folder) for pattern in patterns for folder in sorted(UNPACKED.glob(pattern))]


def surroundings(program: str) -> dict[str, str]:
    """Return the environment that `program` needs: one that was unpacked finds its libraries and modules where it does."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if not Path(program).is_relative_to(UNPACKED):
        return environment
    return environment | {
        "PATH": os.pathsep.join([environment["PATH"], *folders("usr/bin", "usr/sbin")]),
        "LD_LIBRARY_PATH": joined(folders("usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/systemd")),
        "PYTHONPATH": joined(folders("usr/lib/python3/dist-packages")),
    }


def joined(names: Iterable[str]) -> str:
    """Return the folders as a search path."""
    return os.pathsep.join(names)


def run(program: str, package: str, arguments: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of Debian's programs, with these variables besides, and return how it ended, with both its outputs."""
    found = path_of(program, package)
    return subprocess.run(
        [found, *arguments], env=surroundings(found) | variables, capture_output=True, text=True, check=False, cwd=ROOT
    )
