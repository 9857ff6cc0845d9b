"""Weights that a script or a file sets while the program runs (keepalived.md, sections 3.3 and 3.6)."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from supervisor.core.director import Director
from supervisor.core.events import CheckReported, Health, Result
from supervisor.core.table import Destination, Service, Table
from supervisor.core.transitions import CheckChanged, QuorumChanged, RealServerChanged, Transition, WeightChanged
from supervisor.core.virtualserver import settings
from supervisor.model import NOWHERE, CheckSpec, Config, Schedule, Weighs
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, virtual_server, weights

FAST = Schedule(5.0, 0, 1.0, 5.0, 0.0)
SCRIPT = CheckSpec("MISC_CHECK", NOWHERE, FAST, options_json='{"misc_path":["/check"]}', weighs=Weighs.REPLACES)
FILE = CheckSpec("FILE_CHECK", NOWHERE, FAST, options_json='{"path":"/run/load"}', weighs=Weighs.ADDS)
RESULT = Result(1, "PROCOK", "exit status 12", "", "", 0.1)


def pool(*checks: CheckSpec, weight: int = 10) -> Config:
    return config(virtual_server(real_server(21, weight=weight, checks=checks), real_server(22, checks=())))


def started(file: Config, found: Table | None = None) -> Director:
    director = Director(file, 0.0, found)
    director.start(0.0)
    return director


def hear(director: Director, spec: CheckSpec, weight: int | None, *, up: bool = True) -> list[Transition]:
    health = Health.UP if up else Health.DOWN
    return director.handle(CheckReported(director.jobs.jobs[spec], health, 0, 0, RESULT, weight), 10.0)


def kinds(told: list[Transition]) -> list[type[Transition]]:
    return [type(transition) for transition in told]


def test_a_script_replaces_the_weight_and_silence_on_it_restores_the_configured_one() -> None:
    director = started(pool(SCRIPT))
    history = []
    for weight in (0, 10, 50, 253):
        hear(director, SCRIPT, weight)
        history.append(weights(director)[21])
    hear(director, SCRIPT, 253, up=False)
    history.append(weights(director).get(21, -1))
    hear(director, SCRIPT, None)
    history.append(weights(director)[21])
    assert history == [0, 10, 50, 253, -1, 10]


def test_files_add_to_the_configured_weight_and_the_sum_ends_at_0_and_65535() -> None:
    other = replace(FILE, options_json='{"path":"/run/other"}')
    director = started(pool(FILE, other))
    hear(director, FILE, 5)
    hear(director, other, -3)
    assert weights(director)[21] == 12
    hear(director, other, -(10**9))
    assert weights(director)[21] == 0
    hear(director, other, 10**9)
    assert weights(director)[21] == 65535


def test_a_script_and_a_file_add_up() -> None:
    director = started(pool(SCRIPT, FILE))
    hear(director, SCRIPT, 50)
    hear(director, FILE, 5)
    assert weights(director)[21] == 55


def test_another_weight_is_told_once_and_is_no_change_of_the_check() -> None:
    director = started(pool(SCRIPT))
    assert not hear(director, SCRIPT, None)
    told = hear(director, SCRIPT, 50)
    assert kinds(told) == [WeightChanged]
    assert isinstance(told[0], WeightChanged)
    assert (told[0].weight_old, told[0].weight_new, told[0].weight_left) == (10, 50, 51)
    assert not hear(director, SCRIPT, 50)


def test_weight_zero_keeps_a_server_in_the_table_but_may_cost_the_quorum() -> None:
    director = started(config(virtual_server(real_server(21, weight=10, checks=(SCRIPT,)))))
    assert kinds(hear(director, SCRIPT, 0))[:2] == [WeightChanged, QuorumChanged]
    assert weights(director) == {20: 1}
    assert QuorumChanged in kinds(hear(director, SCRIPT, 5))
    assert weights(director) == {21: 5}


def test_the_weight_of_a_server_that_is_down_counts_when_it_comes_back() -> None:
    director = started(pool(SCRIPT))
    told = hear(director, SCRIPT, 7, up=False)
    assert kinds(told)[:2] == [CheckChanged, RealServerChanged]
    assert 21 not in weights(director)
    hear(director, SCRIPT, 7)
    assert weights(director)[21] == 7


def test_a_file_that_was_read_with_the_configuration_counts_from_the_start() -> None:
    assert weights(started(pool(replace(FILE, first_weight=-4))))[21] == 6
    assert 21 not in weights(started(pool(replace(FILE, first_down=True))))


def test_a_weight_that_a_script_set_survives_our_own_restart() -> None:
    file = pool(SCRIPT)
    spec = file.virtual_servers[0]
    servers = (Destination(endpoint(21), 50), Destination(endpoint(22), 1))
    pools = MappingProxyType({server.endpoint: server for server in servers})
    found = Table(MappingProxyType({KEY: Service(KEY, settings(spec), pools)}))
    director = started(file, found)
    assert weights(director) == {21: 50, 22: 1}
    assert director.job_weight(director.jobs.jobs[SCRIPT]) == 50
    hear(director, SCRIPT, None)
    assert weights(director)[21] == 10


def test_a_new_configured_weight_leaves_what_the_script_said_in_force() -> None:
    director = started(pool(SCRIPT))
    hear(director, SCRIPT, 50)
    director.reconfigure(pool(SCRIPT, weight=20), 20.0)
    assert weights(director)[21] == 50
    hear(director, SCRIPT, None)
    assert weights(director)[21] == 20


def test_a_new_configured_weight_is_what_a_file_adds_to() -> None:
    director = started(pool(FILE))
    hear(director, FILE, 5)
    director.reconfigure(pool(FILE, weight=20), 20.0)
    assert weights(director)[21] == 25
    assert director.virtual_servers[KEY].weight_up == 26
