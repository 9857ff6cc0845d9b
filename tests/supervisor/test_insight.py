"""What is asked about all servers is answered in steps, and a part of a status is what would be chosen of the whole."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisor.admin.access import Caller
from supervisor.admin.protocol import RequestError
from supervisor.admin.sieve import sieve
from supervisor.core.director import Director
from supervisor.core.events import Overridden, Tick
from supervisor.core.override import AdminState, Override
from supervisor.core.snapshot import STEP_SERVERS, Snapshot, as_json
from supervisor.core.views import virtual_servers
from supervisor.insight import LOOK_SERVERS, PATTERNS_MAX, Insight
from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol, RealServer, VirtualServer
from supervisor.overview import summary
from tests.fakes import snapshots
from tests.supervisor.core.builders import check, config, said

ROOT = Caller(0, 0, 1, "root")
POOLS, PER_POOL = 6, 20
LARGE = 4000
"""Real servers of a table that takes several steps."""
PATTERNS = [
    "203.0.113.1:80/tcp",
    "203.0.113.2:80",
    "203.0.113.*",
    "10.0.1.3",
    "10.0.*:80",
    "fwm:*",
    "*",
    "nothing",
    "10.0.0.1?:80",
]


def table(pools: int = POOLS, per_pool: int = PER_POOL) -> Director:
    """A director of some pools, the last of them a firewall mark; some servers are down, one pool wholly, one is drained."""
    specs = []
    for pool in range(pools):
        servers = tuple(
            RealServer(where, 1, checks=(check(where),))
            for where in (Endpoint(ip_address(f"10.{pool}.{n // 250}.{n % 250 + 1}"), 80) for n in range(per_pool))
        )
        address = AddressKey(Protocol.TCP, Endpoint(ip_address(f"203.0.113.{pool + 1}"), 80))
        specs.append(VirtualServer(FwmarkKey(4, 7) if pool == pools - 1 else address, real_servers=servers))
    director = Director(config(*specs), 0.0)
    director.start(0.0)
    for number in director.jobs.jobs.values():
        if number % 7 == 3 or 40 <= number < 60:
            director.handle(said(number, up=False), 1.0)
    drained = Override(AdminState.DRAINING, None, "CHG-1", "alice", since=1.0, until=100.0)
    director.handle(Overridden(((specs[0].key, specs[0].real_servers[0].endpoint),), drained), 1.0)
    return director


class Question:
    """Asks, and counts how often others had a turn meanwhile."""

    def __init__(self, director: Director) -> None:
        self._insight = Insight(lambda: director, snapshots.process)
        self.turns = 0

    def ask(self, verb: str, **args: Any) -> Any:
        async def main() -> Any:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._count)
                try:
                    return await self._insight.verbs()[verb].act(args, ROOT)
                except RequestError as error:
                    return error
                finally:
                    nursery.cancel_scope.cancel()

        self.turns = 0
        answer = trio.run(main, clock=MockClock())
        if isinstance(answer, RequestError):
            raise answer
        return json.loads(answer) if isinstance(answer, bytes) else answer

    async def _count(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1


@given(
    patterns=st.lists(st.sampled_from(PATTERNS), max_size=3),
    down=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_part_that_is_asked_for_is_the_part_that_would_be_chosen_of_the_whole(
    patterns: list[str], down: bool
) -> None:
    question = Question(table())
    part = question.ask("status", patterns=patterns, down=down)
    assert_same(part, sieve(question.ask("status"), patterns, down=down))


def assert_same(part: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Hold two answers against each other, all but their ages."""
    assert part["whole"] == chosen["whole"]
    assert names_of(part) == names_of(chosen)


def names_of(answer: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (one["virtual_server"], [(row["real_server"], row["health"]) for row in one["real_servers"]])
        for one in answer["virtual_servers"]
    ]


def test_a_status_is_the_snapshot_that_observers_see_and_counts_everything() -> None:
    director = table()
    answer = Question(director).ask("status")
    snapshot = as_json(Snapshot(snapshots.process(), virtual_servers(director, 0.0)))
    whole = answer.pop("whole")
    assert answer.keys() == snapshot.keys()
    assert names_of(answer) == names_of(snapshot)
    assert whole == {"virtual_servers": 6, "real_servers": 120, "not_down": 86, "overridden": 1, "held": 0}
    assert whole == sieve(snapshot, [], down=False)["whole"], "what the command line counts for an older daemon"


@pytest.mark.parametrize(
    ("verb", "args", "least"),
    [
        ("status", {}, LARGE // STEP_SERVERS),
        ("status", {"patterns": ["10.0.0.1"]}, LARGE // LOOK_SERVERS),
        ("status", {"down": True}, LARGE // LOOK_SERVERS),
        ("alerts", {}, LARGE // STEP_SERVERS),
        ("names", {"prefix": "10."}, LARGE // LOOK_SERVERS),
    ],
)
@pytest.mark.parametrize("pools", [1, 50])
def test_others_have_a_turn_between_any_few_servers(verb: str, args: dict[str, Any], least: int, pools: int) -> None:
    question = Question(table(pools, LARGE // pools))
    question.ask(verb, **args)
    assert question.turns >= least - 2, "but for the first and the last"


def test_names_are_those_that_begin_so() -> None:
    question = Question(table())
    assert question.ask("names", prefix="203.0.113.2") == {
        "virtual_servers": ["203.0.113.2:80/tcp"],
        "real_servers": [],
        "hosts": [],
    }
    every = question.ask("names")
    assert (len(every["virtual_servers"]), len(every["real_servers"]), len(every["hosts"])) == (6, 120, 120)


@pytest.mark.parametrize(
    "args",
    [{"patterns": "10.0.0.1"}, {"patterns": [1]}, {"patterns": ["*"] * (PATTERNS_MAX + 1)}, {"patterns": ["*" * 300]}],
)
def test_what_is_no_list_of_patterns_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match='"patterns" is'):
        Question(table()).ask("status", **args)


def test_the_line_for_the_service_manager_is_made_of_what_each_pool_counts_and_is_right() -> None:
    director = table()
    servers = [server for pool in director.virtual_servers.values() for server in pool.real_servers.values()]
    for server in servers[::3]:
        director.handle(said(server.checks[0].job, up=True), 2.0)
    live = sum(server.live for server in servers)
    overridden = sum(server.override is not None for server in servers)
    assert 0 < overridden < live < len(servers)
    assert summary(director) == f"6 virtual servers, {live} of 120 real servers live, 1 overridden by an operator"
    director.handle(Tick(), 101.0)  # the operator's word is over
    assert "overridden" not in summary(director)
