"""The start of a director from a kernel's table and a memory: the table in `core.adoption`, and what must hold in every case."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import MappingProxyType

import pytest

from supervisor.core.adoption import Standing, standings
from supervisor.core.director import Director
from supervisor.core.events import Health, Overridden, Tick
from supervisor.core.jobs import definition
from supervisor.core.memory import FRESH_S, CheckMemory, Clocks, Life, Memory, PoolMemory, Recall, ServerMemory
from supervisor.core.override import AdminState, Override
from supervisor.core.table import Destination, Service, ServiceSettings, Table
from supervisor.core.transitions import AdminChanged, QuorumChanged, RealServerChanged
from supervisor.model import AddressKey, Config, Protocol, VirtualServer
from tests.supervisor.core.builders import (
    KEY,
    check,
    config,
    endpoint,
    real_server,
    report,
    started,
    virtual_server,
    weights,
)

UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
LIFE = Life("boot", "net:[1]")
WALL = 1_800_000_000.0


def service(**by_last: int) -> Service:
    """The kernel's service with weights by the last byte of the address."""
    destinations = {endpoint(int(n[1:])): Destination(endpoint(int(n[1:])), w) for n, w in by_last.items()}
    return Service(KEY, ServiceSettings("rr"), destinations)


def server(last: int, health: Health, wanted: int | None, *, alpha: bool = False) -> ServerMemory:
    spec = check(endpoint(last), alpha=alpha)
    known = CheckMemory(definition(spec), spec.type, health, WALL - 100.0, "L4CON", "connection refused")
    return ServerMemory(endpoint(last), wanted, WALL - 100.0, (known,))


def pool(*servers: ServerMemory, quorate: bool = True, sorry: int | None = 20) -> PoolMemory:
    where = None if sorry is None else endpoint(sorry)
    return PoolMemory(KEY, quorate, WALL - 100.0, where, {known.endpoint: known for known in servers})


def recall(*servers: ServerMemory, life: Life = LIFE, age_s: float = 2.0, removed: bool = False) -> Recall:
    memory = Memory("0.1.0", LIFE, WALL - age_s, removed=removed, pools=MappingProxyType({KEY: pool(*servers)}))
    return Recall(memory, life, Clocks(1000.0, WALL), WALL - age_s)


def remade(director: Director, *, now: float, wall: float, later_s: float = 1.0) -> Recall:
    """What a director leaves, seen by the next start `later_s` seconds later, whose own clock begins at 5000."""
    memory = Memory("0.1.0", LIFE, wall, pools=director.memories(Clocks(now, wall)))
    return Recall(memory, LIFE, Clocks(5000.0, wall + later_s), wall)


def begun(configured: Config, found: Service | None, recalled: Recall | None, now: float = 1000.0) -> Director:
    director = Director(configured, now, Table({KEY: found} if found else {}), recalled)
    director.start(now)
    return director


# -- the table of the docstring --------------------------------------------------------------------------------------------

BESIDE = real_server(29)
"""Another server of the pool, which serves all the time."""

ROWS: list[tuple[int | None, Health | None, int | None, bool, Standing]] = [
    # in the table, remembered as, wanted, stale, → standing
    (1, UP, 1, False, Standing.SERVING),
    (1, UP, 1, True, Standing.SERVING),
    (1, UP, 0, False, Standing.SERVING),
    (1, DOWN, 0, False, Standing.PROVISIONAL),
    (1, DOWN, None, False, Standing.PROVISIONAL),
    (1, UNKNOWN, 1, False, Standing.PROVISIONAL),
    (1, None, None, False, Standing.SERVING),
    (0, UP, 0, False, Standing.KNOWN),
    (None, UP, None, False, Standing.KNOWN),
    (0, UP, 0, True, Standing.OUT),
    (0, DOWN, 0, False, Standing.OUT),
    (None, DOWN, None, False, Standing.OUT),
    (None, DOWN, None, True, Standing.OUT),
    (None, UNKNOWN, None, False, Standing.FRESH),
    (0, UP, 1, False, Standing.OUT),
    (None, UP, 1, False, Standing.OUT),
    (None, DOWN, 1, False, Standing.OUT),
    (0, UNKNOWN, 1, False, Standing.OUT),
    (0, None, None, False, Standing.OUT),
]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("inhibit", [False, True])
@pytest.mark.parametrize(("there", "health", "wanted", "stale", "expected"), ROWS)
def test_a_server_starts_as_table_and_memory_say(
    there: int | None,
    health: Health | None,
    wanted: int | None,
    stale: bool,
    expected: Standing,
    inhibit: bool,
    alpha: bool,
) -> None:
    """inhibit_on_failure and alpha make no difference where something is known."""
    spec = virtual_server(BESIDE, real_server(21, inhibit=inhibit, alpha=alpha))
    found = service(_29=1) if there is None else service(_29=1, _21=there)
    known = [] if health is None else [server(21, health, wanted, alpha=alpha)]
    memory = pool(server(29, UP, 1), *known)
    assert standings(spec, found, memory, FRESH_S + 1 if stale else 1.0)[endpoint(21)] is expected


@pytest.mark.parametrize(
    ("health", "stale", "expected"),
    [
        (UP, False, Standing.KNOWN),
        (UP, True, Standing.FRESH),
        (DOWN, False, Standing.KNOWN),
        (DOWN, True, Standing.KNOWN),
        (UNKNOWN, False, Standing.FRESH),
        (None, False, Standing.FRESH),
    ],
)
@pytest.mark.parametrize("found", [None, service()])
def test_without_a_service_memory_alone_counts(
    health: Health | None, stale: bool, expected: Standing, found: Service | None
) -> None:
    known = [] if health is None else [server(21, health, 1)]
    memory = pool(server(29, UP, 1), *known)
    decided = standings(virtual_server(BESIDE, real_server(21)), found, memory, FRESH_S + 1 if stale else 1.0)
    assert decided[endpoint(21)] is expected


def test_a_server_that_is_new_in_the_file_starts_by_its_rules_only_where_the_pool_is_as_we_left_it() -> None:
    spec = virtual_server(BESIDE, real_server(21))
    as_left, changed = pool(server(29, UP, 1)), pool(server(29, UP, 1), server(28, UP, 1))
    assert standings(spec, service(_29=1), as_left)[endpoint(21)] is Standing.FRESH
    assert standings(spec, service(_29=1), changed)[endpoint(21)] is Standing.OUT
    assert standings(spec, service(_29=1), None)[endpoint(21)] is Standing.OUT


def test_a_server_that_was_its_own_sorry_server_while_it_was_down_is_not_taken_for_serving() -> None:
    spec = virtual_server(real_server(21), real_server(22), sorry=21)
    memory = pool(server(21, DOWN, 1), server(22, DOWN, None), quorate=False, sorry=21)
    assert set(standings(spec, service(_21=1), memory).values()) == {Standing.OUT}


def test_a_server_without_checks_is_never_taken_for_dead() -> None:
    spec = virtual_server(BESIDE, real_server(21, checks=()))
    assert standings(spec, service(_29=1, _21=0), pool(server(29, UP, 1)))[endpoint(21)] is Standing.FRESH


# -- what must hold in every case --------------------------------------------------------------------------------------------

STATES = [None, *((health, wanted) for health in Health for wanted in (None, 0, 1))]
KERNELS = [None, 0, 1]


def every_case() -> list[tuple[VirtualServer, Service | None, PoolMemory | None]]:
    """Two servers in every state of table and memory, with and without inhibit, alpha, sorry server, a stranger that serves."""
    cases = []
    for inhibit, alpha, sorry, stranger in itertools.product((False, True), (False, True), (None, 20), (False, True)):
        specs = [real_server(n, inhibit=inhibit, alpha=alpha) for n in (21, 22)]
        spec = virtual_server(*specs, sorry=sorry)
        for first, second, one, two in itertools.product(STATES, STATES, KERNELS, KERNELS):
            known = [
                server(n, state[0], state[1], alpha=alpha)
                for n, state in ((21, first), (22, second))
                if state is not None
            ]
            there = {f"_{n}": w for n, w in ((21, one), (22, two)) if w is not None} | ({"_77": 1} if stranger else {})
            cases.append((spec, service(**there) if there else None, pool(*known, sorry=sorry) if known else None))
    return cases


def test_in_every_case_nobody_is_revived_nobody_taken_out_and_no_pool_emptied() -> None:
    cases = every_case()
    for spec, found, memory in cases:
        recalled = None
        if memory is not None:
            whole = Memory("0.1.0", LIFE, WALL, pools={KEY: memory})
            recalled = Recall(whole, LIFE, Clocks(1000.0, WALL), WALL - 1.0)
        director = begun(config(spec), found, recalled)
        wanted = weights(director)
        there = found.destinations if found else {}
        serving = {int(e.address) & 255 for e, d in there.items() if d.weight > 0}
        case = (spec, found, memory, wanted)
        for n in (21, 22):
            known = memory.servers.get(endpoint(n)) if memory else None
            if n in serving:
                assert wanted.get(n) == 1, case
            elif known is not None and known.health is DOWN and wanted.get(n):
                assert not serving & {21, 22}, case
                assert spec.sorry_server is None, case
                assert found is None or 77 in serving, case
        if serving & {21, 22} or (serving and not spec.real_servers[0].checks[0].alpha):
            assert any(wanted.values()), case
    assert len(cases) == 16 * 100 * 9


# -- what the director makes of it --------------------------------------------------------------------------------------------


PAIR = config(virtual_server(real_server(21), real_server(22), sorry=None))


def test_who_was_down_stays_down_after_a_flush_and_tells_why() -> None:
    director = begun(PAIR, None, recall(server(21, UP, 1), server(22, DOWN, None)))
    assert weights(director) == {21: 1}
    state = director.virtual_servers[KEY].real_servers[endpoint(22)]
    assert state.since == 900.0
    assert "DOWN when last seen" in state.why[0].text
    assert state.checks[0].result is not None
    assert state.checks[0].result.detail == "connection refused"
    assert [type(told) for told in report(director, 22, up=True, now=1001.0)][-1] is RealServerChanged
    assert weights(director) == {21: 1, 22: 1}


def test_a_flushed_pool_in_which_all_were_down_starts_by_the_file_unless_a_sorry_server_stands_in() -> None:
    both_down = recall(server(21, DOWN, None), server(22, DOWN, None))
    assert weights(begun(PAIR, None, both_down)) == {21: 1, 22: 1}
    with_sorry = config(virtual_server(real_server(21), real_server(22)))
    assert weights(begun(with_sorry, None, both_down)) == {20: 1}


def test_after_a_reboot_or_in_another_network_namespace_health_is_forgotten_and_the_wish_is_not() -> None:
    drained = Override(AdminState.DRAINING, reason="CHG-1", by="alice")
    before = started(PAIR)
    report(before, 22, up=False)
    before.handle(Overridden(((KEY, endpoint(21)),), drained), 2.0)
    left = remade(before, now=3.0, wall=WALL)
    for life in (Life("other boot", "net:[1]"), Life("boot", "net:[2]"), Life()):
        after = begun(PAIR, None, Recall(left.memory, life, left.clocks, left.alive_at), now=5000.0)
        assert weights(after) == {21: 0, 22: 1}
        kept = after.virtual_servers[KEY].real_servers[endpoint(21)].override
        assert kept is not None
        assert (kept.reason, kept.by, kept.since) == ("CHG-1", "alice", 5000.0 - 1.0 - 3.0)


def test_a_server_in_doubt_keeps_its_weight_and_the_first_probe_decides() -> None:
    director = begun(PAIR, service(_21=1, _22=1), recall(server(21, UP, 1), server(22, DOWN, None)))
    assert weights(director) == {21: 1, 22: 1}
    job = director.virtual_servers[KEY].real_servers[endpoint(22)].checks[0].job
    assert director.job_health(job) is UNKNOWN  # which the worker takes for "the first failure is decisive"
    report(director, 22, up=False)
    assert weights(director) == {21: 1}
    assert director.job_health(job) is DOWN


def test_a_belief_of_one_virtual_server_does_not_take_a_server_in_doubt_out_of_another() -> None:
    shared = check(endpoint(22))
    second = replace(PAIR.virtual_servers[0], key=AddressKey(Protocol.UDP, KEY.endpoint))
    both = Config(virtual_servers=(PAIR.virtual_servers[0], second))
    known = pool(server(21, UP, 1), server(22, DOWN, None))
    memory = Memory("0.1.0", LIFE, WALL, pools={KEY: known, second.key: replace(known, key=second.key)})
    table = Table({KEY: service(_21=1, _22=1), second.key: replace(service(_21=1), key=second.key)})
    director = Director(both, 1000.0, table, Recall(memory, LIFE, Clocks(1000.0, WALL), WALL))
    director.start(1000.0)
    assert director.job_health(director.jobs.jobs[shared]) is UNKNOWN
    assert weights(director) == {21: 1, 22: 1}


def test_a_wish_ends_at_its_time_whether_anybody_runs_then_or_not() -> None:
    before = started(PAIR)
    wish = Override(AdminState.DRAINING, reason="CHG-2", by="bob", since=1.0, until=61.0)
    before.handle(Overridden(((KEY, endpoint(22)),), wish), 1.0)
    report(before, 21, up=True)
    report(before, 22, up=True)
    soon = begun(PAIR, service(_21=1, _22=0), remade(before, now=1.0, wall=WALL, later_s=20.0), now=5000.0)
    assert weights(soon) == {21: 1, 22: 0}
    assert soon.next_deadline() == 5040.0
    late = begun(PAIR, service(_21=1, _22=0), remade(before, now=1.0, wall=WALL, later_s=60.0), now=5000.0)
    assert weights(late) == {21: 1, 22: 0}  # until the first turn of the loop, which tells of it
    assert late.next_deadline() <= 5000.0
    (told,) = late.handle(Tick(), 5000.0)
    assert isinstance(told, AdminChanged)
    assert told.expired
    assert weights(late) == {21: 1, 22: 1}


def test_a_clock_that_was_set_back_does_not_prolong_a_wish() -> None:
    before = started(PAIR)
    before.handle(Overridden(((KEY, endpoint(22)),), Override(AdminState.DRAINING, until=61.0)), 1.0)
    after = begun(PAIR, None, remade(before, now=1.0, wall=WALL, later_s=-1_000_000.0), now=5000.0)
    assert after.next_deadline() == 5060.0


def test_an_override_of_the_weight_is_not_taken_for_what_a_check_said() -> None:
    before = started(PAIR)
    report(before, 21, up=True)
    report(before, 22, up=True)
    before.handle(Overridden(((KEY, endpoint(22)),), Override(weight=7)), 2.0)
    after = begun(PAIR, service(_21=1, _22=7), remade(before, now=2.0, wall=WALL), now=5000.0)
    assert weights(after) == {21: 1, 22: 7}
    after.handle(Overridden(((KEY, endpoint(22)),), None), 5001.0)
    assert weights(after) == {21: 1, 22: 1}


def test_a_quorum_that_was_lost_is_not_told_again_at_every_start() -> None:
    before = started(PAIR)
    for last in (21, 22):
        report(before, last, up=False)
    assert not before.virtual_servers[KEY].quorate
    left = remade(before, now=2.0, wall=WALL)
    for found in (None, service()):
        after = Director(PAIR, 5000.0, Table({KEY: found} if found else {}), left)
        told = after.start(5000.0)
        assert [type(one) for one in told] == [
            QuorumChanged
        ]  # nobody was left: all start by the file's rules, so it is back
    inhibiting = config(virtual_server(real_server(21, inhibit=True), real_server(22, inhibit=True), sorry=None))
    before = started(inhibiting)
    for last in (21, 22):
        report(before, last, up=False)
    after = Director(inhibiting, 5000.0, Table({KEY: service(_21=0, _22=0)}), remade(before, now=2.0, wall=WALL))
    assert after.start(5000.0) == []
    assert not after.virtual_servers[KEY].quorate
    assert after.virtual_servers[KEY].since == 5000.0 - 1.0 - 1.0


def test_after_a_clean_stop_the_quorum_is_told_as_at_every_start() -> None:
    director = Director(PAIR, 1000.0, Table(), recall(server(21, UP, 1), server(22, DOWN, None), removed=True))
    assert [type(told) for told in director.start(1000.0)] == [type(t) for t in Director(PAIR, 0.0).start(0.0)]
    assert weights(director) == {21: 1}


def test_an_edited_check_takes_over_what_the_one_before_knew() -> None:
    edited = real_server(22, checks=(check(endpoint(22), path="/other"),))
    configured = config(virtual_server(real_server(21), edited, sorry=None))
    director = begun(configured, None, recall(server(21, UP, 1), server(22, DOWN, None)))
    assert weights(director) == {21: 1}


def test_memories_are_made_anew_only_where_something_changed() -> None:
    director = started(PAIR)
    first = director.memories(Clocks(0.0, WALL))
    quiet = director.has_news
    assert director.memories(Clocks(9.0, WALL + 9.0))[KEY] is first[KEY]
    report(director, 22, up=True)  # UNKNOWN and trusted before: no weight changes, but what is known does
    assert (quiet, director.has_news) == (False, True)
    again = director.memories(Clocks(9.0, WALL + 9.0))[KEY]
    assert again.servers[endpoint(22)].health is UP
    assert again.servers[endpoint(22)].checks[0].since_at == WALL + 1.0


def test_services_that_left_the_file_are_abandoned_only_while_they_are_ours() -> None:
    left = recall(server(21, UP, 1))
    empty, table = Config(), Table({KEY: service(_21=1, _20=0)})
    assert left.abandoned(empty, table) == {KEY: True}
    assert left.abandoned(empty, Table({KEY: service(_21=1, _77=1)})) == {KEY: False}
    assert left.abandoned(empty, Table()) == {}
    assert left.abandoned(PAIR, table) == {}
    assert recall(server(21, UP, 1), life=Life("boot", "net:[2]")).abandoned(empty, table) == {}
    assert recall(server(21, UP, 1), removed=True).abandoned(empty, table) == {}
    leaving = replace(
        left, memory=replace(left.memory, pools={}, leaving={KEY: frozenset({endpoint(20), endpoint(21)})})
    )
    assert leaving.abandoned(empty, table) == {KEY: True}
