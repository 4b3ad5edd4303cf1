"""A new stream from an event schema and a model: what `millstream init` writes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from onnx import TensorProto
from pydantic import ValidationError

from millstream.contracts import TEXT_LIKE, TIMESTAMPS, EventSchema
from millstream.errors import BundleInvalid, StreamInvalid
from millstream.fit import require_fit
from millstream.models import graph
from millstream.models.bundle import Bundle, digest_of, write_bundle
from millstream.models.card import Card, Feature, FeatureType, Input, Kind, Output, TrainedBy
from millstream.stream import Stream

SCHEMA_FILE = "event.v1.avsc"
BUNDLE_FOLDER = "bundle"
_FEATURE_TYPES: dict[int, FeatureType] = {
    TensorProto.STRING: "category",
    TensorProto.BOOL: "boolean",
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Which event fields are the key, the id and the time; None: guess, or refuse to."""

    key: str | None = None
    id: str | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a bare ONNX file does not say of itself."""

    features: Sequence[str]
    kind: Kind
    labels: Sequence[str]
    created: datetime


def start_stream(folder: Path, schema_file: Path, model: Path, roles: Roles) -> Stream:
    """Write `folder`/stream.toml with its schema and bundle beside it.

    model: a bundle's folder. Raises StreamInvalid where the folder exists or a role cannot be
    guessed, ContractMismatch where schema and model do not fit; nothing is left behind then.
    """
    if folder.exists():
        raise StreamInvalid(f"{folder} exists already", "Choose another name, or remove it")
    schema = EventSchema.load(schema_file)
    bundle = Bundle.load(model)
    text = _stream_toml(folder.name, _guessed(schema, roles), bundle.card)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True)
    try:
        (folder / SCHEMA_FILE).write_text(schema.text, "utf-8")
        write_bundle(folder / BUNDLE_FOLDER, bundle.model_bytes, bundle.card)
        (folder / "stream.toml").write_text(text, "utf-8")
        stream = Stream.load(folder / "stream.toml")
        require_fit(stream, bundle)
    except BaseException:
        shutil.rmtree(made[-1])
        raise
    return stream


def bundle_from_onnx(folder: Path, onnx_file: Path, name: str, facts: ModelFacts) -> Bundle:
    """A bundle of a bare ONNX file and what its owner says of it. Raises BundleInvalid."""
    try:
        model = onnx_file.read_bytes()
    except OSError as why:
        raise BundleInvalid(f"{onnx_file} cannot be read: {why}", "Name an ONNX file") from None
    proto = graph.parse(model, onnx_file)
    inputs, outputs = graph.ports(proto)
    tensor = len(inputs) == 1 and len(facts.features) > 1
    binary = facts.kind == "binary"
    try:
        card = Card(
            name=name,
            version="1",
            digest=digest_of(model),
            kind=facts.kind,
            labels=tuple(facts.labels),
            positive=facts.labels[-1] if binary and facts.labels else None,
            threshold=0.5 if binary else None,
            opset=graph.opset(proto),
            created=facts.created,
            input=Input(layout="tensor", name=inputs[0].name)
            if tensor
            else Input(layout="columns"),
            output=Output(scores=outputs[-1].name),
            trained_by=TrainedBy(
                library=proto.producer_name or "unknown", version=proto.producer_version
            ),
            features=tuple(
                Feature(name=feature, type=_feature_type(feature, inputs, tensor=tensor))
                for feature in facts.features
            ),
        )
    except ValidationError as why:
        said = why.errors(include_url=False)[0]
        where = ".".join(str(part) for part in said["loc"]) or "the model"
        raise BundleInvalid(
            f"{onnx_file}: {where}: {said['msg'].removeprefix('Value error, ')}",
            "Give features, kind and labels as the model has them",
        ) from None
    return write_bundle(folder, model, card)


def _feature_type(name: str, inputs: Sequence[graph.Port], *, tensor: bool) -> FeatureType:
    """What the graph's input of that name takes; numbers where there is one tensor for all."""
    if tensor:
        return "number"
    elements = {port.name: port.element for port in inputs}
    return _FEATURE_TYPES.get(elements.get(name, TensorProto.UNDEFINED), "number")


def _guessed(schema: EventSchema, roles: Roles) -> dict[str, str]:
    """The fields of the three roles."""
    whole = [field for field in schema.fields.values() if not field.nullable]
    times = [field.name for field in whole if field.logical in TIMESTAMPS]
    names = [field.name for field in whole if field.type in TEXT_LIKE]
    ids = [name for name in names if name == "id" or name.endswith("_id")]
    found = {
        "time": roles.time or (times[0] if times else None),
        "id": roles.id or (ids[0] if ids else None),
    }
    found["key"] = roles.key or found["id"]
    made = {}
    for role, field in found.items():
        if field is None:
            raise StreamInvalid(
                f"no field of {schema.path} looks like the event's {role}",
                f"Name it: --{role} FIELD",
            )
        made[role] = field
    return made


def _stream_toml(name: str, roles: dict[str, str], card: Card) -> str:
    features = ", ".join(f'"{feature.name}"' for feature in card.features)
    categories = ", ".join(f'"{f.name}"' for f in card.features if f.type == "category")
    return f"""\
name = "{name}"

[event]
schema = "{SCHEMA_FILE}"     # relative to this file
key = "{roles["key"]}"       # the Kafka key: events of one key stay in order
id = "{roles["id"]}"         # names the event in predictions, outcomes and dead letters
time = "{roles["time"]}"     # when it happened, by the event's own clock

[features]                   # in model order
order = [{features}]
categories = [{categories}]

[label]
kind = "{card.kind}"
outcome_wait_s = 2592000     # how long an outcome may take

[model]
bundle = "{BUNDLE_FOLDER}"

[serving]
partitions = 4
latency_budget_ms = 250
guarantee = "exactly_once"
"""
