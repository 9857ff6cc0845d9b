"""One checker block into one `CheckSpec`: inheritance from real server and virtual server, and the checker's own opinion of its values.

Most checks of a large file are alike. A block that was understood without any problem is not read a second time: it is remembered
by its words. Sources: keepalived.md, sections 2.4, 2.5 and 3.5.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, TypeAlias

from checkers.kit import api
from checkers.kit.options import Json
from checkers.kit.trackfile import Meaning
from supervisor.config import keywords
from supervisor.config.problems import Code, Place, Problems
from supervisor.config.scripts import Scripts
from supervisor.config.secure import Shared
from supervisor.config.trackfiles import TrackFiles
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled
from supervisor.model import NOWHERE, CheckSpec, Endpoint, IPAddress, Schedule, Weighs

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

Signature: TypeAlias = "tuple[Any, ...]"

FILE_EVERY_S = 1.0
"""How often a FILE_CHECK looks at its file, beside each time that the kernel tells of it. Ours."""

FIRST_CHECK_WITHIN_S = 2.0
"""With check_before_add, the default warm-up is at most this: no server serves before its first check, so that must not wait long."""

FEW_SLOTS = 100
"""With an uthreshold below this a real server has no sentinel by itself. Ours: one idle connection would be more than 1 % of its slots."""

HOST = "host"
"""Blocks of SMTP_CHECK that are checks of their own (keepalived.md, section 2.5)."""

_OF_FILES = Schedule(FILE_EVERY_S, 0, FILE_EVERY_S, 5.0, 0.0)

INTERFACE_NAME_MAX = 15
"""IFNAMSIZ of linux/if.h, without its NUL."""

OPTIONS_MAX_BYTES = 64_000
"""Longest values of a check as JSON: they travel in its job, which may take 64 KiB with all else (checkers.kit.wire)."""


class _Understood(NamedTuple):
    """A block that was read: its values and its own ones as canonical JSON."""

    block: Block
    options_json: str
    weighs: Weighs
    first: Meaning | None  # of a FILE_CHECK


class Intervals(NamedTuple):
    """Our own pauses (checkers.kit.schedule), None where the file does not ask for one. The names are those of the keywords."""

    fast_interval: float | None = None
    down_interval: float | None = None
    idle_interval: float | None = None


class Wherever(NamedTuple):
    """What holds for every check that does not say otherwise itself."""

    log_all_failures: bool = False
    alpha: bool = False
    urls_one_by_one: bool = False
    sentinel: bool | None = None  # None, and yes: where the checker type and the real server can afford it
    fast_retry: bool | None = None  # None: as `sentinel`
    intervals: Intervals = Intervals()


class Checks:
    """Reads the checks of one configuration."""

    def __init__(
        self, problems: Problems, track_files: TrackFiles, scripts: Scripts, shared: Shared, wherever: Wherever
    ) -> None:
        self._problems = problems
        self._track_files = track_files
        self._scripts = scripts
        self._shared = shared
        self._wherever = wherever
        self._seen: dict[tuple[Signature, str], _Understood] = {}
        self._schedules: dict[tuple[Any, ...], Schedule] = {}

    def read(self, node: Node, real_server: Block, virtual_server: Block, endpoint: Endpoint) -> list[CheckSpec]:
        """The checks of a block; `endpoint` is what they probe unless they say otherwise. None at all when it cannot be one.

        It is one, or for SMTP_CHECK with `host` blocks, the old way to write it, one for each of these.
        """
        before = len(self._problems)
        virtualhost = inherited("virtualhost", real_server, virtual_server, default="")
        key = (signature(node), virtualhost)
        understood = self._seen.get(key)
        if understood is None:
            block = read_block(node, keywords.check_table(node.keyword), self._problems)
            report_unhandled(block, self._problems)
            found = self._track_files.resolve(block) if node.keyword == "FILE_CHECK" else None
            if found is None and block.get("track_file"):
                return []
            more = found.options if found else self._script(block) if node.keyword == "MISC_CHECK" else {}
            options_json, weighs = self._options(block, virtualhost, before, more)
            understood = _Understood(block, options_json, weighs, found.meaning if found else None)
            if len(self._problems) == before:
                self._seen[key] = understood
        if not keywords.goes_out(node.keyword):
            endpoint = NOWHERE
        block, outer = understood.block, (real_server, virtual_server)
        hosts = [host for host, _ in block.all(HOST) if isinstance(host, Block)]
        if not hosts:
            return [self._spec(node, understood, (block,), outer, endpoint)]
        return [self._spec(node, understood, (host, block), outer, endpoint) for host in hosts]

    def _spec(
        self,
        node: Node,
        understood: _Understood,
        own: tuple[Block, ...],
        outer: tuple[Block, Block],
        endpoint: Endpoint,
    ) -> CheckSpec:
        """One check. Where it probes stands in its `own` blocks alone, when it does in the `outer` ones too, innermost first."""
        first, target, layers = understood.first, endpoint, (*own, *outer)
        if any("connect_ip" in block.entries or "connect_port" in block.entries for block in own):
            target = Endpoint(
                inherited("connect_ip", *own, default=endpoint.address),
                inherited("connect_port", *own, default=endpoint.port),
            )
        bind_address = inherited("bindto", *own, default=None)
        bind_interface = inherited("bind_if", *own, default="")
        self._check_addresses(node, target, bind_address, bind_interface)
        sentinel, fast_retry = self._sentinel(node, layers)
        return CheckSpec(
            type=node.keyword,
            target=target,
            schedule=self._schedule(node, *layers),
            alpha=first is None and inherited("alpha", *layers, default=self._wherever.alpha),
            bind_address=bind_address,
            bind_port=inherited("bind_port", *own, default=0),
            bind_interface=bind_interface,
            log_all_failures=inherited("log_all_failures", *own, default=self._wherever.log_all_failures),
            options_json=understood.options_json,
            mark=inherited("fwmark", *own, default=0),
            sentinel=sentinel,
            fast_retry=fast_retry,
            weighs=understood.weighs,
            first_weight=first.weight if first else None,
            first_down=first is not None and not first.up,
        )

    def _sentinel(self, node: Node, layers: tuple[Block, ...]) -> tuple[bool, bool]:
        """Whether an idle connection is held, and whether retries are made at once: check → real server → virtual server → everywhere."""
        usual = api.sentinel(node.keyword)
        if usual is None:
            return False, False
        own, real_server = layers[0], layers[-2]
        wherever = self._wherever
        usual = usual and wherever.sentinel is not False and not 0 < real_server.get("uthreshold", 0) < FEW_SLOTS
        held: bool = inherited("sentinel", *layers, default=usual)
        hasty: bool = inherited(
            "fast_retry", *layers, default=held if wherever.fast_retry is None else wherever.fast_retry
        )
        alone = next((name for name in ("fwmark", "bind_port") if any(layer.get(name) for layer in layers[:-2])), "")
        if alone and own.get("sentinel"):
            self._problems.add(Code.NO_EFFECT, _at(node, "sentinel"), f"a check with {alone} has no sentinel")
        return held and not alone, hasty

    def _schedule(self, node: Node, *layers: Block) -> Schedule:
        """Checker → real server → virtual server → default; one value for all checks with the same times."""
        keyword = node.keyword
        retry, delay_before_retry = keywords.CHECK_DEFAULTS[keyword]
        if not api.common_options(keyword):
            return _OF_FILES
        delay_loop = inherited("delay_loop", *layers, default=keywords.DELAY_LOOP_DEFAULT_S)
        values = (
            delay_loop,
            inherited("retry", *layers, default=retry),
            inherited(
                "delay_before_retry", *layers, default=delay_loop if delay_before_retry is None else delay_before_retry
            ),
            self._limit(keyword, *layers),
            inherited(
                "warmup", *layers, default=min(delay_loop, FIRST_CHECK_WITHIN_S) if self._wherever.alpha else delay_loop
            ),
            inherited("rise", *layers, default=1),
            *(inherited(name, *layers, default=value) for name, value in self._wherever.intervals._asdict().items()),
        )
        found = self._schedules.get(values)
        if found is None:
            found = self._schedules[values] = Schedule(*values)
            if found.idle_interval is not None and found.idle_interval <= delay_loop:
                message = f"idle_interval {found.idle_interval:g} is no longer than delay_loop {delay_loop:g}"
                self._problems.add(Code.NO_EFFECT, node.place(), message, "it makes probes rarer, never more frequent")
        return found

    @staticmethod
    def _limit(keyword: str, *layers: Block) -> float:
        """How long one probe may take, in seconds; a script as long as the virtual server's delay_loop unless it says otherwise."""
        if keyword == "MISC_CHECK":
            default = layers[-1].get("delay_loop", keywords.DELAY_LOOP_DEFAULT_S)
            return float(layers[0].get("misc_timeout", default))
        return float(inherited("connect_timeout", *layers, default=keywords.CONNECT_TIMEOUT_DEFAULT_S))

    def _script(self, block: Block) -> dict[str, Json]:
        """The program of a MISC_CHECK, as `supervisor.errands` takes it out of the job again."""
        script = self._scripts.read_check(block)
        if script is None:
            return {}
        return {"argv": list(script.argv), "user": script.user, "group": script.group, "secure": script.secure}

    def _options(self, block: Block, virtualhost: str, before: int, more: dict[str, Json]) -> tuple[str, Weighs]:
        """The checker's own values, and `more`, as canonical JSON, after the checker has agreed to them; and what it says of the weight."""
        keyword = block.node.keyword
        own = keywords.own_names(keyword) - {HOST}
        options = {name: _json(entry.value) for name, entry in block.entries.items() if name in own} | more
        if virtualhost and "virtualhost" in own:
            options.setdefault("virtualhost", virtualhost)
        if self._wherever.urls_one_by_one and "urls_one_by_one" in own:
            options.setdefault("urls_one_by_one", True)
        if "ca" in own:
            self._shared.add_to(options)
        if not self._problems.errors_since(before):
            try:
                api.load(keyword).prepare(options)
            except (ValueError, RecursionError, OverflowError) as refusal:
                place = _place_of(block, str(refusal))
                self._problems.add(Code.REFUSED_BY_CHECKER, place, f"{keyword}: {refusal}")
            else:
                for remark in api.remarks_on(keyword, options):
                    self._problems.add(Code.NO_EFFECT, _place_of(block, remark), remark)
        options_json = _CANONICAL.encode(options)
        if len(options_json) > OPTIONS_MAX_BYTES:
            message = (
                f"the values of this check take {len(options_json)} bytes; at most {OPTIONS_MAX_BYTES} are possible"
            )
            self._problems.add(Code.TOO_MUCH_TEXT, block.node.place(), message)
        return options_json, Weighs(api.weighs(keyword, options).value)

    def _check_addresses(
        self, node: Node, target: Endpoint, bind_address: IPAddress | None, bind_interface: str
    ) -> None:
        """Complain of a probe that could never leave this host."""
        problems = self._problems
        if target == NOWHERE:
            return
        if target.port == 0 and "connect_port" in keywords.check_table(node.keyword) and node.keyword != "PING_CHECK":
            problems.add(Code.NO_PORT, node.place(), f"{node.keyword} has no port to probe", 'add "connect_port"')
        if bind_address is not None and bind_address.version != target.address.version:
            message = f"an IPv{bind_address.version} source address cannot reach {target.address}"
            problems.add(Code.WRONG_FAMILY, _at(node, "bindto"), message)
        if target.address.is_link_local and target.address.version == 6 and not bind_interface:
            message = f"{target.address} is a link-local address, so {node.keyword} needs the interface"
            problems.add(Code.REFUSED_BY_CHECKER, node.place(), message, 'add "bind_if"')
        if len(bind_interface.encode()) > INTERFACE_NAME_MAX:
            message = f"the name of an interface has at most {INTERFACE_NAME_MAX} characters"
            problems.add(Code.BAD_TEXT, _at(node, "bind_if"), message)
        if target.address.is_multicast or target.address.is_unspecified:
            problems.add(Code.REFUSED_BY_CHECKER, _at(node, "connect_ip"), f"{target.address} cannot be probed")


def inherited(name: str, *layers: Block, default: Any) -> Any:
    """The value of `name` in the innermost block that has one."""
    for layer in layers:
        entry = layer.entries.get(name)
        if entry is not None and entry.value is not None:
            return entry.value
    return default


def signature(node: Node) -> Signature:
    """The words of a block and of everything in it: two blocks with equal signatures mean the same."""
    if node.children is None:
        return node.words
    return (node.words, *[child.words if child.children is None else signature(child) for child in node.children])


def _at(node: Node, name: str) -> Place:
    """The place of a keyword in *this* block, or one in it; a remembered block has the places of the first that was like it."""
    inner = [child for child in node.children or () if child.children is not None]
    found = [child for block in (*inner, node) for child in block.children or () if child.keyword == name]
    return found[-1].place(0, -1) if found else node.place()


def _json(value: Any) -> Any:
    """A value of a keyword as JSON: addresses as text, blocks as objects."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Block):
        return {name: _json(entry.value) for name, entry in value.entries.items()}
    if isinstance(value, tuple):  # one of several: the value and its statement
        return _json(value[0])
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return str(value)


def _place_of(block: Block, sentence: str) -> Place:
    """The statement that a checker's complaint names, or the whole block's keyword."""
    words = re.findall(r"[a-z_]{2,}", sentence)
    inner = [value for entry in block.entries.values() if isinstance(entry.value, list) for value in entry.value]
    blocks = [value[0] for value in inner if isinstance(value, tuple) and isinstance(value[0], Block)]
    for word in words:
        for candidate in (*blocks, block):
            if word in candidate.entries and not isinstance(candidate.get(word), Block):
                return candidate.entries[word].node.place(0, -1)
    return block.node.place()
