"""May an operator's wish be granted: what would be left of the live weight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.director import Director
from supervisor.core.events import Overridden
from supervisor.core.override import AdminState, Override
from supervisor.core.permission import Shortfall, shortfalls
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, report, started, virtual_server

DRAIN, DISABLE = Override(AdminState.DRAINING), Override(AdminState.DISABLED)


def asked(director: Director, wish: Override | None, *servers: int) -> tuple[Shortfall, ...]:
    return shortfalls(director.virtual_servers, [(KEY, endpoint(last)) for last in servers], wish)


def do(director: Director, wish: Override | None, *servers: int) -> None:
    director.handle(Overridden(tuple((KEY, endpoint(last)) for last in servers), wish), 5.0)


def pool(*weights: int, quorum: int = 1, hysteresis: int = 0) -> Director:
    servers = [real_server(21 + index, weight=weight) for index, weight in enumerate(weights)]
    return started(config(virtual_server(*servers, quorum=quorum, hysteresis=hysteresis)))


def test_one_of_two_may_be_taken_out_and_both_may_not() -> None:
    director = pool(1, 1)
    assert asked(director, DRAIN, 21) == ()
    assert asked(director, DRAIN, 21, 22) == (Shortfall(KEY, 0, 1, 0),)
    assert str(asked(director, DISABLE, 21, 22)[0]) == "203.0.113.100:80/tcp with live weight 0 of the quorum 1"


def test_pybal_t184715_servers_that_are_down_drained_or_disabled_do_not_count_as_left() -> None:
    """Its rule counted servers that were pooled though down, so the last one that served could be taken out."""
    down, drained, disabled = pool(1, 1), pool(1, 1), pool(1, 1)
    report(down, 22, up=False)
    do(drained, DRAIN, 22)
    do(disabled, DISABLE, 22)
    for director in (down, drained, disabled):
        assert asked(director, DRAIN, 21) == (Shortfall(KEY, 0, 1, 0),)


def test_a_server_that_serves_nobody_may_always_be_taken_out() -> None:
    director = pool(1, 1)
    report(director, 21, up=False)
    assert asked(director, DISABLE, 21) == ()
    report(director, 22, up=False)
    assert not director.virtual_servers[KEY].quorate
    assert asked(director, DRAIN, 21, 22) == ()


def test_the_quorum_counts_weights_and_its_hysteresis_is_what_loses_it() -> None:
    director = pool(3, 2, 1, quorum=4, hysteresis=1)
    assert asked(director, DRAIN, 21) == (), "3 is quorum minus hysteresis: it holds"
    assert [short.weight_left for short in asked(director, DRAIN, 21, 23)] == [2]
    assert "(hysteresis 1)" in str(asked(director, DRAIN, 21, 23)[0])


def test_where_the_quorum_is_lost_already_nothing_more_may_be_taken_away() -> None:
    director = pool(1, 1, 1, quorum=3)
    report(director, 21, up=False)
    assert [short.weight_left for short in asked(director, DRAIN, 22)] == [1]


def test_a_weight_is_judged_by_what_it_leaves() -> None:
    director = pool(5, 5, quorum=6)
    assert asked(director, Override(weight=1), 21) == ()
    assert [short.weight_left for short in asked(director, Override(weight=0), 21)] == [5]
    do(director, Override(weight=9), 21)
    do(director, DRAIN, 22)
    assert [short.weight_left for short in asked(director, None, 21)] == [5], "the end of a wish takes weight away, too"


def test_unknown_servers_and_the_same_one_twice_do_no_harm() -> None:
    director = pool(1, 1)
    assert asked(director, DRAIN, 21, 21, 99) == ()


WISHES = st.sampled_from([None, DRAIN, DISABLE, Override(weight=0), Override(weight=2), Override(weight=7)])


@given(
    weights=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    quorum=st.integers(1, 6),
    steps=st.lists(st.tuples(st.integers(0, 4), st.one_of(WISHES, st.booleans())), max_size=12),
    chosen=st.sets(st.integers(0, 4), min_size=1),
    wish=WISHES,
    data=st.data(),
)
def test_what_is_permitted_never_loses_a_quorum_and_what_is_refused_would(
    weights: list[int],
    quorum: int,
    steps: list[tuple[int, Override | bool | None]],
    chosen: set[int],
    wish: Override | None,
    data: st.DataObject,
) -> None:
    director = pool(*weights, quorum=quorum, hysteresis=data.draw(st.integers(0, quorum - 1)))
    for index, step in steps:
        if index >= len(weights):
            continue
        if isinstance(step, bool):
            report(director, 21 + index, up=step)
        else:
            do(director, step, 21 + index)
    state = director.virtual_servers[KEY]
    before, weight_before = state.quorate, state.weight_up
    servers = [21 + index for index in chosen if index < len(weights)]
    short = asked(director, wish, *servers)
    do(director, wish, *servers)
    assert [found.weight_left for found in short] in ([], [state.weight_up])
    if short:
        assert not state.quorate
        assert state.weight_up < weight_before
    else:
        assert state.quorate >= before or state.weight_up >= weight_before


@pytest.mark.parametrize("wish", [DRAIN, DISABLE, Override(weight=4), None])
def test_to_ask_changes_nothing(wish: Override | None) -> None:
    director = pool(1, 2)
    table = director.desired()
    asked(director, wish, 21, 22)
    assert director.desired() is table
