"""Fuzz targets of the configuration: bytes in; an exception comes out for a bug of ours and for nothing else.

A text may bring other files along: what follows a line "%% NAME.conf" is that file, beside the main one.
"""

from __future__ import annotations

import functools
import pathlib
import re
import shutil
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager

from checkers.kit.wire import assign_frames
from supervisor.children.translation import job_of
from supervisor.config import (
    Outcome,
    Problem,
    Severity,
    definitions,
    expand,
    groups,
    includes,
    load,
    problems,
    render,
    tree,
)
from supervisor.config.expand import Reader
from supervisor.config.files import decode
from supervisor.config.lexer import CLOSE, OPEN, code_of, pieces, scan
from supervisor.config.problems import GivenUp, Problems
from supervisor.core.diff import diff
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.rules import rules
from supervisor.core.table import Table
from supervisor.ipvs.memory import MemoryBackend
from supervisor.model import Config

_FILE = re.compile(rb"^%% ?([a-z]{1,8}\.conf)\n", re.MULTILINE)
_ELSEWHERE = re.compile(rb"/|\.\.|_PWD|_ENV")
"""What an include needs to leave its folder for files that are not the same on every machine."""

PLACES_MAX = 1_000
"""Lines of one text whose places are looked at."""

LOWERED: tuple[tuple[types.ModuleType, str, int], ...] = (
    (expand, "MAX_GENERATED_LINES", 1_000),
    (definitions, "MAX_REPLACED_NAMES", 3_000),
    (definitions, "MAX_REPLACED_CHARACTERS", 1_000_000),
    (groups, "MAX_GROUP_ADDRESSES", 300),
    (groups, "MAX_ALL_GROUP_ADDRESSES", 1_000),
    (groups, "MAX_GROUP_DESTINATIONS", 1_000),
    (problems, "MAX_KEPT_ERRORS", 100),
    (problems, "MAX_MET_ERRORS", 300),
    (problems, "MAX_KEPT_REMARKS", 100),
    (tree, "MAX_STATEMENTS", 3_000),
)
"""Limits that whoever plays many inputs may lower, so that all of them are reached and none takes its time."""


@functools.cache
def _folder() -> pathlib.Path:
    """One folder for this process, in memory where there is such a place: the file system is not what is tested."""
    memory = pathlib.Path("/dev/shm")
    return pathlib.Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))


@contextmanager
def _written(data: bytes) -> Iterator[tuple[pathlib.Path, dict[str, list[str]]]]:
    """The main file of `data` with the others beside it, and the lines of each by its path."""
    main, *others = _FILE.split(data)
    contents = {"main.conf": main}
    contents.update(zip((name.decode() for name in others[::2]), others[1::2], strict=True))
    folder = _folder()
    folder.mkdir(exist_ok=True)
    try:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        lines = {str(folder / name): decode(content).split("\n") for name, content in contents.items()}
        yield folder / "main.conf", lines
    finally:
        shutil.rmtree(folder)


def _leads_elsewhere(data: bytes) -> bool:
    """Whether an include could name a file that the input has not brought along."""
    return b"inc" in data and _ELSEWHERE.search(data) is not None


def lexer(data: bytes) -> None:
    """The two ways to cut a line agree, words stand where they are said to stand, and a line's code is the line without its comment."""
    for line in decode(data).split("\n"):
        found, fault = pieces(line)
        tokens, same_fault = scan(line)
        assert fault == same_fault
        flat = [word for words, _ in found for word in words]
        assert flat == [token.text for token in tokens]
        braces = [words is OPEN or words is CLOSE for words, _ in found for _ in words]
        assert braces == [token.brace for token in tokens]
        index = 0
        for words, first in found:
            assert first == index
            index += len(words)
        ends = [0]
        for token in tokens:
            assert ends[-1] <= token.start < token.end <= len(line)
            ends.append(token.end)
        assert fault is None or 0 <= fault.start < len(line)
        code = code_of(line)
        assert line.startswith(code)
        assert code_of(code) == code
        assert [token.text for token in scan(code)[0]] == flat


def expander(data: bytes) -> None:
    """Every word of the whole text has a place in a file, and no text makes endlessly more text."""
    if _leads_elsewhere(data):
        return
    with _written(data) as (path, files):
        found = Problems()
        try:
            for count, (origin, number, line_pieces) in enumerate(Reader(found, "main").lines(str(path))):
                assert count <= len(data) * includes.MAX_INCLUDES + expand.MAX_GENERATED_LINES
                for words, first in line_pieces[:8] if count < PLACES_MAX else ():
                    place = origin.place(number, first, first + len(words) - 1)
                    assert 1 <= place.line <= len(files[place.file])
                    assert place.column >= 1
        except GivenUp:
            assert found.in_order()
        for problem in found.in_order():
            _check_place(problem, files)


def configuration(data: bytes) -> None:
    """Everything wrong is a problem with its place; what is accepted can be run; the same bytes come to the same end."""
    if _leads_elsewhere(data):
        return
    with _written(data) as (path, files):
        strict = load(path, config_id="main")
        lenient = load(path, config_id="main", lenient=True)
        assert load(path, config_id="main") == strict
        for outcome in (strict, lenient):
            _check_outcome(outcome, files)
        if strict.config is not None:
            assert lenient.config is not None
            assert lenient.config.virtual_servers == strict.config.virtual_servers


def _check_outcome(outcome: Outcome, files: dict[str, list[str]]) -> None:
    errors = outcome.count(Severity.ERROR)
    assert (outcome.config is None) is (errors > 0)
    assert errors <= problems.MAX_KEPT_ERRORS + 2
    assert len(outcome.problems) <= errors + problems.MAX_KEPT_REMARKS
    for problem in outcome.problems:
        _check_place(problem, files)
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", render(outcome)) is None
    if outcome.config is not None:
        assert outcome.config.warnings == outcome.count(Severity.WARNING)
        _check_accepted(outcome.config)


def _check_place(problem: Problem, files: dict[str, list[str]]) -> None:
    """The place is inside the text; NULs and a byte-order mark have been taken out of it."""
    assert problem.message
    assert problem.file in files
    lines = files[problem.file]
    assert 1 <= problem.line <= len(lines), problem
    written = lines[problem.line - 1]
    assert problem.source_line.replace("\0", " ") in {written.replace("\0", " "), written[1:].replace("\0", " ")}
    assert 1 <= problem.column <= len(problem.source_line) + 1, problem
    assert problem.length >= 1
    assert problem.column - 1 + problem.length <= max(1, len(problem.source_line) + 1), problem
    for position in problem.included_from:
        assert 1 <= position.line <= len(files[position.file])
    for use in problem.expanded_from:
        assert 1 <= use.line <= len(files[use.file])


def _check_accepted(config: Config) -> None:
    """The core makes a table of it that a backend takes whole, and every check fits the wire to a worker."""
    director = Director(config, 0.0)
    director.start(0.0)
    desired = director.desired()
    rules(desired)
    backend = MemoryBackend()
    results = backend.apply(diff(desired, Table()))
    assert not any(results), results
    assert diff(desired, backend.table) == []
    jobs = [job_of(spec, number, Health.UNKNOWN) for spec, number in director.jobs.jobs.items()]
    assign_frames(1, 1, jobs)
