"""Every reason for which a scorer refuses an event, in words for whoever published it.

The names are what dead letters, `NAME.dead_letters` and the metrics group by; a test compares them
with those that the code can give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from millstream.errors import Stage


@dataclass(frozen=True, slots=True)
class Reason:
    """One name of a refusal.

    means: what was found. mend: what the producer does, or whoever else can. replay: whether
    `millstream letters redrive` can score the same bytes once it is mended.
    """

    name: str
    stage: Stage
    means: str
    mend: str
    replay: bool = False


_FRAME, _DECODE, _VALIDATE, _SCORE = Stage.FRAME, Stage.DECODE, Stage.VALIDATE, Stage.SCORE
_SERIALIZER: Final = "Serialise with an Avro library, not by hand, and with the schema whose id \
stands in front"

REASONS: Final[tuple[Reason, ...]] = (
    Reason(
        "empty_value",
        _FRAME,
        "the record has no value: a tombstone is no event",
        "Publish events only; to take one back publish an outcome or an event that says so",
    ),
    Reason(
        "not_framed",
        _FRAME,
        "the value does not start with a zero byte and a four-byte schema id",
        "Use a serialiser of Confluent's wire format; JSON, plain Avro and Avro files are not it",
    ),
    Reason(
        "too_large",
        _FRAME,
        "value and key together are above event.bytes_max of stream.toml",
        "Publish less in one event, or ask the stream's operator for a higher event.bytes_max",
        replay=True,
    ),
    Reason(
        "unknown_schema_id",
        _FRAME,
        "the registry that the scorer asks has no schema of that id",
        "Register the schema with the stream's own registry before the first event; a restored "
        "registry must keep its ids",
        replay=True,
    ),
    Reason(
        "schema_not_avro",
        _FRAME,
        "the id is that of a JSON or Protobuf schema, or of one with references",
        "Register an Avro schema that is whole in itself",
    ),
    Reason(
        "incompatible_schema",
        _FRAME,
        "the event's schema cannot be read as the stream's: a field that the stream needs is "
        "missing without a default, or of another type",
        "Ask `millstream check` what does not fit; the operator changes the stream's schema first, "
        "producers after it",
        replay=True,
    ),
    Reason("truncated", _DECODE, "the bytes end before the event does", _SERIALIZER),
    Reason("trailing_bytes", _DECODE, "bytes follow the event's last field", _SERIALIZER),
    Reason("bad_utf8", _DECODE, "a string is not UTF-8", "Encode texts as UTF-8, not as Latin-1"),
    Reason("bad_varint", _DECODE, "a number has more than ten bytes or 64 bits", _SERIALIZER),
    Reason("bad_length", _DECODE, "a text or list has a length below zero", _SERIALIZER),
    Reason("bad_boolean", _DECODE, "a boolean is neither 0 nor 1", _SERIALIZER),
    Reason("bad_union_branch", _DECODE, "a union names a type that it has not", _SERIALIZER),
    Reason("bad_enum_index", _DECODE, "an enum names a symbol that it has not", _SERIALIZER),
    Reason("int_out_of_range", _DECODE, "an int needs more than 32 bits", _SERIALIZER),
    Reason(
        "out_of_range",
        _DECODE,
        "a time of day is outside of the day, or a decimal has too many digits",
        "Publish times in the unit of the schema, and decimals of its precision",
    ),
    Reason(
        "unknown_symbol",
        _DECODE,
        "an enum's symbol is in the event's schema and not in the stream's, which has no default",
        "The operator adds the symbol to the stream's schema, then letters are redriven",
        replay=True,
    ),
    Reason(
        "null_for_non_null",
        _DECODE,
        "a field that may be null in the event's schema may not in the stream's",
        "Always fill the field, or ask the operator to allow null",
        replay=True,
    ),
    Reason(
        "bad_id",
        _VALIDATE,
        "the id is empty, or the id or key field is longer than 1,024 bytes",
        "Give each event a short id of its own",
    ),
    Reason(
        "bad_time",
        _VALIDATE,
        "the event's time is not between the years 1900 and 2299",
        "Publish the time in the unit of the schema: microseconds are not milliseconds",
    ),
    Reason(
        "null_feature",
        _VALIDATE,
        "a feature is null, and the model declares no meaning for that",
        "Fill the field; or the model's owner declares missing = 'nan' or a missing_value",
        replay=True,
    ),
    Reason(
        "nan_feature",
        _VALIDATE,
        "a feature is NaN, and the model declares no meaning for that",
        "As for null_feature",
        replay=True,
    ),
    Reason("infinite_feature", _VALIDATE, "a feature is infinite", "Publish a finite number"),
    Reason(
        "out_of_range_feature",
        _VALIDATE,
        "a feature is finite, but too large for a model of 32-bit numbers",
        "Publish the usual unit; or export the model with 64-bit inputs",
        replay=True,
    ),
    Reason(
        "not_whole",
        _VALIDATE,
        "the model takes whole numbers, and this feature is none, or is above 2^53",
        "Publish whole numbers",
    ),
    Reason(
        "missing_feature",
        _VALIDATE,
        "the event has not a feature that the model needs",
        "The operator's: schema and bundle do not fit; `millstream check` says where",
        replay=True,
    ),
    Reason(
        "wrong_type",
        _VALIDATE,
        "a feature is of another type than the model takes",
        "The operator's: schema and bundle do not fit; `millstream check` says where",
        replay=True,
    ),
    Reason(
        "model_failed",
        _SCORE,
        "the model stopped with an error on this event",
        "The model's owner looks at the reason; release a mended model, then redrive",
        replay=True,
    ),
    Reason(
        "score_timeout",
        _SCORE,
        "the model did not end in time on this event",
        "The model's owner looks for what is slow; release a mended model, then redrive",
        replay=True,
    ),
    Reason(
        "wrong_shape",
        _SCORE,
        "the model gave another number of scores than its bundle says",
        "The model's owner exports the bundle again, then letters are redriven",
        replay=True,
    ),
    Reason(
        "non_finite_score",
        _SCORE,
        "the model's answer is NaN or infinite",
        "Look at the event's features for values the model never saw; mend the model, redrive",
        replay=True,
    ),
    Reason(
        "not_a_probability",
        _SCORE,
        "the model's answer is not between 0 and 1",
        "The model's owner exports the bundle again, then letters are redriven",
        replay=True,
    ),
)

OTHERS: Final[tuple[Reason, ...]] = (
    Reason(
        "not_its_contract",
        _VALIDATE,
        "a record of one of the stream's own topics (releases, alarms, retraining) cannot be what "
        "its schema says; it is passed over, and the program's log names its offset",
        "Find who else writes to that topic, and take its right to write away",
    ),
    Reason(
        "not_a_letter",
        _DECODE,
        "a record of NAME.dead_letters lacks a header of a dead letter, or has one that cannot be",
        "Find who else writes to that topic; what is no letter cannot be redriven",
    ),
    Reason(
        "no_features",
        _DECODE,
        "a row that millstream_score was given is no tuple of as many features as the stream has",
        "Give a tuple of all features in the order of features.order in stream.toml",
    ),
    Reason(
        "unfit_value",
        _DECODE,
        "a value that millstream_score was given is none of its field's type in the event schema",
        "Cast or leave out what does not fit: NULL only where the schema lets the field be null",
    ),
)
"""Refusals of what is no event: records of our own topics, rows of SQL. No dead letters."""

BY_NAME: Final = {reason.name: reason for reason in REASONS}
