"""A real Prometheus on loopback, for tests that want to see what operators see. Debian package prometheus; see the Makefile's `process`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.process.test_daemon import free_port, until


def program(name: str) -> str:
    """Return the path of prometheus or promtool; without it the test is skipped, and fails where CI runs."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"{name} is missing (Debian package prometheus); in CI that is an error"
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


class Prometheus:
    """Started with `jobs`: name → what a scrape_config has besides its name. Use as a context manager."""

    def __init__(self, folder: Path, jobs: Mapping[str, Mapping[str, object]], interval_s: int = 1) -> None:
        prometheus = program("prometheus")
        self.port = free_port()
        every = f"{interval_s}s"
        configuration = {
            "global": {"scrape_interval": every, "scrape_timeout": every},
            "scrape_configs": [{"job_name": name, **job} for name, job in jobs.items()],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        self._log = (folder / "prometheus.log").open("w+")
        self._process = subprocess.Popen(
            [
                *(prometheus, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"),
                *(f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        until(lambda: self.targets() is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of one question to its interface, None while it does not answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urlopen(url, timeout=5) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None

    def targets(self) -> dict[str, dict[str, Any]] | None:
        """Return the targets by job."""
        found = self.ask("targets")
        return None if found is None else {target["scrapePool"]: target for target in found["activeTargets"]}

    def value(self, query: str) -> float | None:
        """Return the one value of a query, None when it has none or several."""
        found = self.ask("query", query=query)
        result = found["result"] if found else []
        return float(result[0]["value"][1]) if len(result) == 1 else None

    def until_scraped(self, job: str) -> dict[str, Any]:
        """Wait until a scrape of `job` went well, and return the target."""
        until(lambda: (self.targets() or {}).get(job, {}).get("health") == "up")
        targets = self.targets()
        assert targets is not None
        return targets[job]
