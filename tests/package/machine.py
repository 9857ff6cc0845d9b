"""A clean Debian 12 in memory and in namespaces of its own: nothing of this machine's but the kernel (deploy/deb/machine)."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
MACHINE = ROOT / "deploy" / "deb" / "machine"
WORK = ROOT / ".lab" / "package"
BASE = WORK / "base.tar"
"""As debootstrap made it."""
INSTALLED = WORK / "installed.tar"
"""The same with the package, for the tests that boot it: left by `test_installation`."""

BOOT_MAX_S = 180.0
"""Ten seconds in a guest where nothing else runs."""

Done = subprocess.CompletedProcess[str]


class Machine:
    """One that is thrown away afterwards."""

    def __init__(self, like: Path = BASE, name: str = "machine") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._holder = subprocess.Popen(
            [MACHINE, "hold", like, WORK / "archive", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "no machine can be had here"
        self._enter = ["nsenter", "--target", str(self._holder.pid), "--mount"]
        self._running: subprocess.Popen[bytes] | None = None
        self.root = Path(f"/proc/{self._holder.pid}/root{self._folder}/root")
        """Its root folder, as this process can reach it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.kill()  # and with it the namespaces' process 1, and so everything in them
            self._running.wait()
        self._holder.communicate()
        self._folder.rmdir()

    def chroot(self, *command: str) -> Done:
        """Run a command in there before it is booted."""
        assert self._running is None
        return subprocess.run(
            [*self._enter, MACHINE, "chroot", self._folder / "root", *command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def install(self, *packages: str) -> None:
        """Have apt install packages, each by its name in the archive or by its path in there."""
        for command in (["update"], ["install", "--yes", *packages]):
            done = self.chroot("apt-get", "-qq", *command)
            assert done.returncode == 0, done.stdout + done.stderr

    def save(self, archive: Path) -> None:
        """Keep it for other tests, as it is now."""
        with archive.open("wb") as file:
            subprocess.run(
                ["tar", "-C", self.root, "--one-file-system", "--exclude=./srv/archive/*", "-cf", "-", "."],
                stdout=file,
                check=True,
            )

    def boot(self) -> None:
        """Start systemd in there and wait until it has started everything."""
        with (WORK / "boot.log").open("wb") as log:
            self._running = subprocess.Popen(
                [*self._enter, MACHINE, "boot", self._folder / "root"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_for("systemctl", "is-system-running", "--wait", says="running", limit_s=BOOT_MAX_S)

    def run(self, *command: str) -> Done:
        """Run a command in there as root."""
        assert self._running is not None
        children = Path(f"/proc/{self._running.pid}/task/{self._running.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(command, 125, "", "it has not begun to boot")
        enter = [
            "nsenter",
            "--target",
            children[0],
            *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"),
        ]
        return subprocess.run(
            [*enter, "env", "-i", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def fine(self, *command: str) -> str:
        """Run a command in there that has to succeed, and return what it printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    def wait_for(self, *command: str, says: str, limit_s: float = 120.0) -> str:
        """Run a command until its output contains `says`, and return that output."""
        deadline = time.monotonic() + limit_s
        while says not in (done := self.run(*command)).stdout:
            assert time.monotonic() < deadline, (
                f"{command} never said {says!r}:\n{done.stdout}{done.stderr}{self.journal()}"
            )
            time.sleep(0.1)
        return done.stdout

    def journal(self) -> str:
        """Return the end of what the service logged, for whoever reads a failure."""
        return self.run("journalctl", "--no-pager", "--unit=vipervisor", "--lines=40").stdout

    def property(self, name: str) -> str:
        """Return one property of the service, as systemd sees it."""
        return self.fine("systemctl", "show", "--value", f"--property={name}", "vipervisor").strip()

    def write(self, path: str, text: str) -> None:
        """Write a file in there."""
        self.fine("mkdir", "-p", str(Path(path).parent))
        (self.root / path.lstrip("/")).write_text(text)
