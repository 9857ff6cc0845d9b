"""Everything in one line, as monitoring plugins say it: a word with a number, what is wrong, and figures behind a bar. Pure.

Source: https://www.monitoring-plugins.org/doc/guidelines.html, sections 2.3 and 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.exporter.notices import Weight
from supervisor.exporter.picture import Picture
from supervisor.exporter.standing import State

NAMED_MAX = 5
"""Servers that are named; the line shall stay one."""

WORDS = ("OK", "WARNING", "CRITICAL")


@dataclass(frozen=True, slots=True)
class Alert:
    """`status` is 0, 1 or 2, `line` the whole of what a plugin prints."""

    status: int
    text: str
    figures: str

    @property
    def word(self) -> str:
        """What the status is called."""
        return WORDS[self.status]

    @property
    def line(self) -> str:
        """The line, without its end."""
        return f"VIPERVISOR {self.word} - {self.text} | {self.figures}"


def alert(picture: Picture) -> Alert:
    """Return what is to be said: critical when a virtual server is down or a notice says so, a warning when anything else is wrong."""
    assessment = picture.assessment
    bad = [notice for notice in picture.notices if notice.weight is Weight.BAD]
    wrong = sum(
        number for state, number in assessment.virtual_states.items() if state is not State.UP and state in _WRONG
    )
    status = 2 if picture.down or bad else 1 if wrong or picture.notices else 0
    lost = [one.view.virtual_server for one in assessment.virtual_servers if one.state in _LOST]
    said = [picture.summary.rstrip(".")]
    if lost:
        more = f" and {len(lost) - NAMED_MAX} more" if len(lost) > NAMED_MAX else ""
        said.append(f"down: {', '.join(lost[:NAMED_MAX])}{more}")
    said += [notice.text.rstrip(".").replace("|", "/") for notice in picture.notices[:NAMED_MAX]]
    real = assessment.real_states
    figures = {
        "virtual_servers": len(assessment.virtual_servers),
        "virtual_servers_down": picture.down,
        "virtual_servers_degraded": picture.degraded,
        "real_servers": sum(real.values()),
        "real_servers_down": real[State.DOWN] + real[State.HELD],
        "overrides": assessment.overrides,
    }
    return Alert(status, "; ".join(said), " ".join(f"{name}={number}" for name, number in figures.items()))


_LOST = frozenset({State.DOWN, State.SORRY})
_WRONG = frozenset({State.DOWN, State.SORRY, State.DEGRADED, State.UNKNOWN})
