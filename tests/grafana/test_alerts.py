"""Alert and recording rules: promtool takes them, each alert fires when it should and not before, and has a page for who is woken."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.log.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS = re.findall(r"^      - alert: (\w+)$", (RULES / "alerts.yml").read_text(), re.MULTILINE)
SEVERITIES = {"critical", "warning", "info"}
HEADINGS = ["What it means", "What to look at", "What to do"]
WORDS_MAX = 400
"""A page is read at three in the morning."""

each_alert = pytest.mark.parametrize("alert", ALERTS)


def block(file: str, start: str) -> str:
    """Return an item of a list in a YAML file: from the line `start` to the next alert or case."""
    _, found, rest = (RULES / file).read_text().partition(start)
    assert found, start
    return re.split(r"^ *- (?:alert|name): ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        assert not os.environ.get("CI"), "promtool is missing (Debian package prometheus); in CI that is an error"
        pytest.skip("promtool is not installed (Debian package prometheus)")
    run = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=RULES)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_promtool_takes_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "alerts.yml", "rules.yml")


def test_every_alert_fires_in_its_time_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "tests.yml")


@each_alert
def test_an_alert_has_cases_of_both_kinds(alert: str) -> None:
    cases = block("tests.yml", f"  - name: {alert}\n")
    assert f'alertname="{alert}"' in cases
    assert "exp_samples: []" in cases
    assert "value: 1}" in cases
    assert ('instance="bad"' in cases and 'instance="good"' in cases) or 'job="good"' in cases


@each_alert
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    text = block("alerts.yml", f"      - alert: {alert}\n")
    severity = re.search(r"^          severity: (\w+)$", text, re.MULTILINE)
    assert severity
    assert severity[1] in SEVERITIES
    assert re.search(r"^          summary: [A-Z].*\.$", text, re.MULTILINE)
    assert re.search(r"^          description: ", text, re.MULTILINE)
    assert re.search(r"^          dashboard: /d/vipervisor-", text, re.MULTILINE)
    assert f"runbook_url: file:///usr/share/doc/vipervisor/runbooks/{alert}.md" in text


def test_every_metric_of_the_rules_is_one_that_the_exporter_has() -> None:
    exported = set(re.findall(r"^(\w+)[{ ]", (ROOT / "tests/golden/metrics.txt").read_text(), re.MULTILINE))
    rules = re.sub(
        r"^ +(?:description|summary|dashboard): .*$", "", "".join(f.read_text() for f in RULES.glob("*s.yml"))
    )
    asked = set(re.findall(r"(?<![:\w/])(lvs_\w+)(?!\w*:)", rules))
    assert asked - exported == set()


# -- runbooks ------------------------------------------------------------------------------------------------------------


def test_there_is_one_page_for_each_alert_and_none_besides() -> None:
    assert {page.stem for page in RUNBOOKS.glob("LVS*.md")} == set(ALERTS)
    index = (RUNBOOKS / "README.md").read_text()
    assert re.findall(r"\[(\w+)\]\(\1\.md\)", index) == ALERTS


@each_alert
def test_a_page_says_what_it_means_what_to_look_at_and_what_to_do(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert len(text.split()) < WORDS_MAX


@each_alert
def test_the_commands_of_a_page_are_commands(alert: str) -> None:
    """Of a command line the verb and the options are what the program has; one command a page at the least."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    lines = re.findall(r"`(vipervisor [^`]+)`|^    (vipervisor .+)$", text, re.MULTILINE)
    assert lines, "no command"
    (verbs,) = (action.choices for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    for line in (first or second for first, second in lines):
        words = line.partition("#")[0].split()
        assert words[1] in verbs, line
        known = verbs[words[1]].format_help()
        for option in (word for word in words[2:] if word.startswith("--")):
            assert option in known, line


@each_alert
def test_the_log_events_of_a_page_are_in_the_catalogue(alert: str) -> None:
    events = re.findall(r"`([a-z_]+\.[a-z_]+)`", (RUNBOOKS / f"{alert}.md").read_text())
    assert set(events) - set(CATALOGUE) == set()


def test_links_between_pages_lead_somewhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
