"""The real parts that tests share: one Kafka, one Apicurio, one embedded registry per session.

``pytest -m "not broker and not registry and not crash"`` runs without Java.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from consumers.models.mlflow_registry import MlflowRegistry
from consumers.registry import Registry
from millstream.errors import OperatorNeeded
from millstream.settings import RegistrySettings
from ops.kafka.apicurio import Apicurio
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from ops.kafka.fetch import fetch_kafka, fetch_registry
from ops.registry.process import EmbeddedRegistry
from tests.order import longest_first
from tests.stores import client_of, mlflow_server, new_bucket, s3_server

_MARKERS = {"kafka_jars": "broker", "registry_jars": "registry"}
_LONG = ("broker", "registry", "crash", "fault")
LONG_S_MAX = 1500
"""Of one test with real parts and its fixtures: the first fetches the jars."""
_missing_parts: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the jars, directly or through another fixture, and the long ones
    that break the parts themselves: `make faults`."""
    for item in items:
        if item.nodeid.startswith("tests/faults/"):
            item.add_marker("fault")
        for fixture, marker in _MARKERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        if any(item.get_closest_marker(name) for name in _LONG):
            item.add_marker(pytest.mark.timeout(LONG_S_MAX))
    items[:] = longest_first(items, lambda item: item.nodeid.partition("::")[0])


def _fetched(fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except OperatorNeeded as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        _missing_parts.add(str(error))
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a missing part from one place: the summary then says it in one line, with a count."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if reason.removeprefix("Skipped: ") in _missing_parts:
            report.longrepr = (__file__, 0, reason)
    return report


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Kafka's jars; skips where Java or Maven is missing, fails if CI is true."""
    return _fetched(fetch_kafka)


@pytest.fixture(scope="session")
def registry_jars() -> Path:
    """Apicurio's jars; as kafka_jars."""
    return _fetched(fetch_registry)


@pytest.fixture(scope="session")
def kafka(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running Kafka that all tests share: use topics and groups of your own, do not kill it."""
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def apicurio(registry_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """A running Apicurio that all tests share: use subjects of your own, do not kill it."""
    with Apicurio(tmp_path_factory.mktemp("apicurio")) as server:
        yield server


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """The mock cluster of one file, in this process; each test makes its own topics."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def embedded_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRegistry]:
    """A running embedded registry that all tests share, in its own process."""
    with EmbeddedRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(
    params=["embedded_registry", pytest.param("apicurio", marks=pytest.mark.registry)],
    ids=["embedded", "apicurio"],
)
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A client of each kind of registry in turn."""
    server: EmbeddedRegistry | Apicurio = request.getfixturevalue(request.param)
    client = Registry(RegistrySettings(url=server.url))
    yield client
    client.close()


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """A running S3 server that all tests share: use buckets of your own."""
    with s3_server() as port:
        yield port


@pytest.fixture
def s3_address(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address in a new bucket; the environment says where its server is."""
    for name, value in client_of(s3_port).items():
        monkeypatch.setenv(name, value)
    return f"s3://{new_bucket(s3_port)}/millstream"


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and nothing in them: copy it."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowRegistry(f"sqlite:///{file}", str(file.parent)).names()
    return file


@pytest.fixture(scope="session")
def mlflow_url(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running `mlflow server` that all tests share."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    database = Path(shutil.copyfile(mlflow_database, folder / "mlflow.db"))
    with mlflow_server(folder, database) as url:
        yield url


@pytest.fixture
def mlflow_empty(mlflow_url: str) -> str:
    """That server's URL, with no models in it."""
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_url, mlflow_url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return mlflow_url


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test has, and that says which test it is of."""
    name = re.sub(r"[^a-zA-Z0-9._-]+", "-", request.node.name)[:80]
    return f"{name}-{uuid.uuid4().hex[:8]}"
