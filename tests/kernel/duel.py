"""Both programs with one file: many small scenarios at once, in lockstep, each a virtual server of its own.

A scenario is a list of stages. A stage says what changes (which real servers live, what the file or a tracked file says) and how the
table must be when nothing moves any more. All scenarios of a duel share two programs, Vipervisor and Debian's keepalived, each in a
network namespace of its own with the same addresses. They take their stages together: one SIGHUP to each program if the file
is another one, then who lives and what other files say, wait until both tables stand still, write down what was seen. The tests judge
the record afterwards.

In the text of a scenario "%" stands for its own network: "%1" is the first real server, "%9" the sorry server, "%100" the virtual server,
"%name" its name and "%%" where its files are: "%%.value" is the file that `files={"value": ...}` writes, "%%.said" what its scripts write.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from tests.kernel import lab
from tests.kernel.sides import OURS, THEIRS, Side, Told

Weights: TypeAlias = Mapping[int, int]
"""The weight of each destination by the last number of its address; no key: no destination."""

RUNNER = "supervisor.runner.__main__"
"""A program of ours that starts beside the first probes, on the one processor of a guest."""

VIRTUAL, SORRY = 100, 9
QUIET_S = 2.5
"""Both tables stand still when neither has changed for so long: longer than a check with all its repetitions."""
STAGE_MAX_S = 45.0
START_MAX_S = 90.0
"""Longest waits until all is as it should be; they catch what never comes to that, and judge nothing."""

LANES_AT_ONCE = 2
"""Duels at the same time: each starts four Pythons, and a guest has one processor. Four of them kept the workers from their first word."""

PERIOD_S = 1.0
"""delay_loop of a scenario that says nothing else."""
TIMING = "connect_timeout 1\n retry 0\n warmup 0"


@dataclass(frozen=True, slots=True)
class Stage:
    """What changes, and what comes of it.

    `alive`, `hanging`, `files` and `block` of None are as they were. `theirs` are keepalived's weights where a named difference says
    that they are others than ours; `differs` that the weights agree, but not the rest of the table; `told_otherwise` that the
    difference is in what people are told, `mailed_otherwise` in mails alone.
    """

    what: str
    weights: Weights
    block: str | None = None
    alive: frozenset[int] | None = None
    hanging: frozenset[int] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    theirs: Weights | None = None
    differs: bool = False
    told_otherwise: bool = False
    mailed_otherwise: bool = False

    @property
    def weights_of_keepalived(self) -> Weights:
        """The weights in keepalived's table."""
        return self.weights if self.theirs is None else self.theirs


STOPPED = Stage("stopped", {}, mailed_otherwise=True)
"""The end of every scenario. keepalived ends before the mails of its stop are delivered (mail-of-the-stop-is-delivered)."""
STOP_S = 0.5
"""After both programs have ended, the time for the last of what they wrote to be read."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story of one virtual server."""

    name: str
    stages: tuple[Stage, ...]
    head: str = ""  # blocks of the file that stand before the virtual server
    stopped: Stage = STOPPED
    period_s: float = PERIOD_S
    check_s: float = 0.0  # what a check may take by itself

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Seen:
    """One program's side of a settled stage."""

    weights: Weights
    rules: tuple[str, ...]  # `ipvsadm -Sn` and the thresholds, sorted
    way: tuple[Weights, ...]  # each state of the table since the stage began, oldest first
    changed_after_s: (
        float | None
    )  # from the beginning of the stage to the last change of the table; None: there was none
    told: Told


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled stage of one scenario."""

    stage: Stage
    ours: Seen
    theirs: Seen
    one_change: bool  # at most one real server was killed or started, or the file is another one
    reload: bool = False
    starting_s: float = 0.0  # what it takes here to start what begins beside the first probes


Record: TypeAlias = Mapping[str, Sequence[Settled]]


def alive(*numbers: int) -> frozenset[int]:
    """Name the real servers that answer."""
    return frozenset(numbers)


def server(number: int, *lines: str, port: int = 80, check: str = f"TCP_CHECK {{\n {TIMING}\n}}") -> str:
    """Return the block of a real server with one check."""
    body = "\n ".join(line for line in (*lines, check) if line)
    return f"real_server %{number} {port} {{\n {body}\n}}"


def pool(
    *servers: str,
    vs: str = "",
    port: int = 80,
    scheduler: str = "rr",
    method: str = "NAT",
    protocol: str = "TCP",
    name: str = "",
    period_s: float = PERIOD_S,
) -> str:
    """Return the block of a virtual server; `vs` are more lines of it, `name` stands in the place of address and port."""
    head = f"delay_loop {period_s:g}\n lb_algo {scheduler}\n lb_kind {method}\n protocol {protocol}"
    return f"virtual_server {name or f'%{VIRTUAL} {port}'} {{\n {head}\n {vs}\n" + "\n".join(servers) + "\n}\n"


def group(*members: str, servers: Sequence[str], vs: str = "") -> str:
    """A virtual server for each of these addresses."""
    lines = "\n ".join(members)
    return f"virtual_server_group %name {{\n {lines}\n}}\n" + pool(*servers, name="group %name", vs=vs)


def play(scenarios: Sequence[Scenario], directory: Path, *, lane: str = "duel", more: str = "") -> Record:
    """Play all scenarios at once and return what was seen of each settled stage, and at last of the time after the stop of both programs.

    `lane` tells duels apart that go on at the same time; `more` are lines of the file that stand before all others.
    """
    length = max(len(scenario.stages) for scenario in scenarios)
    record: dict[str, list[Settled]] = {scenario.name: [] for scenario in scenarios}
    starting_s = lab.cost_of_starting(RUNNER)
    print(f"starting the runner of scripts takes {starting_s:.2f} s here")
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(name, directory, lane, more)) for name in (OURS, THEIRS)]
        state = [_Scene(number, scenario) for number, scenario in enumerate(scenarios, start=1)]
        for index in range(length):
            begun = time.monotonic()
            for scene in state:
                scene.enter(index)
            for side in sides:
                side.configure("\n".join(scene.text(side.place) for scene in state))
                side.reload()
            for side in sides:
                side.reloaded()
            for side in sides:
                _arrange(side, state)
                if index == 0:
                    side.start()
            playing = [scene for scene in state if index < len(scene.scenario.stages)]
            _settle(sides, playing, begun, START_MAX_S if index == 0 else STAGE_MAX_S)
            print(f"stage {index} of {length} took {time.monotonic() - begun:.1f} s")
            for side in sides:
                side.look()
            for scene in playing:
                ours, theirs = (_seen(side, scene, begun) for side in sides)
                start = starting_s if index == 0 else 0.0
                settled = Settled(scene.stage, ours, theirs, scene.one_change, scene.reload, start)
                record[scene.scenario.name].append(settled)
            for side in sides:
                side.forget_told()
        begun = time.monotonic()
        for side in sides:
            side.terminate()
        for side in sides:
            side.stop()
        time.sleep(STOP_S)
        for side in sides:
            side.look()
        for scene in state:
            ours, theirs = (_seen(side, scene, begun) for side in sides)
            record[scene.scenario.name].append(Settled(scene.scenario.stopped, ours, theirs, one_change=True))
    return record


def play_lanes(lanes: Mapping[str, tuple[Sequence[Scenario], str]], directory: Path) -> Mapping[str, Record]:
    """Play several duels side by side, for what concerns a whole file: by lane its scenarios, and the lines before all others."""
    with ThreadPoolExecutor(LANES_AT_ONCE) as pool_of_threads:
        playing = {
            lane: pool_of_threads.submit(play, scenarios, directory, lane=lane, more=more)
            for lane, (scenarios, more) in lanes.items()
        }
        return {lane: future.result() for lane, future in playing.items()}


class _Scene:
    """One scenario at its present stage. A stage that is over lasts while other scenarios go on."""

    def __init__(self, number: int, scenario: Scenario) -> None:
        self.network = f"10.{number}.0."
        self.scenario = scenario
        self.stage = replace(scenario.stages[0], files={})
        self.block, self.alive, self.hanging = "", frozenset[int](), frozenset[int]()
        self.one_change = self.reload = False

    def enter(self, index: int) -> None:
        if index >= len(self.scenario.stages):
            self.stage = replace(self.stage, files={})
            return
        before = self.block, self.alive, self.hanging
        self.stage = self.scenario.stages[index]
        self.block = self.block if self.stage.block is None else self.stage.block
        self.alive = self.alive if self.stage.alive is None else self.stage.alive
        self.hanging = self.stage.hanging
        changed = len(before[1] ^ self.alive) + len(before[2] ^ self.hanging)
        self.reload = index > 0 and before[0] != self.block
        self.one_change = index > 0 and (before[0] != self.block) + changed <= 1

    def text(self, place: Path) -> str:
        return self.filled(f"{self.scenario.head}\n{self.block}", place)

    def filled(self, text: str, place: Path) -> str:
        name = self.scenario.name
        return text.replace("%%", f"{place}/{name}").replace("%name", name).replace("%", self.network)

    @property
    def virtual(self) -> str:
        return f"{self.network}{VIRTUAL}"

    def numbered(self, weights: Mapping[str, int] | None) -> Weights:
        return {int(address.rpartition(".")[2]): weight for address, weight in (weights or {}).items()}


@contextmanager
def _side(name: str, directory: Path, lane: str, more: str) -> Iterator[Side]:
    place = directory / lane / name
    place.mkdir(parents=True)
    side = Side(name, place, lane=lane, more=more)
    try:
        yield side
    finally:
        side.close()


def _arrange(side: Side, scenes: Sequence[_Scene]) -> None:
    """Make the world of a stage for one program, which has the file of the stage already.

    keepalived forgets in a reload what it noticed a moment before, and the mails of it: no scenario is to bring another one to that.
    """
    answering = [
        (f"{scene.network}{number}", port) for scene in scenes for number in scene.alive for port in side.PORTS
    ]
    hanging = {f"{scene.network}{number}" for scene in scenes for number in scene.hanging}
    files = [
        (f"{scene.scenario.name}.{name}", scene.filled(content, side.place))
        for scene in scenes
        for name, content in scene.stage.files.items()
    ]
    side.arrange(answering, hanging)
    for name, content in files:
        side.write(name, content)


def _settle(sides: Sequence[Side], scenes: Sequence[_Scene], begun: float, within_s: float) -> None:
    """Wait until nothing moves and all is as it should be, or at the longest `within_s`: the tests will say what was not."""
    while time.monotonic() - begun < within_s:
        time.sleep(0.1)
        quiet_since = max(begun, *(side.last_change_s() for side in sides))
        if time.monotonic() - quiet_since < QUIET_S:
            continue
        ours, theirs = sides
        if all(_is_as_it_should_be(scene, ours, theirs) for scene in scenes):
            return


def _is_as_it_should_be(scene: _Scene, ours: Side, theirs: Side) -> bool:
    stage = scene.stage
    if (
        scene.numbered(ours.watch.now(scene.virtual)) != stage.weights
        or scene.numbered(theirs.watch.now(scene.virtual)) != stage.weights_of_keepalived
    ):
        return False
    if stage.told_otherwise:
        return True
    our, their = (side.told(scene.virtual, scene.network, scene.scenario.name) for side in (ours, theirs))
    return our.is_as_much_as(their, mails=not stage.mailed_otherwise)


def _seen(side: Side, scene: _Scene, begun: float) -> Seen:
    moments = tuple(moment for moment in side.watch.moments(scene.virtual) if moment.at_s >= begun)
    origin = begun
    if scene.stage is scene.scenario.stages[0] and moments:  # each program has its own start
        origin = max(moments[0].at_s, side.checking_since_s())
    return Seen(
        weights=scene.numbered(side.watch.now(scene.virtual)),
        rules=side.rules(scene.virtual),
        way=tuple(scene.numbered(moment.weights) for moment in moments),
        changed_after_s=max(moments[-1].at_s - origin, 0.0) if moments else None,
        told=side.told(scene.virtual, scene.network, scene.scenario.name),
    )
