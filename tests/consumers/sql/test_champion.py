"""The champion's scores from SQL, in everything that `millstream up` starts: asked over HTTP, by
`millstream sql` and on the console's page."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.kafka import producer_config
from consumers.registry import Registry
from consumers.releases.releasing import await_release, release
from consumers.sql.champion import Champion
from millstream.cli import app
from millstream.models.bundle import Bundle
from millstream.models.registry import FolderRegistry
from millstream.models.session import Session
from millstream.releases.decide import Wanted
from millstream.stream import Stream
from ops.stack import Parts, Stack
from tests.streams import FEATURES, Loans, applications, bundle_of, framed, make_loans

ROW = applications(1)
BY_HAND = f"({', '.join(str(ROW.column(name)[0].as_py()) for name in FEATURES)})"
SCORE = f"SELECT millstream_score('loans', {BY_HAND}) AS score"
MODEL = f"SELECT millstream_answer('loans', {BY_HAND}).model"
WAIT_S_MAX = 60.0
DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """Version 2, which is another model."""
    return make_loans(tmp_path_factory.mktemp("second") / "loans", 5, "2")


@pytest.fixture(scope="module")
def stack(second: Loans, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it embedded, with a console; version 1 answers, 2 is registered."""
    folder = tmp_path_factory.mktemp("sql champion")
    stream = make_loans(folder / "loans").stream
    stream.path.write_text(stream.path.read_text() + '\n[release]\npassport = "none"\n')
    FolderRegistry(stream.beside("models")).add(second.stream.bundle_path, {})
    with Stack(Stream.load(stream.path), folder / "run", Parts(console=True)) as running:
        yield running


def ask(stack: Stack, sql: str, **settings: str) -> httpx.Response:
    """As curl would."""
    return httpx.post(stack.warehouse.url, content=sql, params=settings, timeout=60)


def console(stack: Stack, sql: str) -> dict[str, Any]:
    """The console's SQL page."""
    answer = httpx.get(f"{stack.console_url}/api/sql", params={"q": sql}, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def said(bundle: Bundle) -> float:
    """The score of ROW by the model itself."""
    session = Session(bundle)
    try:
        return float(session.score(ROW).score[0])
    finally:
        session.close()


def test_who_asks_gets_the_streams_score_wherever_they_ask(stack: Stack) -> None:
    """Over HTTP by a reader, on the console's page within its limits, by `millstream sql`."""
    wanted = said(Bundle.load(stack.stream.bundle_path))
    answer = ask(stack, SCORE, readonly="1")
    assert answer.status_code == 200, answer.text
    assert float(answer.text) == wanted
    assert console(stack, SCORE)["rows"] == [[wanted]]
    words = ["sql", str(stack.stream.path), "-c", SCORE, "--format", "json"]
    url = {"MILLSTREAM_WAREHOUSE_URL": stack.warehouse.url}
    run = CliRunner().invoke(app, words, env=url, catch_exceptions=False, standalone_mode=False)
    assert f'"score":{wanted!r}' in run.output.replace(" ", ""), run.output
    assert ask(stack, MODEL).text.strip() == "loans@1"


def test_the_examples_of_the_documentation_run(stack: Stack) -> None:
    """Each statement with one of the functions, as it stands on its page; for a reader."""
    found = [
        block
        for page in ("SQL.md", "SQL_SCORING.md")
        for block in re.findall(r"^```sql\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
        if "millstream_" in block
    ]
    assert len(found) == 3
    for block in found:
        answer = ask(stack, block, readonly="1")
        assert answer.status_code == 200, (block, answer.text)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM executable('millstream_score', 'RowBinary', 'x String')",
        "SELECT * FROM executable('../clickhouse/x', 'RowBinary', 'x String')",
        "CREATE TABLE loans.t (x String) ENGINE = Executable('millstream_score', 'RowBinary')",
        "CREATE TABLE loans.t (x String) ENGINE = ExecutablePool('millstream_score', 'RowBinary')",
        "CREATE TABLE loans.t (x String) ENGINE = `ExecutablePool`('millstream_score', 'TSV')",
        "CREATE DICTIONARY loans.d (k UInt64, x String) PRIMARY KEY k "
        "SOURCE(EXECUTABLE(COMMAND 'id' FORMAT TSV)) LIFETIME(0) LAYOUT(FLAT())",
    ],
)
def test_nobody_starts_a_program_but_by_the_functions(stack: Stack, sql: str) -> None:
    """Not even one who may write."""
    answer = ask(stack, sql)
    assert answer.status_code != 200, answer.text
    assert console(stack, sql)["error"]


def test_a_model_that_is_not_there_is_named_and_the_next_question_is_answered(
    stack: Stack,
) -> None:
    """A name that climbs out of the registry is none."""
    for name in ("loanz", "loans@9", "loans@../../loans", ""):
        answer = ask(stack, f"SELECT millstream_score('{name}', {BY_HAND})")
        assert answer.status_code != 200, name
        wanted = "no model loans@9" if name == "loans@9" else "millstream:"
        assert wanted in answer.text, (name, answer.text)
    assert ask(stack, SCORE).status_code == 200


def test_a_released_champion_answers_and_one_that_is_gone_is_named(
    stack: Stack, second: Loans
) -> None:
    """From the first partition's switch on; in processes that answered by the one before."""
    stream, client = stack.stream, Registry(stack.registry)
    models = FolderRegistry(stream.beside("models"))
    made = release(stream, stack.kafka, client, models, Wanted("second", models.find("loans", "2")))
    assert ask(stack, MODEL).text.strip() == "loans@1", "nothing has switched"
    subject = f"{stream.topic('events')}-value"
    schema = client.register(subject, stream.schema_of_event.text)
    producer = Producer(producer_config(stack.kafka, "test"))
    deadline = time.monotonic() + WAIT_S_MAX
    while await_release(stream, stack.kafka, client, made, 0.2).waiting:
        assert time.monotonic() < deadline
        for number, value in enumerate(framed(applications(40), schema)):
            producer.produce(stream.topic("events"), value, f"{number}".encode())
        producer.flush(30)
    while (answer := ask(stack, MODEL).text.strip()) != "loans@2":
        assert answer == "loans@1", answer
        assert time.monotonic() < deadline
    assert float(ask(stack, SCORE, readonly="1").text) == said(bundle_of(second))
    with closing(Champion(stream, stack.kafka, stack.registry)) as champion:
        assert champion.reference() == made.champion
    shutil.rmtree(stream.beside("models"))
    assert ask(stack, "SYSTEM RELOAD FUNCTIONS").status_code == 200
    refused = ask(stack, SCORE)
    assert refused.status_code != 200
    assert "the registry has no model loans@2" in refused.text
