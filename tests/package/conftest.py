"""The Debian package, built once from the tree as it is, and a clean Debian 12 to try it in (tests/package/run)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.machine import BASE, INSTALLED, Machine

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path) -> Path:
    """Build the package into `folder` and return it."""
    done = subprocess.run(
        [ROOT / "deploy" / "deb" / "build", own_architecture(), folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def own_architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package: built here, or for all parts of a run at its beginning."""
    if os.environ.get("VIPERVISOR_PACKAGE"):
        return Path(os.environ["VIPERVISOR_PACKAGE"])
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def clean() -> Iterator[Machine]:
    """A clean Debian 12 that is not booted."""
    with Machine(BASE) as made:
        yield made


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """One with the package, booted. Its tests go on from each other, in the order in which they are written."""
    with Machine(INSTALLED) as made:
        made.boot()
        yield made
