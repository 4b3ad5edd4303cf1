"""librdkafka's errors become ours by code and flags, never by text."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from consumers.kafka import TransactionAborted, translate
from millstream.errors import ClientLost, DependencyUnavailable, MillstreamError, OperatorNeeded


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaError(KafkaError._TRANSPORT), DependencyUnavailable),
        (KafkaError(KafkaError._TIMED_OUT, "late", False, True, False), DependencyUnavailable),
        (KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "", False, False, True), TransactionAborted),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), OperatorNeeded),
        (KafkaError(KafkaError._FENCED), ClientLost),
        (KafkaError(KafkaError.INVALID_TXN_STATE, "", True, False, False), ClientLost),
    ],
    ids=str,
)
def test_an_error_says_who_must_act(error: KafkaError, kind: type[MillstreamError]) -> None:
    """The world, the transaction, the operator, or whoever starts the process again."""
    assert type(translate(error, "testing")) is kind


def test_a_consumers_fatal_error_has_a_code_and_no_flag() -> None:
    """librdkafka delivers it as a record's error; taken for a passing one, the program would poll
    for ever and get nothing (an older scorer fenced by its twin; a KIP-848 group that is gone)."""
    error = KafkaError(KafkaError._FATAL, "Fatal error: Broker: The group id does not exist")
    assert not error.fatal()
    assert isinstance(translate(error, "consuming"), ClientLost)
