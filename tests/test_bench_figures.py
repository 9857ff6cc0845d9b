"""The figures of the benchmarks: how medians, shares and judged ratios come of what was measured."""

from __future__ import annotations

import pytest

from bench import cpu_section, lag, ldirectord, peers
from bench.cpu_rows import Case, Purpose, Sample, row
from bench.peers import Kind, Work
from bench.plots import digest

HTTP = Case(Kind.HTTP, 1000, 1, 5.0, 3)


def samples(*costs_us: float) -> list[Sample]:
    return [Sample(cost_us * 5000 / 1e6, 5000, 5.0, 20_000) for cost_us in costs_us]


def test_a_line_is_the_median_with_its_range() -> None:
    assert row(Purpose.RATE, samples(70, 90, 71)) == ["71.0 (70.0-90.0)", 1000, 20_000]
    assert row(Purpose.RATE, samples(70)) == ["70.0", 1000, 20_000]
    assert row(Purpose.SATURATED, samples(50))[2] == 20_000
    assert row(Purpose.IDLE, [Sample(0.04, 2, 8.0, 20_000)]) == ["5.00", 20_000]


def test_the_judged_ratios_are_of_medians_of_all_processes_at_1_000_real_servers_only() -> None:
    ours, kept = f"{peers.OURS}: all processes", f"{peers.OURS_KEPT} {peers.FRESH_EVERY}: all processes"
    workers = f"{peers.OURS}: workers"
    lines = {
        workers: samples(1),
        ours: samples(72, 60, 100),
        kept: samples(30),
        "keepalived": samples(120),
        "HAProxy": samples(60),
    }
    many = Case(Kind.HTTP, 10_000, 5, 5.0, 1)
    judged = cpu_section.judged({HTTP: lines, many: {ours: samples(1), "keepalived": samples(1)}})
    assert {figure["name"]: figure["value"] for figure in judged} == {
        "http_fresh_by_keepalived": 0.6,
        "http_fresh_by_haproxy": 1.2,
        "http_kept_by_keepalived": 0.25,
    }, "the floor was not measured, so nothing is said of it"


def test_each_peer_is_measured_with_what_it_can_do() -> None:
    serial, _ = ldirectord.PEERS
    assert Case(Kind.HTTP, 200, 1, 5.0, 1).has(serial)
    assert not HTTP.has(serial)
    assert not Case(Kind.TLS, 200, 1, 5.0, 1).has(serial)
    assert Case(Kind.HTTP, 500, 1, 5.0, 1, Purpose.SERIAL, (ldirectord.NAME,)).has(serial)


def test_who_has_a_dearer_check_now_and_then_is_measured_for_whole_turns_or_not_at_all() -> None:
    fresh, kept = peers.PEERS[0], next(peer for peer in peers.PEERS if peer.name == peers.OURS_KEPT)
    assert (HTTP.seconds_of(fresh), HTTP.seconds_of(kept)) == (HTTP.seconds, 1.0 * peers.FRESH_EVERY)
    assert Case(Kind.HTTP, 1000, 1, peers.FRESH_EVERY + 0.5, 1).seconds_of(kept) == 2 * peers.FRESH_EVERY
    rare = Case(Kind.HTTP, 10_000, 5, 5.0, 1)
    assert (rare.has(fresh), rare.has(kept)) == (True, False)
    assert Case(Kind.HTTP, 1000, 3600, 8.0, 1).has(fresh)


def test_ldirectord_keeps_its_interval_as_long_as_a_round_takes_less() -> None:
    work = Work(Kind.HTTP, 500, 1, 80)
    assert ldirectord.interval_kept_by(400.0, work) == 2000, "500 in 1.25 s: half a millisecond each beside the pause"
    assert ldirectord.interval_kept_by(500.0, work) is None


def test_lateness_is_what_came_between_two_readings() -> None:
    before, after = {0.05: 10.0, 0.1: 20.0, lag.ALL: 20.0}, {0.05: 100.0, 0.1: 1015.0, lag.ALL: 1020.0}
    came = lag.since(before, after, {})
    assert lag.late(came, 0.1) == pytest.approx(0.005)
    assert (lag.within_s(came, 0.5), lag.within_s(came, 0.999)) == (0.1, lag.ALL)
    twice = lag.since(before, after, came)
    assert twice[lag.ALL] == 2000


def test_a_plot_is_known_by_its_data_whatever_their_order() -> None:
    bars = {"name": "b", "bars": [["ours", 1.0, 1.0, 1.0]]}
    assert digest(bars) == digest(dict(reversed(bars.items())))
    assert digest(bars) != digest({**bars, "name": "c"})
