"""The guard `min_healthy`: who stays in service when too few are live, and who never does (issue 4)."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.sockets import errno_text
from supervisor.core import badness
from supervisor.core.badness import Badness
from supervisor.core.director import Director
from supervisor.core.events import CheckReported, Health, Overridden, Result
from supervisor.core.guard import reached
from supervisor.core.override import AdminState, Override
from supervisor.core.transitions import HoldChanged, QuorumChanged, RealServerChanged, Transition
from supervisor.model import MinHealthy, MinHealthyUnit, RealServer
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, started, virtual_server, weights

HALF = MinHealthy(MinHealthyUnit.PERCENT, 50)
TWO = MinHealthy(MinHealthyUnit.SERVERS, 2)

WRONG, SLOW, SILENT = (
    ("L7STS", "HTTP 503"),
    ("L7TOUT", "no complete answer within 5 s"),
    ("L4TOUT", "no connection within 5 s"),
)
UNREACHABLE, REFUSED = ("L4CON", "no route to host"), ("L4CON", "connection refused")


def guarded(minimum: MinHealthy | None, *servers: RealServer, sorry: int | None = 20, quorum: int = 1) -> Director:
    return started(config(replace(virtual_server(*servers, sorry=sorry, quorum=quorum), min_healthy=minimum)))


def four(minimum: MinHealthy | None = HALF, *, sorry: int | None = 20) -> Director:
    return guarded(minimum, *(real_server(last) for last in (21, 22, 23, 24)), sorry=sorry)


def fail(director: Director, last: int, how: tuple[str, str] = SLOW, now: float | None = None) -> list[Transition]:
    report = CheckReported(0, Health.DOWN, 1, 4, Result(7, *how, "", "", 1.0))
    return _say(director, last, report, float(last) if now is None else now)


def succeed(director: Director, last: int, now: float = 50.0) -> list[Transition]:
    return _say(director, last, CheckReported(0, Health.UP, 2, 0, Result(8, "L7OK", "HTTP 200", "", "", 0.1)), now)


def _say(director: Director, last: int, report: CheckReported, now: float) -> list[Transition]:
    server = director.virtual_servers[KEY].real_servers[endpoint(last)]
    return director.handle(replace(report, job=server.checks[0].job), now)


def held(director: Director) -> set[int]:
    servers = director.virtual_servers[KEY].real_servers.values()
    return {int(server.spec.endpoint.address) & 255 for server in servers if server.hold}


def moves(told: list[Transition]) -> list[tuple[int, str, str]]:
    return [(int(t.real_server.address) & 255, t.was, t.held_by) for t in told if isinstance(t, HoldChanged)]


def test_without_min_healthy_nobody_is_ever_held() -> None:
    director = four(None)
    for last in (21, 22, 23, 24):
        fail(director, last)
    assert weights(director) == {20: 1}


def test_the_guard_keeps_a_server_in_service_that_its_checks_say_is_down() -> None:
    director = four()
    fail(director, 21)
    fail(director, 22)
    assert weights(director) == {23: 1, 24: 1}
    told = fail(director, 23)
    assert weights(director) == {23: 1, 24: 1}
    assert [type(t) for t in told if not isinstance(t, HoldChanged)][-1] is RealServerChanged, "health is told as ever"
    (change,) = [t for t in told if isinstance(t, RealServerChanged)]
    assert (change.up, change.weight_old, change.weight_new, change.up_left, change.weight_left) == (False, 1, 1, 1, 2)
    assert moves(told) == [(23, "", "guard")]
    assert fail(director, 23) == [], "told once"


def test_a_server_that_recovers_lets_the_held_one_go() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    told = succeed(director, 21)
    assert moves(told) == [(23, "guard", "")]
    assert weights(director) == {21: 1, 24: 1}


def test_each_removal_that_was_refused_is_counted_once() -> None:
    director = four()
    for last in (21, 22):
        fail(director, last)
    assert director.virtual_servers[KEY].refused == 0
    for _ in range(2):
        fail(director, 23)
    assert director.virtual_servers[KEY].refused == 1
    succeed(director, 23)
    fail(director, 23, now=60.0)
    assert director.virtual_servers[KEY].refused == 2


def test_a_held_server_that_comes_up_is_simply_live() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    told = succeed(director, 23)
    assert moves(told) == [(23, "guard", "")]
    assert weights(director) == {23: 1, 24: 1}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (WRONG, SLOW, 21),
        (SLOW, SILENT, 21),
        (SILENT, ("PROCERR", "exit 1"), 21),
        (("CRASHED", "bug"), UNREACHABLE, 21),
        (SILENT, WRONG, 22),
        (SLOW, SLOW, 22),  # who failed last
    ],
)
def test_the_least_bad_of_two_is_held(first: tuple[str, str], second: tuple[str, str], kept: int) -> None:
    director = guarded(MinHealthy(MinHealthyUnit.SERVERS, 1), *(real_server(last) for last in (21, 22, 23)))
    fail(director, 21, first, now=1.0)
    fail(director, 22, second, now=2.0)
    fail(director, 23, REFUSED, now=3.0)
    assert held(director) == {kept}


def test_where_connections_are_refused_nobody_is_held_and_the_sorry_server_steps_in() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last, REFUSED)
    assert held(director) == set()
    told = fail(director, 24, REFUSED)
    assert held(director) == set()
    assert weights(director) == {20: 1}
    assert any(isinstance(t, QuorumChanged) and not t.up for t in told)


def test_a_held_server_that_begins_to_refuse_makes_room_for_another() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    assert held(director) == {23}
    told = fail(director, 23, REFUSED)
    assert moves(told) == [(23, "guard", ""), (22, "", "guard")]
    assert weights(director) == {22: 1, 24: 1}


def test_who_is_held_does_not_change_with_each_probe() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last, SLOW)
    assert held(director) == {23}
    assert fail(director, 23, SILENT) == []
    assert fail(director, 21, WRONG) == []
    assert held(director) == {23}
    fail(director, 23, UNREACHABLE)
    assert held(director) == {21}, "but one that nobody reaches makes room"


def test_a_server_that_never_was_in_service_is_not_held() -> None:
    director = guarded(TWO, real_server(21, alpha=True), real_server(22), real_server(23))
    fail(director, 21)
    fail(director, 22)
    assert weights(director) == {22: 1, 23: 1}
    assert held(director) == {22}


def test_a_probe_that_says_nothing_does_not_end_a_hold() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    assert fail(director, 23, ("LOCAL", "cannot open a socket: too many open files")) == []
    assert held(director) == {23}


def test_the_operators_word_goes_before_a_hold() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    told = director.handle(Overridden(((KEY, endpoint(23)),), Override(AdminState.DISABLED)), 50.0)
    assert moves(told) == [(23, "guard", ""), (22, "", "guard")], "1 of the 3 that are enabled is less than half"
    assert weights(director) == {22: 1, 24: 1}


def test_the_minimum_can_be_a_weight_and_no_more_is_held_than_it_takes() -> None:
    minimum = MinHealthy(MinHealthyUnit.WEIGHT, 5)
    director = guarded(minimum, real_server(21, weight=3), real_server(22, weight=5), real_server(23, weight=1))
    fail(director, 21, WRONG)
    fail(director, 22, SLOW)
    assert held(director) == {22}, "21 was held as long as it was needed"
    assert weights(director) == {22: 5, 23: 1}


def test_with_the_guard_the_quorum_counts_those_that_are_held() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    told = fail(director, 24)
    assert len(held(director)) == 2
    assert not any(isinstance(t, QuorumChanged) for t in told)
    assert 20 not in weights(director)


def test_a_reload_carries_a_hold_and_a_file_without_the_guard_ends_it() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    spec = director.virtual_servers[KEY].spec
    director.reconfigure(config(replace(spec, scheduler="wlc")), 50.0)
    assert held(director) == {23}
    servers = tuple(
        replace(server, checks=tuple(replace(c, type="TCP_CHECK", alpha=True) for c in server.checks))
        for server in spec.real_servers
    )
    director.reconfigure(config(replace(spec, real_servers=servers)), 51.0)
    assert held(director) == {23}, "until its new check has spoken"
    told = director.reconfigure(config(replace(spec, real_servers=servers, min_healthy=None)), 52.0)
    assert moves(told) == [(23, "guard", "")]
    assert weights(director) == {24: 1}


def test_the_chain_says_who_holds() -> None:
    director = four()
    for last in (21, 22, 23):
        fail(director, last)
    why = director.virtual_servers[KEY].real_servers[endpoint(23)].why
    assert why[-1].text == "held by guard: fewer than min_healthy 50% would be left"


def test_every_error_of_connecting_that_is_no_refusal_is_known_by_its_words() -> None:
    for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ENETDOWN, errno.EHOSTDOWN):
        result = Result(1, "L4CON", errno_text(number), "", "", 0.0)
        assert badness.of_result("TCP_CHECK", result) is Badness.UNREACHABLE, number
    for number in (errno.ECONNREFUSED, errno.ECONNRESET):
        result = Result(1, "L4CON", errno_text(number), "", "", 0.0)
        assert badness.of_result("TCP_CHECK", result) is Badness.REFUSED, number


# -- laws ----------------------------------------------------------------------------------------------------------------

MINIMA = st.one_of(
    st.none(),
    st.builds(MinHealthy, st.just(MinHealthyUnit.PERCENT), st.integers(1, 100)),
    st.builds(MinHealthy, st.just(MinHealthyUnit.SERVERS), st.integers(1, 6)),
    st.builds(MinHealthy, st.just(MinHealthyUnit.WEIGHT), st.integers(1, 20)),
)
OUTCOMES = st.sampled_from(
    [None, WRONG, SLOW, SILENT, UNREACHABLE, REFUSED, ("PROCERR", "exit 1"), ("LOCAL", "no socket")]
)
STORIES = st.lists(st.tuples(st.integers(0, 4), OUTCOMES), max_size=30)
WEIGHTS = st.lists(st.integers(0, 5), min_size=5, max_size=5)


def _play(minimum: MinHealthy | None, heavy: list[int], story: list[tuple[int, tuple[str, str] | None]]) -> Director:
    director = guarded(minimum, *(real_server(21 + n, weight=weight) for n, weight in enumerate(heavy)), sorry=None)
    for at, (number, outcome) in enumerate(story, 1):
        if outcome is None:
            succeed(director, 21 + number, float(at))
        else:
            fail(director, 21 + number, outcome, float(at))
    return director


@given(minimum=MINIMA, heavy=WEIGHTS, story=STORIES)
def test_the_laws_of_the_guard(
    minimum: MinHealthy | None, heavy: list[int], story: list[tuple[int, tuple[str, str] | None]]
) -> None:
    director, plain = _play(minimum, heavy, story), _play(None, heavy, story)
    state, unguarded = director.virtual_servers[KEY], plain.virtual_servers[KEY]
    assert state.weight_up >= unguarded.weight_up, "never less in service than without it"
    in_sum = sum(server.effective_weight for server in state.real_servers.values())
    assert (state.weight_up, state.held) == (in_sum, len(held(director))), "what is kept is what is summed up"
    for server in state.real_servers.values():
        if server.hold:
            assert not server.live
            assert badness.of_server(server) not in {Badness.REFUSED, Badness.UNKNOWN}
        assert server.live == unguarded.real_servers[server.spec.endpoint].live, "health is what it would be without it"
    if held(director):
        assert minimum is not None
        for last in held(director):
            rest = [s for s in state.real_servers.values() if s.in_service and s.spec.endpoint != endpoint(last)]
            assert not reached(minimum, rest, list(state.real_servers.values())), "nobody is held who is not needed"
