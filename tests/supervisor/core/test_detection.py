"""How long noticing takes, by the timings of the file: figures that can be reckoned by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from checkers.kit import timer, urgency, watch
from supervisor.core import changes, detection
from supervisor.core.detection import ROUND_TRIP_S, TICK_S, TOLD_S, Detection, Shape, Span, of_server, waits
from supervisor.model import CheckSpec, Config, RealServer, Schedule, ServiceKey, VirtualServer
from tests.supervisor.core.builders import KEY, config, endpoint, virtual_server

ARTICLE = Schedule(delay_loop=5.0, retry=3, delay_before_retry=3.0, connect_timeout=5.0, warmup=5.0)
HTTP = '{"url":[{"path":"/"}]}'


def check(kind: str = "HTTP_GET", schedule: Schedule = ARTICLE, options: str = HTTP) -> CheckSpec:
    return CheckSpec(kind, endpoint(21), schedule, options_json=options if kind == "HTTP_GET" else "{}")


def busy(*checks: CheckSpec, rate_max: int = 20) -> Shape:
    found = whole(*checks, rate_max=rate_max)
    assert found is not None
    return found.busy


def whole(*checks: CheckSpec, rate_max: int = 20) -> Detection | None:
    server = RealServer(endpoint(21), checks=checks)
    return of_server(server, waits([virtual_server(server)], rate_max))


def near(span: Span | None, expected_s: float, worst_s: float) -> bool:
    """Tell whether a span is what it should be: the mean to a quarter of a second, the bound exactly."""
    assert span is not None
    return abs(span.expected_s - expected_s) < 0.25 and span.worst_s == pytest.approx(worst_s)


def worst_s(span: Span | None) -> float:
    assert span is not None
    return span.worst_s


def test_the_figures_of_the_workers_are_the_workers_own() -> None:
    assert TICK_S == timer.TICK_S
    assert detection.KEPT_ALIVE_S == 1 + watch.TIMES_SILENT - 1
    assert (detection.AT_ONCE_MAX, detection.RETURN_EVERY_S) == (urgency.AT_ONCE_MAX, urgency.RETURN_EVERY_S)


WATCHED = replace(check(), sentinel=True, fast_retry=True)


def test_the_article_s_timings_with_a_sentinel() -> None:
    shape = busy(WATCHED)
    assert near(shape.refused, 0.0, 5 + TICK_S + 4 * ROUND_TRIP_S + TOLD_S)
    assert near(shape.silent, 3 - 9 / 10 + 3 * 3 + 4 * 5, worst_s(busy(check()).silent))
    assert shape.wrong == busy(check()).wrong


def test_without_its_sentinel_the_retries_at_once_are_left() -> None:
    (given_up,) = (of_server(RealServer(endpoint(21), checks=(WATCHED,)), {}, [WATCHED]),)
    assert given_up is not None
    assert near(given_up.busy.refused, 5 / 2, worst_s(busy(WATCHED).refused))
    assert near(given_up.busy.silent, 5 / 2 + 3 * 3 + 4 * 5, worst_s(busy(WATCHED).silent))


def test_more_retries_than_are_made_at_once_keep_their_pauses() -> None:
    many = replace(WATCHED, schedule=replace(ARTICLE, retry=18))
    assert worst_s(busy(many).refused) == pytest.approx(5 + 19 * ROUND_TRIP_S + 3 * TICK_S + 2 * 3 + TOLD_S)


def test_without_retries_a_sentinel_costs_one_time_out_of_a_silent_host() -> None:
    hasty = replace(ARTICLE, retry=0, delay_loop=1.0, connect_timeout=1.0)
    alone = busy(check(schedule=hasty))
    watched = busy(replace(WATCHED, schedule=hasty))
    assert worst_s(watched.silent) == pytest.approx(worst_s(alone.silent) + 1.0 + 2 * TICK_S)
    assert near(watched.silent, 0.5 + 2 * 1.0, worst_s(watched.silent))
    assert worst_s(watched.refused) == worst_s(alone.refused)


def test_a_reload_that_takes_the_sentinel_away_is_told_of() -> None:
    def of(one: CheckSpec) -> dict[ServiceKey, VirtualServer]:
        return {KEY: virtual_server(RealServer(endpoint(21), checks=(one,)))}

    (change,) = detection.compare(of(WATCHED), of(check()), {KEY}, (20, 20))
    assert change.before is not None
    assert change.after is not None
    assert worst_s(change.after.busy.refused) - worst_s(change.before.busy.refused) == pytest.approx(3 * (3 + TICK_S))


def test_the_article_s_timings() -> None:
    shape = busy(check())
    assert near(shape.refused, 5 / 2 + 3 * 3, 5 + 3 * 3 + 4 * TICK_S + 4 * ROUND_TRIP_S + TOLD_S)
    assert near(shape.silent, 5 / 2 + 3 * 3 + 4 * 5, 5 + 3 * 3 + 4 * 5 + 8 * TICK_S + TOLD_S)
    assert near(shape.wrong, 5 / 2 + 3 * 3, 5 + 3 * 3 + 5 * 5 + 9 * TICK_S + TOLD_S), (
        "the last good answer took its time"
    )
    assert near(shape.back, 5 / 2, 5 + 5 + 5 + 3 * TICK_S + TOLD_S)


def test_our_own_pauses_are_reckoned_with() -> None:
    ours = replace(ARTICLE, fast_interval=0.5, down_interval=20.0, rise=3)
    before, after = busy(check()), busy(check(schedule=ours))
    assert worst_s(after.refused) - worst_s(before.refused) == pytest.approx(3 * (0.5 - 3.0))
    assert worst_s(after.back) == pytest.approx(5 + 20 + 2 * 0.5 + 3 * 5 + 7 * TICK_S + TOLD_S)


@pytest.mark.parametrize(
    ("kind", "noticed"),
    [
        ("TCP_CHECK", {"refused", "silent"}),
        ("PING_CHECK", {"silent"}),
        ("UDP_CHECK", {"refused"}),
        ("HTTP_GET", {"refused", "silent", "wrong"}),
        ("SSL_GET", {"refused", "silent", "wrong"}),
        ("DNS_CHECK", {"refused", "silent", "wrong"}),
        ("MISC_CHECK", {"refused", "silent", "wrong"}),
    ],
)
def test_each_type_notices_what_it_can(kind: str, noticed: set[str]) -> None:
    shape = busy(check(kind))
    assert {name for name in ("refused", "silent", "wrong") if getattr(shape, name) is not None} == noticed


def test_a_udp_check_that_wants_a_reply_notices_silence_and_wrong_replies() -> None:
    shape = busy(replace(check("UDP_CHECK"), options_json='{"require_reply":"00"}'))
    assert shape.silent is not None
    assert shape.wrong is not None


def test_without_a_check_or_with_a_file_alone_nothing_is_noticed() -> None:
    assert whole() is None
    assert whole(check("FILE_CHECK")) is None


def test_of_several_checks_the_quickest_takes_it_out_and_the_slowest_lets_it_back_in() -> None:
    fast = replace(ARTICLE, delay_loop=1.0, connect_timeout=0.2, fast_interval=0.1)
    one, other, both = busy(check()), busy(check("TCP_CHECK", fast)), busy(check(), check("TCP_CHECK", fast))
    assert (both.refused, both.silent, both.wrong, both.back) == (other.refused, other.silent, one.wrong, one.back)


def test_several_urls_take_as_long_as_all_of_them_and_one_by_one_as_many_rounds() -> None:
    urls = '{"url":[{"path":"/"},{"path":"/x"},{"path":"/y"}]}'
    one, all_at_once = busy(check()), busy(check(options=urls))
    assert worst_s(all_at_once.silent) - worst_s(one.silent) == pytest.approx(4 * 10)
    in_turn = busy(check(options=urls[:-1] + ',"urls_one_by_one":true}'))
    assert in_turn.silent == one.silent
    assert worst_s(in_turn.wrong) - worst_s(one.wrong) == pytest.approx(2 * (5 + 5 + 2 * TICK_S))


def test_without_traffic_the_longer_pause_counts() -> None:
    found = whole(check(schedule=replace(ARTICLE, idle_interval=60.0)))
    assert found is not None
    assert found.unused is not None
    assert worst_s(found.unused.silent) - worst_s(found.busy.silent) == pytest.approx(55)
    assert found.unused.back == found.busy.back
    plain = whole(check())
    assert plain is not None
    assert plain.unused is None


def test_who_may_be_asked_too_often_waits_at_each_probe_and_others_do_not() -> None:
    quick = replace(ARTICLE, delay_loop=1.0, fast_interval=0.1)
    many = [check(schedule=replace(quick, warmup=float(n))) for n in range(30)]
    crowded, alone = busy(*many), busy(check(schedule=quick))
    assert worst_s(crowded.refused) - worst_s(alone.refused) == pytest.approx(4 * 2 * (1 + TICK_S)), (
        "30 checks, 20 a second: two turns"
    )
    assert busy(*many, rate_max=0) == alone
    assert busy(*(check(schedule=replace(ARTICLE, warmup=float(n))) for n in range(5))) == busy(check())
    assert busy(check(schedule=quick), rate_max=5) != alone


def files(schedule: Schedule, *, rate_max: int = 20, hosts: tuple[int, ...] = (21, 22)) -> Config:
    servers = [RealServer(endpoint(last), checks=(CheckSpec("TCP_CHECK", endpoint(last), schedule),)) for last in hosts]
    return replace(config(virtual_server(*servers)), probe_rate_max=rate_max)


def test_what_a_new_file_changes_is_told_of_alike_servers_together() -> None:
    fast = replace(ARTICLE, fast_interval=0.5)
    found = changes.compare(files(ARTICLE), files(fast, hosts=(21, 22, 23))).detection
    assert [(one.virtual_server, one.real_servers, one.before is None) for one in found] == [
        (KEY, (endpoint(21), endpoint(22)), False),
        (KEY, (endpoint(23),), True),
    ]
    assert found[0].after == found[1].after
    assert changes.compare(files(ARTICLE), files(ARTICLE)).detection == ()
    assert changes.compare(files(ARTICLE), files(replace(ARTICLE, warmup=1.0))).detection == ()


def test_another_limit_of_probes_a_second_changes_it_too() -> None:
    quick = replace(ARTICLE, delay_loop=0.3)
    found = changes.compare(files(quick), files(quick, rate_max=3)).detection
    assert [one.real_servers for one in found] == [(endpoint(21), endpoint(22))]


def test_as_json_it_has_names_and_milliseconds() -> None:
    assert detection.as_json(None) is None
    found = detection.as_json(whole(check("TCP_CHECK")))
    assert found is not None
    assert found["unused"] is None
    assert found["busy"]["wrong"] is None
    assert found["busy"]["refused"] == {"expected_s": 11.587, "worst_s": 14.7}
