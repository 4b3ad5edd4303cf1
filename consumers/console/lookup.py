"""One event with everything that came of it: where it lies, who answered, what was true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.console.reach import Reach
from millstream.console import queries
from millstream.console.plain import plain_object
from millstream.errors import SettingsInvalid
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns

TEXT_CHARS_MAX: Final = 1_000
EVENTS_MAX: Final = 10
"""An id that more events bear is a producer's fault; the newest are shown."""
_PREDICTION: Final = (
    "event_id", "key", "topic", "partition", "offset", "schema_id", "event_time", "published",
    "scored", "latency_ms", "in_budget", "answered_by", "score", "scores", "label", "confidence",
    "model", "version", "digest", "prediction_partition", "prediction_offset",
)  # fmt: skip
_LABEL: Final = (
    "version", "status", "label", "value", "known", "is_known", "joined", "predicted",
    "model_version", "partition", "offset",
)  # fmt: skip
_SHADOW: Final = (
    "role", "model", "version", "score", "label", "confidence", "refused", "release",
)  # fmt: skip
_LETTER: Final = (
    "stage", "error", "reason", "attempt", "model", "version", "at", "partition", "offset",
)  # fmt: skip
_RELEASE: Final = (
    "number", "kind", "switched", "first_offset", "next_offset", "champion", "challenger",
    "canary_share", "reason", "scorer", "late",
)  # fmt: skip
_INCIDENT: Final = ("id", "verdict", "status", "cause", "features", "first", "updated")


@dataclass(frozen=True, slots=True)
class Place:
    """An event's place in its topic."""

    topic: str
    partition: int
    offset: int

    @property
    def bound(self) -> dict[str, Any]:
        """As the queries' parameters."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}


class Lookup:
    """Looks one event up. Raises as Reach.rows, and SettingsInvalid for what is no event."""

    def __init__(self, stream: Stream, reach: Reach) -> None:
        self._stream = stream
        self._db = stream.name
        self._reach = reach
        self._columns = list(event_columns(stream))

    def find(self, text: str) -> dict[str, Any]:
        """Events by their id, or by their place as PARTITION:OFFSET."""
        asked = text.strip()
        if not asked or len(asked) > TEXT_CHARS_MAX:
            raise SettingsInvalid("there is no event id", "Give one, or PARTITION:OFFSET")
        place = self._place(asked)
        predictions = self._by_place(place) if place is not None else self._by_id(asked)
        places = list(dict.fromkeys(_place_of(one) for one in predictions))
        if not predictions:
            places = [place] if place is not None else self._places(asked)
        found = [self._event(at, predictions) for at in places[:EVENTS_MAX]]
        return plain_object(
            {"asked": asked, "events": [e for e in found if e["event"] or e["answers"]]}
        )

    def _place(self, text: str) -> Place | None:
        found = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text, re.ASCII)
        if found is None:
            return None
        return Place(self._stream.topic("events"), int(found[1]), int(found[2]))

    def _by_id(self, name: str) -> list[dict[str, Any]]:
        if self._stream.event.id in self._stream.privacy.private:
            raise SettingsInvalid(
                f"the event's id ({self._stream.event.id}) is private and not in ClickHouse",
                "Look it up by its place: PARTITION:OFFSET",
            )
        return self._named(_PREDICTION, queries.predicted_sql(self._db, "id"), id=name)

    def _by_place(self, place: Place) -> list[dict[str, Any]]:
        return self._named(_PREDICTION, queries.predicted_sql(self._db, "place"), **place.bound)

    def _places(self, name: str) -> list[Place]:
        """Of events without a prediction, by their id."""
        column = self._stream.event.id
        if column not in self._columns:
            return []
        rows = self._reach.rows(queries.event_by_id_sql(self._db, column), id=name)
        return [Place(str(topic), int(p), int(o)) for topic, p, o in rows]

    def _event(self, place: Place, predictions: Sequence[dict[str, Any]]) -> dict[str, Any]:
        answers = [one for one in predictions if _place_of(one) == place]
        event = self._own(place)
        named = answers[0]["event_id"] if answers else None
        time = answers[0]["event_time"] if answers else None
        made: dict[str, Any] = {
            "partition": place.partition,
            "offset": place.offset,
            "topic": place.topic,
            "event": event,
            "answers": answers,
            "letters": self._named(_LETTER, queries.letters_at_sql(self._db), **place.bound),
            "labels": [],
            "shadows": [],
            "incidents": [],
        }
        release = self._named(
            _RELEASE,
            queries.release_at_sql(self._db),
            partition=place.partition,
            offset=place.offset,
        )
        made["release"] = release[0] if release else None
        if named is not None:
            about = {"id": named, **place.bound}
            made["labels"] = self._named(_LABEL, queries.labels_sql(self._db), **about)
            made["shadows"] = self._named(_SHADOW, queries.shadows_sql(self._db), **about)
        if time is not None:
            made["incidents"] = self._named(
                _INCIDENT, queries.incidents_at_sql(self._db), at=int(time)
            )
        return made

    def _own(self, place: Place) -> dict[str, Any] | None:
        """The event's own row; None where it is not in ClickHouse (yet, or any more)."""
        found = self._reach.look(queries.event_sql(self._db, self._columns), {}, **place.bound)
        if not found.rows:
            return None
        published, key, schema_id, unreadable, *values = found.rows[0]
        return {
            "published": published,
            "key": key,
            "schema_id": schema_id,
            "unreadable": unreadable,
            "fields": dict(zip(self._columns, values, strict=True)),
            "private": list(self._stream.privacy.private),
        }

    def _named(self, names: Sequence[str], sql: str, **parameters: Any) -> list[dict[str, Any]]:
        rows = self._reach.rows(sql, **parameters)
        return [dict(zip(names, row, strict=True)) for row in rows]


def _place_of(prediction: dict[str, Any]) -> Place:
    return Place(str(prediction["topic"]), int(prediction["partition"]), int(prediction["offset"]))
