"""What every transition of an address of a group says of itself, and of a check that probes elsewhere."""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.director import Director
from supervisor.core.transitions import (
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    Transition,
    VirtualServerRemoved,
)
from tests.supervisor.core.builders import check, config, endpoint, real_server, report, said, virtual_server

ELSEWHERE = endpoint(99, 8080)
FOLLOWER = replace(
    virtual_server(real_server(21, checks=(check(ELSEWHERE),))), group="web", group_use=1, follower=True, omega=True
)


def history() -> list[Transition]:
    """The transitions of a real server that fails, recovers and is told of at the stop."""
    director = Director(config(FOLLOWER), now=0.0)
    told = director.start(now=0.0)
    (job,) = director.jobs.jobs.values()
    told += director.handle(replace(said(job, up=True), failures=1), 1.0)
    told += report(director, 21, up=False)
    told += report(director, 21, up=True)
    return told + director.stop()


def test_every_transition_names_its_group_and_whether_another_address_tells_it() -> None:
    told = history()
    kinds = (
        CheckChanged,
        CheckFailed,
        QuorumChanged,
        RealServerChanged,
        RealServerRemoved,
        SorryChanged,
        VirtualServerRemoved,
    )
    assert {type(transition) for transition in told} == set(kinds)
    assert {(one.group, one.group_use, one.follower) for one in told} == {("web", 1, True)}


def test_a_check_is_told_with_where_it_probes() -> None:
    targets = [one.target for one in history() if isinstance(one, CheckChanged | RealServerChanged)]
    assert targets == [ELSEWHERE] * 4
