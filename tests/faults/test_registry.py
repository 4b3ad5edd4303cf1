"""What happens when the schema registry does not answer."""

from __future__ import annotations

import json

from consumers.registry import Registry
from millstream.columnar import Encoder, frame
from millstream.settings import RegistrySettings
from tests.faults.trial import Trial
from tests.streams import applications


def test_schemas_that_are_known_need_no_registry(trial: Trial) -> None:
    """The registry is away: events of a schema that was seen before are scored and kept."""
    trial.publish(200)
    trial.settle()
    trial.bed.registry.cut()
    with trial.under_load():
        trial.tend_for(2)
    trial.audit()
    assert "registry" not in trial.since("scorer-0") + trial.since("sink")


def test_a_schema_that_nobody_knows_waits_for_the_registry(trial: Trial) -> None:
    """Its events become neither predictions nor dead letters while the registry is away; a line
    says that they are read again, and when it is back they are scored."""
    bed = trial.bed
    trial.bed.registry.cut()
    schema = json.loads(bed.stream.schema_of_event.text)
    schema["doc"] = "another version, of the same fields"
    text = json.dumps(schema)
    registry = Registry(RegistrySettings(url=bed.registry_server.url))
    schema_id = registry.register(f"{bed.stream.topic('events')}-value", text)
    registry.close()
    values = Encoder(text, frame(schema_id)).encode(applications(300, first=trial.events))
    trial.publish_values(values)
    trial.wait_for("reading again in", "scorer-0")
    trial.wait_for("schema registry", "scorer-0")
    predictions = trial.rows("predictions")
    trial.tend_for(2)
    assert trial.rows("predictions") == predictions
    trial.bed.mend()
    trial.audit()
    assert not trial.rows("dead_letters")
