"""docs/observed.md says what was measured and what the commands printed, and the comparison reads keepalived's dumps and rules rightly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.observed import dumps, lanes, page
from bench.observed.faults import FAULTS, WAITED
from bench.observed.questions import ALL, Grade
from grafana.asking import RULES
from tests.deploy import programs

THEIR_RULES = Path(lanes.__file__).with_name("keepalived-rules.yml")
TRIALS_MIN = 7

DUMP = """\
------< LVS Topology >------
 ------< Virtual server >------
 VS VIP = 203.0.113.100, VPORT = 80
   Inhibit on failure is OFF
   alive = 1
   quorum_state_up = 1
   ------< Real server >------
   RIP = 192.168.100.21, RPORT = 80, WEIGHT = 3 EFF WEIGHT = 3
   Inhibit on failure is ON
   effective weight = 3
   alive = 0
   num failed checkers = 1
   ------< Real server >------
   RIP = 192.168.100.22, RPORT = 80, WEIGHT = 2 EFF WEIGHT = 4
   Inhibit on failure is OFF
   alive = 1
   num failed checkers = 0
   ------< Real server >------
   RIP = 192.168.100.23, RPORT = 80, WEIGHT = 1 EFF WEIGHT = 1
   Inhibit on failure is OFF
   alive = 0
------< Health checkers >------
 [203.0.113.100]:tcp:80 -> [192.168.100.21]:tcp:80
   Up = no
   Has run = yes
   Retries iterations = 4
"""


def measured() -> dict[str, object]:
    data: dict[str, object] = json.loads(page.DATA.read_text())
    return data


@pytest.mark.parametrize("part", page.PARTS)
def test_the_page_is_what_the_generator_makes_of_the_data(part: str) -> None:
    assert page.generated(measured(), part) in page.PAGE.read_text()


def test_every_fault_was_played_often_in_both_lanes() -> None:
    seen = json.loads(page.DATA.read_text())["seen"]
    assert [fault for fault in FAULTS if sum(trial["fault"] == fault for trial in seen) < TRIALS_MIN] == []


def test_every_cell_is_borne_out_by_what_its_command_printed() -> None:
    answers = json.loads(page.DATA.read_text())["answers"]
    assert [answer["asks"] for answer in answers] == [question.asks for question in ALL]
    unfounded = [
        (question.asks, look.command)
        for answer, question in zip(answers, ALL, strict=True)
        for side, cell in (("ours", question.ours), ("theirs", question.theirs))
        for look, (command, output) in zip(cell.looks, answer[side], strict=True)
        if look.command != command or not look.is_borne_out(output)
    ]
    assert unfounded == []


def test_the_page_says_where_keepalived_is_as_good_or_better() -> None:
    assert any(question.theirs.grade is Grade.YES and question.ours.grade is not Grade.YES for question in ALL)
    assert any(question.theirs.grade is Grade.YES and question.ours.grade is Grade.YES for question in ALL)


def test_a_dump_becomes_samples_with_the_labels_of_node_exporter() -> None:
    lines = sorted(map(str, dumps.samples(DUMP)))
    virtual = 'local_address="203.0.113.100",local_port="80"'
    server = f'{virtual},remote_address="192.168.100.{{}}",remote_port="80"'
    assert lines == sorted(
        [
            f"keepalived_virtual_server_quorum_up{{{virtual}}} 1",
            *(
                f"keepalived_real_server_alive{{{server.format(n)}}} {alive}"
                for n, alive in ((21, 0), (22, 1), (23, 0))
            ),
            f"keepalived_real_server_failed_checkers{{{server.format(21)}}} 1",
            f"keepalived_real_server_failed_checkers{{{server.format(22)}}} 0",
            f"keepalived_real_server_wanted_weight{{{server.format(21)}}} 0",
            f"keepalived_real_server_wanted_weight{{{server.format(22)}}} 4",
            f"keepalived_checker_up{{{server.format(21)}}} 0",
            f"keepalived_checker_has_run{{{server.format(21)}}} 1",
            f"keepalived_checker_retries{{{server.format(21)}}} 4",
        ]
    )


def test_an_old_dump_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    dump = tmp_path / "keepalived_check.data"
    dump.write_text(DUMP)
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print('.', flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        with pytest.raises(dumps.NoDumpError):
            dumps.taken(deaf.pid, dump, patience_s=0.05)
        os.kill(deaf.pid, signal.SIGKILL)


def test_promtool_takes_the_rules_of_both_lanes(tmp_path: Path) -> None:
    for source in (RULES / "alerts.yml", THEIR_RULES):
        file = tmp_path / source.name
        file.write_text(lanes.rules(source.read_text()))
        assert set(re.findall(r"^ +for: (.+)$", file.read_text(), re.MULTILINE)) == {f"{lanes.FOR_S}s"}
        done = programs.run("promtool", "prometheus", ["check", "rules", str(file)])
        assert done.returncode == 0, done.stderr


def test_every_alert_that_is_waited_for_is_one_of_the_rules() -> None:
    rules = (RULES / "alerts.yml").read_text() + THEIR_RULES.read_text()
    assert len(WAITED) >= 6
    assert [name for name in sorted(WAITED) if f"- alert: {name}\n" not in rules] == []
