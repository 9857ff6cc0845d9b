"""Scenarios of faults: dead servers at the start, alpha, retries, recovery, quorum, sorry server, weights from files (see duel.py)."""

from __future__ import annotations

from tests.kernel.duel import TIMING, Scenario, Stage, alive, pool, server

SORRY_LINE = "sorry_server %9 80"
TWO = (server(1), server(2))
BOTH, NONE = alive(1, 2), alive()

WEB = """HTTP_GET {
 url {
  path /
  status_code 200
 }
 connect_timeout 1
 retry 0
 warmup 0
}"""
RETRYING = "TCP_CHECK {\n connect_timeout 1\n retry 2\n delay_before_retry 0.5\n warmup 0\n}"
SECOND_CHECK = f"TCP_CHECK {{\n connect_ip %3\n {TIMING}\n}}"


def watching(*lines: str) -> str:
    return "\n".join(("FILE_CHECK {", " track_file %name", *lines, "}"))


def track_file(*lines: str) -> str:
    return "\n".join(("track_file %name {", " file %%.value", *lines, "}"))


AT_START = (
    Scenario(
        "one_of_two_is_dead_at_the_start",
        (
            Stage("one serves", {1: 1}, pool(*TWO), alive(1)),
            Stage("the other is back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "all_are_dead_at_the_start",
        (
            Stage("nothing is left, and no sorry server to step in", {}, pool(*TWO), NONE),
            Stage("one is back", {2: 1}, alive=alive(2)),
        ),
    ),
    Scenario(
        "all_are_dead_at_the_start_and_there_is_a_sorry_server",
        (
            Stage("it serves", {9: 1}, pool(*TWO, vs=SORRY_LINE), NONE),
            Stage("one is back", {1: 1}, alive=alive(1)),
            Stage("both are back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "all_are_dead_at_the_start_and_everything_is_inhibited",
        (
            Stage(
                "the sorry server serves, the others stand at weight 0",
                {1: 0, 2: 0, 9: 1},
                pool(*TWO, vs=f"{SORRY_LINE}\n sorry_server_inhibit\n inhibit_on_failure"),
                NONE,
            ),
            Stage("one is back", {1: 1, 2: 0, 9: 0}, alive=alive(1)),
            Stage("none again", {1: 0, 2: 0, 9: 1}, alive=NONE),
        ),
    ),
    Scenario(
        "alpha_waits_for_the_first_success",
        (
            Stage("the one that answers serves", {1: 1}, pool(*TWO, vs="alpha"), alive(1), told_otherwise=True),
            Stage("the other answers for the first time", {1: 1, 2: 1}, alive=BOTH),
            Stage("both die", {}, alive=NONE),
            Stage("both are back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "alpha_with_a_sorry_server",
        (
            Stage("it serves", {9: 1}, pool(*TWO, vs=f"alpha\n {SORRY_LINE}"), NONE, told_otherwise=True),
            Stage("one answers for the first time", {2: 1}, alive=alive(2)),
        ),
    ),
    Scenario(
        "alpha_with_inhibit",
        (
            Stage(
                "all stand at weight 0",
                {1: 0, 2: 0},
                pool(*TWO, vs="alpha\n inhibit_on_failure"),
                NONE,
                told_otherwise=True,
            ),
            Stage("one answers for the first time", {1: 0, 2: 1}, alive=alive(2)),
        ),
    ),
    Scenario(
        "alpha_of_one_server_alone",
        (
            Stage("both answer", {1: 1, 2: 1}, pool(server(1, "alpha"), server(2)), BOTH),
            Stage("both die", {}, alive=NONE),
        ),
    ),
)

FAILING = (
    Scenario(
        "a_server_dies_and_is_back",
        (
            Stage("both serve", {1: 1, 2: 1}, pool(*TWO), BOTH),
            Stage("one is dead", {2: 1}, alive=alive(2)),
            Stage("both are dead", {}, alive=NONE),
            Stage("the second is back", {2: 1}, alive=alive(2)),
            Stage("the first is back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "retries_are_used_up_first",
        (
            Stage("both serve", {1: 1, 2: 1}, pool(server(1, check=RETRYING), server(2, check=RETRYING)), BOTH),
            Stage("one is dead", {2: 1}, alive=alive(2)),
            Stage("it is back", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "a_web_server_hangs",
        (
            Stage("both serve", {1: 1, 2: 1}, pool(*(server(n, port=8080, check=WEB) for n in (1, 2))), BOTH),
            Stage("one never answers", {2: 1}, hanging=alive(1)),
            Stage("one hangs, the other refuses", {}, alive=alive(1), hanging=alive(1)),
            Stage("both answer", {1: 1, 2: 1}, alive=BOTH),
        ),
        period_s=3.0,  # a probe that hangs takes a second, and keepalived asks a url twice before it is up (urls-in-one-round)
    ),
    Scenario(
        "a_server_with_two_checks_is_up_when_both_succeed",
        (
            Stage("all answer", {1: 1, 2: 1}, pool(server(1, SECOND_CHECK), server(2)), alive(1, 2, 3)),
            Stage("the second check fails", {2: 1}, alive=alive(1, 2)),
            Stage("both checks fail", {2: 1}, alive=alive(2)),
            Stage("the second succeeds", {2: 1}, alive=alive(2, 3)),
            Stage("both succeed", {1: 1, 2: 1}, alive=alive(1, 2, 3)),
        ),
    ),
    Scenario(
        "inhibit_on_failure",
        (
            Stage("both serve", {1: 3, 2: 1}, pool(server(1, "weight 3", "inhibit_on_failure"), server(2)), BOTH),
            Stage("one stands at weight 0, the other is gone", {1: 0}, alive=NONE),
            Stage("the other is back", {1: 0, 2: 1}, alive=alive(2)),
            Stage("both are back", {1: 3, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "weight_0_drains_and_does_not_count",
        (
            Stage("it stands there", {1: 0, 2: 1}, pool(server(1, "weight 0"), server(2), vs=SORRY_LINE), BOTH),
            Stage("the one that counts is dead", {9: 1}, alive=alive(1)),
            Stage("it is back", {1: 0, 2: 1}, alive=BOTH),
        ),
    ),
)

HEAVY_AND_LIGHT = (server(1, "weight 2"), server(2, "weight 1"))

QUORUM = (
    Scenario(
        "quorum_2_with_hysteresis_1",
        (
            Stage("3 of 3", {1: 2, 2: 1}, pool(*HEAVY_AND_LIGHT, vs=f"quorum 2\n hysteresis 1\n {SORRY_LINE}"), BOTH),
            Stage("1 of 3 keeps it", {2: 1}, alive=alive(2)),
            Stage("0 of 3 loses it", {9: 1}, alive=NONE),
            Stage("2 of 3 does not regain it", {9: 1}, alive=alive(1)),
            Stage("3 of 3 does", {1: 2, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "quorum_2_without_a_sorry_server",
        (
            Stage("3 of 3", {1: 2, 2: 1}, pool(*HEAVY_AND_LIGHT, vs="quorum 2"), BOTH),
            Stage("1 of 3 is no quorum, and goes on serving", {2: 1}, alive=alive(2)),
            Stage("none is left", {}, alive=NONE),
            Stage("1 of 3 serves again, without a quorum", {2: 1}, alive=alive(2)),
            Stage("3 of 3", {1: 2, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "servers_come_and_go_behind_the_sorry_server",
        (
            Stage("3 of 3", {1: 1, 2: 1, 3: 1}, pool(*TWO, server(3), vs=f"quorum 3\n {SORRY_LINE}"), alive(1, 2, 3)),
            Stage("2 of 3", {9: 1}, alive=alive(1, 2)),
            Stage("1 of 3", {9: 1}, alive=alive(2)),
            Stage("another 2 of 3", {9: 1}, alive=alive(2, 3)),
            Stage("3 of 3", {1: 1, 2: 1, 3: 1}, alive=alive(1, 2, 3)),
        ),
    ),
    Scenario(
        "inhibited_servers_behind_the_sorry_server",
        (
            Stage(
                "3 of 3",
                {1: 1, 2: 1, 3: 1},
                pool(*TWO, server(3), vs=f"quorum 3\n inhibit_on_failure\n {SORRY_LINE}"),
                alive(1, 2, 3),
            ),
            Stage("2 of 3", {1: 0, 2: 0, 3: 0, 9: 1}, alive=alive(1, 2)),
            Stage("1 of 3", {1: 0, 2: 0, 3: 0, 9: 1}, alive=alive(2)),
            Stage("another 2 of 3", {1: 0, 2: 0, 3: 0, 9: 1}, alive=alive(2, 3)),
            Stage("3 of 3", {1: 1, 2: 1, 3: 1}, alive=alive(1, 2, 3)),
        ),
    ),
    Scenario(
        "sorry_server_inhibit",
        (
            Stage("it stands by", {1: 1, 2: 1, 9: 0}, pool(*TWO, vs=f"{SORRY_LINE}\n sorry_server_inhibit"), BOTH),
            Stage("it serves", {9: 1}, alive=NONE),
            Stage("it stands by again", {2: 1, 9: 0}, alive=alive(2)),
        ),
    ),
    Scenario(
        "sorry_server_with_its_own_method",
        (
            Stage("both serve", {1: 1, 2: 1}, pool(*TWO, vs=f"{SORRY_LINE}\n sorry_server_lvs_method TUN"), BOTH),
            Stage("it serves", {9: 1}, alive=NONE),
            Stage("both serve", {1: 1, 2: 1}, alive=BOTH),
        ),
    ),
    Scenario(
        "the_sorry_server_is_a_real_server_too",
        (
            Stage("both serve", {1: 3, 2: 3}, pool(*TWO, vs="weight 3\n quorum 6\n sorry_server %1 80"), BOTH),
            Stage("it serves as sorry server", {1: 1}, alive=alive(1)),
            Stage("also when it is dead", {1: 1}, alive=NONE),
            Stage("both serve", {1: 3, 2: 3}, alive=BOTH),
        ),
    ),
)

FILES = (
    Scenario(
        "a_file_adds_to_the_weight",
        (
            Stage(
                "5 times 2",
                {1: 20, 2: 10},
                pool(server(1, check=watching()), server(2), vs="weight 10"),
                BOTH,
                files={"value": "5\n"},
            ),
            Stage("-3 times 2", {1: 4, 2: 10}, files={"value": "-3\n"}),
            Stage("below 0 is 0", {1: 0, 2: 10}, files={"value": "-50\n"}),
            Stage("no number is 0", {1: 10, 2: 10}, files={"value": "nothing\n"}),
            Stage("junk after a number", {1: 20, 2: 10}, files={"value": "5 junk\n"}),
        ),
        head=track_file(" weight 2"),
    ),
    Scenario(
        "a_file_takes_from_the_weight_in_reverse",
        (
            Stage(
                "5 times 1",
                {1: 5, 2: 10},
                pool(server(1, check=watching(" weight 1 reverse")), server(2), vs="weight 10"),
                BOTH,
                files={"value": "5\n"},
            ),
            Stage("-3 times 1", {1: 13, 2: 10}, files={"value": "-3\n"}),
        ),
        head=track_file(),
    ),
    Scenario(
        "a_file_is_a_switch",
        (
            Stage(
                "0 is up",
                {1: 1, 2: 1},
                pool(server(1, check=watching(" weight 0")), server(2), vs=SORRY_LINE),
                BOTH,
                files={"value": "0\n"},
            ),
            Stage("1 is down", {2: 1}, files={"value": "1\n"}),
            Stage("the other dies", {9: 1}, alive=alive(1)),
            Stage("0 is up", {1: 1}, files={"value": "0\n"}),
        ),
        head=track_file(),
    ),
    Scenario(
        "a_file_says_fault",
        (
            Stage(
                "its value adds",
                {1: 2, 2: 1},
                pool(server(1, check=watching()), server(2)),
                BOTH,
                files={"value": "1\n"},
            ),
            Stage("the least number there is", {2: 1}, files={"value": "-2147483648\n"}),
            Stage("its value adds", {1: 3, 2: 1}, files={"value": "2\n"}),
        ),
        head=track_file(),
    ),
    Scenario(
        "a_file_takes_the_quorum",
        (
            Stage(
                "10 of 10",
                {1: 10},
                pool(server(1, check=watching()), vs=f"weight 10\n {SORRY_LINE}"),
                alive(1),
                files={"value": "0\n"},
            ),
            Stage("0 of 10", {9: 1}, files={"value": "-10\n"}),
            Stage("1 of 10", {1: 1}, files={"value": "-9\n"}),
        ),
        head=track_file(),
    ),
    Scenario(
        "a_file_and_a_dead_server",
        (
            Stage(
                "7 serves",
                {1: 7, 2: 1},
                pool(server(1, watching()), server(2)),
                BOTH,
                files={"value": "6\n"},
            ),
            Stage("dead", {2: 1}, alive=alive(2)),
            Stage("dead with another weight", {2: 1}, files={"value": "3\n"}),
            Stage("4 serves", {1: 4, 2: 1}, alive=BOTH),
        ),
        head=track_file(),
    ),
)

SCENARIOS = (*AT_START, *FAILING, *QUORUM, *FILES)
