"""The AsyncAPI 3.0 document of one stream.

Source: AsyncAPI specification 3.0.0; Kafka bindings 0.5.0. The application is Millstream: it
receives what producers write and sends what others read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from millstream.contract.json_schema import json_schema
from millstream.contract.public import CARRIED, CHANNELS, HEADERS, REPEATED, Channel
from millstream.contracts import SCHEMAS, Topic, contract, dead_letter_headers, topic_table
from millstream.stream import Stream

AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
CONFLUENT_AVRO: Final = "application/vnd.confluent.avro"
"""Content type: a zero byte, the schema's id in four bytes, the Avro body. Not registered."""
_BINDING: Final = "0.5.0"
_NUMBERS: Final = ("retention.ms", "max.message.bytes")


def asyncapi(stream: Stream, examples: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """The document. examples: events in JSON form. version: of the stream's contract."""
    channels, operations, messages = {}, {}, {}
    for channel in CHANNELS:
        topic = topic_table()[channel.kind]
        name = topic.name(stream.name)
        title = channel.title if channel.subject else _event(stream)["name"]
        messages[title] = _message(stream, channel, name, title, examples)
        channels[channel.kind] = _channel(stream, channel, topic, title)
        operations[_verb(channel) + "_" + channel.kind] = _operation(channel)
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:millstream:{stream.name}",
        "info": {
            "title": f"Stream {stream.name}",
            "version": version,
            "description": _about(stream),
        },
        "defaultContentType": CONFLUENT_AVRO,
        "servers": {"kafka": _server()},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def golden(subject: str) -> list[dict[str, Any]]:
    """The golden examples of a contract's newest version, in JSON form."""
    version = contract(subject).version
    text = (SCHEMAS / "golden" / f"{subject}.v{version}.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def avro_of(stream: Stream, channel: Channel) -> dict[str, Any]:
    """The channel's Avro schema, as JSON."""
    if channel.subject is None:
        return _event(stream)
    read: dict[str, Any] = json.loads(contract(channel.subject).text)
    return read


def _event(stream: Stream) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(stream.schema_of_event.text)
    return read


def _about(stream: Stream) -> str:
    once = stream.serving.guarantee == "exactly_once"
    answered = (
        "Each event is answered exactly once, by a prediction or a dead letter, under "
        "isolation.level read_committed (Java's default is read_uncommitted: set it)."
        if once
        else "Each event is answered at least once: after a crash some predictions come again."
    )
    return (
        f"{answered} Values are Avro in Confluent's wire format: a zero byte, the schema's id in "
        "the registry as four bytes (big endian), the Avro body; the subject of a topic's values "
        "is TOPIC-value. New fields may be added to what is read, each with a default: readers "
        "resolve against their own schema. A prediction is late where published_at to scored_at "
        f"takes more than {stream.serving.latency_budget_ms} ms: in_budget says so."
    )


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "The stream's Kafka and its schema registry; the operator tells both.",
        "variables": {
            "bootstrap": {"description": "HOST:PORT of a broker.", "examples": ["127.0.0.1:9092"]}
        },
        "bindings": {
            "kafka": {"schemaRegistryVendor": "confluent", "bindingVersion": _BINDING},
        },
    }


def _channel(stream: Stream, channel: Channel, topic: Topic, title: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in topic.config.items():
        if key == "cleanup.policy":
            config[key] = value.split(",")
        elif key in _NUMBERS:
            config[key] = int(value)
    return {
        "address": topic.name(stream.name),
        "title": channel.title if channel.subject else title,
        "summary": channel.summary,
        "description": _promised(stream, channel),
        "messages": {title: {"$ref": f"#/components/messages/{title}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name(stream.name),
                "partitions": stream.serving.partitions,
                "topicConfiguration": config,
                "bindingVersion": _BINDING,
            }
        },
        "x-millstream-optional": topic.optional,
    }


def _promised(stream: Stream, channel: Channel) -> str:
    """Key, order and delivery in words; of events also which field is what."""
    delivery = channel.guarantee
    if stream.serving.guarantee == "at_least_once" and channel.of_scorer:
        delivery = REPEATED
    said = f"Key: {channel.key} Order: {channel.order} Delivery: {delivery}"
    if channel.kind != "events":
        return said
    event = stream.event
    return (
        f"{said} Fields: {event.key} is the key, {event.id} the id, {event.time} the event's time. "
        f"Value and key together have at most {event.bytes_max} bytes."
    )


def _verb(channel: Channel) -> str:
    return "receive" if channel.direction == "in" else "send"


def _operation(channel: Channel) -> dict[str, Any]:
    return {
        "action": _verb(channel),
        "channel": {"$ref": f"#/channels/{channel.kind}"},
        "summary": channel.summary,
    }


def _message(
    stream: Stream, channel: Channel, topic: str, title: str, examples: list[dict[str, Any]]
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": title,
        "title": title,
        "summary": channel.summary,
        "contentType": CONFLUENT_AVRO,
    }
    key = {"type": "string", "description": channel.key}
    binding: dict[str, Any] = {"key": key, "bindingVersion": _BINDING}
    if channel.kind == "dead_letters":
        return said | {
            "contentType": "application/octet-stream",
            "headers": letter_headers(),
            "payload": {"description": "The refused event's own bytes."},
            "examples": [
                {"name": f"letter_{at}", "headers": dict(each["headers"])}
                for at, each in enumerate(golden("dead_letter"), 1)
            ],
            "bindings": {"kafka": binding},
        }
    said["payload"] = {"schemaFormat": AVRO, "schema": avro_of(stream, channel)}
    if channel.kind in CARRIED:
        said["headers"] = _headers(CARRIED[channel.kind])
    shown = examples if channel.subject is None else golden(channel.subject)
    said["examples"] = [
        {"name": f"{channel.kind}_{at}", "payload": each} for at, each in enumerate(shown, 1)
    ]
    binding |= {
        "schemaIdLocation": "payload",
        "schemaIdPayloadEncoding": "confluent",
        "schemaLookupStrategy": "TopicNameStrategy",
    }
    return said | {"bindings": {"kafka": binding}, "x-subject": f"{topic}-value"}


def _headers(names: tuple[str, ...]) -> dict[str, Any]:
    properties = {
        name: {"type": "string", "description": HEADERS[name][0], "examples": [HEADERS[name][1]]}
        for name in names
    }
    return {"type": "object", "properties": properties}


def letter_headers() -> dict[str, Any]:
    """JSON Schema of a dead letter's headers, each UTF-8 text."""
    avro = json.loads(contract("dead_letter").text)
    fields = {each["name"]: each for each in avro["fields"]}
    properties = {
        header: {"type": "string", "description": fields[name].get("doc", f"{name} as text.")}
        for name, header in dead_letter_headers().items()
    }
    required = [
        header for name, header in dead_letter_headers().items() if "default" not in fields[name]
    ]
    return {"type": "object", "properties": properties, "required": required}


def schema_files(stream: Stream) -> dict[Path, dict[str, Any]]:
    """avro/NAME.avsc and json-schema/NAME.schema.json of each channel, as JSON values."""
    made: dict[Path, dict[str, Any]] = {}
    for channel in CHANNELS:
        name = topic_table()[channel.kind].name(stream.name)
        avro = avro_of(stream, channel)
        made[Path("avro") / f"{name}.avsc"] = avro
        identifier = f"urn:millstream:{name}-value"
        if channel.kind == "dead_letters":
            schema = {"$id": identifier, "title": "Headers of a dead letter"} | letter_headers()
        else:
            schema = json_schema(avro, identifier)
        made[Path("json-schema") / f"{name}.schema.json"] = schema
    return made
