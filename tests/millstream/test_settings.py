"""Settings from the environment and from options."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.errors import SettingsInvalid
from millstream.settings import (
    PARTS,
    AlertsSettings,
    KafkaSettings,
    RegistrySettings,
    ScorerSettings,
    SinkSettings,
    WarehouseSettings,
    from_environment,
    known_variables,
    refuse_unknown,
)

_SECRET = "hunter2-hunter2"


def test_without_an_environment_the_defaults_stand() -> None:
    """Every part has one for each of its settings."""
    for cls in PARTS.values():
        assert from_environment(cls, {}) == cls()


def test_a_variable_sets_what_it_names() -> None:
    """As text of the setting's type; other programs' variables are left alone."""
    environ = {
        "MILLSTREAM_KAFKA_BOOTSTRAP": "k:1",
        "MILLSTREAM_KAFKA_EMBEDDED": "true",
        "MILLSTREAM_SCORER_SLOT": "3",
        "KAFKA_BOOTSTRAP": "other:1",
    }
    kafka = from_environment(KafkaSettings, environ)
    assert (kafka.bootstrap, kafka.embedded) == ("k:1", True)
    assert from_environment(ScorerSettings, environ).slot == 3


def test_an_option_beats_the_environment() -> None:
    """An option that was not given does not."""
    environ = {"MILLSTREAM_SCORER_SLOT": "3", "MILLSTREAM_SCORER_THREADS": "2"}
    made = from_environment(ScorerSettings, environ, slot=5, threads=None)
    assert (made.slot, made.threads) == (5, 2)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MILLSTREAM_KAFKA_BOOTSTRAPS", "MILLSTREAM_KAFKA_BOOTSTRAP"),
        ("MILLSTREAM_KAFKA_SASL_PASSWRD", "MILLSTREAM_KAFKA_SASL_PASSWORD"),
        ("MILLSTREAM_SINK_BLOCK_ROW_MAX", "MILLSTREAM_SINK_BLOCK_ROWS_MAX"),
        ("MILLSTREAM_kafka_bootstrap", "MILLSTREAM_"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(name: str, near: str) -> None:
    """Whatever part is being read: a misspelt limit would otherwise not hold, in silence."""
    for cls in PARTS.values():
        with pytest.raises(SettingsInvalid, match=f"variable {name} is unknown.*mean {near}"):
            from_environment(cls, {name: "1"})


def test_the_variables_that_others_read_are_known() -> None:
    """A crash test's and the cache's pass; so does every one that a part has."""
    refuse_unknown(dict.fromkeys(known_variables(), "x"))
    assert {"MILLSTREAM_CRASH_AFTER", "MILLSTREAM_CACHE"} <= set(known_variables())


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (ScorerSettings, "MILLSTREAM_SCORER_SLOT", "-1"),
        (ScorerSettings, "MILLSTREAM_SCORER_THREADS", "many"),
        (ScorerSettings, "MILLSTREAM_SCORER_PROVIDER", "gpu"),
        (SinkSettings, "MILLSTREAM_SINK_BLOCK_ROWS_MAX", "0"),
        (WarehouseSettings, "MILLSTREAM_WAREHOUSE_TIMEOUT_S", "0"),
        (KafkaSettings, "MILLSTREAM_KAFKA_SECURITY_PROTOCOL", "TLS"),
        (KafkaSettings, "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS", "10"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(cls: type[Any], name: str, value: str) -> None:
    """In one line that names the setting."""
    with pytest.raises(SettingsInvalid) as caught:
        from_environment(cls, {name: value})
    part = name.split("_")[1]
    setting = name.removeprefix(f"MILLSTREAM_{part}_").lower()
    assert f"MILLSTREAM_{part}_*: {setting}: " in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "name", "option"),
    [
        (KafkaSettings, "MILLSTREAM_KAFKA_SASL_PASSWORD", "sasl_password"),
        (RegistrySettings, "MILLSTREAM_REGISTRY_PASSWORD", "password"),
        (WarehouseSettings, "MILLSTREAM_WAREHOUSE_PASSWORD", "password"),
    ],
)
def test_a_secret_is_not_shown(cls: type[Any], name: str, option: str) -> None:
    """Neither as text nor in an error about another setting."""
    made = from_environment(cls, {name: _SECRET})
    assert getattr(made, option).get_secret_value() == _SECRET
    assert _SECRET not in repr(made)
    assert _SECRET not in str(made)
    assert _SECRET not in f"{made.model_dump()}"
    with pytest.raises(SettingsInvalid) as caught:
        from_environment(cls, {name: _SECRET}, no_such_option=1)
    assert _SECRET not in str(caught.value)
    assert _SECRET not in repr(caught.value.__context__)


def test_every_setting_says_what_it_is_for() -> None:
    """Bounds explain both ways of being wrong: each has a text below it."""
    silent = {
        f"{cls.__name__}.{name}"
        for cls in PARTS.values()
        for name, field in cls.model_fields.items()
        if not field.description and field.metadata
    }
    assert silent == set()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"WEBHOOK_URL": "ftp://h/x"}, "webhook_url is not http"),
        ({"WEBHOOK_URL": "hooks.example.org/secret"}, "webhook_url is not http"),
        ({"ALERTMANAGER_URL": "http://"}, "alertmanager_url is not http"),
        ({"SMTP_HOST": "mail"}, "needs mail_from and mail_to"),
        ({"SMTP_USERNAME": "anna"}, "come together"),
    ],
)
def test_a_channel_that_cannot_tell_anyone_is_refused(values: dict[str, str], said: str) -> None:
    """At the start, and without its address, which may be a secret."""
    environ = {f"MILLSTREAM_ALERTS_{name}": value for name, value in values.items()}
    with pytest.raises(SettingsInvalid, match=said) as caught:
        from_environment(AlertsSettings, environ)
    assert "secret" not in str(caught.value)


def test_a_mail_password_is_not_sent_readable_over_the_net() -> None:
    """To this machine it may be; with TLS anywhere."""
    environ = {
        "MILLSTREAM_ALERTS_SMTP_HOST": "mail.example.org",
        "MILLSTREAM_ALERTS_SMTP_USERNAME": "anna",
        "MILLSTREAM_ALERTS_SMTP_PASSWORD": _SECRET,
        "MILLSTREAM_ALERTS_MAIL_FROM": "a@example.org",
        "MILLSTREAM_ALERTS_MAIL_TO": "b@example.org",
    }
    plain = environ | {"MILLSTREAM_ALERTS_SMTP_SECURITY": "none"}
    with pytest.raises(SettingsInvalid, match="readable over the net") as caught:
        from_environment(AlertsSettings, plain)
    assert _SECRET not in str(caught.value)
    assert from_environment(AlertsSettings, environ).smtp_security == "starttls"
    local = plain | {"MILLSTREAM_ALERTS_SMTP_HOST": "127.0.0.1"}
    assert from_environment(AlertsSettings, local).smtp_username == "anna"
