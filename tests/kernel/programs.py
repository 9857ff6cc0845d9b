"""Scenarios (see duel.py) in which the operator's own programs run: a script whose exit status is in a file, one that takes notes."""

from __future__ import annotations

from tests.kernel.duel import Scenario, Stage, alive, group, pool, server

SORRY_LINE = "sorry_server %9 80"

EXIT = "#!/bin/sh\nuntil read status <%%.status; do :; done\nexit $status\n"
SAY = "#!/bin/sh\necho $* >>%%.said\n"
QUORUM_SCRIPTS = 'quorum_up "/bin/sh %%.sh gained"\n quorum_down "/bin/sh %%.sh lost"'

SCRIPT_PERIOD_S = 2.0
"""delay_loop where a check is a script: to start one takes a while in a guest."""
SCRIPT_S = 3.0
"""That while, when sixty other programs have something to do in the same moment."""


def misc(*lines: str) -> str:
    """A check that runs the script of `checked`."""
    return "\n".join(("MISC_CHECK {", " misc_path %%.sh", " misc_timeout 5", " retry 0", " warmup 0", *lines, "}"))


def scripted(*servers: str, vs: str = "", scheduler: str = "rr") -> str:
    """A virtual server with such checks."""
    return pool(*servers, vs=vs, scheduler=scheduler, period_s=SCRIPT_PERIOD_S)


def checked(block: str, weights: dict[int, int], status: int = 0) -> Stage:
    """The first stage of a scenario with such checks."""
    return Stage(
        "before", weights, block, alive(1, 2), files={"sh": EXIT, "status": f"{status}\n"}, mailed_otherwise=True
    )


def exits(status: int, weights: dict[int, int]) -> Stage:
    """The script has another exit status from now on."""
    return Stage(f"exit {status}", weights, files={"status": f"{status}\n"})


def telling(number: int) -> str:
    """A real server that is checked by TCP_CHECK and told to a script."""
    return server(number, f'notify_up "/bin/sh %%.sh up {number}"', f'notify_down "/bin/sh %%.sh down {number}"')


WEIGHTS = (
    Scenario(
        "misc_dynamic",
        (
            checked(scripted(server(1, "weight 10", check=misc("misc_dynamic")), server(2)), {1: 10, 2: 1}),
            exits(2, {1: 0, 2: 1}),
            exits(12, {1: 10, 2: 1}),
            exits(52, {1: 50, 2: 1}),
            exits(255, {1: 253, 2: 1}),
            exits(1, {2: 1}),
            exits(0, {1: 10, 2: 1}),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
    Scenario(
        "misc_dynamic_with_inhibit",
        (
            checked(
                scripted(server(1, "weight 10", "inhibit_on_failure", check=misc("misc_dynamic")), server(2)),
                {1: 28, 2: 1},
                status=30,
            ),
            exits(1, {1: 0, 2: 1}),
            exits(2, {1: 0, 2: 1}),
            exits(9, {1: 7, 2: 1}),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
    Scenario(
        "misc_dynamic_costs_the_quorum",
        (
            checked(
                scripted(server(1, "weight 10", check=misc("misc_dynamic")), vs=f"quorum 5\n {SORRY_LINE}"), {1: 10}
            ),
            exits(6, {9: 1}),
            exits(7, {1: 5}),
            exits(2, {9: 1}),
            exits(0, {1: 10}),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
    Scenario(
        "misc_without_dynamic",
        (
            checked(scripted(server(1, "weight 10", check=misc()), server(2)), {1: 10, 2: 1}),
            exits(2, {2: 1}),
            exits(0, {1: 10, 2: 1}),
        ),
        period_s=SCRIPT_PERIOD_S,
        check_s=SCRIPT_S,
    ),
)

SCRIPTS = (
    Scenario(
        "scripts_are_told",
        (
            Stage(
                "both serve",
                {1: 1, 2: 1},
                pool(telling(1), telling(2), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}"),
                alive(1, 2),
                files={"sh": SAY},
            ),
            Stage("one is dead", {2: 1}, alive=alive(2)),
            Stage("both are dead", {9: 1}, alive=alive()),
            Stage("one is back", {1: 1}, alive=alive(1)),
            Stage("both are back", {1: 1, 2: 1}, alive=alive(1, 2)),
        ),
    ),
    Scenario(
        "scripts_are_told_of_dead_servers_at_the_start",
        (
            Stage(
                "none serves",
                {9: 1},
                pool(telling(1), telling(2), vs=f"{QUORUM_SCRIPTS}\n {SORRY_LINE}"),
                alive(),
                files={"sh": SAY},
            ),
        ),
    ),
)


TWO = telling(1), telling(2)


def stopping(
    name: str,
    weights: dict[int, int],
    answering: frozenset[int],
    *lines: str,
    omega: bool = True,
    of_group: bool = False,
) -> Scenario:
    """A virtual server as it is when the stop comes."""
    vs = "\n ".join((QUORUM_SCRIPTS, *lines, *(["omega"] if omega else [])))
    block = group("%100 80", "%101 80", servers=TWO, vs=vs) if of_group else pool(*TWO, vs=vs)
    return Scenario(name, (Stage("running", weights, block, answering, files={"sh": SAY}),))


STOPS = (
    stopping("omega", {1: 1, 2: 1}, alive(1, 2)),
    stopping("omega_with_a_dead_server", {1: 1}, alive(1)),
    stopping("omega_with_an_inhibited_server", {1: 0, 2: 1}, alive(2), "inhibit_on_failure"),
    stopping("omega_behind_the_sorry_server", {9: 1}, alive(1), "quorum 2", SORRY_LINE),
    stopping("omega_without_a_quorum", {1: 1}, alive(1), "quorum 2"),
    stopping("omega_of_a_group", {1: 1, 2: 1}, alive(1, 2), of_group=True),
    stopping("no_omega", {1: 1, 2: 1}, alive(1, 2), omega=False),
)

SCENARIOS = (*WEIGHTS, *SCRIPTS, *STOPS)
