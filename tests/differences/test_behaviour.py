"""The deliberate differences to keepalived in what faults and reloads lead to; each test has the name of a row of docs/differences.md.

That keepalived is as the page says is seen in tests/kernel, test_behaviour_beside_keepalived.py and test_reload_beside_keepalived.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from supervisor.core.diff import plan
from supervisor.core.director import Director
from supervisor.core.drift import DriftJudge
from supervisor.core.events import CheckReported, Health, Tick, WeightsAdopted
from supervisor.core.table import ChangeDestination, DeleteService, Service
from supervisor.core.transitions import QuorumChanged, RealServerChanged, RealServerRemoved, Transition
from supervisor.model import DriftPolicy, VirtualServer, Weighs
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

ONE, OTHER = real_server(21), real_server(22)


def reloaded(director: Director, virtual: VirtualServer) -> list[str]:
    """Give a running director another file; return what people are told of it, in the words of the named pipe."""
    return lines(director.reconfigure(config(virtual), now=5.0))


def lines(told: Iterable[Transition]) -> list[str]:
    found = []
    for transition in told:
        match transition:
            case RealServerChanged(real_server=server, up=up):
                found.append(f"RS {int(server.address) & 255} {'UP' if up else 'DOWN'}")
            case RealServerRemoved(real_server=server, in_service=True):
                found.append(f"RS {int(server.address) & 255} DOWN")
            case QuorumChanged(up=up):
                found.append(f"VS {'UP' if up else 'DOWN'}")
            case _:
                pass
    return found


def test_difference_alpha_server_that_was_never_up_is_not_told_down() -> None:
    alpha = real_server(21, checks=(check(endpoint(21), "TCP_CHECK", alpha=True),))
    director = started(config(virtual_server(alpha, OTHER)))
    assert lines(report(director, 21, up=False)) == []
    assert lines(report(director, 21, up=True)) == ["RS 21 UP"]
    assert lines(report(director, 21, up=False)) == ["RS 21 DOWN"]


def test_difference_thresholds_are_sent_by_a_reload() -> None:
    director = started(config(virtual_server(replace(ONE, upper_threshold=100, lower_threshold=50), OTHER)))
    before = director.desired()
    reloaded(director, virtual_server(replace(ONE, upper_threshold=200, lower_threshold=80), OTHER))
    (operation,) = plan(director.desired(), before).giving
    assert isinstance(operation, ChangeDestination)
    assert (operation.destination.upper_threshold, operation.destination.lower_threshold) == (200, 80)


def test_difference_sorry_server_removed_while_it_serves() -> None:
    director = started(config(virtual_server(ONE, OTHER, quorum=2)))
    report(director, 21, up=False)
    assert weights(director) == {20: 1}
    reloaded(director, virtual_server(ONE, OTHER, quorum=2, sorry=None))
    assert weights(director) == {22: 1}


def test_difference_sorry_server_inhibit_turned_off() -> None:
    director = started(config(virtual_server(ONE, OTHER, sorry_inhibit=True)))
    assert weights(director) == {20: 0, 21: 1, 22: 1}
    reloaded(director, virtual_server(ONE, OTHER))
    assert weights(director) == {21: 1, 22: 1}


def test_difference_server_added_behind_the_sorry_server() -> None:
    director = started(config(virtual_server(ONE, OTHER, quorum=2)))
    report(director, 21, up=False)
    reloaded(director, virtual_server(ONE, OTHER, real_server(23), quorum=3))
    assert weights(director) == {20: 1}


def test_difference_last_live_server_swapped() -> None:
    director = started(config(virtual_server(ONE)))
    assert reloaded(director, virtual_server(OTHER)) == ["RS 21 DOWN"]
    assert weights(director) == {22: 1}


def test_difference_lost_quorum_is_told_once() -> None:
    director = started(config(virtual_server(ONE, OTHER, real_server(23), quorum=2)))
    report(director, 23, up=False)
    assert reloaded(director, virtual_server(OTHER, real_server(23), quorum=2)) == ["RS 21 DOWN", "VS DOWN"]
    assert reloaded(director, virtual_server(OTHER, real_server(23), quorum=2, sorry=19)) == []
    assert weights(director) == {19: 1}


def test_difference_changed_check_keeps_what_is_known() -> None:
    director = started(config(virtual_server(ONE, OTHER)))
    report(director, 21, up=False)
    edited = replace(ONE, checks=(check(endpoint(21), path="/other"),))
    assert reloaded(director, virtual_server(edited, OTHER)) == []
    assert weights(director) == {22: 1}


def test_difference_weight_of_a_script_outlives_a_reload() -> None:
    script = replace(check(endpoint(21), "MISC_CHECK"), weighs=Weighs.REPLACES)
    server = real_server(21, weight=10, checks=(script,))
    director = started(config(virtual_server(server)))
    director.handle(CheckReported(director.jobs.jobs[script], Health.UP, 0, 0, None, None), 1.0)  # it says 0: no wish
    assert reloaded(director, replace(virtual_server(server), scheduler="wrr")) == []
    assert weights(director) == {21: 10}
    assert director.desired().services[KEY].settings.scheduler == "wrr"


def test_difference_address_that_leaves_a_group_leaves_the_table() -> None:
    first = replace(virtual_server(ONE, sorry=None), group="web")
    second = replace(first, key=replace(KEY, endpoint=replace(KEY.endpoint, port=443)), follower=True)
    director = started(config(first, second))
    before = director.desired()
    director.reconfigure(config(replace(second, follower=False)), now=5.0)
    assert plan(director.desired(), before, before.services.keys()).taking == (DeleteService(KEY),)


def test_difference_inhibited_server_without_checks_serves() -> None:
    director = started(config(virtual_server(real_server(21, inhibit=True), OTHER)))
    report(director, 21, up=False)
    assert weights(director) == {21: 0, 22: 1}
    assert reloaded(director, virtual_server(real_server(21, checks=()), OTHER)) == ["RS 21 UP"]
    assert weights(director) == {21: 1, 22: 1}


def test_difference_renamed_virtual_server_knows_its_dead_servers() -> None:
    director = started(config(virtual_server(ONE, OTHER)))
    report(director, 21, up=False)
    renamed = replace(KEY, endpoint=replace(KEY.endpoint, port=443))
    told = reloaded(director, replace(virtual_server(ONE, OTHER), key=renamed))
    assert told == ["RS 22 DOWN", "VS UP"]  # and the old virtual server is DOWN
    assert [int(where.address) & 255 for where in director.desired().services[renamed].destinations] == [22]


# --- somebody else at the table (that keepalived never reads it back: reliability.md, section 1) ----------------------


def test_difference_foreign_changes_are_repaired() -> None:
    virtual = virtual_server(real_server(21, weight=3), OTHER)
    wanted = started(config(virtual)).desired().services[KEY]
    judge = DriftJudge()
    judge.reconfigure([virtual])
    assert len(judge.rule(wanted, None, 1.0).repaired) == 1
    assert len(judge.rule(wanted, with_weight(wanted, 21, 9), 2.0).repaired) == 1
    judge.reconfigure([replace(virtual, drift_policy=DriftPolicy.REPORT)])
    assert judge.rule(wanted, None, 3.0).repaired == ()


def test_difference_weight_0_by_hand_stands_for_a_while() -> None:
    virtual = virtual_server(real_server(21, weight=3), OTHER)
    director = started(config(virtual))
    wanted = director.desired().services[KEY]
    judge = DriftJudge()
    judge.reconfigure([virtual])
    (adopted,) = judge.rule(wanted, with_weight(wanted, 21, 0), 100.0).adopted
    assert adopted.until == 700.0
    director.handle(WeightsAdopted((adopted,)), 100.0)
    assert weights(director) == {21: 0, 22: 1}
    director.handle(Tick(), 700.0)
    assert weights(director) == {21: 3, 22: 1}


def test_difference_another_writer_is_told_and_not_fought() -> None:
    virtual = virtual_server(real_server(21, weight=3), OTHER)
    wanted = started(config(virtual)).desired().services[KEY]
    judge = DriftJudge()
    judge.reconfigure([virtual])
    rulings = [judge.rule(wanted, with_weight(wanted, 21, 9), 2.0 * number) for number in range(6)]
    assert [len(ruling.repaired) for ruling in rulings] == [1, 1, 1, 1, 0, 0]
    assert judge.rule(wanted, None, 13.0).repaired  # an empty pool is filled


def with_weight(service: Service, last: int, weight: int) -> Service:
    there = service.destinations[endpoint(last)]
    return replace(service, destinations={**service.destinations, there.endpoint: replace(there, weight=weight)})
