"""Where people are told: a webhook, Alertmanager, mail. One try each; the courier repeats.

DependencyUnavailable is raised where a later try may succeed, OperatorNeeded where none will before
a person has mended something. No error shows an address's path, which may be a secret.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from millstream.alerts.notify import Notice
from millstream.alerts.render import (
    alertmanager_json,
    mail,
    one_line,
    slack_json,
    webhook_json,
)
from millstream.errors import DependencyUnavailable, OperatorNeeded
from millstream.settings import AlertsSettings

BODY_BYTES_MAX: Final = 4_000_000
ANSWER_BYTES_MAX: Final = 2_000
_LATER = frozenset({408, 425, 429})

_log = logging.getLogger(__name__)


class Channel(Protocol):
    """One way to tell people. repeat_us: how often it wants what fires again, None never."""

    name: str
    repeat_us: int | None

    def send(self, notice: Notice, now_us: int) -> None:
        """Returns when the receiver has taken it."""


def channels(settings: AlertsSettings) -> list[Channel]:
    """Those that have an address."""
    found: list[Channel] = []
    if settings.webhook_url:
        found.append(Webhook(settings))
    if settings.alertmanager_url:
        found.append(Alertmanager(settings))
    if settings.smtp_host:
        found.append(Mail(settings))
    return found


class Webhook:
    """POST of JSON. The header Millstream-Notice repeats if and only if the notice does."""

    repeat_us: int | None = None

    def __init__(self, settings: AlertsSettings) -> None:
        assert settings.webhook_url is not None
        self.name = "webhook"
        self._url = settings.webhook_url.get_secret_value()
        self._render = slack_json if settings.webhook_shape == "slack" else webhook_json
        self._timeout_s = settings.timeout_s
        token = settings.webhook_token
        self._headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}

    def send(self, notice: Notice, now_us: int) -> None:
        headers = self._headers | {"Millstream-Notice": notice.id}
        post(self.name, self._url, self._render(notice), headers, self._timeout_s)


class Alertmanager:
    """POST /api/v2/alerts; what fires is sent again, or Alertmanager takes it for over."""

    def __init__(self, settings: AlertsSettings) -> None:
        assert settings.alertmanager_url is not None
        self.name = "alertmanager"
        self._each_us = round(settings.alertmanager_repeat_s * 1_000_000)
        self.repeat_us: int | None = self._each_us
        self._url = settings.alertmanager_url.get_secret_value().rstrip("/") + "/api/v2/alerts"
        self._timeout_s = settings.timeout_s
        self._headers = {}
        if settings.alertmanager_username is not None:
            secret = settings.alertmanager_password
            pair = f"{settings.alertmanager_username}:{secret.get_secret_value() if secret else ''}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def send(self, notice: Notice, now_us: int) -> None:
        body = alertmanager_json(notice, now_us, self._each_us)
        post(self.name, self._url, body, self._headers, self._timeout_s)


def post(name: str, url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> None:
    """One POST of JSON that ends within `timeout_s`, however slowly the receiver drips.

    No redirect is followed: it could lead the alarm, and the token with it, anywhere. Name
    look-ups have the system's own time-out.
    """
    if len(body) > BODY_BYTES_MAX:
        raise OperatorNeeded(f"{name}: {len(body):,} bytes are too many", "See the alarms' topic")
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    connection = _connection(parts, timeout_s)
    try:
        connection.connect()
        with _deadline(timeout_s, lambda: connection.sock):
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            sent = {"Content-Type": "application/json", "User-Agent": "millstream", **headers}
            connection.request("POST", path, body, sent)
            answer = connection.getresponse()
            said = answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
    except ssl.SSLCertVerificationError as why:
        raise OperatorNeeded(
            f"{name}: {place} shows a certificate that is not trusted: {why.verify_message}",
            "Name its authority in SSL_CERT_FILE, or mend the address",
        ) from why
    except (OSError, http.client.HTTPException) as why:
        reason = f"{place} does not answer ({type(why).__name__})"
        raise DependencyUnavailable(name, reason) from why
    except ValueError as why:  # a header or path that no request can have
        raise OperatorNeeded(f"{name}: no request can be made to {place}", "Mend it") from why
    finally:
        connection.close()
    for secret in (parts.query, parts.path.rstrip("/")):  # a receiver may say them back to us
        said = said.replace(secret, "...") if secret else said
    _judge(name, place, answer.status, said)


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _judge(name: str, place: str, status: int, said: str) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in _LATER:
        raise DependencyUnavailable(name, f"{place} answered {status}")
    if 300 <= status < 400:
        raise OperatorNeeded(
            f"{name}: {place} answered {status}, and redirects are not followed",
            "Give the address that it leads to, if it is the right one",
        )
    text = one_line(said)[:200]
    raise OperatorNeeded(f"{name}: {place} answered {status}: {text}", "Mend address or secret")


@contextmanager
def _deadline(timeout_s: float, sock: Callable[[], socket.socket | None]) -> Iterator[None]:
    """Cut the connection when the time is up: a time-out of a socket is one of each read only."""

    def cut() -> None:
        found = sock()
        if found is not None:
            with contextlib.suppress(OSError):  # it is closed already
                found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Mail:
    """SMTP with STARTTLS or TLS; never without where it was asked for."""

    repeat_us: int | None = None

    def __init__(self, settings: AlertsSettings) -> None:
        assert settings.smtp_host and settings.mail_from and settings.mail_to
        self.name = "mail"
        self._settings = settings
        self._place = f"{settings.smtp_host}:{settings.smtp_port}"

    def send(self, notice: Notice, now_us: int) -> None:
        letter = self._letter(notice, now_us)
        try:
            self._deliver(letter)
        except smtplib.SMTPNotSupportedError as why:
            raise self._refused(why) from why
        except smtplib.SMTPRecipientsRefused as why:
            if all(code < 500 for code, _ in why.recipients.values()):
                raise DependencyUnavailable(self.name, f"{self._place} takes no recipient") from why
            raise self._refused(why) from why
        except smtplib.SMTPResponseException as why:
            if why.smtp_code < 500:
                said = f"{self._place} answered {why.smtp_code}"
                raise DependencyUnavailable(self.name, said) from why
            raise self._refused(why) from why
        except ssl.SSLCertVerificationError as why:
            raise OperatorNeeded(
                f"mail: {self._place} shows a certificate that is not trusted: "
                f"{why.verify_message}",
                "Set MILLSTREAM_ALERTS_SMTP_CA to its authority's certificate",
            ) from why
        except (OSError, smtplib.SMTPException) as why:
            reason = f"{self._place} does not answer ({type(why).__name__})"
            raise DependencyUnavailable(self.name, reason) from why

    def _letter(self, notice: Notice, now_us: int) -> EmailMessage:
        """Its Message-ID is the notice's id: a repeat after a crash is the same mail."""
        text, settings = mail(notice), self._settings
        letter = EmailMessage()
        try:
            letter["From"], letter["To"] = settings.mail_from, settings.mail_to
            host = (settings.mail_from or "").rpartition("@")[2].strip("<> ") or "millstream"
            letter["Message-ID"] = f"<{text.name}@{host}>"
        except (ValueError, IndexError) as why:
            raise OperatorNeeded(
                "mail: MILLSTREAM_ALERTS_MAIL_FROM or _MAIL_TO is no mail address", "Mend it"
            ) from why
        letter["References"] = f"<{text.thread}@{host}>"
        letter["Subject"] = text.subject
        letter["Date"] = formatdate(now_us / 1_000_000)
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(text.body)
        return letter

    def _deliver(self, letter: EmailMessage) -> None:
        settings = self._settings
        host, port, timeout_s = settings.smtp_host or "", settings.smtp_port, settings.timeout_s
        context = ssl.create_default_context(cafile=settings.smtp_ca)
        server = (
            smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
            if settings.smtp_security == "tls"
            else smtplib.SMTP(host, port, timeout=timeout_s)
        )
        with server, _deadline(timeout_s, lambda: server.sock):
            if settings.smtp_security == "starttls":
                server.starttls(context=context)
            if settings.smtp_username is not None and settings.smtp_password is not None:
                server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
            refused = server.send_message(letter)
        for address in refused:
            _log.warning("mail: %s takes nothing for %s; the others have it", self._place, address)

    def _refused(self, why: Exception) -> OperatorNeeded:
        code = getattr(why, "smtp_code", None)
        said = f"answered {code}" if code else type(why).__name__
        return OperatorNeeded(
            f"mail: {self._place} refuses ({said})",
            "Check MILLSTREAM_ALERTS_SMTP_* and _MAIL_*: security, user, password, addresses",
        )
