"""These tests need root on a kernel with IPVS, away from the machine's own network: `tests/kernel/run` takes care of all three."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_sessionstart() -> None:
    """Refuse to start where the tests could only fail, or would touch the machine's own network."""
    if os.geteuid() != 0 or not Path("/proc/net/ip_vs").exists():
        pytest.exit("kernel tests need root on a kernel with IPVS: start them with tests/kernel/run", returncode=4)
    if Path("/run/systemd").exists() or Path("/run/dbus").exists():
        pytest.exit("kernel tests need a private /run and network: start them with tests/kernel/run", returncode=4)


@pytest.fixture(scope="module")
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for one module's configuration and logs; the logs are kept where KERNEL_TEST_LOGS says."""
    path = tmp_path_factory.mktemp("lab")
    yield path
    keep = os.environ.get("KERNEL_TEST_LOGS")
    if keep:
        for log in path.rglob("*.log"):
            shutil.copy(log, Path(keep) / f"{request.module.__name__.rpartition('.')[2]}-{log.name}")
