"""The Dockerfile, played without Docker: its commands run in clean Debian 12 folders, and its entry point as its user.

What stays unseen is Docker's own part: layers, the network, the options of `docker run`. apt and pip take what they install from
folders in there (`tests/package/run` filled them): the archive, and the wheels of deploy/deb/libraries.txt.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.package.machine import WORK, Done, Machine

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
CAPABILITIES = "-all,+net_admin,+net_raw,+net_bind_service"
"""What `docker run` leaves, as the Dockerfile's head says to call it."""


CONFIGURATION = """\
virtual_server 127.0.0.10 80 {
  delay_loop 1
  lvs_sched rr
  lvs_method NAT
  protocol TCP
  real_server 127.0.0.21 8080 {
    TCP_CHECK {
      connect_timeout 1
    }
  }
  real_server 127.0.0.22 8080 {
    TCP_CHECK {
      connect_timeout 1
    }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its word and the rest, without the options that only Docker understands."""

    word: str
    rest: str


def stages() -> list[list[Step]]:
    """Return the instructions of each stage."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    steps = [Step(*line.split(maxsplit=1)) for line in text.replace("\\\n", " ").splitlines() if line]
    starts = [index for index, step in enumerate(steps) if step.word == "FROM"]
    return [steps[start:end] for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)]


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "**"))]


def copy_tree(target: Path) -> None:
    """COPY . . with .dockerignore."""
    left_out = ignored()
    target.mkdir(parents=True, exist_ok=True)
    with (
        subprocess.Popen(
            [
                "tar",
                "-C",
                ROOT,
                "-c",
                "--exclude=__pycache__",
                *sorted(p.name for p in ROOT.iterdir() if not any(map(p.match, left_out))),
            ],
            stdout=subprocess.PIPE,
        ) as packed,
        tarfile.open(fileobj=packed.stdout, mode="r|") as tree,
    ):
        tree.extractall(target, filter="tar")


def play(machine: Machine, steps: list[Step], built: Path | None) -> None:
    """Carry out what can be carried out without Docker."""
    folder = "/"
    for step in steps:
        match step.word:
            case "WORKDIR":
                folder = step.rest
            case "COPY" if step.rest == ". .":
                copy_tree(machine.root / folder.lstrip("/"))
            case "COPY":
                *_, source, target = step.rest.split()
                assert built is not None
                subprocess.run(["cp", "-a", built / source.lstrip("/"), machine.root / target.lstrip("/")], check=True)
            case "RUN":
                (machine.root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
                done = machine.chroot("sh", "-c", f"cd {folder} && {step.rest}")
                assert done.returncode == 0, done.stdout + done.stderr
            case _:
                assert step.word in {"FROM", "ENV", "USER", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def bring_wheels(machine: Machine) -> None:
    """Have pip in there find the libraries in a folder."""
    shutil.copytree(WORK / "wheels", machine.root / "srv" / "wheels")
    (machine.root / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")


@pytest.fixture(scope="module")
def image() -> Iterator[Machine]:
    """The last stage, built."""
    building, final = stages()
    with Machine(name="image-build") as first, Machine(name="image") as second:
        for machine in (first, second):  # debian:12-slim has no init system
            done = machine.chroot("apt-get", "-qq", "purge", "--yes", "--autoremove", "systemd-sysv", "systemd")
            assert done.returncode == 0, done.stderr
        bring_wheels(first)
        play(first, building, None)
        play(second, final, first.root)
        yield second


def as_its_user(image: Machine, *command: str) -> Done:
    """Run a command as USER and ENV of the image say, with what capabilities a container of it has."""
    (user,) = (step.rest for step in stages()[-1] if step.word == "USER")
    (variables,) = (step.rest for step in stages()[-1] if step.word == "ENV")
    who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--bounding-set={CAPABILITIES}"]
    return image.chroot("env", *variables.split(), *who, *command)


def test_its_commands_make_an_image_whose_entry_point_answers(image: Machine) -> None:
    (entry,) = (json.loads(step.rest) for step in stages()[-1] if step.word == "ENTRYPOINT")
    done = as_its_user(image, *entry, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vipervisor ")


def test_it_runs_as_its_user_with_three_capabilities_and_its_health_check_answers(image: Machine) -> None:
    final = stages()[-1]
    (entry,) = (json.loads(step.rest) for step in final if step.word == "ENTRYPOINT")
    (arguments,) = (json.loads(step.rest) for step in final if step.word == "CMD")
    (health,) = (re.findall(r"CMD (\[.*\])$", step.rest) for step in final if step.word == "HEALTHCHECK")
    configuration = image.root / "etc" / "keepalived" / "keepalived.conf"
    configuration.parent.mkdir(exist_ok=True)
    configuration.write_text(CONFIGURATION)
    script = f"""
        {shlex.join([*entry, *arguments, "--backend", "memory", "--exporter", "off"])} >/tmp/log 2>&1 &
        for _ in $(seq 300); do sleep 0.2; {shlex.join(json.loads(health[0]))} && break; done
        for _ in $(seq 100); do grep -q worker.started /tmp/log && break; sleep 0.2; done
        grep CapEff /proc/$!/status
        kill $!; wait $!
        cat /tmp/log >&2
    """
    done = as_its_user(image, "sh", "-c", script)
    assert "ready: 2 checks with a verdict" in done.stdout, done.stderr
    effective = int(re.findall(r"^CapEff:\s*(\w+)", done.stdout, re.MULTILINE)[0], 16)
    assert effective == 1 << 10 | 1 << 12 | 1 << 13, done.stderr  # bind_service, admin, raw
    (worker,) = [
        line
        for line in map(json.loads, re.findall(r"^\{.*\}$", done.stderr, re.MULTILINE))
        if line["event"] == "worker.started"
    ]
    assert "caps=0" in worker["caged"]


def test_what_it_is_told_when_it_starts_is_what_the_command_line_knows() -> None:
    from supervisor import cli  # noqa: PLC0415  the rest of this file needs no program of ours

    (arguments,) = (json.loads(step.rest) for step in stages()[-1] if step.word == "CMD")
    options = cli.parser().parse_args(arguments)
    assert options.keep
