"""The JSON twin of every page: the same facts, for programs. Pure. Instants are Unix seconds.

`schema` is the version of all of them: it changes when a field changes its meaning or goes away, not when one is added.
"""

from __future__ import annotations

from typing import Any

from supervisor.core.entry import Extract, as_plain
from supervisor.core.runningtext import RunningText
from supervisor.core.snapshot import as_json
from supervisor.exporter.picture import (
    Choice,
    Part,
    Picture,
    fits_entry,
    fits_real_server,
    fits_virtual_server,
    last_failures,
    newest_first,
    part,
)
from supervisor.exporter.standing import RealServerStanding, State, VirtualServerStanding, standings

SCHEMA = 1


def overview(picture: Picture, choice: Choice) -> dict[str, Any]:
    """Return what the first page says."""
    assessment = picture.assessment
    shown = part(assessment.virtual_servers, choice, fits_virtual_server)
    return {
        **_head(picture),
        "virtual_server_states": {state.word: assessment.virtual_states[state] for state in State},
        "real_server_states": {state.word: assessment.real_states[state] for state in State},
        "overrides": assessment.overrides,
        **_place(shown),
        "virtual_servers": [_virtual_server(one, picture.now_wall) for one in shown.rows],
    }


def virtual_server(
    picture: Picture, standing: VirtualServerStanding, history: Extract | None, choice: Choice
) -> dict[str, Any]:
    """Return what the page of a virtual server says; a history of null is not to be had at the moment.

    `last_failure` of a real server is the last failed probe that is known, with what it sent and received; null: none.
    """
    shown = part(standings(standing.view), choice, fits_real_server)
    failures = {} if history is None else {name: as_plain(entry) for name, entry in last_failures(history).items()}
    return {
        **_head(picture),
        **_virtual_server(standing, picture.now_wall),
        **_place(shown),
        "real_servers": [
            {**_real_server(one, picture.now_wall), "last_failure": failures.get(one.view.real_server)}
            for one in shown.rows
        ],
        "history": None if history is None else [as_plain(entry) for entry in newest_first(history)],
    }


def events(picture: Picture, extract: Extract, choice: Choice) -> dict[str, Any]:
    """Return what happened, the newest first."""
    shown = part(newest_first(extract), choice, fits_entry)
    return {
        **_head(picture),
        **_place(shown),
        "omitted": extract.omitted,
        "events": [as_plain(entry) for entry in shown.rows],
    }


def configuration(picture: Picture, running: RunningText) -> dict[str, Any]:
    """Return the configuration that runs, whole and without secrets. Raises ValueError when there is no reading it."""
    return {
        **_head(picture),
        "source": running.source,
        "digest": running.digest,
        "files": list(running.files),
        "text": running.text(),
    }


def down(picture: Picture, choice: Choice) -> dict[str, Any]:
    """Return what is wrong now."""
    lost = [one for one in picture.assessment.virtual_servers if one.state in {State.DOWN, State.SORRY}]
    shown = part(picture.assessment.wrong, choice, fits_real_server)
    by_hand = part(picture.assessment.by_hand, choice, fits_real_server)
    return {
        **_head(picture),
        **_place(shown),
        "virtual_servers": [
            _virtual_server(one, picture.now_wall) for one in part(lost, choice, fits_virtual_server).rows
        ],
        "real_servers": [_real_server(one, picture.now_wall) for one in shown.rows],
        "by_hand_total": by_hand.total,
        "by_hand": [_real_server(one, picture.now_wall) for one in by_hand.rows],
    }


def _head(picture: Picture) -> dict[str, Any]:
    process = picture.snapshot.process
    return {
        "schema": SCHEMA,
        "at": round(picture.now_wall, 3),
        "version": process.version,
        "ready": process.ready,
        "config_digest": process.config_digest,
        "summary": picture.summary,
        "notices": [{"weight": notice.weight.word, "text": notice.text} for notice in picture.notices],
    }


def _place(shown: Part[Any]) -> dict[str, int]:
    return {"page": shown.page, "pages": shown.pages, "total": shown.total}


def _virtual_server(standing: VirtualServerStanding, now_wall: float) -> dict[str, Any]:
    view = standing.view
    return {
        "virtual_server": view.virtual_server,
        "state": standing.state.word,
        "why": list(standing.why),
        "since": round(now_wall - view.since_s, 3),
        "real_servers_up": standing.up,
        "real_servers_total": standing.total,
        "weight_up": view.weight_up,
        "quorum": view.quorum,
        "connections_active": standing.active,
        "sorry_server": view.sorry.real_server if view.sorry else None,
        "sorry_active": bool(view.sorry and view.sorry.active),
    }


def _real_server(standing: RealServerStanding, now_wall: float) -> dict[str, Any]:
    """Return one real server: all that the snapshot knows of it, and the state and the reason that the page shows."""
    view = standing.view
    return {
        "virtual_server": standing.virtual_server,
        "state": standing.state.word,
        "why": standing.why,
        "since": round(now_wall - view.since_s, 3),
        **as_json(view),
    }
