"""What a terminal shows of a probe on request: the result, the rule that it broke, and with --trace everything that passed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SIGNS = {True: "● passes", False: "✖ FAILS"}
_INDENT = 24


def checked(answer: dict[str, Any]) -> str:
    """Return what came of each check, a block of lines for each."""
    return "\n\n".join("\n".join(_check(check)) for check in answer["checks"]) + "\n"


def _check(check: dict[str, Any]) -> Iterator[str]:
    result = check["result"]
    name = f"{check['type']} {check['target']}".rstrip()
    if result is None:
        yield f"{name}: NOT PROBED: {check['trouble']}"
    else:
        inconclusive = result["reason"] in {"LOCAL", "LATE", "CRASHED", "NONE"}
        sign = "○ INCONCLUSIVE" if inconclusive else SIGNS[result["ok"]]
        yield f"{name}: {sign}: {result['reason']} {result['detail']}".rstrip() + f", {_duration(result['duration_s'])}"
    yield f"  counts for {', '.join(check['real_servers'])}; {check['health']} by its schedule, which this probe does not change"
    yield from (line for step in check.get("steps", ()) for line in _step(step))
    if result is not None and result["rule"]:
        yield f"  {'the rule' if result['ok'] else 'the rule it broke'}: {result['rule']}"


def _step(step: dict[str, Any]) -> Iterator[str]:
    size = f" {step['size_bytes']} B" if step["size_bytes"] else ""
    head = f"  {step['at_s'] * 1000:9.1f} ms  {_WORDS[step['kind']] + size}"
    lines = step["text"].split("\n")
    if len(lines) == 1 and not size:
        yield f"{head:<{_INDENT}}  {lines[0]}".rstrip()
        return
    yield head
    yield from (f"      {_ARROWS.get(step['kind'], ' ')} {line}".rstrip() for line in lines)


_WORDS = {
    "CONNECTING": "connecting:",
    "CONNECTED": "connected:",
    "SECURED": "TLS:",
    "SENT": "sent",
    "RECEIVED": "received",
    "ENDED": "ended:",
    "FAILED": "FAILED:",
    "ASKED": "asked:",
    "ANSWERED": "answered:",
    "CLOSED": "closed:",
    "CUT": "and so on:",
}
_ARROWS = {"SENT": ">", "RECEIVED": "<"}


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
