"""What a terminal shows of the time that noticing takes: for one real server in `why`, before and after in `plan`. Pure."""

from __future__ import annotations

from typing import Any

FAULTS = {"refused": "refused port", "silent": "silent host", "wrong": "wrong answer", "back": "back again"}
"""Field of a shape → what people call it."""
NOT_COUNTED_ON = "; a sentinel is expected, and not counted on"
"""It may be closed, or have no place (core.detection)."""


def why(detection: dict[str, Any] | None, *, watched: bool) -> list[str]:
    """Return the lines about one real server; `watched`: a sentinel stands there."""
    if detection is None:
        return ["  noticed after: never, no check would notice a fault"]
    lines = [f"  noticed after (expected-at most{NOT_COUNTED_ON * watched}): {_sentence(detection['busy'])}"]
    if detection["unused"] is not None:
        lines.append(f"  while it has no traffic: {_sentence(detection['unused'])}")
    return lines


def _sentence(shape: dict[str, Any]) -> str:
    return ", ".join(f"{word} {_span(shape[name])}" for name, word in FAULTS.items())


def plan(changes: list[dict[str, Any]]) -> list[str]:
    """Return the lines about everything that is noticed otherwise than before."""
    if not changes:
        return []
    lines = [f"  Faults are noticed, and the kernel is told, after (expected-at most{NOT_COUNTED_ON}):"]
    for change in changes:
        lines.append(f"    {change['virtual_server']}, {_servers(change['real_servers'])}")
        before, after = change["before"], change["after"]
        lines += _shapes(before and before["busy"], after and after["busy"], "")
        unused = [side and (side["unused"] or side["busy"]) for side in (before, after)]
        if any(side and side["unused"] for side in (before, after)):
            lines += _shapes(unused[0], unused[1], ", no traffic")
    return lines


def _servers(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} real servers: {names[0]} to {names[-1]}"


def _shapes(before: dict[str, Any] | None, after: dict[str, Any] | None, more: str) -> list[str]:
    if after is None:
        return ["      no check would notice any more"]
    lines = []
    for name, word in FAULTS.items():
        told = _span(after[name])
        was = "" if before is None or before[name] == after[name] else f"{_span(before[name])} → "
        if told != _span(None) or was:
            lines.append(f"      {word + more:<25} {was}{told}")
    return lines


def _span(span: dict[str, float] | None) -> str:
    """Return both times of a span: "1.3-2.9 s"."""
    return "never" if span is None else f"{span['expected_s']:.1f}-{span['worst_s']:.1f} s"
