"""Everything that the operator wants done when something happens: scripts of transitions, named pipes, the first and the last script.

Puts the sinks of `notify` that need programs together with the runner that runs them, so that `wiring` knows one thing instead of four.
Nothing is decided here but the order at the start and at the end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import trio

from checkers.kit.api import Answer, Ending
from checkers.kit.excerpt import clip
from checkers.kit.job import Job
from supervisor.children.runner import Running, ScriptRunner, StartRunner
from supervisor.core.snapshot import WorkerView
from supervisor.core.transitions import Transition
from supervisor.log import Log
from supervisor.model import Config, Script
from supervisor.notify._running import say_ended
from supervisor.notify.fifo import Fifos, Open
from supervisor.notify.script import Scripts
from supervisor.runner.protocol import Ended, Outcome

DRAIN_MAX_S = 15.0
"""At a clean stop, the longest wait for scripts of transitions: three of the longest, one after another."""

_OUR_OWN_TROUBLE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Why a script does not start when it is this machine that has no room: no evidence against any server."""

RUNNER_END_MAX_S = 3.0
"""At a clean stop, the longest wait until nothing runs any more: SIGTERM, and SIGKILL two seconds later."""


class Errands:
    """All of it. One task runs `run`; the decision loop calls `tell`."""

    def __init__(
        self,
        config: Config,
        start: StartRunner,
        open_pipe: Open,
        log: Log,
        waited_s: Callable[[int], float | None],
        *,
        checks_only: bool = False,
    ) -> None:
        """`checks_only` (a dry run): scripts of checks run, and nothing is told to anybody."""
        self._config = config
        self._checks_only = checks_only
        self._log = log
        self.runner = ScriptRunner(start, log, waited_s)
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
        if not self._checks_only:
            await self._alone(settings.startup, "startup", settings.startup_timeout)
        self.reconfigure(self._config)

    def reconfigure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config
        if config.has_scripts:
            self.runner.require()
        self.scripts.reconfigure(config.scripts.timeout)
        if not self._checks_only:
            self.fifos.configure(config.scripts.fifos)

    def tell(self, transition: Transition) -> None:
        """Tell scripts and pipes. Never blocks."""
        if not self._checks_only:
            self.fifos.tell(transition)
            self.scripts.tell(transition)

    async def check(self, job: Job) -> Answer:
        """Run the script of a MISC_CHECK job and return how it ended, within the job's own time limit."""
        argv, user, group = job.options.get("argv"), job.options.get("user"), job.options.get("group")
        if not isinstance(argv, list) or not argv:
            return Answer(Ending.REFUSED, text=f"{job.type} has no script")
        script = Script(
            tuple(str(word) for word in argv),
            str(user or ""),
            str(group or ""),
            secure=job.options.get("secure") is True,
        )
        return _answer(await self.runner.run(script, {"VIPERVISOR_EVENT": "check"}, job.connect_timeout))

    def hurry(self) -> None:
        """The program stops: what is told from now on has less time."""
        self.scripts.hurry()

    async def end(self) -> None:
        """After the last transition was told: see the scripts through, close the pipes, run the shutdown script."""
        await self.scripts.drain(DRAIN_MAX_S)
        await self.fifos.close()
        settings = self._config.scripts
        if not self._checks_only:
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


def _answer(ended: Ended) -> Answer:
    """Return what the end of a script is to a check."""
    match ended.outcome:
        case Outcome.EXITED:
            return Answer(Ending.DONE, ended.status, clip(ended.output))
        case Outcome.SIGNALLED:
            return Answer(Ending.FAILED, text=clip(str(ended)))
        case Outcome.TIMED_OUT:
            return Answer(Ending.TIMED_OUT, text=clip(str(ended)))
        case Outcome.LATE:
            return Answer(Ending.LATE, text=clip(str(ended)))
        case Outcome.COULD_NOT_START:
            ours = ended.status in _OUR_OWN_TROUBLE
            return Answer(Ending.REFUSED if ours else Ending.FAILED, text=clip(str(ended)))
        case Outcome.CANCELLED | Outcome.RUNNER_LOST:
            return Answer(Ending.REFUSED, text=clip(str(ended)))
        case _:
            assert_never(ended.outcome)
