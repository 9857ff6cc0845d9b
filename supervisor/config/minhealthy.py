"""`min_healthy` of a virtual server, or of all of them in global_defs: 50%, 2, weight 100 or off. Ours: keepalived has no such guard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from checkers.kit.options import Keyword, Kind
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, integer, quoted
from supervisor.config.values import Block
from supervisor.model import MinHealthy, MinHealthyUnit, RealServer

SERVERS_MAX = 65_535
"""Beyond what one virtual server can sensibly have; a number above it is a slip of the pen."""

WEIGHT_MAX = 4_294_967_295
"""As for the quorum, which is a sum of weights too."""

_EXAMPLES = "50% (of the weight), 2 (servers), weight 100, or off"


def read(
    block: Block, problems: Problems, inherited: MinHealthy | None = None, servers: Sequence[RealServer] = ()
) -> MinHealthy | None:
    """Return what a block asks for, or `inherited` where it says nothing. `servers` are those that it is for, where they are known."""
    words = block.get("min_healthy")
    if words is None:
        return inherited
    try:
        found = _parsed(tuple(words))
    except Fault as fault:
        problems.add(fault.code, block.value_place("min_healthy"), fault.message, fault.suggestion)
        return inherited
    if found is not None and servers and (most := _most(found, servers)) < found.amount:
        message = f"min_healthy {found} is more than all real servers have together, {most}: none of them that may be held ever leaves"
        problems.add(Code.NO_EFFECT, block.value_place("min_healthy"), message)
    return found


def _parsed(words: tuple[str, ...]) -> MinHealthy | None:
    """Raises Fault."""
    if words == ("off",):
        return None
    percent = re.fullmatch(r"(.*)%", words[0])
    if percent is not None and len(words) == 1:
        return MinHealthy(MinHealthyUnit.PERCENT, _number(percent[1], 100))
    if words[0] == "weight" and len(words) == 2:
        return MinHealthy(MinHealthyUnit.WEIGHT, _number(words[1], WEIGHT_MAX))
    if len(words) == 1:
        return MinHealthy(MinHealthyUnit.SERVERS, _number(words[0], SERVERS_MAX))
    raise Fault(Code.BAD_TEXT, 1, f"min_healthy cannot be {quoted(' '.join(words))}", f"it is one of: {_EXAMPLES}")


def _number(text: str, high: int) -> int:
    """Raises Fault."""
    try:
        return integer(("min_healthy", text), Keyword("min_healthy", Kind.INTEGER, "", low=1, high=high))
    except Fault as fault:
        fault.suggestion = f"it is one of: {_EXAMPLES}"
        raise


def _most(minimum: MinHealthy, servers: Sequence[RealServer]) -> int:
    """Return what all servers together have of what is counted."""
    match minimum.unit:
        case MinHealthyUnit.PERCENT:
            return 100
        case MinHealthyUnit.SERVERS:
            return len(servers)
        case MinHealthyUnit.WEIGHT:
            return sum(server.weight for server in servers)
