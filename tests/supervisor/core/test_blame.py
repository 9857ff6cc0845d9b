"""The evidence against this director: what it takes, what it holds, and that it ends (issue 4). Whole stories are in tests/sim."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.director import Director
from supervisor.core.events import CheckReported, Health, Overridden, PathsSeen, Result, Tick
from supervisor.core.override import AdminState, Override
from supervisor.core.transitions import HoldChanged, SelfBlame, Transition
from supervisor.model import BlameSettings, Config, VirtualServer
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, started, virtual_server

OTHER = replace(KEY, endpoint=replace(KEY.endpoint, port=443))
FIRST, SECOND = range(21, 25), range(31, 35)
NO_WAY, SILENT, REFUSED = (
    ("L4CON", "network unreachable"),
    ("L4TOUT", "no connection within 5 s"),
    ("L4CON", "connection refused"),
)


def pool(servers: range = FIRST, *, second: bool = False, sorry: int | None = None) -> VirtualServer:
    found = virtual_server(*(real_server(last) for last in servers), sorry=sorry)
    return replace(found, key=OTHER) if second else found


def two_pools() -> Director:
    return director_of(config(pool(), pool(SECOND, second=True)))


def director_of(configured: Config) -> Director:
    director = started(configured)
    director.handle(PathsSeen({}), 0.5)
    return director


def fail(director: Director, last: int, how: tuple[str, str], now: float, *, retries: bool = False) -> list[Transition]:
    for key, state in director.virtual_servers.items():
        server = state.real_servers.get(endpoint(last))
        if server is not None:
            health = Health.UP if retries else Health.DOWN
            result = Result(7, *how, "", "", 1.0)
            report = CheckReported(server.checks[0].job, health, 1, 1 if retries else 4, result)
            assert key in director.virtual_servers
            return director.handle(report, now)
    raise AssertionError(last)


def succeed(director: Director, last: int, now: float) -> list[Transition]:
    for state in director.virtual_servers.values():
        server = state.real_servers.get(endpoint(last))
        if server is not None:
            result = Result(8, "L7OK", "HTTP 200", "", "", 0.1)
            return director.handle(CheckReported(server.checks[0].job, Health.UP, 2, 0, result), now)
    raise AssertionError(last)


def serving(director: Director) -> set[int]:
    return {
        int(where.address) & 255
        for service in director.desired().services.values()
        for where, found in service.destinations.items()
        if found.weight > 0
    }


def lose(director: Director, *lasts: int, now: float) -> list[Transition]:
    return director.handle(PathsSeen(dict.fromkeys((endpoint(last).address for last in lasts), "eth1 is down")), now)


def told_of_ourselves(told: list[Transition]) -> list[bool]:
    return [t.suspected for t in told if isinstance(t, SelfBlame)]


def test_a_verdict_that_our_own_routing_gave_waits_for_the_kernels_word_on_the_path() -> None:
    director = director_of(config(pool()))
    told = fail(director, 21, NO_WAY, 10.0)
    assert serving(director) == set(FIRST)
    assert told_of_ourselves(told) == [], "not yet"
    told = lose(director, *FIRST, now=10.1)
    assert serving(director) == set(FIRST)
    assert told_of_ourselves(told) == [True]
    assert director.handle(Tick(), 12.0) == []
    assert director.next_deadline() == 610.1


def test_and_counts_two_seconds_later_when_the_path_is_whole() -> None:
    director = director_of(config(pool()))
    fail(director, 21, NO_WAY, 10.0)
    assert director.next_deadline() == 12.0
    director.handle(Tick(), 12.0)
    assert serving(director) == {22, 23, 24}


def test_where_nobody_knows_the_paths_it_counts_at_once() -> None:
    director = started(config(pool()))
    director.handle(PathsSeen(None), 0.5)
    fail(director, 21, NO_WAY, 10.0)
    assert serving(director) == {22, 23, 24}


def test_who_was_down_before_the_path_was_lost_stays_out() -> None:
    director = director_of(config(pool()))
    fail(director, 21, SILENT, 10.0)
    lose(director, *FIRST, now=60.0)
    fail(director, 22, SILENT, 70.0)
    assert serving(director) == {22, 23, 24}


def test_a_server_that_answers_all_the_same_proves_the_kernel_wrong() -> None:
    director = director_of(config(pool()))
    lose(director, *FIRST, now=10.0)
    fail(director, 21, REFUSED, 20.0)
    fail(director, 22, SILENT, 21.0)
    assert serving(director) == {23, 24}


def test_so_does_one_that_had_the_time_to_fail_and_did_not() -> None:
    director = director_of(config(pool()))
    succeed(director, 21, 5.0)
    lose(director, *FIRST, now=10.0)
    fail(director, 22, SILENT, 15.0)
    assert serving(director) == set(FIRST)
    fail(director, 23, SILENT, 60.0)
    assert serving(director) == {21, 24}, "and 22 is not held any more either"


def test_that_it_did_not_fail_is_noticed_without_any_other_report() -> None:
    director = director_of(config(pool()))
    for last in FIRST:
        succeed(director, last, 5.0)
    lose(director, *FIRST, now=10.0)
    fail(director, 22, SILENT, 15.0)
    assert serving(director) == set(FIRST)
    assert director.next_deadline() == 15.0 + 5 + 4 * 5 + 3 * 3
    told = director.handle(Tick(), director.next_deadline())
    assert serving(director) == {21, 23, 24}
    assert told_of_ourselves(told) == [False]
    lose(director, *FIRST, 99, now=70.0)
    fail(director, 23, SILENT, 71.0)
    assert serving(director) == {21, 24}, "the kernel is not believed any more until the paths were whole again"


def test_a_path_that_flaps_revives_nobody_who_was_dead() -> None:
    director = director_of(config(pool()))
    fail(director, 21, SILENT, 5.0)
    for now in range(10, 60, 10):
        lose(director, *FIRST, now=float(now))
        director.handle(PathsSeen({}), now + 5.0)
        assert serving(director) == {22, 23, 24}


def test_when_the_path_is_back_who_is_still_down_is_out_a_round_later() -> None:
    director = director_of(config(pool()))
    lose(director, *FIRST, now=10.0)
    for last in FIRST:
        fail(director, last, SILENT, 30.0)
    told = director.handle(PathsSeen({}), 50.0)
    assert told == []
    for last in (21, 22, 23):
        told = succeed(director, last, 55.0)
    assert serving(director) == set(FIRST)
    assert director.handle(Tick(), 64.0) == []
    assert director.next_deadline() == 50.0 + 2 * (5 + 5)
    told = director.handle(Tick(), 70.0)
    assert told_of_ourselves(told) == [False]
    assert serving(director) == {21, 22, 23}


def test_an_operators_word_goes_before_the_suspicion() -> None:
    director = director_of(config(pool()))
    lose(director, *FIRST, now=10.0)
    fail(director, 21, SILENT, 30.0)
    director.handle(Overridden(((KEY, endpoint(21)),), Override(AdminState.DISABLED)), 31.0)
    assert serving(director) == {22, 23, 24}


def test_a_sorry_server_without_a_path_is_no_reason_to_hurry() -> None:
    director = director_of(config(pool(sorry=20)))
    lose(director, *FIRST, 20, now=10.0)
    fail(director, 21, SILENT, 30.0)
    ends: list[float] = []
    while 21 in serving(director):
        ends.append(director.next_deadline())
        director.handle(Tick(), ends[-1])
    assert ends[-1] == 610.0


def test_self_blame_off_ends_what_was_held() -> None:
    director = director_of(config(pool()))
    lose(director, *FIRST, now=10.0)
    fail(director, 21, SILENT, 30.0)
    told = director.reconfigure(replace(config(pool()), blame=BlameSettings(on=False)), 40.0)
    assert told_of_ourselves(told) == [False]
    assert serving(director) == {22, 23, 24}


def test_the_retries_of_nearly_all_hosts_are_evidence_before_the_first_verdict() -> None:
    director = two_pools()
    for last in (*FIRST, *SECOND):
        fail(director, last, SILENT, 10.0, retries=True)
    told = fail(director, 21, SILENT, 12.0)
    assert told_of_ourselves(told) == [True]
    assert serving(director) == {*FIRST, *SECOND}


def test_one_host_of_ten_that_answers_is_no_proof_and_two_are() -> None:
    for answering, suspected in ((1, True), (2, False)):
        director = director_of(config(pool(range(21, 26)), pool(range(31, 36), second=True)))
        everybody = [*range(21, 26), *range(31, 36)]
        for last in everybody[answering:]:
            fail(director, last, SILENT, 10.0, retries=True)
        fail(director, 35, SILENT, 12.0)
        assert (35 in serving(director)) is suspected


def test_hosts_that_were_dead_before_do_not_count() -> None:
    director = two_pools()
    fail(director, 21, SILENT, 10.0)
    for last in (22, 23, 24, *SECOND):
        fail(director, last, SILENT, 500.0, retries=True)
    fail(director, 22, SILENT, 502.0)
    assert serving(director) == {22, 23, 24, *SECOND}, "and 21 stays out"


def test_virtual_servers_that_share_their_hosts_are_one_witness() -> None:
    director = director_of(config(pool(range(21, 29)), pool(range(21, 29), second=True)))
    for last in range(21, 29):
        fail(director, last, SILENT, 10.0)
    assert serving(director) == set()


def test_a_silence_is_told_once_and_ends_by_itself() -> None:
    director = two_pools()
    told: list[Transition] = []
    for last in (*FIRST, *SECOND):
        told += fail(director, last, SILENT, 10.0, retries=True)
    for last in (*FIRST, *SECOND):
        told += fail(director, last, SILENT, 12.0)
    assert told_of_ourselves(told) == [True]
    now = 12.0
    while (now := director.next_deadline()) < 1000:
        told += director.handle(Tick(), now)
    assert told_of_ourselves(told) == [True, False]
    assert serving(director) == set()
    for last in (*FIRST, *SECOND):
        told += fail(director, last, SILENT, 400.0)
    assert told_of_ourselves(told) == [True, False]
    assert sum(isinstance(t, HoldChanged) and t.held_by == "blame" for t in told) == 8


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fail", "retry", "up", "lose", "back", "time"]),
        st.sampled_from([*FIRST, *SECOND]),
        st.sampled_from([SILENT, NO_WAY, REFUSED]),
        st.floats(0.1, 20),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_every_hold_ends_and_then_the_table_is_what_health_says(
    steps: list[tuple[str, int, tuple[str, str], float]],
) -> None:
    director, now = two_pools(), 1.0
    for what, last, how, pause in steps:
        now += pause
        while director.next_deadline() <= now:
            director.handle(Tick(), director.next_deadline())
        match what:
            case "fail" | "retry":
                fail(director, last, how, now, retries=what == "retry")
            case "up":
                succeed(director, last, now)
            case "lose":
                lose(director, *(FIRST if last < 30 else SECOND), now=now)
            case "back":
                director.handle(PathsSeen({}), now)
            case _:
                pass
        states = director.virtual_servers.values()
        held = [s for state in states for s in state.real_servers.values() if s.hold]
        assert director.blame.held == len(held) == sum(state.held for state in states)
        assert all(s.hold is not None and now < s.hold.until for s in held), "no hold outlives its end"
        assert not any(s.live for s in held)
        for state in states:
            assert state.weight_up == sum(s.effective_weight for s in state.real_servers.values())
    director.handle(Tick(), now + 2000)
    live = {
        int(where.address) & 255
        for state in director.virtual_servers.values()
        for where, server in state.real_servers.items()
        if server.live
    }
    assert serving(director) == live
    assert (director.blame.since is None) is not bool(director.blame.cut_off), "told as long as there is no way"


def test_what_matters_are_the_addresses_of_checks_servers_and_sorry_servers() -> None:
    director = director_of(config(pool(range(21, 23), sorry=20)))
    assert director.blame.targets == {ip_address(f"192.168.100.{last}") for last in (20, 21, 22)}


def test_a_link_that_comes_and_goes_for_ever_holds_nobody_for_ever() -> None:
    director = director_of(config(pool()))
    lose(director, *FIRST, now=10.0)
    fail(director, 21, SILENT, 30.0)
    now = 30.0
    while 21 in serving(director):
        now += 5.0
        assert now <= 30.0 + 600.0 + 20.0 + 5.0, "or that"
        lose(director, *(() if int(now) % 2 else FIRST), now=now)
    assert now > 600.0


def test_who_falls_silent_after_it_was_clear_is_held_too() -> None:
    director = director_of(config(pool(range(21, 31)), pool(range(41, 51), second=True)))
    everybody = [*range(21, 31), *range(41, 51)]
    for now, last in enumerate(everybody, 10):
        fail(director, last, SILENT, float(now), retries=True)
    for last in everybody:
        fail(director, last, SILENT, 32.0)
    assert serving(director) == set(everybody)


def test_a_director_without_a_way_to_a_pool_says_so_though_no_probe_could_fail() -> None:
    director = two_pools()
    (told,) = lose(director, *FIRST, now=1.0)
    assert isinstance(told, SelfBlame)
    assert (told.suspected, told.held, told.text) == (True, 0, "eth1 is down")
    assert lose(director, *FIRST, now=2.0) == [], "said once"
    (told,) = lose(director, now=4.0)
    assert isinstance(told, SelfBlame)
    assert not told.suspected
