"""Everything that the operator wants done when something happens: scripts of transitions, named pipes, the first and the last script.

Puts the sinks of `notify` that need programs together with the runner that runs them, so that `wiring` knows one thing instead of four.
Nothing is decided here but the order at the start and at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from supervisor.children.runner import Running, ScriptRunner, StartRunner
from supervisor.core.snapshot import WorkerView
from supervisor.core.transitions import Transition
from supervisor.log import Log
from supervisor.model import Config, Script
from supervisor.notify._running import say_ended
from supervisor.notify.fifo import Fifos, Open
from supervisor.notify.script import Scripts

DRAIN_MAX_S = 15.0
"""At a clean stop, the longest wait for scripts of transitions: three of the longest, one after another."""

RUNNER_END_MAX_S = 3.0
"""At a clean stop, the longest wait until nothing runs any more: SIGTERM, and SIGKILL two seconds later."""


class Errands:
    """All of it. One task runs `run`; the decision loop calls `tell`."""

    def __init__(self, config: Config, start: StartRunner, open_pipe: Open, log: Log) -> None:
        self._config = config
        self._log = log
        self.runner = ScriptRunner(start, log)
        self.scripts = Scripts(self.runner.begin, config.scripts.timeout, log)
        self.fifos = Fifos(open_pipe, self._begin_beside, log)

    async def run(self) -> None:
        """Run what has to run, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.runner.serve)
            nursery.start_soon(self.scripts.run)
            nursery.start_soon(self.fifos.run)

    async def begin(self) -> None:
        """Before the first virtual server is served: the startup script, then the pipes. `run` must run already."""
        settings = self._config.scripts
        await self._alone(settings.startup, "startup", settings.startup_timeout)
        self.reconfigure(self._config)

    def reconfigure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config
        if config.has_scripts:
            self.runner.require()
        self.scripts.reconfigure(config.scripts.timeout)
        self.fifos.configure(config.scripts.fifos)

    def tell(self, transition: Transition) -> None:
        """Tell scripts and pipes. Never blocks."""
        self.fifos.tell(transition)
        self.scripts.tell(transition)

    def hurry(self) -> None:
        """The program stops: what is told from now on has less time."""
        self.scripts.hurry()

    async def end(self) -> None:
        """After the last transition was told: see the scripts through, close the pipes, run the shutdown script."""
        await self.scripts.drain(DRAIN_MAX_S)
        await self.fifos.close()
        settings = self._config.scripts
        await self._alone(settings.shutdown, "shutdown", settings.shutdown_timeout)
        await self.runner.drain(RUNNER_END_MAX_S)

    def views(self, now: float) -> tuple[WorkerView, ...]:
        """Return what observers may know of the runner, if there is one."""
        return (self.runner.view(now),) if self.runner.required else ()

    async def _alone(self, script: Script | None, event: str, limit_s: float) -> None:
        """Run a script that belongs to no object, and wait for it."""
        if script is None:
            return
        ended = await self.runner.run(script, {"VIPERVISOR_EVENT": event}, limit_s)
        say_ended(script, ended, self._log, sink="script", user=script.user, notice=event)

    def _begin_beside(self, script: Script, environment: Mapping[str, str], more: Sequence[str]) -> Running:
        return self.runner.begin(script, environment, None, more)
