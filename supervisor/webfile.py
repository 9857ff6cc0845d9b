"""The web configuration file of the exporter, read by who may read it: the exporter itself can open nothing.

    begin()     at start: raises WebFileError when the file is wrong, so that nobody is served unprotected
    look()      later: a file, certificate or key that changed is taken over whole, or told and not taken; the last good one stays

The exporter is sent text only (`exporter.webpolicy`) and makes its own of it. Times are trio's seconds.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import trio

from supervisor.core.snapshot import WebView
from supervisor.exporter.webpolicy import WebPolicy, encode
from supervisor.log import Log

LOOK_EVERY_S = 5.0
"""How often the files are looked at (their times and sizes): a new certificate need not wait for longer than this."""

Signature = tuple[int, int, int, int] | None
"""Device, inode, size, time of change in nanoseconds; None: there is no such file."""


class WebFileError(Exception):
    """The file cannot be used; the text has a line for each mistake, with its place and the remedy."""


class WebFile:
    """One file, what it names, and the newest good policy. `number` grows with each."""

    def __init__(self, path: Path, log: Log) -> None:
        self.number = 0
        self.line = b""
        self._path = path
        self._log = log
        self._ok = True
        self._taken_at: float | None = None
        self._looked_at = float("-inf")
        self._signatures: dict[Path, Signature] = {}
        self._told = ""

    def begin(self) -> None:
        """Read it for the first time. Raises WebFileError."""
        policy, warnings = self._read()
        self._take(policy, warnings)

    async def look(self) -> None:
        """See whether something changed, every LOOK_EVERY_S; never raises for what is in the files."""
        now = trio.current_time()
        if now < self._looked_at + LOOK_EVERY_S:
            return
        self._looked_at = now
        if await trio.to_thread.run_sync(
            self._changed, abandon_on_cancel=True
        ):  # a folder may be on a server that hangs
            self.look_now()
        if self._taken_at is None and self._ok:
            self._taken_at = trio.current_time()

    def look_now(self) -> None:
        """See whether something changed, and take it over."""
        if not self._changed():
            return
        try:
            policy, warnings = self._read()
        except WebFileError as error:
            self._ok = False
            if str(error) != self._told:
                self._told = str(error)
                mistakes = self._told.splitlines()
                text = f"The web configuration is refused, the one before holds: {mistakes[0]}"
                self._log.emit("web_config.refused", text, path=self._path, reason=self._told, mistakes=len(mistakes))
            return
        self._take(policy, warnings)

    def _changed(self) -> bool:
        return any(_signature(path) != signature for path, signature in self._signatures.items())

    def view(self, now: float) -> WebView:
        """Return what observers may know."""
        return WebView(str(self._path), None if self._taken_at is None else now - self._taken_at, self._ok)

    def _take(self, policy: WebPolicy, warnings: list[str]) -> None:
        self.line = encode(policy)
        self.number += 1
        self._ok, self._told, self._taken_at = True, "", None
        for warning in warnings:
            self._log.emit("web_config.warning", f"{warning}.", path=self._path, reason=warning)
        secured = "TLS" if policy.tls else "no TLS"
        self._log.emit(
            "web_config.loaded",
            f"The exporter is protected as {self._path} says: {secured}, {len(policy.users)} users.",
            path=self._path,
            tls=policy.tls is not None,
            users=len(policy.users),
        )

    def _read(self) -> tuple[WebPolicy, list[str]]:
        """Return the policy and warnings. Raises WebFileError."""
        try:
            from supervisor.exporter import webconfig  # noqa: PLC0415  only who has a file needs the library for YAML
        except ImportError as error:
            raise WebFileError(f"--web-config needs {error.name}: pip install 'vipervisor[web]'") from error
        self._signatures = {self._path: _signature(self._path)}
        try:
            text = self._text_of(self._path, webconfig.FILE_MAX_BYTES)
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
            raise WebFileError(f"{self._path}: {reason}; name a file that vipervisor can read") from error
        found = webconfig.read(text, lambda name: self._text_of(self._path.parent / name, webconfig.FILE_MAX_BYTES))
        if found.mistakes:
            raise WebFileError("\n".join(f"{self._path}:{mistake}" for mistake in found.mistakes))
        open_to_all = [
            path
            for path in self._signatures
            if _is_secret_and_open(path, self._text_of(path, webconfig.FILE_MAX_BYTES))
        ]
        warnings = [f"{self._path}:{warning}" for warning in found.warnings]
        return found.policy, [
            *warnings,
            *(f"{path} holds a key and can be read by everybody: chmod 640" for path in open_to_all),
        ]

    def _text_of(self, path: Path, max_bytes: int) -> str:
        """Return the text of a file, and watch it from now on. Raises OSError or ValueError."""
        self._signatures[path] = _signature(path)
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ValueError(f"longer than {max_bytes} bytes")
        return data.decode()


def _is_secret_and_open(path: Path, text: str) -> bool:
    return "PRIVATE KEY-----" in text and bool(path.stat().st_mode & stat.S_IROTH)


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
