"""Readings and incidents as columns of their contracts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from millstream.columnar import FRAME_BYTES, Encoder, frame, make_decoder
from millstream.contracts import contract
from millstream.drift.findings import InputWindow, Moved, Position, Sign
from millstream.drift.incident import Incident
from millstream.drift.records import DriftRecord, drift_batch, incident_batch, input_records
from millstream.drift.verdict import Verdict

AT = Position(1_706_745_600_000_000, 2, 812)


def _read(subject: str, values: list[bytes]) -> list[dict[str, object]]:
    decoded = make_decoder(contract(subject).text).decode(values, FRAME_BYTES)
    assert decoded.refusals == ()
    rows: list[dict[str, object]] = decoded.columns.to_pylist()
    return rows


def test_a_drift_record_is_written_and_read_by_its_contract() -> None:
    """With and without a threshold."""
    alarm = DriftRecord("loans", "ADWIN_error", "error", "rate", "alarm", 0.25, AT, 0.2)
    reading = replace(alarm, status="reading", threshold=None, slice="region=süd")
    values = Encoder(contract("drift").text, frame(1)).encode(drift_batch([alarm, reading]))
    first, second = _read("drift", values)
    assert (first["id"], first["status"], first["threshold"]) == (alarm.id, "alarm", 0.2)
    assert (second["slice"], second["threshold"], second["source_offset"]) == (
        "region=süd",
        None,
        812,
    )


def test_the_id_of_a_reading_follows_from_what_it_is_about() -> None:
    """The value is no part of it: a repeat is the same reading; anything else makes another."""
    one = DriftRecord("loans", "inputs", "input", "psi", "reading", 0.1, AT, None, "age")
    assert replace(one, value=0.2).id == one.id
    others = [
        replace(one, stream="shop"),
        replace(one, detector="monitor"),
        replace(one, measure="js"),
        replace(one, status="alarm"),
        replace(one, feature="pay"),
        replace(one, slice="a=b"),
        replace(one, model_version="2"),
        replace(one, at=replace(AT, offset=813)),
        replace(one, at=replace(AT, partition=3)),
    ]
    assert len({other.id for other in [one, *others]}) == len(others) + 1


def test_an_incident_is_written_and_read_by_its_contract() -> None:
    """Features and slices as arrays, the evidence as JSON."""
    incident = Incident(
        "0f" * 16, "loans", Verdict.HARMFUL_SHIFT, "opened", "inputs", ("age", "pay"), (), AT,
        AT.time_us + 1, {"moved:age": "0.2 against 0.1"}, 1,
    )  # fmt: skip
    values = Encoder(contract("incident").text, frame(1)).encode(incident_batch([incident]))
    (read,) = _read("incident", values)
    assert (read["verdict"], read["features"], read["slices"]) == (
        "harmful_shift",
        ["age", "pay"],
        [],
    )
    assert json.loads(str(read["evidence"])) == {"moved:age": "0.2 against 0.1"}
    assert (read["first_partition"], read["first_offset"], read["revision"]) == (2, 812, 1)


def test_a_window_says_its_readings_and_its_alarms() -> None:
    """Every feature's measures; a category has no KS; what moved and each sign are alarms."""
    window = InputWindow(
        AT, replace(AT, offset=1_311), 500, ("age", "region"),
        psi=np.array([0.3, 0.1]), js=np.array([0.06, 0.02]), ks=np.array([0.4, np.nan]),
        nulls=np.array([5, 0]), unseen=np.array([0, 1]),
        moved=(Moved("age", AT, 0.06, 0.02, 0.3),),
        signs=(Sign("schema_change", "", AT, 1.0, 0.0, "8"),),
    )  # fmt: skip
    records = input_records("loans", window)
    assert [(r.feature, r.measure) for r in records if r.status == "reading"] == [
        *(("age", measure) for measure in ("psi", "js", "ks", "nulls")),
        *(("region", measure) for measure in ("psi", "js", "nulls")),
    ]
    assert [(r.feature, r.measure) for r in records if r.status == "alarm"] == [
        ("age", "moved"),
        ("8", "schema_change"),
    ]
    assert {r.at.offset for r in records} == {1_311}
    assert len({r.id for r in records}) == len(records)
