"""What global_defs says about mail, as `MailSettings`. Pure but for one look at the password's file, which is never read here.

keepalived knows the older half of these keywords; smtp_tls, smtp_tls_verify, smtp_ca, smtp_user, smtp_password_file and
smtp_group_within are ours, and keepalived passes them over with a warning. What would send a password in the open is refused.
Sources: keepalived.md, section 2.1; RFC 8314 for the port of TLS from the first byte.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, port, quoted
from supervisor.config.values import Block, tolerated
from supervisor.model import MailSettings, MailTls

PORT_DEFAULT = 25
GROUP_WITHIN_DEFAULT_S = 1.0
TLS_PORT_DEFAULT = 465
"""Where mail servers speak TLS from the first byte (RFC 8314, section 7.3)."""

_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,255}", re.ASCII)


def read(defaults: Block, problems: Problems) -> MailSettings:
    """The mail settings of the global_defs in `defaults`; what is wrong with them goes to `problems`."""
    tls = MailTls(defaults.get("smtp_tls", "off"))
    server, server_port = _server(defaults, problems, TLS_PORT_DEFAULT if tls is MailTls.TLS else PORT_DEFAULT)
    user, password_file = _login(defaults, problems, tls)
    verify = _verify(defaults, problems, tls, user)
    return MailSettings(
        recipients=_recipients(defaults, problems),
        sender=defaults.get("notification_email_from", ""),
        server=server,
        port=server_port,
        connect_timeout=_timeout(defaults, problems),
        helo_name=defaults.get("smtp_helo_name", ""),
        every_check=not defaults.get("no_checker_emails", False),
        tls=tls,
        tls_verify=verify,
        authorities=defaults.get("smtp_ca", ""),
        user=user,
        password_file=password_file,
        group_within=defaults.get("smtp_group_within", GROUP_WITHIN_DEFAULT_S),
    )


def _timeout(defaults: Block, problems: Problems) -> int:
    timeout: int = defaults.get("smtp_connect_timeout", 30)
    if timeout == 0:
        place = defaults.value_place("smtp_connect_timeout")
        problems.add(Code.CORRECTED, place, "smtp_connect_timeout is at least 1 s; 1 is taken")
        timeout = 1
    return timeout


def _recipients(defaults: Block, problems: Problems) -> tuple[str, ...]:
    """Who gets mail. Looks at the other words of the headers, too."""
    recipients: list[str] = []
    for word, node, index in defaults.get("notification_email", []):
        if word and _is_one_word(word):
            recipients.append(word)
        else:
            problems.add(Code.BAD_TEXT, node.place(index), f"{quoted(word)} is no mail address")
    for name in ("notification_email_from", "smtp_helo_name", "router_id"):
        text = defaults.get(name, "x")
        if not text.isprintable() or (name != "router_id" and not _is_one_word(text)):
            problems.add(Code.BAD_TEXT, defaults.value_place(name), f"{quoted(text)} cannot stand in a mail")
    return tuple(recipients)


def _is_one_word(text: str) -> bool:
    """Whether the text has no blank, line end or control character in it, nor the brackets that mail puts around addresses."""
    return text.isprintable() and not re.search(r"[\s<>]", text)


# The way to the mail server


def _server(defaults: Block, problems: Problems, port_default: int) -> tuple[str, int]:
    """Host and port of `smtp_server HOST [PORT]`; a name is looked up when a mail is sent, never here."""
    entry = defaults.entries.get("smtp_server")
    if entry is None or not entry.value:
        return "", port_default
    try:
        return _host_and_port(entry.node.words, port_default)
    except Fault as fault:
        if tolerated(entry.node, fault, problems):
            return _server(defaults, problems, port_default)
        problems.add(fault.code, entry.node.place(fault.index, fault.last), fault.message, fault.suggestion)
        return "", port_default


def _host_and_port(words: tuple[str, ...], port_default: int) -> tuple[str, int]:
    """Raises Fault."""
    if len(words) > 3:
        raise Fault(Code.EXTRA_WORDS, 3, f'extra words {quoted(" ".join(words[3:]))} after "smtp_server"', last=-1)
    if _HOST.fullmatch(words[1]) is None:
        raise Fault(Code.BAD_TEXT, 1, f"{quoted(words[1])} is no host name and no address")
    return words[1], port(words[2], 2, zero_allowed=False) if len(words) > 2 else port_default


def _verify(defaults: Block, problems: Problems, tls: MailTls, user: str) -> bool:
    """Whether the server's certificate is looked at."""
    verify: bool = defaults.get("smtp_tls_verify", True)
    for name in ("smtp_tls_verify", "smtp_ca"):
        if name not in defaults.entries:
            continue
        if tls is MailTls.OFF:
            message = f'"{name}" has no effect without "smtp_tls starttls" or "smtp_tls tls"'
            problems.add(Code.NO_EFFECT, defaults.place(name), message)
        elif name == "smtp_ca" and not verify:
            problems.add(Code.NO_EFFECT, defaults.place(name), '"smtp_ca" has no effect with "smtp_tls_verify off"')
    if user and not verify:
        message = "with smtp_tls_verify off, anybody who can stand in for the mail server is told the password"
        problems.add(
            Code.RISKY, defaults.place("smtp_tls_verify"), message, "name the certificate's authority: smtp_ca"
        )
    return verify


def _login(defaults: Block, problems: Problems, tls: MailTls) -> tuple[str, str]:
    """User and the file of the password, both or neither."""
    user: str = defaults.get("smtp_user", "")
    path: str = defaults.get("smtp_password_file", "")
    has_user, has_file = "smtp_user" in defaults.entries, "smtp_password_file" in defaults.entries
    if has_user is not has_file:
        name, other = ("smtp_user", "smtp_password_file") if has_user else ("smtp_password_file", "smtp_user")
        problems.add(Code.MISSING_KEYWORD, defaults.place(name), f'"{name}" needs "{other}" beside it')
    if has_user and not (user and user.isascii() and user.isprintable()):
        message = f"{quoted(user)} is no user name: printable ASCII characters are wanted"
        problems.add(Code.BAD_TEXT, defaults.value_place("smtp_user"), message)
    if has_user and tls is MailTls.OFF:
        message = '"smtp_user" needs "smtp_tls starttls" or "smtp_tls tls": a password is never sent in the open'
        problems.add(Code.MISSING_KEYWORD, defaults.place("smtp_user"), message)
    if has_file:
        _look_at_password_file(path, defaults, problems)
    return (user, path) if has_user and has_file and tls is not MailTls.OFF else ("", "")


def _look_at_password_file(path: str, defaults: Block, problems: Problems) -> None:
    """Warn of what would keep mail from being sent; the file is read anew for each mail, so it may still change."""
    place = defaults.value_place("smtp_password_file")
    if not path.startswith("/"):
        problems.add(Code.BAD_TEXT, place, f"smtp_password_file must be a path that begins with /; not {quoted(path)}")
        return
    name = f"smtp_password_file {quoted(path)}"
    try:
        found = Path(path).stat()
        readable = os.access(path, os.R_OK)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        problems.add(Code.RISKY, place, f"{name} cannot be read: {reason}", "until it can, no mail is sent")
        return
    if not stat.S_ISREG(found.st_mode):
        problems.add(Code.RISKY, place, f"{name} is no ordinary file", "until it is one, no mail is sent")
    elif not readable and os.geteuid() == 0:  # a `check` as another user has no business with the password
        hint = "it must belong to root: the program gives up the right to read everybody's files"
        problems.add(Code.RISKY, place, f"{name} cannot be read", hint)
    elif found.st_mode & stat.S_IROTH:
        problems.add(Code.RISKY, place, f"{name} can be read by everybody on this host", "chmod 600")
