"""A Prometheus of our own on loopback, and the questions of the boards put to it as Grafana would put them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana.panels import JSON

RULES = Path(__file__).parents[1] / "deploy" / "prometheus"
PATIENCE_S = 180
_STEPS_MAX = 1000
"""Points of a line, as many as Grafana asks for on a wide screen."""


class NoPrometheusError(Exception):
    """The program is not there (Debian package prometheus)."""


class RefusedError(Exception):
    """Prometheus did not take a query; the text is its reason."""


def scraping(target: str, scrape_s: int) -> str:
    """Return a configuration: one exporter ("ADDRESS:PORT") every `scrape_s` seconds, and the rules of deploy/prometheus."""
    return (
        f"global: {{scrape_interval: {scrape_s}s, scrape_timeout: {scrape_s}s, evaluation_interval: {scrape_s}s}}\n"
        f"rule_files: [{RULES / 'rules.yml'}, {RULES / 'alerts.yml'}]\n"
        "scrape_configs:\n"
        "  - job_name: vipervisor\n"
        f"    static_configs: [{{targets: ['{target}'], labels: {{instance: director-1}}}}]\n"
    )


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is looked at, in seconds since the epoch, and the moment that counts as now for single numbers."""

    start: float
    end: float
    now: float

    @property
    def length_s(self) -> int:
        """Return how long it is, in whole seconds."""
        return max(1, int(self.end - self.start))


class Prometheus:
    """A running Prometheus with a configuration, on loopback of the network namespace that it is started in."""

    def __init__(self, folder: Path, port: int, configuration: str) -> None:
        """Start it. Raises NoPrometheusError."""
        program = shutil.which("prometheus")
        if program is None:
            raise NoPrometheusError("there is no prometheus: deploy/demo/setup programs prometheus")
        self._address = f"127.0.0.1:{port}"
        file = folder / "prometheus.yml"
        file.write_text(configuration)
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def wait(self) -> None:
        """Return when it answers. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"prometheus is not ready after {PATIENCE_S} s; see {self._log.name}")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _get(self, path: str, **arguments: object) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RefusedError(f"{json.load(error)['error']}: {arguments.get('query', path)}") from error

    def at(self, query: str, moment: float) -> list[JSON]:
        """Return the series of `query` at a moment, each with "metric" and "value". Raises RefusedError."""
        found = self._get("query", query=query, time=moment)
        return list(found["result"])

    def over(self, query: str, span: Span) -> list[JSON]:
        """Return the series of `query` over a span, each with "metric" and "values". Raises RefusedError."""
        step = max(1, span.length_s // _STEPS_MAX)
        found = self._get("query_range", query=query, start=int(span.start), end=int(span.end), step=step)
        return list(found["result"])

    def scraped_since(self, moment: float) -> bool:
        """Return whether there was a good scrape after `moment`, and the last one was good."""
        found = self.at("timestamp(up == 1)", time.time())
        return bool(found) and float(found[0]["value"][1]) > moment

    def names(self, span: Span) -> list[str]:
        """Return the name of every metric and every recorded series that was there in a span."""
        return list(self._get("label/__name__/values", start=int(span.start), end=int(span.end)))

    def rules(self) -> list[JSON]:
        """Return every rule with its "query", its "health" and its "lastError"."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]


def filled_in(expression: str, span: Span, interval_s: int) -> str:
    """Return a query as Grafana sends it, with everything chosen; `interval_s` is what $__rate_interval stands for."""
    values = {
        "$__rate_interval": f"{interval_s}s",
        "$__range": f"{span.length_s}s",
        "$job": ".+",
        "$instance": ".+",
        "$virtual_server": ".+",
        "$real_server": ".+",
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


def answers(prometheus: Prometheus, board: JSON, span: Span, interval_s: int) -> dict[str, list[JSON]]:
    """Put every query of a board; return by the panel's title, for each query: expr, legend, instant, result."""
    found: dict[str, list[JSON]] = {}
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        found[panel["title"]] = [
            {
                "expr": target["expr"],
                "legend": target["legendFormat"],
                "instant": target["instant"],
                "result": _answer(prometheus, target, span, interval_s),
            }
            for target in panel["targets"]
        ]
    return found


def _answer(prometheus: Prometheus, target: JSON, span: Span, interval_s: int) -> list[JSON]:
    query = filled_in(target["expr"], span, interval_s)
    return prometheus.at(query, span.now) if target["instant"] else prometheus.over(query, span)
