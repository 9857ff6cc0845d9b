"""What an operator sees of an afternoon's work, word for word: the answers of a story on the virtual clock (tests/golden/operator*.txt).

To change it on purpose: delete the golden file and play the story once; it writes the file and fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import __version__
from supervisor.admin import checkwords, orderwords, pastwords, selfwords, words
from supervisor.admin.protocol import RequestError
from tests.fakes.behaviours import refuse, status
from tests.sim.test_operator_stories import GROUP, RS21, RS22, order, settled
from tests.sim.world import World, play

GOLDEN = Path(__file__).parents[1] / "golden" / "operator.txt"
NIGHT = Path(__file__).parents[1] / "golden" / "operator_night.txt"
WORDS: dict[str, Callable[[Any], str]] = {
    "why": words.why,
    "status": words.status,
    "check-now": checkwords.checked,
    "sync": selfwords.synced,
    "pause": selfwords.paused,
    "resume": selfwords.paused,
    "ready": selfwords.ready,
    "alerts": selfwords.alerts,
    "history": pastwords.history,
    "events": pastwords.events,
}


def compare(golden: Path, shown: list[str], folder: Path) -> None:
    text = "".join(shown).replace(str(folder), "FOLDER").replace(__version__, "VERSION")
    if not golden.exists():
        golden.write_text(text)
        raise AssertionError(f"{golden} was not there and is now; look at it")
    assert text == golden.read_text(), "what operators see is an interface: changed on purpose?"


def test_an_afternoons_work_reads_as_it_did_before(tmp_path: Path) -> None:
    shown: list[str] = []

    async def say(world: World, verb: str, real_server: str, **args: Any) -> None:
        said = " ".join([real_server, *(f"{name}={value}" for name, value in args.items())])
        shown.append(f"$ {verb} {said}".rstrip() + "\n")
        try:
            answer = await order(world, verb, real_server, **args)
        except RequestError as error:
            shown.append(f"vipervisor: {error}\nexit status {int(error.status)}\n")
        else:
            shown.append(WORDS[verb](answer) if verb in WORDS else orderwords.ordered(answer))

    async def ask(world: World, verb: str, **args: Any) -> None:
        """Say something that is about no real server, or not by that argument."""
        shown.append(f"$ {verb} {' '.join(f'{name}={value}' for name, value in args.items())}\n")
        shown.append(WORDS[verb](await world.operate(verb, by="alice", **args)))

    async def story(world: World) -> None:
        await settled(world)
        await say(world, "drain", RS21, for_s=7200, reason="new kernel, CHG-17")
        await say(world, "drain", RS21, for_s=3600)
        await world.later(700)
        await say(world, "status", "")
        await say(world, "disable", "192.168.100.22", virtual_server="203.0.113.101:80/tcp")
        await say(world, "disable", "192.168.100.22", virtual_server="203.0.113.101:80/tcp", force=True)
        await say(world, "weight", RS22, virtual_server="203.0.113.100:80/tcp", weight=7)
        await say(world, "weight", RS21, weight=7)
        world.network.server("192.168.100.21", 80).behaviour = refuse()
        await world.later(60)
        await say(world, "why", RS21, virtual_server="203.0.113.100:80/tcp")
        await say(world, "status", "")
        await say(world, "enable", RS22)
        await say(world, "enable", RS22)
        await say(world, "enable", "192.168.100.12")
        await say(world, "drain", "192.168.100.20")
        await ask(world, "history", name=RS21, virtual_server="203.0.113.100:80/tcp")
        await ask(world, "history", name="203.0.113.101:80/tcp", most=5)
        await ask(world, "events", since_s=65, types=["real_server", "virtual_server"])

    play(story, GROUP, tmp_path)
    compare(GOLDEN, shown, tmp_path)


def test_a_night_with_an_incident_reads_as_it_did_before(tmp_path: Path) -> None:
    shown: list[str] = []

    async def story(world: World) -> None:
        async def say(verb: str, **args: Any) -> None:
            said = " ".join(f"{name}={value}" for name, value in args.items())
            shown.append(f"$ {verb} {said}".rstrip() + "\n")
            try:
                answer = await world.operate(verb, by="alice", **args)
            except RequestError as error:
                shown.append(f"vipervisor: {error}\nexit status {int(error.status)}\n")
            else:
                shown.append(WORDS[verb](answer) if verb in WORDS else orderwords.ordered(answer))

        await say("ready")
        await say("alerts")
        await settled(world)
        await world.later(40)
        await say("ready")
        await say("alerts")
        world.network.server("192.168.100.22", 80).behaviour = status(503, b"no database\n")
        await say("check-now", real_server=RS22, trace=True)
        await say("check-now", real_server=RS22)
        await say("pause")
        await say("pause", reason="the switch is being replaced, INC-7", for_s=1800)
        await world.later(60)
        await say("status")
        await say("sync")
        await say("sync", dry_run=True)
        await say("alerts")
        await say("resume")
        await world.later(5)
        await say("sync")
        await say("drain", real_server="192.168.100.*")
        await say("drain", hosts=["192.168.100.22"], reason="new disk")
        await say("alerts")

    play(story, GROUP, tmp_path)
    compare(NIGHT, shown, tmp_path)
