"""The two lanes: each a director with the article's file and its own copy of the web servers, and the exporters that belong to it.

A third network, `monitor`, is where Prometheus is; it reaches each director by a link of its own. This process lives there, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from grafana.asking import RULES, Prometheus
from tests.kernel import lab
from tests.kernel.daemon import EXPORTER_PORT, Daemon

MONITOR = "monitor"
SCRAPE_S = 1
FOR_S = 5
"""`for` of each alert in the comparison: the shipped ones wait minutes, which would only add the same to both."""
VICTIM, OTHER = 21, 22
SERVICE = f"{lab.VIRTUAL}:80"
HEALTHY = {f"192.168.100.{number}:80": 1 for number in (VICTIM, OTHER)}
DUMPS_PORT, NODE_PORT, PROMETHEUS_PORT = 9165, 9100, 9090
START_MAX_S = 120.0
TALKATIVE = "checker_log_all_failures true"
"""The one line that keepalived's file has more, so that its log says as much as it can."""


class Town(lab.Lab):
    """A lab whose web servers can be told to answer 503, and with a link to `monitor`: ours is its number."""

    def __init__(self, directory: Path, prefix: str, number: int) -> None:
        super().__init__(directory, prefix)
        self.address, self._beyond = f"10.77.{number}.1", f"10.77.{number}.2"
        self._link = f"lane{number}"

    def _build(self) -> None:
        super()._build()
        lab.ip_batch(None, [f"link add {self._link} netns {MONITOR} type veth peer name eth9 netns {self.director}"])
        lab.ip_batch(MONITOR, [f"link set {self._link} up", f"addr add {self._beyond}/24 dev {self._link}"])
        lab.ip_batch(self.director, ["link set eth9 up", f"addr add {self.address}/24 dev eth9"])

    def restart_web(self, number: int) -> None:
        """Start a web server again, if it was killed."""
        if number not in self._web:
            self.start_web(number)

    def sick(self, number: int) -> Path:
        """Return the file whose presence makes a web server answer 503."""
        return self.directory / f"sick-{number}"

    def answer(self, number: int) -> str:
        """As the lab's, unless it is sick."""
        return f"if (-f {self.sick(number)}) {{ return 503; }} {super().answer(number)}"


class Lane:
    """What both have in common. `freeze` and `thaw` stop the process that checks, and let it go on."""

    name: str
    number: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.town = Town(self.folder, f"{self.name}-", self.number)
        self._frozen = 0

    def start(self) -> None:
        """Start the director's programs; the network and the web servers are there."""
        raise NotImplementedError

    def checker(self) -> int:
        """Return the process id of who checks; 0 while nobody does."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Tell whether its programs do what they are there for."""
        raise NotImplementedError

    def in_order(self) -> bool:
        """Tell whether everything is as it was before the first fault."""
        return self.town.table.weights() == HEALTHY and self.is_ready()

    # -- faults --------------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL for the web server: its machine refuses connections."""
        self.town.kill_web(VICTIM)

    def sicken(self) -> None:
        """The web server answers 503."""
        self.town.sick(VICTIM).touch()

    def give_weight(self) -> None:
        """Somebody gives the other server weight 5."""
        self.ipvsadm("-e", "-t", SERVICE, "-r", f"192.168.100.{OTHER}:80", "-m", "-w", "5")

    def flush(self) -> None:
        """Somebody empties the table."""
        self.ipvsadm("-C")

    def freeze_and_kill(self) -> None:
        """The process that checks stands still, and then a server dies."""
        self._frozen = self.checker()
        os.kill(self._frozen, signal.SIGSTOP)
        self.kill()

    def mend(self) -> None:
        """End every fault as an operator would who knows of it."""
        self.town.sick(VICTIM).unlink(missing_ok=True)
        if self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._frozen, signal.SIGCONT)
            self._frozen = 0
        self.town.restart_web(VICTIM)

    def ipvsadm(self, *words: str, given: str = "") -> None:
        """Be somebody else at the table."""
        command = ["ip", "netns", "exec", self.town.director, "ipvsadm", *words]
        subprocess.run(command, input=given, text=True, check=True)


class Ours(Lane):
    """Vipervisor with its exporter."""

    name, number = "vipervisor", 1

    def start(self) -> None:
        """Start all of them."""
        file = self.folder / "keepalived.conf"
        shutil.copy(lab.ARTICLE, file)
        _Observed.exporter_address = self.town.address
        self.daemon = _Observed(self.town, file)

    def checker(self) -> int:
        """As it says itself."""
        return self.daemon.child("checker-0")

    def is_ready(self) -> bool:
        """As it says itself, with a worker."""
        return bool(self.checker()) and bool(self.daemon.status().get("process", {}).get("ready"))


class _Observed(Daemon):
    options = ("--backend", "kernel", "--workers", "1")


class Theirs(Lane):
    """Debian's keepalived with node_exporter and an exporter of its dumps beside it."""

    name, number = "keepalived", 2

    def start(self) -> None:
        """Start all of them."""
        file = self.folder / "keepalived.conf"
        text = lab.ARTICLE.read_text()
        file.write_text(text.replace("global_defs {", f"global_defs {{\n  {TALKATIVE}", 1))
        self._pid_file = self.folder / "checkers.pid"
        command = [_program("keepalived"), "--dont-fork", "--log-console", "--log-detail", "--check", "-f", str(file)]
        command += ["-p", str(self.folder / "keepalived.pid"), "-c", str(self._pid_file)]
        self.process = self.town.start(self.town.director, command, "keepalived.log")
        where = f"{self.town.address}:{DUMPS_PORT}"
        dumps = [sys.executable, "-m", "bench.observed.dumps", str(self.process.pid), where]
        self.town.start(self.town.director, dumps, "dumps.log")
        node = [_program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.ipvs"]
        node += [f"--web.listen-address={self.town.address}:{NODE_PORT}", "--log.level=error"]
        self.town.start(self.town.director, node, "node.log")

    def checker(self) -> int:
        """As its pid file says."""
        return int(self._pid_file.read_text()) if self._pid_file.exists() else 0

    def is_ready(self) -> bool:
        """It has no word for more."""
        return bool(self.checker())

    def mend(self) -> None:
        """The table, too."""
        super().mend()
        self.restore()

    def restore(self) -> None:
        """Put the table back by hand where somebody else changed it: nobody else does."""
        found = self.town.table.weights()
        if set(found) != set(HEALTHY):
            rules = [f"-A -t {SERVICE} -s rr", *(f"-a -t {SERVICE} -r {name} -m -w 1" for name in HEALTHY)]
            self.ipvsadm("-R", given="\n".join(rules) + "\n")
        elif found[f"192.168.100.{OTHER}:80"] != 1:
            self.ipvsadm("-e", "-t", SERVICE, "-r", f"192.168.100.{OTHER}:80", "-m", "-w", "1")


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: deploy/demo/setup programs {name}"
    return found


# -- Prometheus ----------------------------------------------------------------------------------------------------------------


def rules(text: str) -> str:
    """Return alert rules with FOR_S for what they wait."""
    return re.sub(r"^( +for:) \w+$", rf"\1 {FOR_S}s", text, flags=re.MULTILINE)


def configuration(folder: Path, lanes: tuple[Ours, Theirs]) -> str:
    """Write the rules of both, and return Prometheus's configuration: the same pace for everybody."""
    files = {"ours.yml": RULES / "alerts.yml", "theirs.yml": Path(__file__).with_name("keepalived-rules.yml")}
    for name, source in files.items():
        (folder / name).write_text(rules(source.read_text()))
    ours, theirs = (lane.town.address for lane in lanes)
    targets = {
        "vipervisor": f"{ours}:{EXPORTER_PORT}",
        "keepalived": f"{theirs}:{DUMPS_PORT}",
        "node": f"{theirs}:{NODE_PORT}",
    }
    jobs = "".join(
        f"  - job_name: {name}\n    static_configs: [{{targets: ['{target}']}}]\n" for name, target in targets.items()
    )
    return (
        f"global: {{scrape_interval: {SCRAPE_S}s, scrape_timeout: {SCRAPE_S}s, evaluation_interval: {SCRAPE_S}s}}\n"
        f"rule_files: [{', '.join(str(folder / name) for name in (*files, 'recording.yml'))}]\nscrape_configs:\n{jobs}"
    )


@contextlib.contextmanager
def street(folder: Path) -> Iterator[tuple[Ours, Theirs, Prometheus]]:
    """Start everything, one after the other (all at once is too much for a guest), and end it again."""
    with contextlib.ExitStack() as stack:
        Path("/run/netns").mkdir(exist_ok=True)
        lab.ip("netns", "add", MONITOR)
        stack.callback(subprocess.run, ["ip", "netns", "del", MONITOR], check=False)
        lab.ip("-n", MONITOR, "link", "set", "lo", "up")
        lab.join(MONITOR)
        lanes = Ours(folder), Theirs(folder)
        for lane in lanes:
            stack.enter_context(lane.town)
            lane.town.start_all_web()
            lane.start()
            lab.wait_until(f"{lane.name} is in order", lane.in_order, START_MAX_S, every=0.2)
        shutil.copy(RULES / "rules.yml", folder / "recording.yml")
        prometheus = Prometheus(folder, PROMETHEUS_PORT, configuration(folder, lanes))
        stack.callback(prometheus.close)
        prometheus.wait()
        lab.wait_until("all is scraped", lambda: _scraped(prometheus), START_MAX_S, every=0.5)
        yield (*lanes, prometheus)


def _scraped(prometheus: Prometheus) -> bool:
    found = prometheus.at("count(up == 1)", time.time())
    return bool(found) and found[0]["value"][1] == "3"
