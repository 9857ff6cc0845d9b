from __future__ import annotations

import pytest

from supervisor.model import DriftPolicy
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server


def policies(everywhere: str, here: str) -> tuple[DriftPolicy, int]:
    (found,) = config_of(f"global_defs {{\n{everywhere}\n}}\n" + virtual_server(here, real_server())).virtual_servers
    return found.drift_policy, found.drift_grace


def test_foreign_changes_are_repaired_and_an_emergency_stands_for_ten_minutes_unless_the_file_says_otherwise() -> None:
    assert policies("", "") == (DriftPolicy.REPAIR, 600)


@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_the_policy_may_be_said_for_all_and_for_one(policy: DriftPolicy) -> None:
    assert policies(f"drift_policy {policy.value}", "") == (policy, 600)
    assert policies("drift_policy report\ndrift_grace 5", f"drift_policy {policy.value}\ndrift_grace 0") == (policy, 0)


@pytest.mark.parametrize(
    "line", ["drift_policy revert", "drift_policy", "drift_grace -1", "drift_grace 604801", "drift_grace x"]
)
def test_what_is_none_is_an_error(line: str) -> None:
    outcome = outcome_of(f"global_defs {{\n{line}\n}}\n" + virtual_server(real_server()))
    assert outcome.config is None
    assert said(outcome)[0].startswith("2:")
