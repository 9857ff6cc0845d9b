"""The demo on a real IPVS kernel: the article's network, its configuration file unchanged, its timings.

Started by `deploy/demo/demo` through `tests/kernel/on-ipvs`; needs root on a kernel with IPVS and a network of its own.
Exit status 0: everything happened as told.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from deploy.demo.narrator import Narrator
from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, ROOT, VIRTUAL, Lab, wait_until
from tests.kernel.postbox import Mail, Postbox
from tests.kernel.traffic import Clients

SORRY, FIRST, SECOND = "192.168.100.20:80", "192.168.100.21:80", "192.168.100.22:80"
BOTH_UP = {FIRST: 1, SECOND: 1}
PATIENCE_S = 20

NETWORK = """
clients 203.0.113.2  ──┐                          ┌── 192.168.100.21  web server
                       ├── director 203.0.113.1 ──┼── 192.168.100.22  web server
mail  203.0.113.200  ──┘   virtual 203.0.113.100  └── 192.168.100.20  sorry server
"""
METRICS = (
    "lvs_real_server_up",
    "lvs_real_server_weight",
    "lvs_real_server_transitions_total",
    "lvs_virtual_server_sorry_active",
    "lvs_verdict_to_kernel_seconds_count",
    "lvs_verdict_to_kernel_seconds_sum",
)


class Story:
    """The story's actors and its steps, in order."""

    def __init__(self, lab: Lab, narrator: Narrator) -> None:
        self._lab = lab
        self._tell = narrator
        self._postbox = Postbox(lab.clients)
        self._lab.start_all_web()

    def run(self) -> None:
        """Tell it all."""
        self._scene()
        self._start()
        self._traffic()
        self._one_dies()
        self._mail()
        self._both_dead()
        self._both_back()
        self._telling()
        self._end()

    def _scene(self) -> None:
        self._tell.step("The network of the article is built")
        self._tell.show(NETWORK)
        self._tell.say(
            f"Each machine is a network namespace of its own; the web servers are {self._lab.web_server_kind}."
        )
        self._tell.say(
            f"The configuration is {ARTICLE.relative_to(ROOT)}, a keepalived.conf, unchanged: each web server is asked every",
            "5 seconds, and after a failure 3 more times, 3 seconds apart, before it counts as dead.",
        )

    def _start(self) -> None:
        self._tell.step("Vipervisor starts on the director")
        self._daemon = Daemon(self._lab, ARTICLE)
        self._wait("both web servers in the kernel's table", BOTH_UP)
        line = f"inet {VIRTUAL}/32 scope global eth0"
        wait_until("the virtual address", lambda: line in self._lab.addresses(), PATIENCE_S)
        self._tell.say("It gave the director the virtual address (ip addr show eth0):")
        self._tell.show("\n".join(row for row in self._lab.addresses().splitlines() if "inet " in row))
        self._show_table("and filled the kernel's table (ipvsadm -Ln), each web server with weight 1:")

    def _traffic(self) -> None:
        self._tell.step("Clients ask the virtual server all the time")
        self._clients = Clients(self._lab.clients)
        begun = time.monotonic()
        time.sleep(2)
        self._report_requests(begun, "In two seconds")
        self._tell.promise(not self._clients.failed_since(begun), "none failed, and both web servers answer in turn.")

    def _one_dies(self) -> None:
        self._tell.step("The web server on 192.168.100.22 is killed")
        self._daemon.wait_until_whole()
        killed = time.monotonic()
        self._lab.kill_web(22)
        self._tell.say("Until the checks are sure, half of the requests still go there and fail. Waiting ...")
        self._wait("weight 0", {FIRST: 1, SECOND: 0})
        self._noticed(killed, "Its weight is 0")
        self._show_table("The kernel's table, as the article prints it:")
        self._tell.say("Why? Ask it (vipervisor why 192.168.100.22:80):")
        self._tell.show(self._daemon.command("why", SECOND))

    def _mail(self) -> None:
        self._tell.step("The administrator has mail")
        wait_until("a mail", lambda: self._postbox.mails, PATIENCE_S)
        mail = self._postbox.mails[0]
        self._tell.show(_as_text(mail))
        self._tell.promise(
            "192.168.100.22" in mail.subject and "DOWN" in mail.subject, "it says what happened to which server."
        )

    def _both_dead(self) -> None:
        self._tell.step("The web server on 192.168.100.21 is killed too")
        killed = time.monotonic()
        self._lab.kill_web(21)
        self._tell.say("Now no web server is left. Waiting ...")
        self._wait("the sorry server", {SORRY: 1, FIRST: 0, SECOND: 0})
        self._noticed(killed, "The sorry server 192.168.100.20 has stepped in")
        self._show_table("The kernel's table:")

    def _both_back(self) -> None:
        self._tell.step("Both web servers are started again")
        begun = time.monotonic()
        self._lab.start_web(21)
        self._lab.start_web(22)
        self._wait("both serve", BOTH_UP)
        self._noticed(begun, "Everything is as at the start")
        self._show_table("The kernel's table:")

    def _telling(self) -> None:
        self._tell.step("What it told meanwhile")
        wait_until("four mails", lambda: len(self._postbox.mails) == 4, PATIENCE_S)
        self._tell.say("The mails:")
        self._tell.show("\n".join(self._postbox.subjects()))
        self._tell.say("The last lines of its log, for machines:")
        self._tell.show("\n".join(self._daemon.log_path.read_text().splitlines()[-3:]))
        self._tell.say("Some of its metrics, for Prometheus (http://127.0.0.1:9720/metrics):")
        self._tell.show("\n".join(row for row in self._daemon.metrics().splitlines() if row.startswith(METRICS)))

    def _end(self) -> None:
        self._tell.step("Vipervisor is asked to stop")
        self._clients.stop()
        self._tell.promise(self._daemon.stop() == 0, "it ended cleanly;")
        self._show_table("the kernel's table is empty again:")
        self._tell.promise(not self._lab.rules(), "nothing is left in the table;")
        self._tell.promise(VIRTUAL not in self._lab.addresses(), "the virtual address is gone from eth0.")
        self._postbox.close()

    # -- words that come again ---------------------------------------------------------------------------------------------------

    def _wait(self, what: str, weights: dict[str, int]) -> None:
        wait_until(what, lambda: self._lab.table.weights() == weights, PATIENCE_S)

    def _noticed(self, since: float, sentence: str) -> None:
        """Say how long it took and what became of the requests before; then watch requests for two seconds more."""
        moment = time.monotonic()
        before, failed = len(self._clients.since(since, moment)), len(self._clients.failed_since(since, moment))
        self._tell.say(f"{sentence}, {moment - since:.1f} s later. Of {before} requests until then {failed} failed.")
        time.sleep(2)
        self._report_requests(moment, "Since then")
        self._tell.promise(not self._clients.failed_since(moment), "no request that began after that moment failed.")

    def _report_requests(self, since: float, when: str) -> None:
        requests = self._clients.since(since)
        answered = Counter(request.answered_by for request in requests if request.answered_by)
        who = ", ".join(f"{count} answered by {server}" for server, count in sorted(answered.items()))
        self._tell.say(
            f"{when}: {len(requests)} requests, {who or 'none answered'}, {len(requests) - answered.total()} failed."
        )

    def _show_table(self, sentence: str) -> None:
        self._tell.say(sentence)
        self._tell.show(self._lab.listing())


def _as_text(mail: Mail) -> str:
    header = "\n".join(f"{name}: {mail.message[name]}" for name in ("From", "To", "Subject", "Date"))
    return f"{header}\n\n{mail.body}"


def main() -> int:
    """Tell the story and return the exit status."""
    narrator = Narrator("Vipervisor: a load balancer loses a web server, on a real IPVS kernel")
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        try:
            Story(lab, narrator).run()
        except Exception as error:  # noqa: BLE001  whatever it was, the story did not happen: say so and how
            narrator.promise(False, f"the story goes on ({error!r})")
            log = Path(directory, "vipervisor.log")
            narrator.show(log.read_text()[-4000:] if log.exists() else "vipervisor was not started")
        return narrator.end()


if __name__ == "__main__":
    sys.exit(main())
