"""The contract as a folder of files, and what a committed one lacks.

asyncapi.yaml                    channels, keys, headers, guarantees, examples
avro/TOPIC.avsc                  the Avro schemas
json-schema/TOPIC.schema.json    the same for records in JSON form
kit/events.json                  the producer's test kit
kit/outcomes.json                outcomes that the join takes, as JSON and bytes
README.md                        what is what
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from millstream.columnar import frame
from millstream.contract.asyncapi import asyncapi, golden, schema_files
from millstream.contract.jsonform import JsonWriter
from millstream.contract.kit import SCHEMA_ID, examples, kit
from millstream.contract.yaml import to_yaml
from millstream.contracts import contract
from millstream.stream import Stream

README = """# Contract of stream {name}

Made by `millstream contract make STREAM.TOML --to FOLDER`; with `--check` it says what has changed.

- `asyncapi.yaml`: AsyncAPI 3.0. Topics, keys, partitions, headers, guarantees, examples of each.
- `avro/`: the schemas as they stand in the registry. `json-schema/`: the same for JSON records.
- `kit/events.json`: the producer's test kit. Each case has the event as JSON where it is one
  (`json`), the Kafka value (`hex`; null is no value), and what becomes of it: `scored`, with the
  key that it must have and the partition of {partitions} that this key lands on, or `refused`, with
  stage, error, reason, and how to mend it. Features are judged as by a model that takes no null
  and no NaN; a model may declare otherwise. The frames name the schema by id {schema_id}; your
  registry gives another, so compare from byte 5 on.
- `kit/outcomes.json`: outcomes, as JSON and bytes.

What a scorer would make of your own bytes or JSON, before anything is published:

```sh
millstream contract check STREAM.TOML captured.bin
millstream contract check STREAM.TOML events.jsonl
```

In JSON, times are whole numbers of the unit that the schema says, bytes are text with a character
for each, unions have no tag.
"""


def contract_files(stream: Stream) -> dict[Path, str]:
    """Every file of the stream's contract, by its path in the folder; the same for the same input.

    Raises OperatorNeeded where stream.toml and its schema do not fit.
    """
    tested = kit(stream)
    shown = examples(stream)
    schemas = schema_files(stream)
    made = {path: _json(value) for path, value in schemas.items()}
    version = hashlib.sha256(_json(asyncapi(stream, shown, "")).encode()).hexdigest()[:12]
    made[Path("asyncapi.yaml")] = to_yaml(asyncapi(stream, shown, version))
    made[Path("kit/events.json")] = _json(tested)
    made[Path("kit/outcomes.json")] = _json(_outcomes())
    made[Path("README.md")] = README.format(
        name=stream.name, partitions=stream.serving.partitions, schema_id=SCHEMA_ID
    )
    return made


def differences(wanted: dict[Path, str], folder: Path) -> list[str]:
    """What the folder lacks, has in another form, or has too much, a line each."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    lines = [f"{path} is not of this contract" for path in sorted(found - set(wanted))]
    for path, text in sorted(wanted.items()):
        if path not in found:
            lines.append(f"{path} is missing")
        elif (folder / path).read_bytes() != text.encode():
            lines.append(f"{path} differs")
    return lines


def _outcomes() -> list[dict[str, Any]]:
    writer = JsonWriter(json.loads(contract("outcome").text))
    return [
        {"json": record, "hex": (frame(SCHEMA_ID) + writer.body(record)).hex()}
        for record in golden("outcome")
    ]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
