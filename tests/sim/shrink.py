"""Makes a failing life smaller, as long as the same promise is broken: fewer faults, fewer servers, fewer workers, shorter pauses.

Bounded: at most TRIES_MAX lives are played. What is left is printed as a story that can be read, and as a file for `tests/sim/seeds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.sim.scenario import CALM, Action, Scenario
from tests.sim.site import PoolPlan
from tests.sim.stage import Result, live

TRIES_MAX = 60


class Shrinker:
    """One search."""

    def __init__(self, result: Result) -> None:
        self.best = result
        self.tries = 0
        self._oracle = result.violations[0].oracle

    def run(self) -> Result:
        """Return the smallest life that was found."""
        self._cut_the_end()
        while self.tries < TRIES_MAX and any(
            [self._drop_actions(), self._drop_servers(), self._simplify()]  # each of them, not the first that helps
        ):
            pass
        return self.best

    def _fails(self, scenario: Scenario) -> bool:
        if self.tries >= TRIES_MAX or scenario == self.best.scenario:
            return False
        self.tries += 1
        result = live(scenario)
        if any(violation.oracle == self._oracle for violation in result.violations):
            self.best = result
            return True
        return False

    def _cut_the_end(self) -> None:
        """What happened after the violation does not matter."""
        actions = self.best.scenario.actions
        low, high = 0, len(actions)
        while low < high:
            middle = (low + high) // 2
            if self._fails(self.best.scenario.smaller(actions=actions[:middle])):
                high = middle
            else:
                low = middle + 1

    def _drop_actions(self) -> bool:
        """Leave out runs of actions, long ones first."""
        before = len(self.best.scenario.actions)
        size = max(before // 2, 1)
        while size:
            start = 0
            while start < len(self.best.scenario.actions):
                actions = self.best.scenario.actions
                if not self._fails(self.best.scenario.smaller(actions=actions[:start] + actions[start + size :])):
                    start += size
            size //= 2
        return len(self.best.scenario.actions) < before

    def _drop_servers(self) -> bool:
        found = False
        for pools in _fewer(self.best.scenario.site.pools):
            site = replace(self.best.scenario.site, pools=pools)
            if self._fails(self.best.scenario.smaller(site=site)):
                return True
        return found

    def _simplify(self) -> bool:
        scenario = self.best.scenario
        shorter = tuple(replace(action, after=round(action.after / 2, 1)) for action in scenario.actions)
        return self._fails(scenario.smaller(workers=1)) or self._fails(self.best.scenario.smaller(actions=shorter))


def _fewer(pools: tuple[PoolPlan, ...]) -> Iterator[tuple[PoolPlan, ...]]:
    for index, pool in enumerate(pools):
        if len(pools) > 1:
            yield pools[:index] + pools[index + 1 :]
        for where in range(len(pool.servers) if len(pool.servers) > 1 else 0):
            servers = pool.servers[:where] + pool.servers[where + 1 :]
            quorum = min(pool.quorum, sum(server.weight for server in servers))
            smaller = replace(pool, servers=servers, quorum=quorum, hysteresis=min(pool.hysteresis, quorum - 1))
            yield (*pools[:index], smaller, *pools[index + 1 :])


def story(result: Result) -> str:
    """The life as a text that one can read, and as a test that one can paste."""
    scenario, first = result.scenario, result.violations[0]
    lines = [
        f"# {first.oracle}: broken at {first.at} s",
        *(f"#   {line}" for line in first.text.splitlines()[:12]),
        f"# pace {scenario.pace}, {scenario.workers} workers, nets {'on' if scenario.nets else 'off'}; the file:",
        *(f"#   {line}" for line in scenario.site.text().splitlines()),
        "# what happens:",
        *(_line(action) for action in scenario.actions),
        "# as a test: save this as tests/sim/seeds/NAME.json",
        scenario.to_json(),
    ]
    return "\n".join(lines)


def _line(action: Action) -> str:
    what = "everything settles" if action.what == CALM else action.what
    return f"#   after {action.after:8.3f} s  {what} ({action.number})"
