"""`millstream alerts test`: each channel is tried, and it is said how it went."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from millstream.cli.alerts import app
from millstream.errors import SettingsInvalid
from tests.consumers.receivers import Http
from tests.streams import LOANS

STREAM = str(LOANS / "stream.toml")


@pytest.fixture
def http() -> Iterator[Http]:
    server = Http()
    yield server
    server.close()


def test_a_channel_that_takes_the_notice_is_said_to(http: Http) -> None:
    """The notice says that nothing is wrong."""
    ran = CliRunner().invoke(
        app, ["test", STREAM], env={"MILLSTREAM_ALERTS_WEBHOOK_URL": f"{http.url}/x"}
    )
    assert (ran.exit_code, ran.output.split()) == (0, ["webhook", "took", "it"])
    (body,) = http.bodies()
    assert (body["stream"], body["rule"], body["severity"]) == ("loans", "test", "info")


def test_a_channel_that_refuses_is_exit_code_1(http: Http) -> None:
    """With the reason, and without the address's path."""
    http.statuses = [403]
    ran = CliRunner().invoke(
        app, ["test", STREAM], env={"MILLSTREAM_ALERTS_WEBHOOK_URL": f"{http.url}/T0KEN"}
    )
    assert ran.exit_code == 1
    assert "answered 403" in ran.output
    assert "T0KEN" not in ran.output


def test_without_any_address_the_operator_must_act() -> None:
    """The variables are named."""
    ran = CliRunner().invoke(app, ["test", STREAM])
    assert isinstance(ran.exception, SettingsInvalid)
    assert "MILLSTREAM_ALERTS_WEBHOOK_URL" in ran.exception.remedy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["rule=x", "--for", "soon"], "--for soon is no length"),
        (["rule=x", "--for", "0h"], "--for 0h is no length"),
        (["rule=x", "--for", "1w"], "--for 1w is no length"),
        (["rule=x", "--for", "367d"], "--for 367d is too long"),
        (["rule"], "'rule' is no matcher"),
        ([], "no matcher is given"),
    ],
)
def test_a_silence_that_cannot_be_meant_is_refused(options: list[str], said: str) -> None:
    """Before anything is connected to."""
    ran = CliRunner().invoke(app, ["silence", STREAM, *options])
    assert isinstance(ran.exception, SettingsInvalid)
    assert said in ran.exception.problem
