"""The whole picture at one instant, and the part of it that a reader asked for. Pure.

A picture of 10,000 real servers takes some tens of milliseconds to draw, so it is drawn in steps, and nobody ever gets more rows at once
than PAGE_ROWS (observability.md, section 6: all rows in one table stall the loop for 0.2 s).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from checkers.kit.frozen import frozen
from supervisor.core.entry import RESULT, Entry, Extract
from supervisor.core.snapshot import Snapshot
from supervisor.exporter.notices import Notice, notices, remarks
from supervisor.exporter.standing import Assessment, RealServerStanding, State, VirtualServerStanding
from supervisor.wording import counted

PAGE_ROWS = 100
"""Rows of one page: five screens, some 80 kB of HTML, 5 ms to render."""

STEP_REAL_SERVERS = 500
"""Real servers that are looked at before others may run: about 3 ms."""

FIND_MAX = 100
"""Longest text of the filter, in characters."""

Row = TypeVar("Row")


@frozen
class Picture:
    """A snapshot that was taken at `now_wall` (seconds since the epoch), and how things stand in it."""

    snapshot: Snapshot
    now_wall: float
    assessment: Assessment
    notices: tuple[Notice, ...]

    def find(self, virtual_server: str) -> VirtualServerStanding | None:
        """Return the virtual server with this name."""
        found = (one for one in self.assessment.virtual_servers if one.view.virtual_server == virtual_server)
        return next(found, None)

    @property
    def down(self) -> int:
        """How many virtual servers do not have their quorum."""
        return sum(self.assessment.virtual_states[state] for state in (State.DOWN, State.SORRY))

    @property
    def degraded(self) -> int:
        """How many virtual servers serve with less than they should have."""
        return self.assessment.virtual_states[State.DEGRADED]

    @property
    def worst(self) -> State:
        """The state of the worst virtual server; UP when there is none."""
        servers = self.assessment.virtual_servers
        return servers[0].state if servers else State.UP

    @property
    def summary(self) -> str:
        """One sentence about everything, which changes only when something did."""
        assessment = self.assessment
        total = len(assessment.virtual_servers)
        if not total:
            return "No virtual servers are configured."
        real = sum(assessment.real_states.values())
        down = assessment.real_states[State.DOWN] + assessment.real_states[State.HELD]
        parts = [f"{self.down} down" if self.down else "", f"{self.degraded} degraded" if self.degraded else ""]
        said = ", ".join(part for part in parts if part) or "none down, none degraded"
        servers = (
            f"{down} of {counted(real, 'real server')} down" if down else f"none of {counted(real, 'real server')} down"
        )
        troubles = f"; {counted(len(self.notices), 'notice')}" if self.notices else ""
        return f"{counted(total, 'virtual server')}: {said}; {servers}{troubles}."


def drawing(snapshot: Snapshot, now_wall: float) -> Iterator[Picture | None]:
    """Draw a picture in steps: yield None after each, and the picture at last."""
    said = remarks(snapshot.process.writer)
    assessment = Assessment()
    seen = 0
    for view in snapshot.virtual_servers:
        assessment.add(view, said.get(view.virtual_server, ()))
        seen += len(view.real_servers) + 1
        if seen >= STEP_REAL_SERVERS:
            seen = 0
            yield None
    yield None
    found = notices(snapshot.process)
    assessment.fingerprint = hash((assessment.fingerprint, len(found), snapshot.process.config_digest))
    yield Picture(snapshot, now_wall, assessment.finish(), tuple(found))


@frozen
class Choice:
    """What a reader wants of a long list: the rows with `find` in them, and the page (from 1)."""

    find: str = ""
    page: int = 1


@frozen
class Part(Generic[Row]):
    """One page of a list."""

    rows: Sequence[Row]
    page: int
    pages: int
    total: int  # rows of all pages


def part(rows: Sequence[Row], choice: Choice, fits: Callable[[Row, str], bool], size: int = PAGE_ROWS) -> Part[Row]:
    """Return the page of `rows` that was chosen; the last one for a page beyond it."""
    find = choice.find.casefold()
    chosen = [row for row in rows if fits(row, find)] if find else rows
    pages = max(1, -(-len(chosen) // size))
    page = min(choice.page, pages)
    return Part(chosen[(page - 1) * size : page * size], page, pages, len(chosen))


def fits_virtual_server(standing: VirtualServerStanding, find: str) -> bool:
    """Tell whether a virtual server, or one of its real servers, is meant."""
    view = standing.view
    return (
        find in view.virtual_server.casefold()
        or find == standing.state.word
        or any(find in why.casefold() for why in standing.why)
        or any(find in server.real_server for server in view.real_servers)
    )


def fits_entry(entry: Entry, find: str) -> bool:
    """Tell whether something that happened is meant."""
    return (
        find in entry.message.casefold()
        or find in entry.type
        or find in entry.virtual_server
        or find in entry.real_server
    )


def newest_first(extract: Extract) -> list[Entry]:
    """Return what happened, the newest first."""
    return list(reversed(extract.entries))


def worth_telling(extract: Extract) -> list[Entry]:
    """Return what happened without the probes that passed, the newest first."""
    return [entry for entry in newest_first(extract) if entry.type != RESULT or entry.facts.get("passed") is not True]


def last_failures(extract: Extract) -> dict[str, Entry]:
    """Return by real server the last probe that failed; one that says nothing of its server (passed: null) did not fail."""
    return {
        entry.real_server: entry
        for entry in extract.entries
        if entry.type == RESULT and entry.facts.get("passed") is False
    }


def fits_real_server(standing: RealServerStanding, find: str) -> bool:
    """Tell whether a real server is meant."""
    return (
        find in standing.view.real_server
        or find == standing.state.word
        or find in standing.virtual_server.casefold()
        or find in standing.why.casefold()
    )
