"""The main job on real data: the New South Wales electricity market, 45,312 half-hours.

Models are trained on the first 20 %; the rest is published by the command line, scored by the real
programs on a real broker, and read back by clients that are not ours.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import fastavro
import numpy as np
import pandas as pd
import pytest

from consumers.registry import Registry
from consumers.warehouse import Warehouse
from millstream.models.card import Feature, Window
from millstream.models.package import About, make_bundle
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.console import ConsoleRecord, console_consume
from ops.stack import Parts, Stack
from tests.broker.waiting import count, wait_for_rows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "elec2" / "elec2.csv.gz"
ROWS, TRAINED = 45_312, 9_062
FEATURES = ["day", "period", "nswdemand", "vicprice", "vicdemand", "transfer"]
SCHEMA = {
    "type": "record",
    "name": "HalfHour",
    "fields": [
        {"name": "half_hour_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": "int"},
        *({"name": name, "type": "double"} for name in FEATURES[1:]),
    ],
}
STREAM = """
name = "{name}"
[event]
schema = "event.v1.avsc"
key = "day"
id = "half_hour_id"
time = "event_time"
[features]
order = ["day", "period", "nswdemand", "vicprice", "vicdemand", "transfer"]
[label]
kind = "binary"
[model]
bundle = "bundle"
"""

needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="elec2.csv.gz is not at ../shared/data/elec2: get it to run this test"
)


def trained(kind: str, frame: pd.DataFrame, up: pd.Series[int]) -> Any:
    """A model of the first 20 %."""
    if kind == "lightgbm":
        import lightgbm

        model: Any = lightgbm.LGBMClassifier(n_estimators=100, verbose=-1, random_state=0)
    else:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(random_state=0)
    return model.fit(frame, up)


def write_stream(folder: Path, name: str, model: Any, frame: pd.DataFrame) -> Stream:
    """The stream's file, schema and bundle."""
    (folder / "event.v1.avsc").write_text(json.dumps(SCHEMA))
    (folder / "stream.toml").write_text(STREAM.format(name=name))
    start, end = datetime(1996, 5, 7, tzinfo=UTC), datetime(1996, 11, 12, tzinfo=UTC)
    window = Window(start=start, end=end, rows=len(frame))
    about = About(name=name, version="1", created=datetime.now(UTC), window=window)
    features = [Feature(name=feature) for feature in FEATURES]
    make_bundle(folder / "bundle", model, features, frame, about)
    return Stream.load(folder / "stream.toml")


def decoded(records: list[ConsoleRecord], registry: Registry) -> list[dict[str, Any]]:
    """The values by the Avro library fastavro, with the schema that the registry has for them."""
    schemas: dict[int, Any] = {}
    found = []
    for record in records:
        assert record.value is not None
        schema_id = int.from_bytes(record.value[1:5], "big")
        if schema_id not in schemas:
            schemas[schema_id] = fastavro.parse_schema(json.loads(registry.schema(schema_id)))
        body = io.BytesIO(record.value[5:])
        value: Any = fastavro.schemaless_reader(body, schemas[schema_id], None)
        found.append(value)
    return found


@needs_data
@pytest.mark.parametrize("kind", ["lightgbm", "hist_gradient_boosting"])
def test_each_event_has_one_prediction_equal_to_the_training_librarys(
    kind: str, kafka: Broker, tmp_path: Path
) -> None:
    """Published by the command line, read by Kafka's console consumer and by clickhouse-connect."""
    data = pd.read_csv(DATA)
    frame, up = data[FEATURES], data["label"]
    model = trained(kind, frame[:TRAINED], up[:TRAINED])
    name = f"elec2_{kind}"
    stream = write_stream(tmp_path, name, model, frame[:TRAINED])
    wanted = ROWS - TRAINED
    with Stack(stream, tmp_path / "run", Parts(kafka=kafka.bootstrap)) as stack:
        subprocess.run(
            [
                *(sys.executable, "-m", "millstream", "produce", str(stream.path), str(DATA)),
                *("--start-row", str(TRAINED), "--number", "half_hour_id=h"),
                *("--kafka", kafka.bootstrap, "--registry", stack.registry.url),
            ],
            check=True,
            timeout=120,
        )
        warehouse = Warehouse.connect(stack.warehouse)
        wait_for_rows(stack, warehouse, {f"{name}.events": wanted, f"{name}.predictions": wanted})
        assert count(warehouse, f"{name}.dead_letters") == 0

        records = console_consume(kafka.bootstrap, f"{name}.predictions")
        assert len(records) == wanted
        predictions = decoded(records, Registry(stack.registry))
        rows = {int(p["event_id"].removeprefix("h-")): p["score"] for p in predictions}
        assert sorted(rows) == list(range(TRAINED, ROWS)), "one prediction for each event"
        own = model.predict_proba(frame)[:, 1]
        ours = np.array([rows[row] for row in range(TRAINED, ROWS)])
        assert np.abs(ours - own[TRAINED:]).max() <= 1e-6

        port = int(stack.warehouse.url.rsplit(":", 1)[1])
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        ((total, distinct),) = client.query(
            f"SELECT count(), uniqExact(event_id) FROM {name}.predictions"
        ).result_rows
        client.close()
        assert (total, distinct) == (wanted, wanted)
