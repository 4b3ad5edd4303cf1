"""What ClickHouse knows of a stream's labels, as numbers: what triggers and waiting stages ask."""

from __future__ import annotations

from decimal import Decimal

from consumers.performance import PLACE
from consumers.training_rows import happened_by, marks_of, up_to
from consumers.warehouse import Warehouse
from millstream.errors import OperatorNeeded
from millstream.retraining.triggers import Counted, Readings
from millstream.stream import Stream


def count_labels(
    stream: Stream,
    warehouse: Warehouse,
    since: Counted,
    bounds: dict[int, int] | None = None,
) -> int:
    """Labelled rows so far. since: what was counted before, and is not looked at again: ClickHouse
    may keep it no longer. bounds: partition -> the last offset of NAME.labelled that counts."""
    within = "" if bounds is None else f" AND {up_to(bounds)}"
    ((count,),) = warehouse.query(f"SELECT count() {_labelled(stream)} AND {_newer(since)}{within}")
    return since.labels + int(count)


def count_so_far(stream: Stream, warehouse: Warehouse, since: Counted) -> Counted:
    """The same, with the offsets up to which they are."""
    bounds = marks_of(warehouse, stream, "labelled")
    return Counted(count_labels(stream, warehouse, since, bounds), {**since.marks, **bounds})


def take_readings(
    stream: Stream, warehouse: Warehouse, now_us: int, trained: int, since: Counted
) -> Readings:
    """What the triggers of [retrain] judge, one query for each that is asked for.

    trained: labels when the champion was trained. since: as count_labels. Raises OperatorNeeded
    where the stream's own query gives no number.
    """
    table = stream.retrain
    labels, first_us = _labels(stream, warehouse, since)
    accuracy = None
    if table.accuracy_min is not None and labels >= table.accuracy_labels:
        ((accuracy,),) = warehouse.query(
            "SELECT avg(ifNull(predicted = label, 0)) FROM (SELECT predicted, label "
            f"{_labelled(stream)} ORDER BY kafka_time DESC, kafka_offset DESC "
            f"LIMIT {table.accuracy_labels})"
        )
    business = None if table.query is None else _business(stream, warehouse, table.query)
    return Readings(now_us, labels, accuracy, business, trained, first_us)


def count_answered(stream: Stream, warehouse: Warehouse, release: int) -> int:
    """Events behind the switches to a release, or a later one, whose label is known. release: its
    number."""
    name = stream.name
    ((count,),) = warehouse.query(
        f"SELECT count(DISTINCT {PLACE}) FROM {name}.labelled AS l INNER JOIN (SELECT "
        f"source_partition, min(first_offset) AS first FROM {name}.releases WHERE record = 'switch'"
        f" AND number >= {int(release)} AND kafka_unreadable = '' GROUP BY source_partition) AS s "
        "USING (source_partition) WHERE l.kafka_unreadable = '' AND l.source_offset >= s.first "
        "AND l.status IN ('labelled', 'corrected')"
    )
    return int(count)


def answered_behind(stream: Stream, warehouse: Warehouse, labelled_us: int) -> tuple[int, int]:
    """Event time of the newest answered event, and how many were answered behind the newest
    labelled one, which happened at `labelled_us`; microseconds since 1970."""
    time = f"toUnixTimestamp64Micro({happened_by(stream)})"
    ((newest, lag),) = warehouse.query(
        f"SELECT max({time}), countIf({time} > {int(labelled_us)}) FROM {stream.name}.predictions "
        "WHERE kafka_unreadable = ''"
    )
    return int(newest), int(lag)


def _labels(stream: Stream, warehouse: Warehouse, since: Counted) -> tuple[int, int | None]:
    """How many, and when the oldest that is kept was joined."""
    ((count, kept, first_us),) = warehouse.query(
        f"SELECT countIf({_newer(since)}), count(), toUnixTimestamp64Micro(min(kafka_time)) "
        f"{_labelled(stream)}"
    )
    return since.labels + int(count), int(first_us) if kept else None


def _newer(since: Counted) -> str:
    return f"NOT {up_to(dict(since.marks))}" if since.marks else "true"


def _labelled(stream: Stream) -> str:
    return f"FROM {stream.name}.labelled WHERE kafka_unreadable = '' AND status = 'labelled'"


def _business(stream: Stream, warehouse: Warehouse, query: str) -> float | None:
    found = warehouse.query(query.replace("{database}", stream.name))
    value = found[0][0] if len(found) == 1 and len(found[0]) == 1 else found
    if value is not None and not isinstance(value, int | float | Decimal):
        said = f"{len(found)} rows" if value is found else repr(value)[:80]
        raise OperatorNeeded(
            f"[retrain] query of {stream.name} gives {said}", "It must give one number"
        )
    return None if value is None else float(value)
