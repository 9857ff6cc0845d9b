"""What an operator says of a real server: it always wins over health and never hides it (issue of reload, drain and override)."""

from __future__ import annotations

import math

from supervisor.core.causes import Kind
from supervisor.core.director import Director
from supervisor.core.drift import Adoption
from supervisor.core.events import Overridden, Tick, WeightsAdopted
from supervisor.core.override import ANOTHER_WRITER, AdminState, Override
from supervisor.core.transitions import AdminChanged, QuorumChanged, RealServerChanged, SorryChanged, Transition
from tests.supervisor.core.builders import (
    KEY,
    config,
    endpoint,
    real_server,
    report,
    started,
    virtual_server,
    weights,
)

DRAIN = Override(AdminState.DRAINING, reason="CHG-1", by="alice")


def say(director: Director, wish: Override | None, *servers: int, now: float = 10.0) -> list[Transition]:
    return director.handle(Overridden(tuple((KEY, endpoint(last)) for last in servers), wish), now)


def pool() -> Director:
    return started(config(virtual_server(real_server(21, weight=3), real_server(22, weight=2))))


def test_a_drained_server_stands_at_weight_0_and_is_back_with_its_weight_when_enabled() -> None:
    director = pool()
    (told,) = say(director, DRAIN, 21)
    assert isinstance(told, AdminChanged)
    assert (told.admin, told.weight_old, told.weight_new, told.reason, told.by) == ("draining", 3, 0, "CHG-1", "alice")
    assert weights(director) == {21: 0, 22: 2}
    (told,) = say(director, None, 21)
    assert isinstance(told, AdminChanged)
    assert (told.admin, told.weight_old, told.weight_new) == ("enabled", 0, 3)
    assert weights(director) == {21: 3, 22: 2}


def test_a_disabled_server_leaves_the_table_or_stays_at_weight_0_with_inhibit() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22, inhibit=True), real_server(23))))
    say(director, Override(AdminState.DISABLED), 21, 22)
    assert weights(director) == {22: 0, 23: 1}


def test_an_operators_weight_takes_the_place_of_the_configured_one_while_the_server_is_up() -> None:
    director = pool()
    say(director, Override(weight=50), 21)
    assert weights(director) == {21: 50, 22: 2}
    report(director, 21, up=False)
    assert weights(director) == {22: 2}
    report(director, 21, up=True)
    assert weights(director) == {21: 50, 22: 2}


def test_health_goes_on_being_told_under_an_override_and_never_ends_it() -> None:
    director = pool()
    say(director, DRAIN, 21)
    told = report(director, 21, up=False)
    assert [t.up for t in told if isinstance(t, RealServerChanged)] == [False]
    assert weights(director) == {22: 2}
    told = report(director, 21, up=True)
    assert [t.up for t in told if isinstance(t, RealServerChanged)] == [True]
    assert weights(director) == {21: 0, 22: 2}, "up again, and drained still"


def test_a_pool_that_is_drained_below_its_quorum_calls_the_sorry_server_and_keeps_who_is_connected() -> None:
    director = pool()
    told = say(director, DRAIN, 21, 22)
    assert [type(t) for t in told] == [AdminChanged, AdminChanged, QuorumChanged, SorryChanged]
    assert weights(director) == {20: 1, 21: 0, 22: 0}
    say(director, None, 22)
    assert weights(director) == {21: 0, 22: 2}


def test_a_wish_with_an_end_ends_by_itself_and_says_so() -> None:
    director = pool()
    say(director, Override(AdminState.DRAINING, until=40.0, by="alice"), 21)
    assert director.next_deadline() == 40.0
    assert director.handle(Tick(), 39.9) == []
    (told,) = director.handle(Tick(), 40.0)
    assert isinstance(told, AdminChanged)
    assert told.expired
    assert weights(director) == {21: 3, 22: 2}
    assert director.next_deadline() == math.inf


def test_a_later_wish_takes_the_place_of_an_earlier_one_with_its_end() -> None:
    director = pool()
    say(director, Override(AdminState.DRAINING, until=40.0), 21)
    say(director, Override(AdminState.DISABLED), 21)
    assert director.next_deadline() == math.inf
    assert weights(director) == {22: 2}


def test_the_same_wish_twice_is_told_once() -> None:
    director = pool()
    say(director, DRAIN, 21)
    assert say(director, DRAIN, 21, now=11.0) == []


def test_an_unknown_server_is_passed_over() -> None:
    director = pool()
    assert say(director, DRAIN, 99) == []


def test_an_override_survives_a_reload_that_keeps_its_server_and_goes_with_one_that_drops_it() -> None:
    director = pool()
    say(director, Override(AdminState.DRAINING, until=40.0), 21)
    director.reconfigure(config(virtual_server(real_server(21, weight=7), real_server(22, weight=2))), 12.0)
    assert weights(director) == {21: 0, 22: 2}
    director.reconfigure(config(virtual_server(real_server(22, weight=2))), 13.0)
    assert director.next_deadline() == math.inf


def test_the_chain_of_an_override_begins_with_who_and_why() -> None:
    director = pool()
    say(director, DRAIN, 21)
    (first, *_) = director.virtual_servers[KEY].real_servers[endpoint(21)].why
    assert first.kind is Kind.OPERATOR
    assert "draining, said alice (CHG-1)" in first.text


# --- weights that somebody set in the kernel's table -----------------------------------------------------------------


def find(
    director: Director, last: int, weight: int, until: float = 610.0, *, taken_back: bool = False
) -> list[Transition]:
    adoption = Adoption(KEY, endpoint(last), weight, 3, 10.0, until, taken_back)
    return director.handle(WeightsAdopted((adoption,)), 10.0)


def test_a_weight_of_0_that_was_found_in_the_table_is_a_drain_with_an_end() -> None:
    director = pool()
    (told,) = find(director, 21, 0)
    assert isinstance(told, AdminChanged)
    assert (told.admin, told.by, told.expires_s) == ("draining", ANOTHER_WRITER, 600)
    assert told.reason == "set to 0 by hand in the kernel's table"
    assert weights(director) == {21: 0, 22: 2}
    assert director.next_deadline() == 610.0
    (told,) = director.handle(Tick(), 610.0)
    assert isinstance(told, AdminChanged)
    assert told.expired
    assert weights(director) == {21: 3, 22: 2}


def test_a_weight_that_was_found_in_the_table_holds_until_the_file_says_something_else_of_its_server() -> None:
    director = pool()
    find(director, 21, 7, math.inf)
    assert weights(director) == {21: 7, 22: 2}
    director.reconfigure(config(virtual_server(real_server(21, weight=3), real_server(22, weight=9))), 20.0)
    assert weights(director) == {21: 7, 22: 9}
    director.reconfigure(config(virtual_server(real_server(21, weight=4), real_server(22, weight=9))), 30.0)
    assert weights(director) == {21: 4, 22: 9}


def test_what_was_found_in_the_table_never_replaces_an_operators_word() -> None:
    director = pool()
    say(director, Override(weight=50, by="alice"), 21)
    assert find(director, 21, 0) == []
    assert weights(director) == {21: 50, 22: 2}


def test_who_takes_his_emergency_back_by_hand_gets_our_weight_and_with_adopt_his_own() -> None:
    director = pool()
    find(director, 21, 0)
    find(director, 21, 9, taken_back=True)
    assert weights(director) == {21: 3, 22: 2}
    find(director, 21, 0, math.inf)
    find(director, 21, 9, math.inf, taken_back=True)
    assert weights(director) == {21: 9, 22: 2}


def test_a_server_that_is_unknown_has_no_weight_to_adopt() -> None:
    director = pool()
    assert find(director, 99, 0) == []
