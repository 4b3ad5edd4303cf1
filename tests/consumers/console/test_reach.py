"""How the console asks ClickHouse, and what it keeps of the answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from consumers.console.reach import KEPT_MAX, Answers, Reach
from millstream.errors import DependencyUnavailable, MillstreamError, SettingsInvalid
from millstream.settings import ConsoleSettings, WarehouseSettings
from tests.consumers.console.planted import Planted

SECRET_URL = "http://me:hunter2@db:5000/mlflow?token=hunter2"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {db}.predictions (event_id) VALUES ('x')",
        "ALTER TABLE {db}.predictions DELETE WHERE true",
        "DROP TABLE {db}.predictions",
        "CREATE TABLE {db}.mine (n Int8) ENGINE = Memory",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT * FROM url('http://127.0.0.1:1/x', 'CSV', 'n Int8')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 's String')",
    ],
)
def test_nothing_can_be_changed_or_reached_around_the_limits(
    reach: Reach, planted: Planted, sql: str
) -> None:
    """Writes, other settings, files and addresses are refused."""
    before = reach.rows(f"SELECT count() FROM {planted.stream.name}.predictions")
    with pytest.raises(MillstreamError):
        reach.rows(sql.format(db=planted.stream.name))
    assert reach.rows(f"SELECT count() FROM {planted.stream.name}.predictions") == before


def test_a_clickhouse_that_is_away_is_the_operators_to_start() -> None:
    """The address is in the error; the next question tries again."""
    reach = Reach(WarehouseSettings(url="http://127.0.0.1:9"), ConsoleSettings())
    for _ in range(2):
        with pytest.raises(SettingsInvalid, match=r"127\.0\.0\.1:9"):
            reach.rows("SELECT 1")


def test_a_look_that_outlasts_the_console_connects_no_more(reach: Reach) -> None:
    """Nobody would close that client."""
    assert reach.rows("SELECT 1") == [(1,)]
    reach.close()
    with pytest.raises(DependencyUnavailable, match="let go"):
        reach.rows("SELECT 1")
    assert reach._warehouse is None
    reach.close()


class _Source:
    """Answers with a number, or fails as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def __call__(self) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {"n": self.asked}


def test_what_was_known_is_shown_with_its_age_while_the_source_is_away() -> None:
    """And the error beside it; when it is back, the error is gone."""
    now, source = [100.0], _Source()
    answers = Answers(lambda: now[0])
    assert answers.get("q", "ClickHouse", 1.0, source) == {
        "at": 100_000, "data": {"n": 1}, "error": None,
    }  # fmt: skip
    now[0], source.error = 107.0, DependencyUnavailable("ClickHouse", "connection refused")
    kept = answers.get("q", "ClickHouse", 1.0, source)
    assert (kept["at"], kept["data"]) == (100_000, {"n": 1})
    assert kept["error"]["problem"] == "connection refused"
    now[0], source.error = 109.0, None
    assert answers.get("q", "ClickHouse", 1.0, source)["error"] is None


def test_a_fault_of_the_console_is_not_blamed_on_clickhouse(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told as the console's, without its text, and logged with its trace."""
    source = _Source()
    source.error = KeyError("secret")
    said = Answers(lambda: 0.0).get("q", "ClickHouse", 1.0, source)
    assert said["error"]["what"] == "console"
    assert "secret" not in str(said)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailable("MLflow", f"{SECRET_URL}: it does not answer"),
        SettingsInvalid(f"MLflow at {SECRET_URL} refuses", f"Mend {SECRET_URL}"),
        RuntimeError(f"cannot connect to {SECRET_URL}"),
    ],
)
def test_a_password_in_an_address_is_neither_shown_nor_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the console need not know it; host and port stay."""
    source = _Source()
    source.error = error
    said = str(Answers(lambda: 0.0).get("q", "MLflow", 1.0, source))
    assert "hunter2" not in said + caplog.text
    assert "db:5000" in said + caplog.text


def test_however_many_look_a_page_is_made_once() -> None:
    """Twenty at once, and again before it is old: one question."""
    now, source = [100.0], _Source()
    answers = Answers(lambda: now[0])
    threads = [
        threading.Thread(target=answers.get, args=("q", "ClickHouse", 5.0, source))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now[0] = 104.0
    answers.get("q", "ClickHouse", 5.0, source)
    assert source.asked == 1
    now[0] = 106.0
    answers.get("q", "ClickHouse", 5.0, source)
    assert source.asked == 2


def test_look_ups_do_not_fill_the_memory() -> None:
    """The oldest answers are forgotten."""
    answers, source = Answers(lambda: 0.0), _Source()
    for number in range(KEPT_MAX + 50):
        answers.get(f"q{number}", "ClickHouse", 60.0, source)
    assert len(answers._kept) == KEPT_MAX
