"""One simulated life as data: the configuration, the pace, and everything that will go wrong, with its time. Drawn from a seed.

Data, so that a failing life can be made smaller piece by piece (`shrink`), printed as a story, kept in `tests/sim/seeds`, and played
again. What an action does exactly is drawn from its own number, so that leaving one out changes as little as possible of the rest.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.sim.site import FILE, CheckPlan, PoolPlan, ServerPlan, Site, Taste, draw_min_healthy, draw_site


@dataclass(frozen=True)
class Pace:
    """How often the program does what it does by the clock, in seconds. The shipped numbers, or all of them a good deal slower.

    A slow life is as long as a month of an ordinary one for the price of an hour: nothing in it happens more often than it must.
    """

    beat: float
    silence: float
    state: float
    tick: float
    audit: float
    unit: float
    """The shortest delay_loop of the configuration."""


PACES: Mapping[str, Pace] = {
    "shipped": Pace(beat=1, silence=3.5, state=30, tick=0.5, audit=1, unit=5),
    "calm": Pace(beat=20, silence=70, state=300, tick=20, audit=20, unit=30),
    "slow": Pace(beat=120, silence=420, state=1800, tick=120, audit=120, unit=120),
}


@dataclass(frozen=True)
class Action:
    """Something that happens `after` so many seconds from the one before. `number` draws its details."""

    after: float
    what: str
    number: int


CALM = "calm"
"""Not a fault: time passes until everything must have settled, then everything is looked at."""


@dataclass(frozen=True)
class Scenario:
    """One life."""

    seed: int
    pace: str
    workers: int
    site: Site
    taste: Taste
    actions: tuple[Action, ...]
    nets: bool = True

    def smaller(self, **changes: Any) -> Scenario:
        return replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Scenario:
        raw = json.loads(text)
        site = raw.pop("site")
        pools = tuple(_pool(pool) for pool in site.pop("pools"))
        actions = tuple(Action(**action) for action in raw.pop("actions"))
        return Scenario(site=Site(pools, **site), taste=Taste(**raw.pop("taste")), actions=actions, **raw)


def _pool(raw: dict[str, Any]) -> PoolPlan:
    servers = tuple(
        ServerPlan(**{**server, "checks": tuple(CheckPlan(**check) for check in server["checks"])})
        for server in raw.pop("servers")
    )
    return PoolPlan(servers=servers, **raw)


@dataclass(frozen=True)
class Mix:
    """How often each action comes, relative to the others, and where it may not: `nets` needs the safety nets."""

    usual: float
    nets: bool = False


MIX: Mapping[str, Mix] = {
    "weather": Mix(5),
    "recover": Mix(2.5),
    "odd server": Mix(1.5),
    "flap": Mix(1),
    "graceful reload": Mix(1),
    "places lost": Mix(1),
    "outage": Mix(1),
    "partition": Mix(0.7),
    "all recover": Mix(0.7),
    "local trouble": Mix(0.5),
    "script": Mix(3),
    "file": Mix(3),
    "worker killed": Mix(1),
    "worker stopped": Mix(0.5),
    "worker talks nonsense": Mix(0.7),
    "worker speaks of the past": Mix(1),
    "frames delayed": Mix(0.5),
    "worker does not start": Mix(0.3),
    "runner killed": Mix(0.3),
    "kernel refuses": Mix(0.8),
    "answers lost": Mix(0.8),
    "readings lost": Mix(0.5),
    "kernel gone": Mix(0.4),
    "half a reading": Mix(0.5, nets=True),
    "table flushed": Mix(0.4, nets=True),
    "foreign weight": Mix(0.6, nets=True),
    "foreign deletion": Mix(0.4, nets=True),
    "foreign service": Mix(0.4, nets=True),
    "operator": Mix(1.5),
    "clients": Mix(0.5),
    "reload": Mix(0.6),
    "edit and reload": Mix(2),
    "undo and reload": Mix(1),
    "broken file": Mix(0.4),
    "empty file": Mix(0.2),
    "burst of reloads": Mix(0.3),
    "reload to be confirmed": Mix(0.4),
    "crash": Mix(1),
    "crash and edit": Mix(0.4),
    "stop and keep": Mix(0.4),
    "clean stop": Mix(0.3),
    "there and back": Mix(0.5),
    "taken out with clients": Mix(0.3),
}
"""Swarm testing: each seed leaves some of these out and doubles others, so that rare combinations come up too."""


GUARD_MIX: Mapping[str, float] = {"mixed outage": 4, "min_healthy edited": 1}
"""The same for what comes into the lives with `min_healthy` beside all this."""


def draw(seed: int, *, nets: bool = True, pace: str | None = None) -> Scenario:
    """Return the life of a seed. With and without the nets it is the same but for what only the nets could mend."""
    rng = random.Random(seed)
    chosen = pace or rng.choices(["shipped", "calm", "slow"], [3, 3, 5])[0]
    unit = PACES[chosen].unit
    quick = chosen == "shipped"
    taste = Taste(
        unit=rng.choice([unit, unit, 2 * unit]) if not quick else rng.choice([2.0, 5.0, 10.0]),
        http=rng.choice([0.0, 0.3, 0.6]),
        misc=rng.choice([0.0, 0.2, 0.4]),
        file=rng.choice([0.0, 0.2, 0.4]) if quick else 0.0,
        alpha=rng.choice([0.0, 0.2, 0.6]),
        inhibit=rng.choice([0.0, 0.4, 1.0]),
        sorry=rng.choice([0.0, 0.5, 0.9]),
        odd_forms=rng.choice([0.0, 0.3]),
        retries=rng.choice([1, 2, 4]),
        rise=rng.choice([0.0, 0.3]),
        smart=0.8 if seed % 5 == 0 else 0.0,  # these lives are slower to show anything else
    )
    servers = rng.choice([2, 3, 4, 6, 8] if chosen != "slow" else [2, 3, 4, 5])
    pools = rng.randint(1, min(3, servers))
    site = draw_site(rng, taste, pools, servers, "/nowhere")
    actions = _draw_actions(rng, chosen, site, quick=quick)
    if not nets:
        actions = tuple(action for action in actions if action.what == CALM or not MIX[action.what].nets)
    workers = rng.choice([1, 1, 2, 3])
    scenario = Scenario(seed, chosen, workers, site, taste, actions, nets)
    return _guarded(scenario) if seed % 3 == 1 else scenario


def _guarded(scenario: Scenario) -> Scenario:
    """The same life with `min_healthy` in its file. It draws by itself, so that all other lives are what they were before there was any."""
    own = random.Random(f"min_healthy {scenario.seed}")
    pools = tuple(replace(pool, min_healthy=draw_min_healthy(own)) for pool in scenario.site.pools)
    unit = PACES[scenario.pace].unit
    actions: list[Action] = []
    for action in scenario.actions:
        if action.what == CALM and own.random() < 0.7:
            what = own.choices(list(GUARD_MIX), list(GUARD_MIX.values()))[0]
            actions.append(Action(round(own.expovariate(1 / unit), 3), what, own.randrange(1_000_000)))
        actions.append(action)
    return scenario.smaller(site=replace(scenario.site, pools=pools), actions=tuple(actions))


def _draw_actions(rng: random.Random, pace: str, site: Site, *, quick: bool) -> tuple[Action, ...]:
    kinds = {check.kind for _, _, check in site.checks()}
    rates = {name: mix.usual * rng.choice([0, 0.5, 1, 1, 3]) for name, mix in MIX.items()}
    rates["weather"] = max(rates["weather"], 1.0)
    for name in rng.sample(list(rates), 3):
        rates[name] = max(rates[name], 1.0) * 4  # what this life is about
    if FILE not in kinds:
        rates["file"] = 0
    if "MISC_CHECK" not in kinds:
        rates["script"] = 0
    names, weights = list(rates), list(rates.values())
    unit = PACES[pace].unit
    actions: list[Action] = []
    for _ in range(rng.randint(4, 8) if quick else rng.randint(10, 22)):
        gap = unit * rng.choice([0.02, 0.1, 0.5, 2.0])
        for _ in range(rng.randint(1, 9)):
            what = rng.choices(names, weights)[0]
            actions.append(Action(round(rng.expovariate(1 / gap), 3), what, rng.randrange(1_000_000)))
        actions.append(Action(0.0, CALM, rng.randrange(1_000_000)))
    return tuple(actions)
