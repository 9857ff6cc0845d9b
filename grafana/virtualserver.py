"""Virtual server: one of them, or some, with its real servers. Reached from the tables of Overview."""

from __future__ import annotations

from dataclasses import replace

from grafana.choices import DIRECTORS, MARKS, SERVERS
from grafana.panels import GREEN, ORANGE, RED, UP, Board, Column, Query, Row, counted, lines, table, tile, timeline
from grafana.standing import (
    BYTES,
    HELD_IN_SERVICE,
    NEW_CONNECTIONS,
    ON_THE_SORRY_SERVER,
    PACKETS,
    QUORUM_OVER_TIME,
    REAL_SERVERS_BY_STATE,
    REAL_SERVERS_DOWN,
    WITHOUT_QUORUM,
    of_chosen,
)

_PAIR = "(virtual_server, real_server)"
_SERVER = "{{virtual_server}} → {{real_server}}"
_CHANGED = "changes(lvs_real_server_up{@r}[$__range] @ end()) > 0"
_WEIGHED = "changes(lvs_real_server_target_weight{@r}[$__range] @ end()) > 0"
"""A chart of 1,000 servers says nothing; of those that changed, it says what happened."""

_TILES = (
    *map(of_chosen, (WITHOUT_QUORUM, ON_THE_SORRY_SERVER, REAL_SERVERS_DOWN, HELD_IN_SERVICE)),
    tile(
        "Up",
        "Real servers whose checks say up and that no operator took out.",
        'sum(min by (virtual_server) (lvs_virtual_server_real_servers{@v,state="up"}))',
        bad_from=None,
    ),
    tile(
        "Taken out",
        "Real servers that an operator has drained or disabled.",
        'sum(max by (virtual_server) (sum without (state) (lvs_virtual_server_real_servers{@v,state=~"draining|disabled"})))',
        bad_from=None,
    ),
    tile(
        "Availability",
        "Share of the time shown in which the chosen virtual servers had their quorum.",
        "avg(avg_over_time(lvs_virtual_server_quorum_up{@v}[$__range]))",
        unit="percentunit",
        bad_from=None,
    ),
    tile(
        "Connections now",
        "Active connections in the kernel.",
        "sum(lvs_real_server_connections_active{@r})",
        bad_from=None,
    ),
)

_REAL_SERVERS = (
    table(
        "Real servers",
        "Each real server as its checks, the operators and the kernel have it. Of the weight that is wanted and the one in the kernel,"
        " what is not there is not in the table.",
        Column(
            "checks",
            f"min by {_PAIR} (lvs_real_server_up{{@r}})",
            words={"1": ("up", GREEN), "0": ("down", RED)},
        ),
        Column(
            "operator",
            f"min by {_PAIR} (lvs_real_server_enabled{{@r}})",
            words={"1": ("in", GREEN), "0": ("out", ORANGE)},
        ),
        Column("weight", f"max by {_PAIR} (lvs_real_server_target_weight{{@r}})"),
        Column("in kernel", f"max by {_PAIR} (lvs_real_server_weight{{@r}})"),
        Column("active", f"sum by {_PAIR} (lvs_real_server_connections_active{{@r}})"),
        Column("inactive", f"sum by {_PAIR} (lvs_real_server_connections_inactive{{@r}})"),
        Column(
            "since",
            f"max by {_PAIR} (lvs_real_server_state_change_timestamp_seconds{{@r}}) * 1000",
            unit="dateTimeFromNow",
        ),
        Column(
            "changes",
            f"round(max by {_PAIR} (sum without (to) (increase(lvs_real_server_transitions_total{{@r}}[$__range]))))",
        ),
        first="changes",
        width=24,
        height=10,
    ),
)

_HAPPENED = (
    replace(of_chosen(QUORUM_OVER_TIME), width=12),
    timeline(
        "Sorry server",
        "When a sorry server stood in.",
        Query("max by (virtual_server) (lvs_virtual_server_sorry_active{@v})", "{{virtual_server}}"),
        {"0": ("not needed", GREEN), "1": ("stands in", ORANGE)},
        width=12,
        empty="no virtual server of these has one",
    ),
    timeline(
        "Real servers that changed",
        "When which real server was up; only those that changed in the time shown.",
        Query(f"lvs_real_server_up{{@r}} and ({_CHANGED})", _SERVER),
        UP,
        empty="no real server changed",
    ),
    lines(
        "Live weight and quorum",
        "While the live weight is below the quorum, the sorry server stands in, if there is one.",
        Query("min by (virtual_server) (lvs_virtual_server_weight_up{@v})", "{{virtual_server}} live"),
        Query("max by (virtual_server) (lvs_virtual_server_quorum{@v})", "{{virtual_server}} quorum"),
        unit="none",
        dashed=" quorum$",
    ),
    of_chosen(REAL_SERVERS_BY_STATE),
    lines(
        "Weights in the kernel that changed",
        "The weight that the kernel goes by, of the servers of which anything changed; 0: nobody new comes, or it is not in the table.",
        Query(
            f"(lvs_real_server_weight{{@r}} * 1 or lvs_real_server_up{{@r}} * 0) and ({_CHANGED} or {_WEIGHED})",
            _SERVER,
        ),
        unit="none",
    ),
    lines(
        "Ups and downs",
        "Changes of real servers between up and down, and how often one that went down was held in service;"
        " what flaps shows here even between two scrapes.",
        Query(counted("lvs_real_server_transitions_total{@r}", by="to"), "{{to}}", step="1m"),
        Query(counted("lvs_virtual_server_removals_refused_total{@v}"), "held"),
        unit="none",
        bars=True,
        colours={"down": RED, "up": GREEN, "held": ORANGE},
    ),
)

_TRAFFIC = (
    of_chosen(NEW_CONNECTIONS),
    lines(
        "Active connections",
        "Of the ten real servers that have the most.",
        Query(f"topk(10, sum by {_PAIR} (lvs_real_server_connections_active{{@r}}))", _SERVER),
        unit="none",
    ),
    of_chosen(BYTES),
    of_chosen(PACKETS),
)

VIRTUAL_SERVER = Board(
    "vipervisor-virtual-server",
    "Vipervisor / Virtual server",
    "One virtual server, or some, with its real servers.",
    (*DIRECTORS, *SERVERS),
    (
        Row("Now", _TILES),
        Row("Real servers", _REAL_SERVERS),
        Row("What happened", _HAPPENED),
        Row("Traffic", _TRAFFIC),
    ),
    MARKS,
)
