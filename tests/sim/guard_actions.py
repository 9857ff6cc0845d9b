"""What happens to pools that `min_healthy` guards. See `tests.sim.actions`; the rates are `scenario.GUARD_MIX`."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from supervisor.outside import Order
from tests.sim.actions import action, order
from tests.sim.site import draw_min_healthy
from tests.sim.weather import BAD, GOOD, NEVER, ODD

if TYPE_CHECKING:
    from tests.sim.stage import Stage


@action("mixed outage")
async def _mixed_outage(stage: Stage, rng: random.Random) -> bool:
    """Most of a pool fails, each server in its own way, at once or one after another; then some of them fail otherwise, or recover."""
    pool = rng.choice(stage.site.pools)
    pause_s = stage.pace.unit * rng.choice([0.0, 0.5, 3.0, 3.0])
    for kinds in ([*BAD, *ODD, *ODD], [*BAD, *ODD, *GOOD]):
        for server in pool.servers:
            if rng.random() < 0.8:
                stage.weather.behave(server.host, rng.choice(kinds))
                stage.weather.end_with(server.host, rng.choice([1, 1, 255, NEVER]))
                await trio.sleep(pause_s)
        if rng.random() < 0.5:
            return True
        await trio.sleep(stage.pace.unit * rng.choice([0.3, 2.0, 6.0]))
    return True


@action("min_healthy edited")
async def _min_healthy_edited(stage: Stage, rng: random.Random) -> bool:
    pools = list(stage.written.pools)
    index = rng.randrange(len(pools))
    pools[index] = replace(pools[index], min_healthy=draw_min_healthy(rng))
    stage.write_file(replace(stage.written, pools=tuple(pools)))
    stage.disturb()
    return order(stage, Order.RELOAD)
