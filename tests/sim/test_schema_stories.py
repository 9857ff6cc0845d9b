"""What `--json` prints has the form that docs/schemas says, for every verb that answers, and not a field more."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from supervisor import cli
from supervisor.commands.shape import numbered
from tests.fakes.behaviours import refuse, status
from tests.sim.test_operator_stories import ARTICLE, GROUP, RS21, RS22, settled
from tests.sim.world import World, play

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

SAME = {"drain": "order", "disable": "order", "enable": "order", "weight": "order", "host": "order", "resume": "pause"}
"""Verbs that answer in the form of another."""

ELSEWHERE = {"version"}
"""Tested with what they print: version by tests/process/test_operator.py."""


def strict(schema: Any) -> Any:
    """Return a schema that forbids what it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    return {**closed, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


def check(answer: Any, verb: str) -> None:
    schema = json.loads((FOLDER / f"{SAME.get(verb, verb)}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(numbered(answer), strict(schema))


def test_every_answer_has_the_form_of_its_schema(tmp_path: Path) -> None:
    said: set[str] = set()

    async def story(world: World) -> None:
        async def say(verb: str, **args: Any) -> Any:
            answer = await world.operate(verb, by="alice", **args)
            check(answer, verb)
            said.add(verb)
            return answer

        await say("ready")
        await say("alerts")
        await settled(world)
        for verb in ("status", "ready", "alerts", "plan"):
            await say(verb)
        await say("drain", real_server=RS21, for_s=60, reason="CHG-1")
        await say("disable", real_server=RS22, force=True)
        await say("status")
        await say("enable", real_server=RS22)
        await say("weight", real_server=RS21, weight=7, force=True)
        await say("why", real_server="192.168.100.*")
        world.network.server("192.168.100.22", 80).behaviour = status(503)
        await say("check-now", real_server=RS22, trace=True)
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(60)
        await say("pause", reason="INC-7", for_s=60)
        await say("status")
        await say("resume")
        await say("sync", dry_run=True)
        world.path.write_text(GROUP.replace("quorum", "quorum_down_nobody", 0).replace("weight 1", "weight 2"))
        await say("plan")
        await say("reload", confirm_within_s=60)
        await say("confirm")
        await say("log-level", level="info")
        no_worker = world.children[0]
        world.no_starts.add(0)
        no_worker.kill()
        await world.later(1)
        await say("check-now", real_server=RS21)
        await say("why", real_server=RS22)
        await say("alerts")
        await say("history", name=RS22)
        await say("history", name="203.0.113.100:80/tcp", most=3)
        await say("events")

    play(story, ARTICLE, tmp_path)
    verbs = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    answering = {name for name, parser in verbs.items() if any("--json" in a.option_strings for a in parser._actions)}
    assert {SAME.get(verb, verb) for verb in answering - ELSEWHERE} == {SAME.get(verb, verb) for verb in said}


@pytest.mark.parametrize("verb", ["status", "order", "check-now"])
def test_a_schema_refuses_what_lacks_a_field(verb: str) -> None:
    schema = json.loads((FOLDER / f"{verb}.json").read_text())
    with pytest.raises(jsonschema.ValidationError, match="required"):
        jsonschema.validate({"schema": 1}, {**schema, "properties": {}})
