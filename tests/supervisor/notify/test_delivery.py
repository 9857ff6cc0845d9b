"""Delivery to real SMTP servers on loopback."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from supervisor.log import Log
from supervisor.model import MailSettings, MailTls
from supervisor.notify._client import REPLIES_MAX_BYTES
from supervisor.notify._delivery import THREADS_MAX, deliver_smtp
from supervisor.notify._message import compose
from supervisor.notify._outcome import DeliveryFailed
from supervisor.notify.smtp import Mailer
from tests.fakes.tls import AUTHORITY, OTHER_AUTHORITY, context_of
from tests.supervisor.notify.samples import CHECK_DOWN, DATE, SETTINGS, SUBJECT


class Postbox:
    """An SMTP server's handler that keeps what comes, and refuses some people."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.greetings: list[str] = []
        self.answer = "250 OK"

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.greetings.append(str(session.host_name))
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  (see above)
        self.envelopes.append(envelope)
        return self.answer


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, MailSettings]]:
    box = Postbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, replace(SETTINGS, server="127.0.0.1", port=port, connect_timeout=5, helo_name="lvs1.example.com")
    controller.stop()


def test_a_real_server_gets_envelope_and_headers(postbox: tuple[Postbox, MailSettings]) -> None:
    box, settings = postbox

    async def main() -> None:
        mailer = Mailer(settings, "lvs1", wall_clock=lambda: DATE, log=Log(lambda *_: None, strict=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailer.run)
            mailer.tell(CHECK_DOWN)
            await mailer.drain(10)
            nursery.cancel_scope.cancel()
        assert mailer.sent == 1

    trio.run(main)
    (envelope,) = box.envelopes
    assert envelope.mail_from == "lvs@example.com"
    assert envelope.rcpt_tos == ["admin@example.com", "duty@example.com"]
    assert box.greetings[0] == "lvs1.example.com"
    assert isinstance(envelope.content, bytes)
    assert envelope.content == compose(
        settings, f"[lvs1] {SUBJECT}DOWN", ("=> CHECK failed on service : HTTP request failed <=",), DATE
    )


def failing(settings: MailSettings) -> DeliveryFailed:
    """Deliver and return the failure."""

    async def main() -> None:
        await deliver_smtp(settings, compose(settings, "[lvs1] x", ("y",), DATE), settings.recipients)

    with pytest.raises(DeliveryFailed) as caught:
        trio.run(main)
    return caught.value


def test_refused_recipients_are_named_and_the_others_get_their_mail(postbox: tuple[Postbox, MailSettings]) -> None:
    box, settings = postbox
    failure = failing(replace(settings, recipients=("admin@example.com", "nobody@example.com")))
    assert failure.permanent
    assert "nobody@example.com: 550 no such user" in str(failure)
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["admin@example.com"]]


def test_a_refusal_for_now_is_worth_another_attempt_and_one_for_ever_is_not(
    postbox: tuple[Postbox, MailSettings],
) -> None:
    box, settings = postbox
    assert not failing(replace(settings, recipients=("later@example.com",))).permanent
    assert failing(replace(settings, recipients=("nobody@example.com",))).permanent
    box.answer = "554 we do not like it"
    failure = failing(settings)
    assert failure.permanent
    assert str(failure) == f"127.0.0.1 port {settings.port}: 554 we do not like it"


def test_a_server_that_is_not_there_is_worth_another_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failure = failing(replace(SETTINGS, server="127.0.0.1", port=port, connect_timeout=5))
    assert not failure.permanent
    assert "refused" in str(failure)


def test_a_server_that_accepts_and_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = failing(replace(SETTINGS, server="127.0.0.1", port=silent.getsockname()[1], connect_timeout=1))
    assert not failure.permanent


def test_a_server_whose_greeting_never_ends_is_left() -> None:
    def chatter(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            while True:
                connection.sendall(b"220-welcome\r\n" * 1000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=chatter, args=(server,))
        thread.start()
        failure = failing(replace(SETTINGS, server="127.0.0.1", port=server.getsockname()[1], connect_timeout=5))
        thread.join()
    assert f"more than {REPLIES_MAX_BYTES} bytes of replies" in str(failure)
    assert not failure.permanent


def test_a_hanging_delivery_is_abandoned_in_time_and_threads_are_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(SETTINGS, server="127.0.0.1", port=silent.getsockname()[1], connect_timeout=3)
        before = threading.active_count()

        async def main() -> None:
            begin = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(THREADS_MAX * 3):
                    nursery.start_soon(give_up, settings)
            assert trio.current_time() - begin < 2
            assert threading.active_count() - before <= THREADS_MAX + 1

        async def give_up(settings: MailSettings) -> None:
            with trio.move_on_after(0.2):
                await deliver_smtp(settings, b"", settings.recipients)

        trio.run(main)


# -- TLS and passwords ---------------------------------------------------------------------------------------------------


PASSWORD = "correct horse"


class Login:
    """An authenticator that knows one user."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, str]] = []

    def __call__(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.tried.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.tried[-1] == ("lvs", PASSWORD), handled=False)


@dataclass(frozen=True)
class Secure:
    """A mail server that speaks TLS and wants a password, and the settings that fit."""

    box: Postbox
    login: Login
    settings: MailSettings
    password_file: Path


@pytest.fixture(params=[MailTls.STARTTLS, MailTls.TLS], ids=lambda tls: tls.value)
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secure]:
    box, login, tls = Postbox(), Login(), request.param
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = context_of("good")
    if tls is MailTls.TLS:  # aiosmtpd takes a session that was TLS from its first byte for one in the open
        controller = Controller(
            box, "127.0.0.1", port, ssl_context=context, authenticator=login, auth_require_tls=False
        )
    else:
        controller = Controller(
            box,
            "127.0.0.1",
            port,
            tls_context=context,
            require_starttls=True,
            authenticator=login,
            auth_required=True,
        )
    controller.start()
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\nand a remark\n")
    settings = replace(
        SETTINGS,
        server="127.0.0.1",
        port=port,
        connect_timeout=5,
        tls=tls,
        authorities=AUTHORITY,
        user="lvs",
        password_file=str(password_file),
    )
    yield Secure(box, login, settings, password_file)
    controller.stop()


def deliver(settings: MailSettings) -> None:
    trio.run(deliver_smtp, settings, compose(settings, "[lvs1] x", ("y",), DATE), settings.recipients)


def test_mail_goes_over_tls_with_the_password_of_the_file(secure: Secure) -> None:
    deliver(secure.settings)
    assert len(secure.box.envelopes) == 1
    assert secure.login.tried == [("lvs", PASSWORD)]


def test_the_password_is_read_anew_for_each_mail(secure: Secure) -> None:
    secure.password_file.write_text("old\n")
    failure = failing(secure.settings)
    assert "535" in str(failure)
    assert "old" not in str(failure)
    secure.password_file.write_text(PASSWORD)
    deliver(secure.settings)
    assert len(secure.box.envelopes) == 1


@pytest.mark.parametrize("content", ["", "\nsecond line", "pässword", "x" * 2000])
def test_a_file_without_a_usable_password_is_named_and_its_content_is_not(secure: Secure, content: str) -> None:
    secure.password_file.write_text(content)
    failure = failing(secure.settings)
    assert str(failure).startswith(f"smtp_password_file {secure.password_file} holds no password: 1 to 1024 ASCII")
    assert not failure.permanent
    assert secure.login.tried == []


def test_a_missing_password_file_is_named(secure: Secure) -> None:
    secure.password_file.unlink()
    failure = failing(secure.settings)
    assert str(failure) == f"smtp_password_file {secure.password_file} cannot be read: No such file or directory"
    assert not failure.permanent


@pytest.mark.parametrize("authorities", [OTHER_AUTHORITY, ""], ids=["another authority", "the system's"])
def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_password_is_said(
    secure: Secure, authorities: str
) -> None:
    failure = failing(replace(secure.settings, authorities=authorities))
    assert "the server's certificate is not trusted: " in str(failure)
    assert not failure.permanent
    assert (secure.login.tried, secure.box.envelopes) == ([], [])


def test_a_certificate_for_another_name_is_refused(secure: Secure) -> None:
    failure = failing(replace(secure.settings, server="localhost"))
    assert "localhost" in str(failure)
    assert "not valid for" in str(failure)
    assert secure.login.tried == []


def test_with_verification_off_any_certificate_will_do(secure: Secure) -> None:
    deliver(replace(secure.settings, server="localhost", authorities=OTHER_AUTHORITY, tls_verify=False))
    assert len(secure.box.envelopes) == 1


def test_a_server_without_starttls_gets_neither_mail_nor_password(
    postbox: tuple[Postbox, MailSettings], tmp_path: Path
) -> None:
    box, settings = postbox
    (tmp_path / "password").write_text(PASSWORD)
    settings = replace(
        settings, tls=MailTls.STARTTLS, authorities=AUTHORITY, user="lvs", password_file=str(tmp_path / "password")
    )
    assert "STARTTLS" in str(failing(settings))
    assert box.envelopes == []


def test_a_password_is_never_sent_in_the_open_whatever_the_settings_say(
    postbox: tuple[Postbox, MailSettings], tmp_path: Path
) -> None:
    box, settings = postbox
    (tmp_path / "password").write_text(PASSWORD)
    failure = failing(replace(settings, user="lvs", password_file=str(tmp_path / "password")))
    assert failure.permanent
    assert str(failure) == "a password is never sent without TLS (see smtp_tls)"
    assert box.envelopes == []


def test_the_log_never_sees_the_password(secure: Secure) -> None:
    lines: list[bytes] = []

    async def main() -> None:
        log = Log(lambda line, _level: lines.append(line), strict=True)
        mailer = Mailer(replace(secure.settings, user="who"), "lvs1", wall_clock=lambda: DATE, log=log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailer.run)
            mailer.tell(CHECK_DOWN)
            await mailer.drain(10)
            nursery.cancel_scope.cancel()
        assert mailer.failed == 1

    trio.run(main)
    assert b"535" in b"".join(lines)
    assert PASSWORD.encode() not in b"".join(lines)
