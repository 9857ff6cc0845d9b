"""What we ship for other programs to read: each of them reads it without a complaint."""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.cli import main
from supervisor.exporter.families import SCOPES
from tests.deploy import programs

DEPLOY = programs.ROOT / "deploy"
SYSCTL = DEPLOY / "sysctl" / "vipervisor.conf"


def test_prometheus_can_read_the_scrape_jobs() -> None:
    done = programs.run("promtool", "prometheus", ["check", "config", str(DEPLOY / "prometheus" / "scrape.yaml")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_two_scrape_jobs_ask_for_everything_once() -> None:
    text = (DEPLOY / "prometheus" / "scrape.yaml").read_text()
    asked = re.findall(r"^      scope: \[(.*)\]$", text, re.MULTILINE)
    assert sorted(scope for scopes in asked for scope in scopes.split(", ")) == sorted(SCOPES)
    assert re.findall(r"scrape_interval: (.*)", text) == ["5s", "60s"]


def test_ansible_can_read_the_playbook(tmp_path: Path) -> None:
    playbook = DEPLOY / "ansible" / "vipervisor.yml"
    arguments = ["--syntax-check", "--inventory", "director1,", str(playbook)]
    home = str(tmp_path)
    done = programs.run("ansible-playbook", "ansible-core", arguments, ANSIBLE_HOME=home, ANSIBLE_LOCAL_TEMP=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "playbook: " in done.stdout


def test_a_configuration_by_ansible_is_validated_before_it_is_put_in_its_place() -> None:
    text = (DEPLOY / "ansible" / "vipervisor.yml").read_text()
    (command,) = re.findall(r"^ +validate: vipervisor (.*)$", text, re.MULTILINE)
    template = (DEPLOY / "ansible" / "templates" / "keepalived.conf.j2").read_text()
    assert command.split() == ["check", "%s"]
    assert "virtual_server {{" in template
    assert "state: reloaded" in text
    assert "restarted" not in text


def test_the_template_makes_a_valid_configuration(tmp_path: Path) -> None:
    """With the variables' values put in by hand: what Ansible does beyond that is Ansible's own."""
    text = (DEPLOY / "ansible" / "templates" / "keepalived.conf.j2").read_text()
    before, loop, after = re.split(r"\{% (?:for|endfor)[^%]*%\}\n", text)
    text = before + "".join(loop.replace("{{ address }}", f"10.10.0.{number}") for number in (21, 22)) + after
    text = text.replace("{{ vipervisor_virtual_address }}", "198.51.100.80").replace(
        "{{ inventory_hostname_short }}", "d1"
    )
    path = tmp_path / "keepalived.conf"
    path.write_text(text.replace("{{ ansible_managed }}", "Ansible managed"))
    assert main(["check", "--strict", str(path)]) == 0


def test_logrotate_can_read_its_snippet(tmp_path: Path) -> None:
    snippet = (DEPLOY / "logrotate" / "vipervisor").read_text()
    log = tmp_path / "vipervisor.log"
    log.write_text("{}\n")
    path = tmp_path / "snippet"
    path.write_text(snippet.replace("/var/log/vipervisor.log", str(log)).replace("create 0640 root adm", "create 0640"))
    path.chmod(0o644)
    done = programs.run("logrotate", "logrotate", ["--debug", "--state", str(tmp_path / "state"), str(path)])
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert f"considering log {log}" in done.stderr


def test_every_kernel_setting_is_one_and_has_its_reason_above_it() -> None:
    """sysctl.d(5): KEY = VALUE, a minus in front where its absence is no error."""
    above = ""
    found = []
    for line in SYSCTL.read_text().splitlines():
        setting = re.fullmatch(r"#?-?((?:net)\.[\w.]+) = (\d+)", line)
        if setting:
            assert above.startswith("#"), line
            found.append(setting[1])  # several may share a reason
        else:
            assert line in {"", "#"} or line.startswith("# "), line
            above = line
    assert len(found) == len(set(found))
    assert {"net.ipv4.vs.expire_nodest_conn", "net.ipv4.vs.expire_quiescent_template", "net.ipv4.vs.drop_entry"} <= set(
        found
    )


def test_what_the_package_changes_by_itself_is_no_kernel_setting() -> None:
    """Settings of IPVS change what a director that works does: an operator chooses them."""
    assert "sysctl.d" not in (DEPLOY / "deb" / "build").read_text()
