"""Overview: is everything served, and what is out? For the wall, and for the first look at three in the morning."""

from __future__ import annotations

from grafana.choices import DIRECTORS, MARKS
from grafana.panels import GREEN, RED, Board, Column, Query, Row, counted, lines, table, tile
from grafana.standing import (
    BYTES,
    CHECKS_OVERDUE,
    HELD_IN_SERVICE,
    NEW_CONNECTIONS,
    ON_THE_SORRY_SERVER,
    QUORUM_OVER_TIME,
    REAL_SERVERS_BY_STATE,
    REAL_SERVERS_DOWN,
    WITHOUT_QUORUM,
)

_SAME = "on (job, instance, virtual_server, real_server)"
_LONGEST = 100
"""Rows of a list of real servers, at most: more than anybody reads, and little enough for a browser."""

_TILES = (
    WITHOUT_QUORUM,
    ON_THE_SORRY_SERVER,
    REAL_SERVERS_DOWN,
    HELD_IN_SERVICE,
    tile(
        "Operators' orders",
        "Real servers that an operator has drained, disabled or given another weight. Orders are not faults; forgotten ones are.",
        "sum(max by (kind) (lvs_admin_overrides{@})) or vector(0)",
        bad_from=None,
    ),
    CHECKS_OVERDUE,
    tile(
        "Kernel differs",
        "Differences between the table that is wanted and the kernel's that somebody else made.",
        "sum(lvs_kernel_drift_entries{@}) or vector(0)",
    ),
    tile(
        "Directors silent",
        "Directors that did not answer the last scrape.",
        "count(min by (instance) (up{@}) == 0) or vector(0)",
    ),
)

_NOW = (
    table(
        "Down now",
        f"Real servers that are down, the longest first ({_LONGEST} at most). “vipervisor why NAME” tells the cause of each.",
        Column(
            "for",
            f"topk({_LONGEST}, (time() - lvs_real_server_state_change_timestamp_seconds{{@}}) and {_SAME} lvs_real_server_up{{@}} == 0)",
            unit="s",
        ),
        first="for",
    ),
    table(
        "Taken out by an operator",
        f"Real servers that are drained or disabled ({_LONGEST} at most). “vipervisor status” says by whom, why and until when.",
        Column(
            "checks say",
            f"topk({_LONGEST}, lvs_real_server_up{{@}} and {_SAME} lvs_real_server_enabled{{@}} == 0)",
            words={"1": ("up", GREEN), "0": ("down", RED)},
        ),
        first="checks say",
    ),
    table(
        "Virtual servers",
        "Each virtual server and how it stands, worst first. A click leads to its board.",
        Column(
            "without quorum",
            "max by (virtual_server) (lvs_virtual_server_quorum_up{@} == bool 0)",
            words={"1": ("yes", RED), "0": ("no", GREEN)},
        ),
        Column("live weight", "min by (virtual_server) (lvs_virtual_server_weight_up{@})"),
        Column("quorum", "max by (virtual_server) (lvs_virtual_server_quorum{@})"),
        Column("up", 'min by (virtual_server) (lvs_virtual_server_real_servers{@,state="up"})'),
        Column("down", 'max by (virtual_server) (lvs_virtual_server_real_servers{@,state="down"})', bad_from=1),
        Column(
            "taken out",
            'max by (virtual_server) (sum without (state) (lvs_virtual_server_real_servers{@,state=~"draining|disabled"}))',
        ),
        Column("held", "max by (virtual_server) (sum without (by) (lvs_virtual_server_held{@}))", bad_from=1),
        first="without quorum",
        width=24,
    ),
)

_HAPPENED = (
    QUORUM_OVER_TIME,
    REAL_SERVERS_BY_STATE,
    lines(
        "Quorums lost and gained",
        "Changes of the quorum of any virtual server.",
        Query(counted("lvs_virtual_server_transitions_total{@}", by="to"), "{{to}}"),
        unit="none",
        bars=True,
        colours={"quorum_down": RED, "quorum_up": GREEN},
    ),
)

OVERVIEW = Board(
    "vipervisor-overview",
    "Vipervisor / Overview",
    "Is everything served, and if not, what is out?",
    DIRECTORS,
    (
        Row("Faults now", _TILES),
        Row("What is out", _NOW),
        Row("What happened", _HAPPENED),
        Row("Traffic", (NEW_CONNECTIONS, BYTES)),
    ),
    MARKS,
)
