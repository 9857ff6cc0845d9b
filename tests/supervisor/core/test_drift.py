"""What is believed of a foreign change, and what is done about it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.diff import diff
from supervisor.core.drift import (
    ANSWER_MAX_S,
    BACKOFF_FIRST_S,
    BACKOFF_LAST_S,
    REPAIRS_MAX,
    WINDOW_S,
    Adoption,
    Difference,
    DriftJudge,
    Ruling,
    differences,
)
from supervisor.core.suspicion import LOOKS_MAX, Suspicions
from supervisor.core.table import AddDestination, ChangeDestination, DeleteDestination, Service, ServiceSettings, Table
from supervisor.model import (
    DriftPolicy,
    Endpoint,
    Forwarding,
    Method,
    RealServer,
    ServiceKey,
    SorryServer,
    VirtualServer,
)
from tests.fakes.tables import KEYS, destination, endpoint, service, table, tables, tcp

KEY, OTHER = tcp("10.0.0.1"), tcp("10.0.0.2")
A, B, SORRY = endpoint("10.1.0.1"), endpoint("10.1.0.2"), endpoint("10.1.0.20")
WANTED = service(KEY, destination("10.1.0.1", 3), destination("10.1.0.2", 3))
REPAIR, ADOPT, REPORT = DriftPolicy.REPAIR, DriftPolicy.ADOPT, DriftPolicy.REPORT


def judge(policy: DriftPolicy = REPAIR, grace: int = 600) -> DriftJudge:
    made = DriftJudge()
    made.reconfigure([spec(policy, grace)])
    return made


def spec(policy: DriftPolicy = REPAIR, grace: int = 600, **more: object) -> VirtualServer:
    plain = VirtualServer(
        KEY,
        real_servers=(RealServer(A, 3), RealServer(B, 3)),
        sorry_server=SorryServer(SORRY),
        drift_policy=policy,
        drift_grace=grace,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def having(a: int | None = 3, b: int | None = 3, *others: str) -> Service:
    """The service as the kernel has it: weights of the two real servers (None: gone), and strangers."""
    there = [destination(ip, w) for ip, w in (("10.1.0.1", a), ("10.1.0.2", b)) if w is not None]
    return service(KEY, *there, *(destination(ip) for ip in others))


# --- believing -------------------------------------------------------------------------------------------------------

GONE = AddDestination(KEY, destination("10.1.0.1", 3))
EXTRA = DeleteDestination(KEY, endpoint("10.1.0.9"))


def test_a_difference_is_believed_when_it_is_seen_again_after_the_delay() -> None:
    suspicions = Suspicions(0.05)
    assert suspicions.look([GONE], None, 10.0) == set()
    assert suspicions.next_look() == pytest.approx(10.05)
    assert suspicions.look([GONE], None, 10.04) == set()
    assert suspicions.look([GONE], [KEY], 10.05) == {KEY}
    assert suspicions.next_look() == math.inf


def test_another_difference_begins_anew_and_none_at_all_ends_it() -> None:
    suspicions = Suspicions(0.05)
    suspicions.look([GONE], None, 10.0)
    assert suspicions.look([EXTRA], None, 10.05) == set()
    assert suspicions.look([], None, 10.10) == set()
    assert not suspicions.keys
    assert suspicions.look([GONE], None, 10.15) == set()


def test_a_writer_that_is_faster_than_we_look_is_believed_in_after_ten_looks() -> None:
    suspicions = Suspicions(0.05)
    found = [
        suspicions.look([AddDestination(KEY, destination("10.1.0.1", weight))], [KEY], 10.0 + 0.05 * weight)
        for weight in range(LOOKS_MAX)
    ]
    assert found == [set()] * (LOOKS_MAX - 1) + [{KEY}]
    assert not suspicions.keys


def test_what_was_not_read_again_stays_suspected() -> None:
    suspicions = Suspicions(0.05)
    suspicions.look([GONE], None, 10.0)
    assert suspicions.look([], [OTHER], 10.1) == set()
    assert set(suspicions.keys) == {KEY}


# --- what differs ----------------------------------------------------------------------------------------------------


def test_a_missing_service_is_one_difference_and_each_destination_another() -> None:
    assert differences(WANTED, WANTED) == []
    assert [d.endpoint for d in differences(WANTED, None)] == [None]
    assert [d.endpoint for d in differences(None, WANTED)] == [None]
    assert [d.endpoint for d in differences(WANTED, having(0, None, "10.1.0.9"))] == [A, B, endpoint("10.1.0.9")]


def test_a_difference_has_weights_where_they_differ() -> None:
    (found,) = differences(WANTED, having(0))
    assert found.weight == (3, 0)
    there = replace(destination("10.1.0.1", 3), upper_threshold=5)
    (found,) = differences(WANTED, service(KEY, there, destination("10.1.0.2", 3)))
    assert found.weight is None
    (found,) = differences(WANTED, having(None))
    assert found.weight is None


# --- repair ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actual", [having(7), having(None), having(3, 3, "10.1.0.9"), None])
def test_by_default_what_somebody_changed_is_repaired(actual: Service | None) -> None:
    ruled = judge()
    ruling = ruled.rule(WANTED, actual, 0.0)
    assert ruling == Ruling(repaired=tuple(differences(WANTED, actual)))
    assert ruled.standing() == []
    assert ruled.amend(table(WANTED)).services[KEY] is WANTED


def test_a_weight_set_to_zero_by_hand_is_an_emergency_that_stands_for_the_grace() -> None:
    ruled, wanted = judge(grace=600), table(WANTED)
    assert ruled.rule(WANTED, having(0), 100.0).adopted == (Adoption(KEY, A, 0, 3, 100.0, 700.0),)
    assert ruled.amend(wanted) == table(having(0))
    assert ruled.next_deadline() == 700.0
    assert ruled.rule(WANTED, having(0), 101.0) == Ruling()  # it is known
    assert ruled.expire(699.9).over == ()
    assert [d.endpoint for d in ruled.expire(700.0).over] == [A]
    assert ruled.amend(wanted) is wanted


def test_a_grace_of_nothing_repairs_an_emergency_too() -> None:
    assert judge(grace=0).rule(WANTED, having(0), 1.0).repaired == tuple(differences(WANTED, having(0)))


def test_an_emergency_by_an_ipvsadm_without_its_other_options_stands_in_its_weight_alone() -> None:
    limited = replace(destination("10.1.0.1", 3), upper_threshold=5)
    wanted = service(KEY, limited, destination("10.1.0.2", 3))
    sloppy = destination("10.1.0.1", 0, method=Method(Forwarding.DR))
    ruled = judge()
    assert len(ruled.rule(wanted, service(KEY, sloppy, destination("10.1.0.2", 3)), 1.0).adopted) == 1
    halfway = service(KEY, replace(limited, weight=0), destination("10.1.0.2", 3))
    assert ruled.amend(table(wanted)) == table(halfway)
    assert ruled.rule(wanted, halfway, 2.0) == Ruling()  # as we wrote it


def test_only_a_server_in_service_has_emergencies_and_no_sorry_server_has() -> None:
    down = service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 3))
    assert judge().rule(down, having(7), 1.0).adopted == ()
    standing_in = service(KEY, destination("10.1.0.20", 1))
    ruling = judge().rule(standing_in, service(KEY, destination("10.1.0.20", 0)), 1.0)
    assert (len(ruling.repaired), ruling.adopted) == (1, ())


def test_a_verdict_of_ours_ends_what_stands() -> None:
    ruled = judge()
    ruled.rule(WANTED, having(0), 1.0)
    later = table(service(KEY, destination("10.1.0.1", 9), destination("10.1.0.2", 3)))
    assert ruled.amend(later) is later
    assert ruled.standing() == []


def test_a_verdict_about_another_server_ends_nothing() -> None:
    ruled = judge()
    ruled.rule(WANTED, having(0), 1.0)
    later = table(service(KEY, destination("10.1.0.1", 3), destination("10.1.0.2", 0)))
    assert ruled.amend(later) == table(having(0, 0))


def test_an_emergency_that_somebody_took_back_stands_no_longer() -> None:
    ruled = judge()
    ruled.rule(WANTED, having(0), 1.0)
    assert ruled.rule(WANTED, having(5), 2.0).repaired == tuple(differences(WANTED, having(5)))
    assert ruled.standing() == []


@pytest.mark.parametrize(("policy", "until"), [(REPAIR, 602.0), (ADOPT, math.inf)])
def test_an_emergency_that_the_director_took_can_be_taken_back_by_hand(policy: DriftPolicy, until: float) -> None:
    ruled = judge(policy)
    ruled.rule(WANTED, having(0), 1.0)
    drained = having(0)  # as the director wants it now
    ruled.amend(table(drained))
    assert ruled.rule(drained, having(9), 2.0).adopted == (Adoption(KEY, A, 9, 0, 2.0, until, taken_back=True),)
    assert ruled.amend(table(drained)) == table(having(9))
    assert [d.endpoint for d in ruled.expire(2.0 + ANSWER_MAX_S).over] == [
        A
    ]  # the director wants 0 all the same: it is down
    assert ruled.rule(drained, having(9), 8.0).adopted == ()


def test_a_service_that_no_file_names_any_more_is_repaired() -> None:
    ruled = DriftJudge()
    assert len(ruled.rule(WANTED, having(0), 1.0).repaired) == 1
    assert len(ruled.rule(None, having(), 1.0).repaired) == 1


# --- adopt -----------------------------------------------------------------------------------------------------------


def test_adopt_takes_any_weight_of_a_server_in_service_without_an_end_and_repairs_the_rest() -> None:
    ruled = judge(ADOPT)
    ruling = ruled.rule(WANTED, having(7, 0, "10.1.0.9"), 1.0)
    assert ruling.adopted == (Adoption(KEY, A, 7, 3, 1.0, math.inf), Adoption(KEY, B, 0, 3, 1.0, math.inf))
    assert [d.endpoint for d in ruling.repaired] == [endpoint("10.1.0.9")]
    assert ruled.amend(table(WANTED)) == table(having(7, 0))
    assert ruled.next_deadline() == math.inf


def test_adopt_sends_no_clients_to_a_server_that_is_down() -> None:
    down = service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 3))
    assert judge(ADOPT).rule(down, having(7), 1.0).adopted == ()


# --- report ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actual", [having(7), having(0, 0), having(None, None, "10.1.0.9"), None])
def test_report_lets_everything_stand_and_tells_it_once(actual: Service | None) -> None:
    ruled = judge(REPORT)
    found = tuple(differences(WANTED, actual))
    assert ruled.rule(WANTED, actual, 1.0) == Ruling(reported=found)
    assert ruled.rule(WANTED, actual, 2.0) == Ruling()
    assert ruled.standing() == list(found)
    assert ruled.amend(table(WANTED)) == (Table() if actual is None else table(actual))


def test_report_lets_settings_stand() -> None:
    ruled = judge(REPORT)
    actual = replace(WANTED, settings=ServiceSettings("wlc"))
    ruled.rule(WANTED, actual, 1.0)
    assert ruled.amend(table(WANTED)) == table(actual)


def test_what_was_reported_and_is_as_wanted_again_stands_no_longer() -> None:
    ruled = judge(REPORT)
    ruled.rule(WANTED, None, 1.0)
    ruled.rule(WANTED, WANTED, 2.0)
    assert ruled.standing() == []


def test_a_new_policy_looks_at_what_stands_anew() -> None:
    ruled = judge(REPORT)
    ruled.rule(WANTED, having(7), 1.0)
    ruled.reconfigure([spec(REPORT)])
    assert len(ruled.standing()) == 1
    ruled.reconfigure([spec(REPAIR)])
    assert ruled.standing() == []


# --- another writer that does not give in ----------------------------------------------------------------------------


def fight(ruled: DriftJudge, start: float, times: int, pause: float = 2.0) -> list[Ruling]:
    return [ruled.rule(WANTED, having(7), start + n * pause) for n in range(times)]


def test_after_four_repairs_of_one_entry_within_a_minute_the_fifth_is_left() -> None:
    ruled = judge()
    *before, last = fight(ruled, 0.0, REPAIRS_MAX + 1)
    assert [len(ruling.repaired) for ruling in before] == [1] * REPAIRS_MAX
    assert last.contest is not None
    assert (last.repaired, len(last.fought), last.contest.backoff_s) == ((), 1, BACKOFF_FIRST_S)
    assert ruled.amend(table(WANTED)) == table(having(7))
    again = ruled.rule(WANTED, having(8), 20.0)
    assert (len(again.fought), again.contest) == (1, None)  # that it is contested is told once


def test_repairs_that_are_far_apart_are_no_fight() -> None:
    rulings = fight(judge(), 0.0, 50, pause=WINDOW_S / REPAIRS_MAX + 0.1)
    assert all(ruling.repaired and ruling.contest is None for ruling in rulings)


def test_repairs_of_different_entries_are_no_fight() -> None:
    ruled = judge()
    for n in range(50):
        ruling = ruled.rule(WANTED, having(3, 3, f"10.1.9.{n}"), float(n))
        assert ruling.repaired


def test_a_verdict_is_written_in_a_fight_too() -> None:
    ruled = judge()
    fight(ruled, 0.0, REPAIRS_MAX + 1)
    dead = table(service(KEY, destination("10.1.0.1", 0), destination("10.1.0.2", 3)))
    assert ruled.amend(dead) is dead


def test_a_fight_ends_when_nobody_goes_on_and_lasts_longer_when_somebody_does() -> None:
    ruled = judge()
    fight(ruled, 0.0, REPAIRS_MAX + 1)
    now = ruled.contests[KEY].until
    backoffs: list[float] = []
    while len(backoffs) < 6:
        assert len(ruled.expire(now).over) == 1  # to be repaired
        ruling = ruled.rule(WANTED, having(7), now + 2.0)
        assert ruling.contest is not None
        backoffs.append(ruling.contest.backoff_s)
        now = ruling.contest.until
    assert backoffs == [120, 240, 480, BACKOFF_LAST_S, BACKOFF_LAST_S, BACKOFF_LAST_S]
    assert ruled.expire(now).settled == ()
    assert ruled.next_deadline() == now + WINDOW_S
    assert ruled.expire(now + WINDOW_S).settled == (KEY,)
    assert fight(ruled, now + WINDOW_S, 1)[0].repaired


def test_a_pool_that_somebody_empties_again_and_again_is_filled_each_time_and_told_as_contested() -> None:
    ruled, told = judge(), []
    for n in range(30):
        ruling = ruled.rule(WANTED, None, 2.0 * n)
        assert ruling.repaired
        told.append(ruling.contest)
    assert [contest is not None for contest in told].count(True) == 1
    assert len(ruled.rule(WANTED, service(KEY), 61.0).repaired) == 2


def test_a_fight_that_leaves_nobody_in_service_is_taken_up_again() -> None:
    ruled = judge(grace=0)
    fight(ruled, 0.0, REPAIRS_MAX + 1)
    assert len(ruled.rule(WANTED, having(0), 20.0).fought) == 1
    assert len(ruled.rule(WANTED, having(0, 0), 30.0).repaired) == 2


def test_a_service_that_nobody_wants_and_somebody_makes_again_and_again_stays_at_last() -> None:
    ruled = judge()
    for n in range(REPAIRS_MAX):
        assert ruled.rule(None, having(), 2.0 * n).repaired
    assert ruled.rule(None, having(), 2.0 * REPAIRS_MAX).fought
    assert set(ruled.unwanted) == {KEY}


def test_a_fight_over_a_virtual_server_that_left_the_file_is_over() -> None:
    ruled = judge()
    fight(ruled, 0.0, REPAIRS_MAX + 1)
    ruled.reconfigure([])
    assert (ruled.contests, ruled.standing(), ruled.next_deadline()) == ({}, [], math.inf)


# --- laws ------------------------------------------------------------------------------------------------------------


@given(tables(KEYS[:3], hosts=3), tables(KEYS[:3], hosts=3), st.sampled_from(DriftPolicy))
def test_what_stands_and_what_is_repaired_are_together_what_differs(
    wanted: Table, actual: Table, policy: DriftPolicy
) -> None:
    ruled = DriftJudge()
    ruled.reconfigure(
        VirtualServer(key, real_servers=tuple(map(RealServer, found.destinations)), drift_policy=policy)
        for key, found in wanted.services.items()
    )
    adopted: dict[ServiceKey, set[Endpoint]] = {}
    for key in wanted.services:
        mine, there = wanted.services[key], actual.services.get(key)
        ruling = ruled.rule(mine, there, 5.0)
        decided = {d.endpoint for d in (*ruling.repaired, *ruling.reported)} | {a.endpoint for a in ruling.adopted}
        adopted[key] = {a.endpoint for a in ruling.adopted}
        assert decided == {d.endpoint for d in differences(mine, there)}
    amended = ruled.amend(wanted)
    assert ruled.amend(wanted) is amended
    if policy is DriftPolicy.REPORT:
        assert diff(amended, actual) == []
    else:
        extra = [op for op in diff(amended, actual) if op not in diff(wanted, actual)]
        assert all(isinstance(op, ChangeDestination) and op.destination.endpoint in adopted[op.key] for op in extra)
    standing: list[Difference] = ruled.standing()
    assert (amended is wanted) == (not standing)
