"""The channels, each with its real receiver."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from consumers.alerts.channels import Alertmanager, Mail, Webhook, channels
from millstream.alerts.alarm import Status
from millstream.alerts.notify import Notice
from millstream.alerts.render import webhook_json
from millstream.errors import DependencyUnavailable, OperatorNeeded
from millstream.settings import AlertsSettings
from tests.consumers.receivers import Http, Post, alertmanager, make_certificate, wait_for
from tests.millstream.alerts.alarms import NOON, SECOND, alarm

NOTICE = Notice((alarm(1), alarm(2)))


@pytest.fixture
def http() -> Iterator[Http]:
    server = Http()
    yield server
    server.close()


def hook(url: str, **more: Any) -> Webhook:
    return Webhook(AlertsSettings(webhook_url=SecretStr(url), **more))


def test_only_a_channel_with_an_address_is_there() -> None:
    """Each in its turn; without any, nobody is told and the topic has it."""
    assert channels(AlertsSettings()) == []
    settings = AlertsSettings(
        webhook_url=SecretStr("http://h"),
        alertmanager_url=SecretStr("http://h"),
        smtp_host="h",
        mail_from="a@b",
        mail_to="c@d",
    )
    assert [c.name for c in channels(settings)] == ["webhook", "alertmanager", "mail"]


def test_a_webhook_gets_the_notice_with_its_token(http: Http) -> None:
    """And the id by which a repeat is known; path and query are kept."""
    hook(f"{http.url}/a/b?c=d", webhook_token=SecretStr("t0ken")).send(NOTICE, NOON)
    ((path, headers, body),) = http.got
    assert path == "/a/b?c=d"
    assert body == webhook_json(NOTICE)
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["millstream-notice"] == NOTICE.id
    assert headers["content-type"] == "application/json"


def test_a_webhook_may_be_of_slacks_shape(http: Http) -> None:
    """With what its incoming webhooks show."""
    hook(http.url, webhook_shape="slack").send(NOTICE, NOON)
    (body,) = http.bodies()
    assert body["text"] == "[ticket] loans lag: 2 firing"
    assert len(body["attachments"]) == 2


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_an_answer_that_says_later_is_tried_again(http: Http, status: int) -> None:
    """By the courier: the receiver may come back."""
    http.statuses = [status]
    with pytest.raises(DependencyUnavailable, match=f"answered {status}"):
        hook(f"{http.url}/secret").send(NOTICE, NOON)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_an_answer_that_refuses_needs_a_person(http: Http, status: int) -> None:
    """With what the receiver says, and without the address's path, though it says that too."""
    http.statuses = [status]
    with pytest.raises(OperatorNeeded, match=rf"answered {status}: hello \.\.\.") as caught:
        hook(f"{http.url}/services/T0KEN?key=K3Y").send(NOTICE, NOON)
    assert "T0KEN" not in str(caught.value)
    assert "K3Y" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(http: Http, status: int) -> None:
    """The alarm and the token would go wherever it leads."""
    other = Http()
    http.statuses, http.location = [status], f"{other.url}/stolen"
    with pytest.raises(OperatorNeeded, match="redirects are not followed"):
        hook(http.url, webhook_token=SecretStr("t0ken")).send(NOTICE, NOON)
    other.close()
    assert other.got == []


def test_a_receiver_that_is_away_is_tried_again(http: Http) -> None:
    """Nobody listens."""
    url = http.url
    http.close()
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        hook(url).send(NOTICE, NOON)


def test_a_receiver_that_drips_is_cut_off(http: Http) -> None:
    """A byte now and then keeps every socket's own time-out from ending."""
    http.drip.set()
    ended = threading.Event()

    def send() -> None:
        with pytest.raises(DependencyUnavailable):
            hook(http.url, timeout_s=0.5).send(NOTICE, NOON)
        ended.set()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert ended.wait(30)
    thread.join()


def test_a_certificate_that_is_not_trusted_needs_a_person(http: Http, tmp_path: Path) -> None:
    """It is never passed over."""
    http.secure(make_certificate(tmp_path))
    with pytest.raises(OperatorNeeded, match="not trusted"):
        hook(http.url).send(NOTICE, NOON)
    assert http.got == []


def mail(post: Post, **more: Any) -> Mail:
    plain: dict[str, Any] = {"smtp_security": "none"} | more
    return Mail(
        AlertsSettings(
            smtp_host="127.0.0.1",
            smtp_port=post.port,
            mail_from="Millstream <alerts@example.org>",
            mail_to="anna@example.org, bert@example.org",
            **plain,
        )
    )


@pytest.fixture
def post() -> Iterator[Post]:
    server = Post()
    yield server
    server.close()


def test_a_mail_says_what_is_wrong(post: Post) -> None:
    """To everyone; a repeat is the same mail, and an end is an answer to its beginning."""
    mail(post).send(NOTICE, NOON)
    mail(post).send(replace(NOTICE, again=True), NOON + SECOND)
    mail(post).send(Notice((alarm(1, 2, Status.RESOLVED),)), NOON + SECOND)
    first, repeat, last = post.got
    assert first["Subject"] == "[ticket] loans lag: 2 firing"
    assert first["To"] == "anna@example.org, bert@example.org"
    assert first["Date"] == "Thu, 01 Feb 2024 12:00:00 -0000"
    assert first["Message-ID"] == repeat["Message-ID"] == f"<{NOTICE.id}@example.org>"
    assert last["Subject"].startswith("[resolved]")
    assert last["References"] == first["References"]
    assert b"lag 1 is firing" in first.get_payload(decode=True)


def test_a_mail_goes_by_starttls_with_user_and_password(tmp_path: Path) -> None:
    """The certificate's authority is the one that the settings name."""
    certificate = make_certificate(tmp_path)
    post = Post(certificate, "millstream", "s3cret")
    secure = {"smtp_security": "starttls", "smtp_ca": str(certificate)}
    login = {"smtp_username": "millstream", "smtp_password": SecretStr("s3cret")}
    try:
        mail(post, **secure, **login).send(NOTICE, NOON)
        assert post.secure == [True]
        wrong = login | {"smtp_password": SecretStr("guess")}
        with pytest.raises(OperatorNeeded, match="answered 535") as caught:
            mail(post, **secure, **wrong).send(NOTICE, NOON)
        assert "guess" not in str(caught.value)
        with pytest.raises(OperatorNeeded, match="not trusted"):
            mail(post, smtp_security="starttls", **login).send(NOTICE, NOON)
    finally:
        post.close()
    assert len(post.got) == 1


def test_a_server_without_starttls_gets_nothing_where_it_was_asked_for(post: Post) -> None:
    """It is not sent readable instead."""
    with pytest.raises(OperatorNeeded, match="SMTPNotSupportedError"):
        mail(post, smtp_security="starttls").send(NOTICE, NOON)
    assert post.got == []


def test_a_mail_server_says_later_or_never(post: Post) -> None:
    """By the first digit of its answer."""
    post.replies = ["451 later", "554 never"]
    with pytest.raises(DependencyUnavailable, match="answered 451"):
        mail(post).send(NOTICE, NOON)
    with pytest.raises(OperatorNeeded, match="answered 554"):
        mail(post).send(NOTICE, NOON)
    port = post.port
    post.close()
    with pytest.raises(DependencyUnavailable, match=f"127.0.0.1:{port} does not answer"):
        mail(post).send(NOTICE, NOON)


def test_a_real_alertmanager_tells_once_and_of_the_end(http: Http, tmp_path: Path) -> None:
    """It takes our alarm, tells its own receiver of it once although it is sent again, and tells
    of the end when we resolve it."""
    with alertmanager(tmp_path, f"{http.url}/told") as url:
        channel = Alertmanager(AlertsSettings(alertmanager_url=SecretStr(url + "/")))
        now = time.time_ns() // 1_000
        firing = alarm(1, started_us=now, updated_us=now, labels={"first-offset": "7"})
        channel.send(Notice((firing,)), now)
        wait_for(lambda: http.got, "the notice")
        channel.send(Notice((firing,), again=True), now + SECOND)
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=10) as answer:
            (known,) = json.load(answer)
        assert known["labels"] == {
            "alertname": "lag",
            "cause": "lag",
            "first_offset": "7",
            "severity": "ticket",
            "stream": "loans",
        }
        assert known["status"]["state"] == "active"
        ended = replace(
            firing, status=Status.RESOLVED, revision=2, updated_us=time.time_ns() // 1_000
        )
        channel.send(Notice((ended,)), ended.updated_us)
        wait_for(lambda: len(http.got) > 1, "the end")
    assert [body["status"] for body in http.bodies()] == ["firing", "resolved"]
    assert http.bodies()[0]["alerts"][0]["annotations"]["summary"] == "lag 1 is firing"


def test_what_alertmanager_refuses_needs_a_person(tmp_path: Path) -> None:
    """With its own words."""
    with alertmanager(tmp_path, "http://127.0.0.1:9/") as url:
        channel = Alertmanager(AlertsSettings(alertmanager_url=SecretStr(url)))
        backwards = alarm(1, 2, Status.RESOLVED, started_us=NOON, updated_us=NOON - 60 * SECOND)
        with pytest.raises(OperatorNeeded, match=r"answered 400: .*start time"):
            channel.send(Notice((backwards,)), NOON)
