"""The same fault in both lanes at the same moment, and how long each took to show it: in the table, in the metrics, as an alert.

Nothing is polled for it but the kernel's table. Prometheus is asked, for each sign, from which moment on it would have shown it: a
subquery in steps of STEP_MS. A sample counts from the beginning of its scrape.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.observed.lanes import FOR_S, HEALTHY, OTHER, VICTIM, Lane, Ours, Theirs
from grafana.asking import Prometheus
from tests.kernel import lab

STEP_MS = 100
LOOK_EVERY_S = 0.05
ASK_EVERY_S = 2.0
QUIET_MAX_S = 90.0
ROOM_S, ROOM_MIN, ROOM_MAX_S = 3.0, 0.3, 900.0
"""A fault waits until the guest is idle for that share of three seconds: then the machine has time for it."""
PERIOD_S = 5.0
"""delay_loop of the article: a fault comes at a random moment of it."""
OURS, DUMPS, NODE = "vipervisor", "dumps", "node"
"""Who shows it: ours, keepalived's dumps by their exporter (beside node_exporter), or node_exporter alone."""

_OUR_SERVER = f'real_server="192.168.100.{VICTIM}:80"'
_SERVER = f'remote_address="192.168.100.{VICTIM}"'
_FAILED = 'lvs_checks_total{result!="L7OK"}'
_REPAIRS = "lvs_kernel_repairs_total"
_RESTARTS = 'lvs_worker_restarts_total{worker="checker-0"}'
_DIFFERS = (
    "keepalived_real_server_wanted_weight"
    " {} on (local_address, local_port, remote_address, remote_port) node_ipvs_backend_weight"
)

Signs = Mapping[str, Mapping[str, str]]
"""By who shows it and what ("first", "seen", "pending", "firing"): a query that has an answer once it is so; BEFORE is the fault."""


def _grown(counter: str) -> str:
    return f"sum({counter}) > (sum({counter} @ BEFORE) or vector(0))"


def _alert(name: str, labels: str = "") -> dict[str, str]:
    states = ("pending", "firing")
    return {state: f'ALERTS{{alertname="{name}",alertstate="{state}",{labels}}}' for state in states}


DOWN: Signs = {
    OURS: {
        "first": _grown(_FAILED),
        "seen": f"lvs_real_server_up{{{_OUR_SERVER}}} == 0",
        **_alert("LVSRealServerDown", _OUR_SERVER),
    },
    DUMPS: {
        "first": f"keepalived_checker_retries{{{_SERVER}}} > 0",
        "seen": f"keepalived_real_server_alive{{{_SERVER}}} == 0",
        **_alert("KeepalivedRealServerDown", _SERVER),
    },
    NODE: {
        "seen": f"node_ipvs_backend_weight{{{_SERVER}}} == 0",
        **_alert("IPVSRealServerWithoutWeight", _SERVER),
    },
}
WEIGHT: Signs = {
    OURS: {"seen": _grown(_REPAIRS), **_alert("LVSKernelDrift")},
    DUMPS: {"seen": _DIFFERS.format("!="), **_alert("IPVSTableDiffers")},
    NODE: {"seen": f'node_ipvs_backend_weight{{remote_address="192.168.100.{OTHER}"}} == 5'},
}
FLUSH: Signs = {
    OURS: WEIGHT[OURS],
    DUMPS: {"seen": _DIFFERS.format("unless"), **_alert("IPVSTableDiffers")},
    NODE: {"seen": f'up{{job="node"}} == 1 unless on (job) node_ipvs_backend_weight{{{_SERVER}}}'},
}
FROZEN: Signs = {
    OURS: {"seen": _grown(_RESTARTS), **_alert("LVSCheckerStalled")},
    DUMPS: {"seen": 'up{job="keepalived"} == 0', **_alert("KeepalivedSilent")},
    NODE: {},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done in each lane, what shows it, how long is waited, and when its effect on the table has come or gone."""

    inflict: Callable[[Lane], None]
    signs: Signs
    window_s: float
    done: Callable[[Mapping[str, int]], bool]


def _is_out(weights: Mapping[str, int]) -> bool:
    return weights.get(f"192.168.100.{VICTIM}:80") == 0


def _is_whole(weights: Mapping[str, int]) -> bool:
    return weights == HEALTHY


FAULTS = {
    "killed": Fault(lambda lane: lane.kill(), DOWN, 30, _is_out),
    "503": Fault(lambda lane: lane.sicken(), DOWN, 30, _is_out),
    "weight": Fault(lambda lane: lane.give_weight(), WEIGHT, 6 + FOR_S, _is_whole),
    "flush": Fault(lambda lane: lane.flush(), FLUSH, 6 + FOR_S, _is_whole),
    "frozen": Fault(lambda lane: lane.freeze_and_kill(), FROZEN, 60, _is_out),
}
WAITED = {
    name
    for fault in FAULTS.values()
    for signs in fault.signs.values()
    for query in signs.values()
    for name in re.findall(r'alertname="(\w+)"', query)
}
"""Every alert that is waited for: none of them may stand when a fault comes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One fault, once: seconds from the fault by who shows it and what; None: not within the window. `table_s` by lane.

    `idle` is the share of the time in which the guest's processor had nothing to do: near 0, everything was late.
    """

    fault: str
    idle: float
    table_s: Mapping[str, float | None]
    shown_s: Mapping[str, Mapping[str, float | None]]


class Watch:
    """Looks at the tables of lanes until `close()`, for the moment from which on one is as a fault leaves it."""

    def __init__(self, lanes: Sequence[Lane], done: Callable[[Mapping[str, int]], bool]) -> None:
        self._lanes, self._done = lanes, done
        self.since: dict[str, float | None] = {lane.name: None for lane in lanes}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            for lane in self._lanes:
                if not self._done(lane.town.table.weights()):
                    self.since[lane.name] = None
                elif self.since[lane.name] is None:
                    self.since[lane.name] = time.time()

    def close(self) -> Mapping[str, float | None]:
        """Look no more; return since when each is so, if it is."""
        self._over.set()
        self._thread.join()
        return self.since


def play(lanes: tuple[Ours, Theirs], prometheus: Prometheus, name: str, random: Random) -> Seen:
    """Inflict a fault on both, watch, mend, and return what was seen and when."""
    fault = FAULTS[name]
    lab.wait_until("all is quiet", lambda: _is_quiet(lanes, prometheus), QUIET_MAX_S, every=1)
    lab.wait_until("the machine has time", _has_room, ROOM_MAX_S)
    time.sleep(random.uniform(0, PERIOD_S))
    order = list(lanes)
    random.shuffle(order)
    begun: dict[str, float] = {}
    idle = idle_s()
    for lane in order:
        begun[lane.name] = time.time()
        fault.inflict(lane)
    watch = Watch(lanes, fault.done)
    since = {OURS: begun["vipervisor"], DUMPS: begun["keepalived"], NODE: begun["keepalived"]}
    shown = _shown(prometheus, fault.signs, since)
    end = time.monotonic() + fault.window_s
    while time.monotonic() < end and not (_all(shown) and all(watch.since.values())):
        time.sleep(ASK_EVERY_S)
        shown = _shown(prometheus, fault.signs, since)
    table = watch.close()
    for lane in lanes:
        lane.mend()
    return Seen(
        name,
        round((idle_s() - idle) / (time.time() - min(begun.values())), 2),
        {lane: None if at is None else round(max(0.0, at - begun[lane]), 2) for lane, at in table.items()},
        shown,
    )


def _has_room() -> bool:
    before = idle_s()
    time.sleep(ROOM_S)
    share = (idle_s() - before) / ROOM_S
    return share >= ROOM_MIN


def _is_quiet(lanes: Sequence[Lane], prometheus: Prometheus) -> bool:
    standing = f'ALERTS{{alertname=~"{"|".join(sorted(WAITED))}"}}'
    return all(lane.in_order() for lane in lanes) and not prometheus.at(standing, time.time())


def _all(shown: Mapping[str, Mapping[str, float | None]]) -> bool:
    return all(value is not None for those in shown.values() for value in those.values())


def _shown(prometheus: Prometheus, signs: Signs, since: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    return {
        who: {what: _first(prometheus, query, since[who]) for what, query in those.items()}
        for who, those in signs.items()
    }


def _first(prometheus: Prometheus, query: str, begun: float) -> float | None:
    """Return after how many seconds the query first had an answer; None while it has none."""
    now = time.time()
    asked = query.replace("BEFORE", f"{begun:.3f}")
    found = prometheus.at(f"({asked})[{max(1, int(now - begun) + 1)}s:{STEP_MS}ms]", now)
    moments = [float(at) for series in found for at, _ in series["values"] if float(at) >= begun]
    return round(min(moments) - begun, 2) if moments else None


def idle_s() -> float:
    """Return how long this machine's processors have been idle (proc(5), uptime)."""
    return float(Path("/proc/uptime").read_text().split()[1])


def scrape_s(prometheus: Prometheus) -> dict[str, float]:
    """Return how long a scrape of each job took, in the middle of the last hour."""
    found = prometheus.at("quantile_over_time(0.5, scrape_duration_seconds[1h])", time.time())
    return {series["metric"]["job"]: round(float(series["value"][1]), 3) for series in found}
