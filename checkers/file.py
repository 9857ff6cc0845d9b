"""FILE_CHECK: a number in a file of the operator says whether the real server is up, or what its weight is (`kit.trackfile`).

The file is read when the kernel tells of it (`supervisor.filenews`), and every second in case it cannot; by the supervisor, because a
worker may not read the operator's files. One that is there and cannot be read, or holds a number that is too great, says nothing about
the server.
"""

from __future__ import annotations

from collections.abc import Mapping

from checkers.kit.api import Dialer, Ending, Reason, Target, Verdict, Weighs
from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.trackfile import UnreadableFile, meaning

KEYWORD = "FILE_CHECK"
COMMON: tuple[Keyword, ...] = ()

OPTIONS: tuple[Keyword, ...] = (
    Keyword("track_file", Kind.TEXT, "name of a track_file block that stands above", required=True),
    Keyword("weight", Kind.TEXTS, "-254 to 254, and reverse or noreverse (the track_file's)"),
)


@frozen
class Watched:
    """Which file, and what its value is multiplied with; 0 makes it a switch."""

    path: str
    factor: int


def prepare(options: Mapping[str, Json]) -> Watched:
    """Return what to make of the file; `path` and `factor` come from its track_file block. Raises ValueError."""
    path, factor = options.get("path"), options.get("factor")
    if not isinstance(path, str) or not path or not isinstance(factor, int):
        raise ValueError("track_file names no block that stands above")
    return Watched(path, factor)


def weighs(options: Mapping[str, Json]) -> Weighs:
    """Return what the number in the file means: a switch has nothing to say of the weight."""
    return Weighs.ADDS if options.get("factor") else Weighs.NOTHING


async def check(target: Target, prepared: Watched, dial: Dialer) -> Verdict:
    """Read the file once. A supervisor that cannot read it leaves as ProbeError."""
    del target
    answer = await dial.read_file()
    if answer.ending is not Ending.DONE:
        return Verdict(Reason.LOCAL, answer.text)
    try:
        said = meaning(answer.text, prepared.factor)
    except UnreadableFile as error:
        return Verdict(Reason.LOCAL, f"{prepared.path}: {error}", received=answer.text)
    reason = Reason.FILEOK if said.up else Reason.FILEERR
    return Verdict(reason, f"{prepared.path}: {said.text}", received=answer.text, weight=said.weight)
