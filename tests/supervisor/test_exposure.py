"""What the log says when the exporter leaves real servers out."""

import json
from dataclasses import replace
from typing import Any

from supervisor.exporter.extent import SERIES_EACH, Extent
from supervisor.exposure import Exposure
from supervisor.log import Log
from supervisor.model import Config
from tests.supervisor.core.builders import config, real_server, virtual_server


def of(servers: int) -> Config:
    return config(replace(virtual_server(), real_servers=tuple(real_server(last) for last in range(1, servers + 1))))


def test_each_crossing_of_the_limit_is_told_once_and_only_more_is_a_warning() -> None:
    lines: list[dict[str, Any]] = []
    exposure = Exposure(Extent(3 * SERIES_EACH), Log(lambda line, _: lines.append(json.loads(line)), strict=True))
    for servers in (3, 4, 5, 3, 2):
        exposure.heed(of(servers))
    assert [(line["event"], line["level"], line["real_servers"], line["over"]) for line in lines] == [
        ("metrics.omitted", "warning", 4, False),
        ("metrics.omitted", "info", 3, True),
    ]
    assert "--metrics-series-max" in lines[0]["message"]


def test_without_a_limit_nothing_is_said() -> None:
    lines: list[bytes] = []
    Exposure(Extent(0), Log(lambda line, _: lines.append(line), strict=True)).heed(of(9))
    assert lines == []
