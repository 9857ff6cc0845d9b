"""Scenarios of reloads: settings and membership of a virtual server (see duel.py), row by row of keepalived.md, section 3.7."""

from __future__ import annotations

from dataclasses import replace

from tests.kernel.duel import STOPPED, Scenario, Stage, alive, group, pool, server

SORRY_LINE = "sorry_server %9 80"
ONE, OTHER = server(1), server(2)
TWO = (ONE, OTHER)
BOTH, NONE = alive(1, 2), alive()


def begin(
    block: str, weights: dict[int, int] | None = None, answering: frozenset[int] = BOTH, *, told_otherwise: bool = False
) -> Stage:
    seen = {1: 1, 2: 1} if weights is None else weights
    return Stage("before", seen, block, answering, told_otherwise=told_otherwise)


SETTINGS = (
    Scenario(
        "nothing_changed", (begin(pool(*TWO)), Stage("the same", {1: 1, 2: 1}, pool(*TWO) + "\n# another text\n"))
    ),
    Scenario(
        "weight",
        (
            begin(pool(*TWO)),
            Stage("3", {1: 3, 2: 1}, pool(server(1, "weight 3"), OTHER)),
            Stage("0", {1: 0, 2: 1}, pool(server(1, "weight 0"), OTHER)),
            Stage("it dies", {2: 1}, alive=alive(2)),
            Stage("of a dead one", {2: 1}, pool(server(1, "weight 5"), OTHER)),
            Stage("it is back with it", {1: 5, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "weight_of_an_inhibited_server",
        (
            begin(pool(*TWO, vs="inhibit_on_failure"), {1: 0, 2: 1}, alive(2)),
            Stage("it stands at 0", {1: 0, 2: 1}, pool(server(1, "weight 5"), OTHER, vs="inhibit_on_failure")),
            Stage("it is back with it", {1: 5, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "weight_behind_the_sorry_server",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(2)),
            Stage("too little still", {9: 1}, pool(server(1, "weight 3"), OTHER, vs=f"quorum 2\n {SORRY_LINE}")),
            Stage("enough", {2: 4}, pool(ONE, server(2, "weight 4"), vs=f"quorum 2\n {SORRY_LINE}")),
        ),
    ),
    Scenario(
        "scheduler_and_persistence",
        (
            begin(pool(*TWO)),
            Stage("wrr", {1: 1, 2: 1}, pool(*TWO, scheduler="wrr")),
            Stage("persistence", {1: 1, 2: 1}, pool(*TWO, scheduler="wrr", vs="persistence_timeout 60")),
            Stage(
                "granularity",
                {1: 1, 2: 1},
                pool(*TWO, vs="persistence_timeout 60\n persistence_granularity 255.255.255.0"),
            ),
            Stage("a flag", {1: 1, 2: 1}, pool(*TWO, scheduler="sh", vs="sh-port")),
            Stage("none of it", {1: 1, 2: 1}, pool(*TWO)),
        ),
    ),
    Scenario(
        "settings_behind_the_sorry_server",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(2)),
            Stage(
                "they are the service's",
                {9: 1},
                pool(*TWO, vs=f"quorum 2\n persistence_timeout 60\n {SORRY_LINE}", scheduler="wrr"),
            ),
            Stage("both serve", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "everything_at_once",
        (
            begin(pool(*TWO, server(3), vs=SORRY_LINE), {1: 1, 2: 1}),
            Stage(
                "another pool",
                {2: 5, 4: 2},
                pool(
                    server(4, "weight 2"),
                    server(2, "weight 5"),
                    scheduler="wrr",
                    vs="persistence_timeout 60\n quorum 7\n sorry_server %8 80",
                ),
                alive(1, 2, 4),
            ),
            Stage("its quorum is lost", {8: 1}, alive=alive(1, 2)),
        ),
    ),
    Scenario(
        "persistence_engine",
        (
            begin(pool(*TWO, protocol="UDP", vs="persistence_timeout 60")),
            Stage(
                "sip", {1: 1, 2: 1}, pool(*TWO, protocol="UDP", vs="persistence_timeout 60\n persistence_engine sip")
            ),
            Stage("none", {1: 1, 2: 1}, pool(*TWO, protocol="UDP", vs="persistence_timeout 60")),
            Stage("one dies", {1: 1}, alive=alive(1)),
        ),
    ),
    Scenario(
        "thresholds_only",
        (
            begin(pool(server(1, "uthreshold 100", "lthreshold 50"), OTHER)),
            Stage("others", {1: 1, 2: 1}, pool(server(1, "uthreshold 200", "lthreshold 80"), OTHER), differs=True),
        ),
    ),
    Scenario(
        "method_with_the_same_port",
        (
            begin(pool(*TWO)),
            Stage("DR for all", {1: 1, 2: 1}, pool(*TWO, method="DR")),
            Stage("TUN for one", {1: 1, 2: 1}, pool(server(1, "lvs_method TUN"), OTHER, method="DR")),
        ),
    ),
    Scenario(
        "method_with_another_port",
        (
            begin(pool(server(1, port=81), server(2, port=81))),
            Stage(
                "DR takes the virtual server's port",
                {1: 1, 2: 1},
                pool(server(1, port=81), server(2, port=81), method="DR"),
                told_otherwise=True,
            ),
            Stage("and NAT its own", {1: 1, 2: 1}, pool(server(1, port=81), server(2, port=81)), told_otherwise=True),
        ),
    ),
)

LEAVING = replace(STOPPED, differs=True)
"""keepalived does not find the addresses of a group any more that a reload has changed."""

MEMBERSHIP = (
    Scenario(
        "server_removed",
        (
            begin(pool(*TWO, server(3)), {1: 1, 2: 1}),
            Stage("a live one", {2: 1}, pool(OTHER, server(3))),
            Stage("a dead one", {2: 1}, pool(OTHER)),
        ),
    ),
    Scenario(
        "inhibited_server_removed",
        (
            begin(pool(*TWO, vs="inhibit_on_failure"), {1: 0, 2: 1}, alive(2)),
            Stage("it is gone", {2: 1}, pool(OTHER, vs="inhibit_on_failure")),
        ),
    ),
    Scenario(
        "server_removed_behind_the_sorry_server",
        (
            begin(pool(*TWO, server(3), server(4), vs=f"quorum 4\n {SORRY_LINE}"), {9: 1}, alive(1, 2, 3)),
            Stage("a live one", {9: 1}, pool(OTHER, server(3), server(4), vs=f"quorum 3\n {SORRY_LINE}")),
            Stage("a dead one", {2: 1, 3: 1}, pool(OTHER, server(3), vs=f"quorum 2\n {SORRY_LINE}")),
        ),
    ),
    Scenario(
        "server_removed_that_the_quorum_needs",
        (
            begin(pool(*TWO, server(3), vs=f"quorum 2\n {SORRY_LINE}"), {1: 1, 2: 1}),
            Stage("a live one", {9: 1}, pool(OTHER, server(3), vs=f"quorum 2\n {SORRY_LINE}"), told_otherwise=True),
        ),
    ),
    Scenario(
        "virtual_server_removed",
        (
            begin(pool(*TWO), {1: 1}, alive(1)),
            Stage("it is gone", {}, ""),
            Stage("it is back, and its servers are new", {1: 1}, pool(*TWO)),
            Stage("all are dead", {}, alive=NONE),
            Stage("it is gone without a live server", {}, ""),
        ),
    ),
    Scenario(
        "virtual_server_removed_while_the_sorry_server_serves",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(1)),
            Stage("it is gone", {}, ""),
        ),
    ),
    Scenario(
        "server_added",
        (
            begin(pool(ONE), {1: 1}),
            Stage("it is alive", {1: 1, 2: 1}, pool(*TWO)),
            Stage("it is dead", {1: 1, 2: 1}, pool(*TWO, server(3))),
            Stage("before the others", {1: 1, 2: 1, 4: 1}, pool(server(4), *TWO, server(3)), alive(1, 2, 4)),
        ),
    ),
    Scenario(
        "server_added_with_alpha",
        (
            begin(pool(ONE, vs="alpha"), {1: 1}),
            Stage("it is alive", {1: 1, 2: 1}, pool(*TWO, vs="alpha")),
            Stage("it is dead", {1: 1, 2: 1}, pool(*TWO, server(3), vs="alpha"), told_otherwise=True),
            Stage("it answers for the first time", {1: 1, 2: 1, 3: 1}, alive=alive(1, 2, 3)),
        ),
    ),
    Scenario(
        "alpha_turned_on",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage("nothing happens", {2: 1}, pool(*TWO, vs="alpha")),
            Stage("it is back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "alpha_turned_off",
        (
            begin(pool(*TWO, vs="alpha"), {2: 1}, alive(2), told_otherwise=True),
            Stage("the dead one stays out", {2: 1}, pool(*TWO)),
            Stage("it answers for the first time", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "order_of_the_servers",
        (begin(pool(*TWO)), Stage("the other way round", {1: 1, 2: 1}, pool(OTHER, ONE))),
    ),
    Scenario(
        "port_of_the_virtual_server",
        (
            begin(pool(*TWO)),
            Stage("81", {1: 1, 2: 1}, pool(*TWO, port=81)),
            Stage("one dies", {1: 1}, alive=alive(1)),
            Stage("80", {1: 1}, pool(*TWO), told_otherwise=True),
        ),
    ),
    Scenario(
        "group_gains_and_loses_an_address",
        (
            begin(group("%101 80", servers=TWO), {}),
            Stage("one dies", {}, alive=alive(1)),
            Stage("one more", {1: 1}, group("%101 80", "%100 80", servers=TWO)),
            Stage("the first is gone", {1: 1}, group("%100 80", servers=TWO)),
            Stage("one more before it", {1: 1}, group("%102 80", "%100 80", servers=TWO)),
            Stage("the other is back", {1: 1, 2: 1}, alive=BOTH),
            Stage("the servers behind them change", {2: 1}, group("%102 80", "%100 80", servers=(OTHER, server(3)))),
        ),
        stopped=LEAVING,
    ),
    Scenario(
        "group_has_another_address",
        (
            begin(group("%100 80", servers=TWO)),
            Stage("in its place", {}, group("%101 80", servers=TWO), differs=True),
            Stage("it is back", {1: 1, 2: 1}, group("%100 80", servers=TWO)),
            Stage("and its servers die", {}, alive=NONE),
        ),
        stopped=LEAVING,
    ),
    Scenario(
        "last_live_server_swapped",
        (
            begin(pool(ONE, vs=SORRY_LINE), {1: 1}),
            Stage("for a live one", {2: 1}, pool(OTHER, vs=SORRY_LINE), told_otherwise=True),
            Stage("for a dead one", {9: 1}, pool(server(3), vs=SORRY_LINE), told_otherwise=True),
            Stage("for a live one again", {2: 1}, pool(OTHER, vs=SORRY_LINE)),
        ),
    ),
)

SCENARIOS = (*SETTINGS, *MEMBERSHIP)
