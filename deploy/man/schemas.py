"""The form of what `--json` prints, as JSON Schema (2020-12): docs/schemas/VERB.json, made from the program's own values where it can be.

    python deploy/man/schemas.py            writes them
    python deploy/man/schemas.py --check    exit 1, and a word, when one of them is not what it would be

A newer daemon may add fields, so none of the schemas forbids others; the tests do. `schema` grows when a field goes or changes its meaning.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkers.kit.api import Reason
from checkers.kit.transcript import StepKind
from supervisor.commands.shape import SCHEMA
from supervisor.core import snapshot
from supervisor.core.entry import SCHEMA as HISTORY_SCHEMA
from supervisor.log import LEVELS

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}
SECONDS: Schema = {"type": "number", "description": "seconds"}


def either(*schemas: Schema) -> Schema:
    """Return what is one of several."""
    return {"anyOf": list(schemas)}


def or_null(schema: Schema) -> Schema:
    """Return what may be null."""
    return either(schema, {"type": "null"})


def several(items: Schema) -> Schema:
    """Return a list."""
    return {"type": "array", "items": items}


def thing(description: str, **fields: Schema) -> Schema:
    """Return an object with all of these fields."""
    return {"type": "object", "description": description, "required": list(fields), "properties": fields}


def answer(description: str, version: int = SCHEMA, **fields: Schema) -> Schema:
    """Return what a verb prints: an object that begins with its version."""
    return thing(description, schema={"const": version}, **fields)


def value(kind: Any) -> Schema:
    """Return the schema of a value of the snapshot, by its type."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return thing(
            (kind.__doc__ or kind.__name__).split("\n", 1)[0], **{name: value(hint) for name, hint in hints.items()}
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return several(value(arguments[0]))
    if origin in {typing.Union, types.UnionType}:
        return or_null(value(next(one for one in arguments if one is not type(None))))
    if origin is not None:  # Mapping
        return {"type": "object", "additionalProperties": value(arguments[1])}
    return {str: TEXT, int: WHOLE, float: NUMBER, bool: TRUTH}[kind]


ROW = value(snapshot.RealServerView)
PAUSE = thing("who paused writes, and until when", by=TEXT, reason=TEXT, age_s=SECONDS, ends_s=or_null(SECONDS))

LINK = thing(
    "one cause: its parent is the one before it",
    id=WHOLE,
    parent=or_null(WHOLE),
    age_s=SECONDS,
    kind=TEXT,
    text=TEXT,
    facts={"type": "object"},
)

ORDERED = thing(
    "one real server after an order",
    virtual_server=TEXT,
    **ROW["properties"],
    changed=TRUTH,
    replaced=TEXT,
    weight_old=or_null(WHOLE),
    weight_up=WHOLE,
    quorum=WHOLE,
    hysteresis=WHOLE,
    quorate=TRUTH,
    sorry_server=TEXT,
    others=several(thing("another that serves", real_server=TEXT, weight=WHOLE)),
    others_more=WHOLE,
)

OPERATION: Schema = {
    "type": "object",
    "description": "one change of the kernel's table; of a destination with its weights and connections",
    "required": ["operation", "virtual_server"],
    "properties": {
        "operation": TEXT,
        "virtual_server": TEXT,
        "real_server": TEXT,
        "weight_old": or_null(WHOLE),
        "weight_new": or_null(WHOLE),
        "active": WHOLE,
        "inactive": WHOLE,
    },
}
CHANGES: Schema = {
    "type": "object",
    "description": "what changes, by kind: names, or pairs of virtual and real server",
    "additionalProperties": several(either(TEXT, several(TEXT))),
}

SPAN = or_null(
    thing(
        "how long something takes: the mean, and a bound; null: no check would notice",
        expected_s=SECONDS,
        worst_s=SECONDS,
    )
)
SHAPE = thing(
    "how long it takes to notice each fault, and that it is over", refused=SPAN, silent=SPAN, wrong=SPAN, back=SPAN
)
DETECTION = or_null(
    thing(
        "how faults of a real server are noticed; `unused`: while it has no traffic, where that differs; null: not at all",
        busy=SHAPE,
        unused=or_null(SHAPE),
    )
)
NOTICED = several(
    thing(
        "real servers whose faults are noticed otherwise than before; `before` null: they are new",
        virtual_server=TEXT,
        real_servers=several(TEXT),
        before=DETECTION,
        after=DETECTION,
    )
)

EDIT = thing(
    "what is set otherwise in a virtual server, or (`real_servers`) in some of its real servers",
    virtual_server=TEXT,
    real_servers=several(TEXT),
    text=TEXT,
)

RESULT = thing(
    "what came of a probe",
    ok=TRUTH,
    reason={"enum": [reason.name for reason in Reason]},
    detail=TEXT,
    duration_s=SECONDS,
    weight=or_null(WHOLE),
    rule=TEXT,
)
STEP = thing(
    "one step of a probe", at_s=SECONDS, kind={"enum": [kind.name for kind in StepKind]}, size_bytes=WHOLE, text=TEXT
)
CHECK: Schema = thing(
    "one check that was probed now; `result` null: it could not be, and `trouble` says why",
    type=TEXT,
    target=TEXT,
    real_servers=several(TEXT),
    health={"enum": ["UNKNOWN", "UP", "DOWN"]},
    result=or_null(RESULT),
    trouble=TEXT,
)
CHECK["properties"]["steps"] = several(STEP)  # with --trace

ENTRY: Schema = {
    "type": "object",
    "description": "what happened once, or `count` times until `last_at`; times are seconds since 1970",
    "required": ["id", "at", "type", "level", "message"],
    "properties": {
        "id": WHOLE,
        "at": NUMBER,
        "type": TEXT,
        "level": TEXT,
        "message": TEXT,
        "virtual_server": TEXT,
        "real_server": TEXT,
        "facts": {"type": "object"},
        "because": several(TEXT),
        "count": WHOLE,
        "last_at": NUMBER,
    },
}

PAST_RESULT: Schema = {
    **ENTRY,
    "description": "a result of a probe, or several alike",
    "required": [*ENTRY["required"], "age_s", "last_age_s"],
    "properties": {**ENTRY["properties"], "age_s": SECONDS, "last_age_s": SECONDS},
}


def status() -> Schema:
    """Return the form of a status: a snapshot, and how many there are of everything."""
    form = value(snapshot.Snapshot)
    properties = {**form["properties"], "whole": value(snapshot.WholeView)}
    return {**form, "title": "status", "required": [*form["required"], "whole"], "properties": properties}


SCHEMAS: Mapping[str, Schema] = {
    "status": status(),
    "why": answer(
        "why a real server has its weight, for each virtual server that has it",
        answers=several(
            thing(
                "one real server in one virtual server",
                virtual_server=TEXT,
                quorate=TRUTH,
                real_server=ROW,
                chain=several(LINK),
                down_because=several(LINK),
                at=NUMBER,
                detection=DETECTION,
                drift=several(TEXT),
                results=several(PAST_RESULT),
            )
        ),
    ),
    "history": answer(
        "what happened to real servers, or to a virtual server and its real servers",
        HISTORY_SCHEMA,
        at=NUMBER,
        servers=several(
            thing("one of them", virtual_server=TEXT, real_server=TEXT, omitted=WHOLE, entries=several(ENTRY))
        ),
    ),
    "events": answer("what happened in the whole program", HISTORY_SCHEMA, at=NUMBER, events=several(ENTRY)),
    "order": answer("drain, disable, enable, weight, host: what changed", in_kernel=TRUTH, servers=several(ORDERED)),
    "plan": answer(
        "what a reload would do",
        file=TEXT,
        digest=TEXT,
        changes=CHANGES,
        operations=several(OPERATION),
        edits=several(EDIT),
        edits_untold=WHOLE,
        detection=NOTICED,
    ),
    "reload": answer(
        "what a reload did",
        digest=TEXT,
        warnings=WHOLE,
        confirm_within_s=or_null(SECONDS),
        settled=or_null(TRUTH),
        changes=CHANGES,
        operations=several(OPERATION),
        edits=several(EDIT),
        edits_untold=WHOLE,
        detection=NOTICED,
    ),
    "confirm": answer("the configuration that stays", digest=TEXT),
    "check-now": answer("what came of probes on request", checks=several(CHECK)),
    "sync": answer(
        "what was not as wanted in the kernel's table",
        dry_run=TRUTH,
        found=WHOLE,
        left=WHOLE,
        in_kernel=TRUTH,
        differences=several(
            thing(
                "one difference",
                virtual_server=TEXT,
                real_server=TEXT,
                kind={"enum": ["missing", "extra", "weight", "settings"]},
                words=TEXT,
            )
        ),
    ),
    "pause": answer("pause and resume: how it stands with writes", paused=or_null(PAUSE), differences=WHOLE),
    "ready": answer(
        "whether the daemon is ready, and what is missing",
        ready=TRUTH,
        kernel_synced=TRUTH,
        kernel_reachable=TRUTH,
        checks=WHOLE,
        waiting=WHOLE,
        waiting_for=several(thing("a check without a verdict", check=TEXT, real_servers=several(TEXT))),
    ),
    "alerts": answer(
        "one line for a monitoring system",
        status={"enum": [0, 1, 2, 3]},
        word={"enum": ["OK", "WARNING", "CRITICAL", "UNKNOWN"]},
        text=TEXT,
        figures={"type": "object", "additionalProperties": WHOLE},
    ),
    "log-level": answer(
        "the level that the daemon logs from", level={"enum": list(LEVELS)}, before={"enum": list(LEVELS)}
    ),
    "version": answer(
        "the versions of the command and of the daemon; `daemon` null: none answers, and `trouble` says why",
        client=TEXT,
        daemon=or_null(
            thing(
                "the daemon", version=TEXT, protocol=WHOLE, python=TEXT, kernel=TEXT, log_level={"enum": list(LEVELS)}
            )
        ),
        trouble=TEXT,
    ),
}


def texts() -> dict[Path, str]:
    """Return every file with what it should hold."""
    made = {}
    for name, schema in SCHEMAS.items():
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"vipervisor {name} --json"}
        made[FOLDER / f"{name}.json"] = json.dumps({**head, **schema, "title": head["title"]}, indent=1) + "\n"
    return made


def main() -> int:
    """Write the files, or check them; return the exit status."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for path, text in texts().items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        print(f"not what the program says: {', '.join(stale)}; run `python deploy/man/schemas.py`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
