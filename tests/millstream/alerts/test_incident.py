"""What an alert takes from an incident."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from millstream.alerts.incident import Incident
from tests.millstream.alerts.alarms import NOON

FIELDS: dict[str, Any] = {
    "id": "i-1",
    "stream": "loans",
    "verdict": "concept_change",
    "status": "opened",
    "cause": "the loss rose, the inputs did not move",
    "features": ["age"],
    "slices": [],
    "evidence": '{"odds": 21.5}',
    "first_offset": 7,
    "first_time": datetime(2024, 2, 1, 12, tzinfo=UTC),
    "revision": 1,
}


def test_an_incident_is_read_with_what_a_later_version_adds() -> None:
    """Its time is the first one; what is unknown is evidence."""
    incident = Incident.of(FIELDS | {"blame": "producer-7"})
    assert (incident.id, incident.verdict, incident.resolved) == ("i-1", "concept_change", False)
    assert incident.started_us == NOON
    assert incident.evidence == {"odds": 21.5}
    assert incident.more == {"first_offset": 7, "revision": 1, "blame": "producer-7"}
    assert incident.summary == (
        "concept change: the loss rose, the inputs did not move; features age"
    )


def test_an_incident_lists_at_most_five_names() -> None:
    """A summary is one line."""
    incident = Incident.of(FIELDS | {"features": [f"f{n}" for n in range(30)]})
    assert incident.summary.endswith("features f0, f1, f2, f3, f4 ...")


@pytest.mark.parametrize("name", ["id", "stream", "verdict", "status", "cause"])
def test_what_lacks_a_field_is_no_incident(name: str) -> None:
    """It is refused, not guessed."""
    with pytest.raises(KeyError):
        Incident.of({n: v for n, v in FIELDS.items() if n != name})
