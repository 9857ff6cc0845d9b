"""How virtual servers stand: panels that Overview shows of all of them and Virtual server of the chosen ones (`of_chosen`)."""

from __future__ import annotations

from dataclasses import replace

from grafana.panels import BLUE, GREEN, GREY, ORANGE, QUORUM, RED, Panel, Query, lines, tile, timeline

WITHOUT_QUORUM = tile(
    "Without quorum",
    "Virtual servers whose live weight is below their quorum: clients get the sorry server, or nothing.",
    "sum(max by (virtual_server) (lvs_virtual_server_quorum_up{@} == bool 0)) or vector(0)",
)

ON_THE_SORRY_SERVER = tile(
    "On the sorry server",
    "Virtual servers that a sorry server stands in for.",
    "sum(max by (virtual_server) (lvs_virtual_server_sorry_active{@})) or vector(0)",
)

REAL_SERVERS_DOWN = tile(
    "Real servers down",
    "Real servers whose checks say down, each counted once for each virtual server; what an operator took out is not among them.",
    'sum(max by (virtual_server) (lvs_virtual_server_real_servers{@,state="down"})) or vector(0)',
)

HELD_IN_SERVICE = tile(
    "Held in service",
    "Real servers that are down and serve all the same: min_healthy holds them, or the director doubts itself.",
    "sum(max by (virtual_server) (sum without (by) (lvs_virtual_server_held{@}))) or vector(0)",
)

CHECKS_OVERDUE = tile(
    "Checks overdue",
    "Checks whose result is older than three periods: nobody knows how these servers are.",
    "sum(lvs_checks_overdue{@}) or vector(0)",
)

QUORUM_OVER_TIME = timeline(
    "Quorum",
    "When which virtual server had its quorum.",
    Query("min by (virtual_server) (lvs_virtual_server_quorum_up{@})", "{{virtual_server}}"),
    QUORUM,
)

REAL_SERVERS_BY_STATE = lines(
    "Real servers by state",
    "Real servers, each counted once for each virtual server; unknown: not a single verdict yet.",
    Query("sum by (state) (max by (virtual_server, state) (lvs_virtual_server_real_servers{@}))", "{{state}}"),
    unit="none",
    stacked=True,
    colours={"up": GREEN, "down": RED, "unknown": GREY, "draining": BLUE, "disabled": ORANGE},
)

NEW_CONNECTIONS = lines(
    "New connections",
    "Connections that the kernel scheduled, of the ten busiest virtual servers.",
    Query(
        "topk(10, sum by (virtual_server) (rate(lvs_virtual_server_connections_total{@}[$__rate_interval])))",
        "{{virtual_server}}",
    ),
    unit="cps",
)


def in_and_out(title: str, what: str, unit: str) -> Panel:
    """Return what went to and fro: `what` is "bytes" or "packets"."""
    return lines(
        title,
        f"{title} from clients (in) and to clients (out; only those that come back through the director: NAT).",
        *(
            Query(f"sum(rate(lvs_virtual_server_{way}_{what}_total{{@}}[$__rate_interval]))", name)
            for way, name in (("incoming", "in"), ("outgoing", "out"))
        ),
        unit=unit,
    )


BYTES = in_and_out("Bytes", "bytes", "Bps")
PACKETS = in_and_out("Packets", "packets", "pps")


def of_chosen(panel: Panel) -> Panel:
    """Return the panel for the virtual servers that the reader chose, not for all."""
    queries = tuple(replace(query, expression=query.expression.replace("{@", "{@v")) for query in panel.queries)
    return replace(panel, queries=queries)
