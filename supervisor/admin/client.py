"""Asks a running daemon over its admin socket. Blocking and without trio: a command line must answer in a moment."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

from supervisor.admin import protocol
from supervisor.admin.protocol import Request, RequestError, Status

PATIENCE_S = 15.0
"""Longer than what a verb may take when it does not say otherwise (`desk.LIMIT_S`)."""


def default_socket() -> Path:
    """Return where the admin socket is when nobody says otherwise: the run-time directory of the service, or of the user."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd.exec(5)
    if given:
        return Path(given) / "admin.sock"
    if os.geteuid() == 0:
        return Path("/run/vipervisor/admin.sock")
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own:
        return Path(own) / "vipervisor" / "admin.sock"
    import tempfile  # noqa: PLC0415  (it brings random and more, a twentieth of the start of a verb)

    return Path(tempfile.gettempdir()) / f"vipervisor-{os.geteuid()}" / "admin.sock"


def ask(path: Path, request: Request, patience_s: float = PATIENCE_S) -> Any:
    """Return the daemon's answer to `request`, within `patience_s`. Raises RequestError, also when no daemon answers."""
    with contextlib.closing(follow(path, request, patience_s)) as answers:
        return next(answers)


def follow(path: Path, request: Request, patience_s: float = PATIENCE_S) -> Generator[Any, None, None]:
    """Yield the daemon's answer to `request`, and then each event that follows it as it comes; an int says how many were lost.

    Raises RequestError, also when no daemon answers, and when it hangs up.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience_s)
            sock.connect(str(path))
            with contextlib.suppress(BrokenPipeError):  # turned away; the answer says why
                sock.sendall(protocol.encode_request(request))
            with sock.makefile("rb") as lines:
                lines.readline()  # the greeting
                line = lines.readline()
                if not line:
                    raise RequestError(
                        f"{path}: the daemon closed the connection without an answer", Status.UNREACHABLE
                    )
                yield protocol.decode_answer(line)
                sock.settimeout(None)
                for more in lines:
                    yield protocol.decode_more(more)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise RequestError(
            f"{path}: no daemon answers there; is vipervisor running? (see --admin-socket)", Status.UNREACHABLE
        ) from error
    except PermissionError as error:
        raise RequestError(
            f"{path}: permission denied; ask as root or the user that runs the daemon, or see run --admin-group",
            Status.UNREACHABLE,
        ) from error
    except TimeoutError as error:
        raise RequestError(f"{path}: the daemon does not answer within {patience_s:g} s", Status.TIMEOUT) from error
    except OSError as error:
        raise RequestError(f"{path}: {error}", Status.UNREACHABLE) from error
    raise RequestError(f"{path}: the daemon hung up", Status.UNREACHABLE)
