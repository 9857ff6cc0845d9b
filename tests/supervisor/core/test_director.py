from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.core import views
from supervisor.core.causes import Kind
from supervisor.core.director import Director
from supervisor.core.events import (
    CheckReported,
    Health,
    KernelRead,
    KernelWritten,
    LevelsRepeated,
    Result,
    SentinelReported,
    WorkerSilent,
    WorkerSpeaking,
)
from supervisor.core.health import Check
from supervisor.core.table import ChangeDestination, Destination, Reading, Service, ServiceSettings, Table
from supervisor.core.transitions import (
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    VirtualServerRemoved,
)
from supervisor.model import FlushOnStop, KernelSettings, Script, ScriptSettings
from tests.supervisor.core.builders import (
    KEY,
    check,
    config,
    endpoint,
    real_server,
    report,
    said,
    started,
    virtual_server,
    weights,
)

ARTICLE = config(virtual_server(real_server(21, inhibit=True), real_server(22, inhibit=True)))


def test_real_servers_enter_the_table_before_their_first_check() -> None:
    assert weights(started(ARTICLE)) == {21: 1, 22: 1}


def test_a_real_server_with_alpha_enters_only_after_its_first_success() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22, alpha=True))))
    assert weights(director) == {21: 1}
    report(director, 22, up=True)
    assert weights(director) == {21: 1, 22: 1}


def test_a_failed_real_server_goes_to_weight_zero_with_inhibit_and_out_without() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22, inhibit=True), real_server(23))))
    report(director, 22, up=False)
    report(director, 23, up=False)
    assert weights(director) == {21: 1, 22: 0}


def test_one_failing_check_of_several_takes_a_real_server_out_and_the_last_recovery_brings_it_back() -> None:
    checks = (check(endpoint(21)), check(endpoint(21), "TCP_CHECK"))
    director = started(config(virtual_server(real_server(21, checks=checks), real_server(22))))
    report(director, 21, up=False, number=0)
    report(director, 21, up=False, number=1)
    assert weights(director) == {22: 1}
    told = report(director, 21, up=True, number=0)
    assert [type(t) for t in told] == [CheckChanged]
    assert weights(director) == {22: 1}
    told = report(director, 21, up=True, number=1)
    assert [type(t) for t in told] == [CheckChanged, RealServerChanged]
    assert weights(director) == {21: 1, 22: 1}


def test_the_sorry_server_serves_when_all_are_gone_and_leaves_when_one_is_back() -> None:
    director = started(ARTICLE)
    report(director, 21, up=False)
    told = report(director, 22, up=False)
    assert weights(director) == {21: 0, 22: 0, 20: 1}
    assert [type(t) for t in told] == [CheckChanged, RealServerChanged, QuorumChanged, SorryChanged]
    told = report(director, 22, up=True)
    assert weights(director) == {21: 0, 22: 1}
    left = told[-1]
    assert isinstance(left, SorryChanged)
    assert (left.sorry_server, left.active) == (endpoint(20), False)


def test_without_a_sorry_server_a_lost_quorum_leaves_the_others_serving() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22), sorry=None, quorum=2)))
    told = report(director, 22, up=False)
    assert any(isinstance(t, QuorumChanged) and not t.up for t in told)
    assert weights(director) == {21: 1}


def test_with_a_sorry_server_a_lost_quorum_takes_the_live_ones_out_too() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22), quorum=2)))
    report(director, 22, up=False)
    assert weights(director) == {20: 1}
    report(director, 22, up=True)
    assert weights(director) == {21: 1, 22: 1}


def test_hysteresis_keeps_and_delays_the_quorum_as_keepalived_does() -> None:
    """Quorum 2, hysteresis 1, weights 2 and 1: one death keeps it, none left loses it, 2 does not regain it, 3 does."""
    director = started(
        config(virtual_server(real_server(21, weight=2), real_server(22, weight=1), quorum=2, hysteresis=1))
    )
    report(director, 21, up=False)
    assert director.virtual_servers[KEY].quorate
    report(director, 22, up=False)
    assert not director.virtual_servers[KEY].quorate
    report(director, 21, up=True)
    assert not director.virtual_servers[KEY].quorate
    report(director, 22, up=True)
    assert director.virtual_servers[KEY].quorate


def test_a_sorry_server_with_inhibit_stands_by_at_weight_zero() -> None:
    director = started(config(virtual_server(real_server(21, inhibit=True), sorry_inhibit=True)))
    assert weights(director) == {21: 1, 20: 0}
    report(director, 21, up=False)
    assert weights(director) == {21: 0, 20: 1}


def test_a_sorry_server_that_is_a_real_server_too_serves_though_its_check_fails() -> None:
    director = started(config(virtual_server(real_server(20, inhibit=True), real_server(21, inhibit=True))))
    report(director, 20, up=False)
    report(director, 21, up=False)
    assert weights(director) == {20: 1, 21: 0}


def test_a_real_server_with_weight_zero_counts_nothing_for_the_quorum() -> None:
    director = started(config(virtual_server(real_server(21, weight=0), real_server(22))))
    report(director, 22, up=False)
    assert weights(director) == {20: 1}


def test_a_level_told_twice_is_one_transition() -> None:
    director = started(ARTICLE)
    assert report(director, 22, up=False)
    assert report(director, 22, up=False) == []
    assert report(director, 22, up=False, result=False) == []


def test_the_first_success_of_a_server_in_service_is_no_transition() -> None:
    assert report(started(ARTICLE), 21, up=True) == []


def test_a_failure_that_only_consumes_a_retry_is_told_but_changes_nothing() -> None:
    director = started(ARTICLE)
    before = director.desired()
    job = director.virtual_servers[KEY].real_servers[endpoint(22)].checks[0].job
    result = Result(1, "L4CON", "connection refused", "", "", 0.001)
    told = director.handle(CheckReported(job, Health.UP, edges=0, failures=1, result=result), now=1.0)
    assert [(type(t), getattr(t, "attempt", 0)) for t in told] == [(CheckFailed, 1)]
    assert director.desired() is before


@pytest.mark.parametrize("known", [None, True, False])
@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("failures", [0, 4])
@pytest.mark.parametrize("weight", [None, 3])
def test_a_level_in_a_full_state_does_what_it_does_alone(
    known: bool | None, health: Health, failures: int, weight: int | None
) -> None:
    shared = real_server(22)
    other = replace(virtual_server(shared), key=replace(KEY, endpoint=replace(KEY.endpoint, port=443)))
    alone, together = started(config(virtual_server(shared), other)), started(config(virtual_server(shared), other))
    for director in (alone, together):
        if known is not None:
            report(director, 22, up=known)
    (job,) = alone.jobs.jobs.values()
    level = CheckReported(job, health, 1, failures, None, weight, probes=9)
    assert together.handle(LevelsRepeated((level,)), 2.0) == alone.handle(level, 2.0)
    assert together.desired() == alone.desired()
    for one, another in zip(alone.pools.consumers(job), together.pools.consumers(job), strict=True):
        assert all(getattr(one[2], name) == getattr(another[2], name) for name in Check.__slots__)


def test_equal_checks_are_one_job_and_one_report_reaches_all_who_share_it() -> None:
    shared = real_server(22)
    other = replace(virtual_server(shared), key=replace(KEY, endpoint=replace(KEY.endpoint, port=443)))
    director = started(config(virtual_server(shared), other))
    told = report(director, 22, up=False)
    assert len({getattr(t, "virtual_server", None) for t in told}) == 2


def test_the_desired_table_is_the_same_object_until_something_changes() -> None:
    director = started(ARTICLE)
    before = director.desired()
    report(director, 21, up=True)
    assert director.desired() is before
    report(director, 21, up=False)
    assert director.desired() is not before


def test_a_table_that_is_to_be_computed_anew_is_known_before_it_is() -> None:
    director = started(ARTICLE)
    moved = []
    for up in (True, False):
        director.desired()
        moved.append(director.moved)
        report(director, 21, up=up)
        moved.append(director.moved)
    assert moved == [False, False, False, True]


def test_a_silent_worker_marks_its_verdicts_stale_and_changes_nothing_else() -> None:
    director = started(ARTICLE)
    before = director.desired()
    server = director.virtual_servers[KEY].real_servers[endpoint(22)]
    director.handle(WorkerSilent((server.checks[0].job,)), now=1.0)
    assert server.stale
    assert director.desired() is before
    director.handle(WorkerSpeaking((server.checks[0].job,)), now=2.0)
    assert not server.stale


def found(**by_last: int) -> Table:
    destinations = {endpoint(int(n[1:])): Destination(endpoint(int(n[1:])), w) for n, w in by_last.items()}
    return Table({KEY: Service(KEY, ServiceSettings("rr"), destinations)})


def test_adopting_keeps_who_was_out_at_weight_zero_until_it_succeeds_and_tells_nobody() -> None:
    director = Director(ARTICLE, now=0.0, found=found(_21=1, _22=0))
    assert director.start(now=0.0) == []
    assert weights(director) == {21: 1, 22: 0}
    told = report(director, 22, up=True)
    assert any(isinstance(t, RealServerChanged) and t.up for t in told)
    assert weights(director) == {21: 1, 22: 1}


def test_adopting_keeps_a_sorry_server_in_service() -> None:
    director = Director(ARTICLE, now=0.0, found=found(_20=1, _21=0, _22=0))
    assert director.start(now=0.0) == []
    assert weights(director) == {20: 1, 21: 0, 22: 0}


def test_an_adopted_service_without_destinations_starts_as_if_there_were_none() -> None:
    director = Director(ARTICLE, now=0.0, found=found())
    director.start(now=0.0)
    assert weights(director) == {21: 1, 22: 1}


def test_a_server_that_the_kernel_does_not_have_beside_others_joins_after_its_first_success() -> None:
    director = Director(config(virtual_server(real_server(21), real_server(22))), now=0.0, found=found(_21=1))
    director.start(now=0.0)
    assert weights(director) == {21: 1}
    assert director.job_health(director.virtual_servers[KEY].real_servers[endpoint(22)].checks[0].job) is Health.DOWN


def test_a_reload_keeps_the_state_of_what_did_not_change() -> None:
    director = started(ARTICLE)
    report(director, 22, up=False)
    assert director.reconfigure(ARTICLE, now=2.0) == []
    assert weights(director) == {21: 1, 22: 0}


def test_a_reload_with_another_weight_changes_only_the_weight() -> None:
    director = started(ARTICLE)
    report(director, 22, up=False)
    heavier = config(virtual_server(real_server(21, weight=5, inhibit=True), real_server(22, weight=7, inhibit=True)))
    director.reconfigure(heavier, now=2.0)
    assert weights(director) == {21: 5, 22: 0}
    report(director, 22, up=True)
    assert weights(director) == {21: 5, 22: 7}


def test_a_reload_that_edits_a_check_neither_revives_a_dead_server_nor_takes_a_live_one_out() -> None:
    director = started(ARTICLE)
    report(director, 21, up=True)
    report(director, 22, up=False)
    edited = config(
        virtual_server(
            real_server(21, inhibit=True, checks=(check(endpoint(21), path="/new"),)),
            real_server(22, inhibit=True, checks=(check(endpoint(22), path="/new"),)),
        )
    )
    assert director.reconfigure(edited, now=2.0) == []
    assert weights(director) == {21: 1, 22: 0}


def test_a_reload_that_takes_the_last_check_of_a_dead_server_away_brings_it_back_and_says_so() -> None:
    director = started(ARTICLE)
    report(director, 22, up=False)
    unchecked = config(virtual_server(real_server(21, inhibit=True), real_server(22, inhibit=True, checks=())))
    told = director.reconfigure(unchecked, now=2.0)
    assert [type(t) for t in told] == [RealServerChanged]
    assert weights(director) == {21: 1, 22: 1}


def test_a_reload_that_removes_and_adds_says_so_and_adds_at_once() -> None:
    director = started(ARTICLE)
    told = director.reconfigure(config(virtual_server(real_server(21, inhibit=True), real_server(23))), now=2.0)
    assert told == [RealServerRemoved(KEY, endpoint(22), stopping=False, mail=True)]
    assert weights(director) == {21: 1, 23: 1}


def test_swapping_the_last_live_server_ends_with_a_quorum_that_holds() -> None:
    """keepalived tells quorum_down here and never quorum_up; the end state must be what was told last."""
    director = started(config(virtual_server(real_server(21))))
    told = director.reconfigure(config(virtual_server(real_server(22))), now=2.0)
    assert [type(t) for t in told] == [RealServerRemoved]
    assert director.virtual_servers[KEY].quorate
    assert weights(director) == {22: 1}


def test_taking_the_active_sorry_server_out_of_the_file_says_that_it_left() -> None:
    director = started(ARTICLE)
    report(director, 21, up=False)
    report(director, 22, up=False)
    servers = ARTICLE.virtual_servers[0].real_servers
    told = director.reconfigure(config(virtual_server(*servers, sorry=None)), now=2.0)
    assert [(type(t), getattr(t, "active", None)) for t in told] == [(SorryChanged, False)]


def test_stopping_with_omega_tells_of_every_server_in_service() -> None:
    director = started(config(replace(ARTICLE.virtual_servers[0], omega=True)))
    report(director, 22, up=False)
    assert director.stop() == [
        RealServerRemoved(KEY, endpoint(21), stopping=True, mail=True),
        VirtualServerRemoved(KEY, stopping=True, mail=False, quorum=1, hysteresis=0),
    ]
    assert started(ARTICLE).stop() == []


@pytest.mark.parametrize("flush", [FlushOnStop.TABLE, FlushOnStop.SERVICES])
def test_stopping_with_omega_and_lvs_flush_on_stop_tells_of_the_virtual_server_alone(flush: FlushOnStop) -> None:
    flushing = config(replace(ARTICLE.virtual_servers[0], omega=True))
    director = started(replace(flushing, kernel=KernelSettings(flush_on_stop=flush)))
    assert director.stop() == [VirtualServerRemoved(KEY, stopping=True, mail=False, quorum=1, hysteresis=0)]


def test_the_chain_of_a_weight_leads_from_the_probe_to_the_read_back() -> None:
    director = started(ARTICLE)
    report(director, 22, up=False, now=3.0)
    op = ChangeDestination(KEY, Destination(endpoint(22), 0))
    director.handle(KernelWritten((op,), {}, 0.0001), now=3.1)
    director.handle(KernelRead(Reading(found(_21=1, _22=0)), agrees=True), now=3.2)
    chain = director.virtual_servers[KEY].real_servers[endpoint(22)].why
    assert [link.kind for link in chain] == [
        Kind.PROBE,
        Kind.CHECK,
        Kind.REAL_SERVER,
        Kind.KERNEL_WRITE,
        Kind.READ_BACK,
    ]
    assert [link.parent for link in chain[1:]] == [link.id for link in chain[:-1]]
    assert chain[0].facts["detail"] == "connection refused"
    assert chain[-1].facts["weight"] == 0


def test_a_lost_quorum_is_in_the_chain_of_every_server_that_it_took_out() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22), quorum=2)))
    report(director, 22, up=False)
    assert director.virtual_servers[KEY].real_servers[endpoint(21)].why[-1].kind is Kind.QUORUM


def test_a_refused_write_is_in_the_chain_with_its_errno() -> None:
    director = started(ARTICLE)
    report(director, 22, up=False)
    op = ChangeDestination(KEY, Destination(endpoint(22), 0))
    director.handle(KernelWritten((op,), {0: "EINVAL"}, 0.0001), now=3.1)
    assert director.virtual_servers[KEY].real_servers[endpoint(22)].why[-1].facts["result"] == "EINVAL"


def test_a_report_of_a_job_that_left_is_nothing() -> None:
    assert started(ARTICLE).handle(said(999, up=False), now=1.0) == []


def test_a_transition_carries_the_script_of_its_direction() -> None:
    up, down, gained, lost = (Script((f"/{name}",)) for name in ("up", "down", "gained", "lost"))
    server = replace(real_server(21), notify_up=up, notify_down=down)
    spec = replace(virtual_server(server, sorry=None), quorum_up=gained, quorum_down=lost, group="web", omega=True)
    director = Director(config(spec), now=0.0)
    told = director.start(0.0) + report(director, 21, up=False) + report(director, 21, up=True, now=2.0)
    told += director.stop()
    shown = [(type(t).__name__, getattr(t, "script", None), getattr(t, "group", "")) for t in told]
    assert [each for each in shown if each[0] != "CheckChanged"] == [
        ("QuorumChanged", gained, "web"),
        ("RealServerChanged", down, "web"),
        ("QuorumChanged", lost, "web"),
        ("RealServerChanged", up, "web"),
        ("QuorumChanged", gained, "web"),
        ("RealServerRemoved", down, "web"),
        ("VirtualServerRemoved", lost, "web"),
    ]


def test_with_rs_init_notifies_real_servers_are_told_before_the_quorum() -> None:
    first = config(virtual_server(real_server(21), real_server(22, alpha=True)))
    director = Director(replace(first, scripts=ScriptSettings(at_start=True)), now=0.0)
    told = director.start(0.0)
    assert [(type(t), getattr(t, "real_server", None)) for t in told] == [
        (RealServerChanged, endpoint(21)),
        (QuorumChanged, None),
    ]


def test_a_server_that_a_reload_takes_out_goes_down_only_if_it_was_in_service() -> None:
    down = Script(("/down",))
    servers = [replace(real_server(last), notify_down=down) for last in (21, 22, 23)]
    director = started(config(virtual_server(*servers)))
    report(director, 22, up=False)
    told = director.reconfigure(config(virtual_server(servers[0])), now=2.0)
    assert [(t.real_server, t.in_service, t.script) for t in told if isinstance(t, RealServerRemoved)] == [
        (endpoint(22), False, None),
        (endpoint(23), True, down),
    ]


def test_a_virtual_server_that_a_reload_takes_out_goes_down_unless_it_was_already() -> None:
    director = started(ARTICLE)
    told = director.reconfigure(config(), now=2.0)
    assert [type(t) for t in told] == [RealServerRemoved, RealServerRemoved, VirtualServerRemoved]
    director = started(ARTICLE)
    for last in (21, 22):
        report(director, last, up=False)
    told = director.reconfigure(config(), now=2.0)
    assert [(type(t), getattr(t, "in_service", None)) for t in told] == [(RealServerRemoved, False)] * 2


def test_a_sentinel_that_is_given_up_is_seen_until_it_is_fine_again_or_its_worker_is_gone() -> None:
    spec = replace(check(endpoint(21)), sentinel=True)
    director = started(config(virtual_server(real_server(21, checks=(spec,)), real_server(22))))
    job = director.jobs.jobs[spec]

    def seen() -> list[str]:
        (view,) = views.virtual_servers(director, 1.0)
        return [one.sentinel for server in view.real_servers for one in server.checks]

    assert seen() == ["on", ""]
    before = director.desired()
    assert director.handle(SentinelReported(job, "given up"), 1.0) == []
    assert director.desired() is before
    assert seen() == ["given up", ""]
    director.handle(SentinelReported(job, ""), 2.0)
    assert seen() == ["on", ""]
    director.handle(SentinelReported(job, "given up"), 3.0)
    director.handle(WorkerSilent((job,)), 4.0)
    assert seen() == ["on", ""]
