"""Brings one message to the mail server: SMTP, over TLS and with a password where the settings say so.

The protocol blocks, so it runs in a thread that is abandoned when the caller's time is up; there are never more than THREADS_MAX of them,
and names are resolved there too. The password is read from its file for each delivery and kept nowhere; it goes out over TLS only, which
the configuration sees to and this module checks again.
Sources: RFC 5321; RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 8314 (TLS from the first byte).
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from checkers.kit.options import UNREADABLE
from supervisor.model import MailSettings, MailTls
from supervisor.notify._client import Client, TlsClient
from supervisor.notify._outcome import DeliveryFailed

THREADS_MAX = 4
"""Deliveries that hang in the protocol, abandoned, before new ones wait for them."""
PASSWORD_MAX_BYTES = 1024
"""More in the password's file than any mail server takes for a password: somebody named the wrong file."""

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter | None] = trio.lowlevel.RunVar("mail threads", None)


async def deliver_smtp(settings: MailSettings, message: bytes, recipients: Sequence[str]) -> None:
    """Deliver `message` over SMTP, in a thread that is abandoned when the caller's time is up. Raises DeliveryFailed."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = trio.CapacityLimiter(THREADS_MAX)
        _limiter.set(limiter)
    await trio.to_thread.run_sync(
        partial(_converse, settings, message, tuple(recipients)), abandon_on_cancel=True, limiter=limiter
    )


def _converse(settings: MailSettings, message: bytes, recipients: Sequence[str]) -> None:
    """Speak SMTP, blocking. Raises DeliveryFailed."""
    where = f"{settings.server} port {settings.port}"
    password = _password(settings)
    try:
        server = _connect(settings)
        try:
            if settings.user:
                server.login(settings.user, password)
            refused = server.sendmail(settings.sender, list(recipients), message)
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):  # the outcome is known already
                server.quit()
            server.close()
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryFailed(
            f"{where}: {_refusals(error.recipients)}", permanent=_all_final(error.recipients)
        ) from None
    except smtplib.SMTPResponseException as error:
        answer = bytes(error.smtp_error) if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        text = answer.decode("utf-8", "replace")[:200]
        raise DeliveryFailed(f"{where}: {error.smtp_code} {text}", permanent=error.smtp_code >= 500) from None
    except ssl.SSLCertVerificationError as error:
        reason = f"the server's certificate is not trusted: {error.verify_message} (see smtp_ca, smtp_tls_verify)"
        raise DeliveryFailed(f"{where}: {reason}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise DeliveryFailed(f"{where}: {str(error)[:200] or type(error).__name__}") from None
    if refused:
        raise DeliveryFailed(f"{where}: delivered to the others, but {_refusals(refused)}", permanent=True)


def _connect(settings: MailSettings) -> smtplib.SMTP:
    """Return a session that is as private as the settings want it. Raises what smtplib raises."""
    own_name = settings.helo_name or socket.gethostname()
    host, port, timeout = settings.server, settings.port, settings.connect_timeout
    if settings.tls is MailTls.TLS:
        return TlsClient(host, port, local_hostname=own_name, timeout=timeout, context=_context(settings))
    server = Client(host, port, local_hostname=own_name, timeout=timeout)
    if settings.tls is MailTls.STARTTLS:
        try:  # it raises where the server has no STARTTLS: mail that was to be private never goes in the open instead
            server.starttls(context=_context(settings))
        except BaseException:
            server.close()
            raise
    return server


def _context(settings: MailSettings) -> ssl.SSLContext:
    """Return what TLS goes by. Raises DeliveryFailed."""
    if settings.authorities.startswith(UNREADABLE):
        raise DeliveryFailed(settings.authorities.removeprefix(UNREADABLE))
    context = ssl.create_default_context(cadata=settings.authorities or None)
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _password(settings: MailSettings) -> str:
    """Return the first line of the password's file. Raises DeliveryFailed."""
    if not settings.user:
        return ""
    if settings.tls is MailTls.OFF:
        raise DeliveryFailed("a password is never sent without TLS (see smtp_tls)", permanent=True)
    try:
        with Path(settings.password_file).open("rb") as file:
            text = file.read(PASSWORD_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise DeliveryFailed(f"smtp_password_file {settings.password_file} cannot be read: {reason}") from None
    password = text.partition(b"\n")[0].rstrip(b"\r").decode("latin-1")
    if not password or not password.isascii() or len(text) > PASSWORD_MAX_BYTES:
        wanted = f"1 to {PASSWORD_MAX_BYTES} ASCII characters in its first line, and no more than that in all"
        raise DeliveryFailed(f"smtp_password_file {settings.password_file} holds no password: {wanted}")
    return password


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{recipient}: {code} {text.decode('utf-8', 'replace')[:100]}" for recipient, (code, text) in refused.items()
    )[:400]


def _all_final(refused: dict[str, tuple[int, bytes]]) -> bool:
    return all(code >= 500 for code, _ in refused.values())
