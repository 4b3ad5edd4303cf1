"""What confluent-kafka hands out, as columns."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from millstream.records import TIME_US_MAX, Headers, Records

_log = logging.getLogger(__name__)


def records_of(
    topic: str,
    messages: list[Message],
    partitions: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
) -> Records:
    """The columns of n records of one topic; partitions and offsets [n] are known already."""
    return Records(
        topic,
        column(messages, "value"),
        column(messages, "key"),
        partitions,
        offsets,
        _timestamps_us(messages),
        _headers(messages),
    )


def by_partition(records: Records) -> Records:
    """The same, those of one partition together, in their order."""
    if (np.diff(records.partitions) >= 0).all():
        return records
    order = np.argsort(records.partitions, kind="stable")
    places = order.tolist()
    picked = itemgetter(*places)
    headers = records.headers
    return replace(
        records,
        values=list(picked(records.values)),
        keys=list(picked(records.keys)),
        partitions=records.partitions[order],
        offsets=records.offsets[order],
        timestamps_us=records.timestamps_us[order],
        headers={new: headers[old] for new, old in enumerate(places) if old in headers}
        if headers
        else headers,
    )


def column(messages: list[Message], attribute: str) -> list[Any]:
    """What the method of this name says of each; no Python runs between one and the next."""
    return list(map(getattr(type(messages[0]), attribute), messages)) if messages else []


def _timestamps_us(messages: list[Message]) -> npt.NDArray[np.int64]:
    """-1 where there is none; a producer may write any 64 bits, so they are bounded."""
    stamps = chain.from_iterable(column(messages, "timestamp"))
    kinds, times = np.fromiter(stamps, np.int64, 2 * len(messages)).reshape(-1, 2).T
    times = np.where(kinds == TIMESTAMP_NOT_AVAILABLE, -1, times)
    return np.where(times < 0, -1, np.minimum(times, TIME_US_MAX // 1000) * 1000)


def _headers(messages: list[Message]) -> dict[int, Headers]:
    """The headers by row, where there are any.

    confluent-kafka raises SystemError for a header whose name is not UTF-8, at every reading of the
    record: such headers are left out, or one record would stop the program for good.
    """
    given: list[Headers | None]
    try:
        given = column(messages, "headers")
    except (SystemError, UnicodeDecodeError):
        given = [_readable(message) for message in messages]
    return {row: headers for row, headers in enumerate(given) if headers} if any(given) else {}


def _readable(message: Message) -> Headers:
    try:
        found: Headers = message.headers() or ()
        return found
    except (SystemError, UnicodeDecodeError):
        _log.warning(
            "%s-%s offset %s has a header whose name is not UTF-8: its headers are left out",
            message.topic(),
            message.partition(),
            message.offset(),
        )
        return ()
