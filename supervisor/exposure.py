"""Says in the log what the exporter shows less of than somebody may expect: real servers beyond the limit of series.

Each change is told once. Nothing is decided here: the exporter counts by the same rule (`exporter.extent`).
"""

from __future__ import annotations

from supervisor.exporter.extent import SERIES_EACH, Extent
from supervisor.log import Log
from supervisor.model import Config


class Exposure:
    """What was told last."""

    def __init__(self, extent: Extent, log: Log) -> None:
        self._extent = extent
        self._log = log
        self._omitted = False

    def heed(self, config: Config) -> None:
        """A configuration holds now: say so if it turns the real servers' metrics off or on."""
        real_servers = sum(len(virtual_server.real_servers) for virtual_server in config.virtual_servers)
        omitted = self._extent.omits(real_servers)
        if omitted is self._omitted:
            return
        self._omitted = omitted
        series, limit = real_servers * SERIES_EACH, self._extent.series_max
        text = (
            f"/metrics leaves out all {real_servers} real servers: they would make {series} series, more than {limit};"
            " raise --metrics-series-max, or go by the virtual servers' sums."
            if omitted
            else f"/metrics has the real servers again: {series} series, at most {limit}."
        )
        self._log.emit("metrics.omitted", text, series=series, limit=limit, real_servers=real_servers, over=not omitted)
