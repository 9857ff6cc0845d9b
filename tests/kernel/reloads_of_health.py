"""Scenarios of reloads: checks, quorum, sorry server and tracked files (see duel.py), after keepalived.md, section 3.7."""

from __future__ import annotations

from tests.kernel.duel import TIMING, Scenario, Stage, alive, pool, server
from tests.kernel.programs import (
    QUORUM_SCRIPTS,
    SAY,
    SCRIPT_PERIOD_S,
    SCRIPT_S,
    checked,
    exits,
    misc,
    scripted,
    telling,
)
from tests.kernel.reloads import BOTH, NONE, OTHER, SORRY_LINE, TWO, begin

HEAVY = server(2, "weight 4")
UNCHECKED = server(1, check="")


def tcp(*lines: str) -> str:
    return "\n".join(("TCP_CHECK {", TIMING, *lines, "}"))


CHECKS = (
    Scenario(
        "check_added",
        (
            begin(pool(*TWO)),
            Stage("it succeeds", {1: 1, 2: 1}, pool(server(1, check=tcp() + "\n" + tcp("connect_port 81")), OTHER)),
            Stage("it fails", {1: 1}, pool(server(1), server(2, check=tcp() + "\n" + tcp("connect_port 82")))),
        ),
    ),
    Scenario(
        "check_changed",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage(
                "of both", {2: 1}, pool(*(server(n, check=tcp("connect_port 81")) for n in (1, 2))), told_otherwise=True
            ),
            Stage(
                "to one that fails",
                {},
                pool(*(server(n, check=tcp("connect_port 82")) for n in (1, 2))),
                told_otherwise=True,
            ),
            Stage("to one that succeeds", {1: 1, 2: 1}, pool(*TWO), BOTH, told_otherwise=True),
        ),
    ),
    Scenario(
        "check_of_another_type",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage(
                "HTTP",
                {2: 1},
                pool(
                    *(
                        server(
                            n,
                            check=f"HTTP_GET {{\n url {{\n path /\n status_code 200\n }}\n connect_port 8080\n {TIMING}\n}}",
                        )
                        for n in (1, 2)
                    )
                ),
            ),
            Stage("TCP", {2: 1}, pool(*TWO)),
            Stage("it is back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "all_checks_of_a_dead_server_removed",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage("it serves", {1: 1, 2: 1}, pool(UNCHECKED, OTHER)),
        ),
    ),
    Scenario(
        "all_checks_removed_and_the_quorum_is_back",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(2)),
            Stage("both serve", {1: 1, 2: 1}, pool(UNCHECKED, OTHER, vs=f"quorum 2\n {SORRY_LINE}")),
        ),
    ),
    Scenario(
        "all_checks_of_an_inhibited_server_removed",
        (
            begin(pool(*TWO, vs="inhibit_on_failure"), {1: 0, 2: 1}, alive(2)),
            Stage("it serves", {1: 1, 2: 1}, pool(UNCHECKED, OTHER, vs="inhibit_on_failure")),
        ),
    ),
    Scenario(
        "all_checks_of_a_server_with_inhibit_removed",
        (
            begin(pool(server(1, "inhibit_on_failure"), OTHER), {1: 0, 2: 1}, alive(2)),
            Stage("it serves", {1: 1, 2: 1}, pool(server(1, "inhibit_on_failure", check=""), OTHER)),
        ),
    ),
    Scenario(
        "all_checks_and_inhibit_removed_at_once",
        (
            begin(pool(*TWO, vs="inhibit_on_failure"), {1: 0, 2: 1}, alive(2)),
            Stage("it serves", {1: 1, 2: 1}, pool(UNCHECKED, OTHER), theirs={1: 0, 2: 1}),
        ),
    ),
    Scenario(
        "checks_removed_and_added",
        (
            begin(pool(UNCHECKED, OTHER), {1: 1, 2: 1}, alive(2)),
            Stage("it is dead", {2: 1}, pool(*TWO)),
            Stage("it is believed", {1: 1, 2: 1}, pool(UNCHECKED, OTHER)),
        ),
    ),
    Scenario(
        "timing_of_a_check",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage(
                "retry",
                {2: 1},
                pool(
                    *(
                        server(
                            n, check="TCP_CHECK {\n connect_timeout 2\n retry 1\n delay_before_retry 0.5\n warmup 0\n}"
                        )
                        for n in (1, 2)
                    )
                ),
                told_otherwise=True,
            ),
            Stage("none is left", {}, alive=NONE),
        ),
    ),
)

QUORUM = (
    Scenario(
        "sorry_server_added",
        (
            begin(pool(*TWO)),
            Stage("while the quorum holds", {1: 1, 2: 1}, pool(*TWO, vs=SORRY_LINE)),
            Stage("it steps in", {9: 1}, alive=NONE),
        ),
    ),
    Scenario(
        "sorry_server_added_while_all_are_dead",
        (
            begin(pool(*TWO), {}, NONE),
            Stage("it steps in", {9: 1}, pool(*TWO, vs=SORRY_LINE), told_otherwise=True),
        ),
    ),
    Scenario(
        "sorry_server_removed",
        (
            begin(pool(*TWO, vs=SORRY_LINE)),
            Stage("while the quorum holds", {1: 1, 2: 1}, pool(*TWO)),
            Stage("all are dead", {}, alive=NONE),
        ),
    ),
    Scenario(
        "sorry_server_removed_while_it_serves",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(2)),
            Stage("the live one serves", {2: 1}, pool(*TWO, vs="quorum 2"), theirs={}),
        ),
    ),
    Scenario(
        "sorry_server_replaced",
        (
            begin(pool(*TWO, vs=SORRY_LINE)),
            Stage("while the quorum holds", {1: 1, 2: 1}, pool(*TWO, vs="sorry_server %8 80")),
            Stage("it steps in", {8: 1}, alive=NONE),
            Stage("while it serves", {9: 1}, pool(*TWO, vs=SORRY_LINE), told_otherwise=True),
            Stage("one is back", {1: 1}, alive=alive(1)),
        ),
    ),
    Scenario(
        "sorry_server_inhibit_turned_on_and_off",
        (
            begin(pool(*TWO, vs=SORRY_LINE)),
            Stage("on", {1: 1, 2: 1, 9: 0}, pool(*TWO, vs=f"{SORRY_LINE}\n sorry_server_inhibit")),
            Stage("off", {1: 1, 2: 1}, pool(*TWO, vs=SORRY_LINE), theirs={1: 1, 2: 1, 9: 0}),
        ),
    ),
    Scenario(
        "sorry_server_inhibit_turned_on_and_off_while_it_serves",
        (
            begin(pool(*TWO, vs=SORRY_LINE), {9: 1}, NONE),
            Stage("on", {9: 1}, pool(*TWO, vs=f"{SORRY_LINE}\n sorry_server_inhibit")),
            Stage("off", {9: 1}, pool(*TWO, vs=SORRY_LINE)),
            Stage("one is back", {1: 1}, alive=alive(1)),
        ),
    ),
    Scenario(
        "nothing_changed_while_the_sorry_server_serves",
        (
            begin(pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}"), {9: 1}, alive(1)),
            Stage("it goes on", {9: 1}, pool(*TWO, vs=f"quorum 2\n {SORRY_LINE}") + "\n# another text\n"),
            Stage(
                "a live one is added, and it is too little",
                {9: 1},
                pool(*TWO, server(3), vs=f"quorum 3\n {SORRY_LINE}"),
                alive(1, 3),
                theirs={3: 1, 9: 1},
            ),
        ),
    ),
    Scenario(
        "inhibit_on_failure_turned_on_and_off",
        (
            begin(pool(*TWO), {2: 1}, alive(2)),
            Stage("on", {1: 0, 2: 1}, pool(*TWO, vs="inhibit_on_failure")),
            Stage("off", {2: 1}, pool(*TWO)),
        ),
    ),
    Scenario(
        "quorum_raised_and_lowered",
        (
            begin(pool(*TWO, vs=SORRY_LINE), {2: 1}, alive(2)),
            Stage("2 is too much", {9: 1}, pool(*TWO, vs=f"{SORRY_LINE}\n quorum 2")),
            Stage("1 is enough", {2: 1}, pool(*TWO, vs=SORRY_LINE)),
        ),
    ),
    Scenario(
        "hysteresis_added_and_removed",
        (
            begin(pool(server(1, "weight 2"), OTHER, vs=f"{SORRY_LINE}\n quorum 2"), {1: 2}, alive(1)),
            Stage("of 1", {1: 2}, pool(server(1, "weight 2"), OTHER, vs=f"{SORRY_LINE}\n quorum 2\n hysteresis 1")),
            Stage("none serves", {9: 1}, alive=NONE),
            Stage("2 is too little", {9: 1}, alive=alive(1)),
            Stage("none", {1: 2}, pool(server(1, "weight 2"), OTHER, vs=f"{SORRY_LINE}\n quorum 2")),
        ),
    ),
)

FILES = (
    Scenario(
        "weight_beside_a_file",
        (
            Stage(
                "2 and 5",
                {1: 7},
                pool(server(1, "weight 2", check="FILE_CHECK {\n track_file %name\n}")),
                BOTH,
                files={"value": "5\n"},
            ),
            Stage("4 and 5", {1: 9}, pool(server(1, "weight 4", check="FILE_CHECK {\n track_file %name\n}"))),
            Stage(
                "4 and 5 times 2",
                {1: 14},
                pool(server(1, "weight 4", check="FILE_CHECK {\n track_file %name\n weight 2\n}")),
            ),
            Stage("4 and 5", {1: 9}, pool(server(1, "weight 4", check="FILE_CHECK {\n track_file %name\n}"))),
            Stage("4", {1: 4}, pool(server(1, "weight 4"))),
        ),
        head="track_file %name {\n file %%.value\n}",
    ),
)

SCRIPTS = (
    Scenario(
        "misc_dynamic_survives_a_reload",
        (
            checked(scripted(server(1, "weight 10", check=misc("misc_dynamic")), OTHER), {1: 38, 2: 1}, status=40),
            Stage("another server", {1: 38, 2: 4}, scripted(server(1, "weight 10", check=misc("misc_dynamic")), HEAVY)),
            Stage("another weight", {1: 38, 2: 4}, scripted(server(1, "weight 20", check=misc("misc_dynamic")), HEAVY)),
            exits(0, {1: 20, 2: 4}),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
    Scenario(
        "misc_dynamic_that_said_0_before_a_reload",
        (
            checked(scripted(server(1, "weight 10", check=misc("misc_dynamic")), vs=SORRY_LINE), {1: 10}),
            Stage(
                "another scheduler",
                {1: 10},
                scripted(server(1, "weight 10", check=misc("misc_dynamic")), vs=SORRY_LINE, scheduler="wrr"),
                theirs={9: 1},
                told_otherwise=True,
            ),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
    Scenario(
        "scripts_are_told_of_a_reload",
        (
            Stage(
                "before",
                {1: 1},
                pool(telling(1), telling(2), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}"),
                alive(1),
                files={"sh": SAY},
            ),
            Stage("the dead one is removed", {1: 1}, pool(telling(1), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}")),
            Stage(
                "live ones are added",
                {1: 1, 3: 1, 4: 1},
                pool(telling(1), telling(3), telling(4), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}"),
                alive(1, 3, 4),
            ),
            Stage(
                "a live one is removed",
                {3: 1, 4: 1},
                pool(telling(3), telling(4), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}"),
            ),
            Stage(
                "the quorum is raised",
                {9: 1},
                pool(telling(3), telling(5), vs=f"{QUORUM_SCRIPTS}\n quorum 2\n {SORRY_LINE}"),
                told_otherwise=True,
            ),
            Stage("and lowered", {3: 1}, pool(telling(3), telling(5), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}")),
        ),
    ),
)

SCENARIOS = (*CHECKS, *QUORUM, *FILES, *SCRIPTS)
