"""Traces: what a collector is told of batches, of their steps, and of events' own traces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from consumers.metrics.traces import NO_TRACES, TRACEPARENT, Exported
from millstream.records import Headers, Records
from millstream.settings import TracesSettings
from tests.consumers.otlp import PATH, Span, spans
from tests.consumers.receivers import Http

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01".encode()
UNSAMPLED = f"00-{TRACE}-{PARENT}-00".encode()
OWN: Headers = [("millstream.model", b"1 abc")]


class Nanoseconds:
    """Time that passes by a millisecond whenever it is asked for."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


@pytest.fixture
def http() -> Iterator[Http]:
    """The collector."""
    server = Http()
    yield server
    server.close()


def exported(http: Http, program: str = "scorer", **settings: Any) -> Exported:
    """To this collector."""
    given = TracesSettings(url=http.url + PATH, **settings)
    return Exported(given, program, "loans", 0, now_ns=Nanoseconds())


def records(headers: dict[int, Headers], count: int = 3) -> Records:
    """Of partition 2, from offset 10 on."""
    return Records(
        "loans.events",
        [b"v"] * count,
        [b"k"] * count,
        np.full(count, 2, np.int32),
        np.arange(10, 10 + count, dtype=np.int64),
        np.zeros(count, np.int64),
        headers,
    )


def named(found: list[Span], name: str) -> list[Span]:
    """Those of this name."""
    return [span for span in found if span.name == name]


def test_a_batch_is_one_span_with_its_steps_below_it(http: Http) -> None:
    """What came before the transaction, each of its calls, and what was produced between."""
    traces = exported(http)
    with traces.batch([records({})]):
        for call in ("begin", "send_offsets", "commit"):
            traces.call(call, 0.0005, failed=False)
    traces.close()
    found = spans(http)
    (batch,) = named(found, "scorer batch")
    assert batch.parent == ""
    assert batch.service == "millstream-scorer"
    assert batch.attributes["messaging.batch.message_count"] == 3
    assert batch.attributes["messaging.destination.name"] == "loans.events"
    steps = [span for span in found if span is not batch]
    assert [span.name for span in steps] == [
        f"scorer {name}" for name in ("score", "begin", "produce", "send_offsets", "commit")
    ]
    for step in steps:
        assert (step.trace, step.parent) == (batch.trace, batch.id)
        assert batch.start <= step.start <= step.end <= batch.end
    assert all(a.end <= b.start for a, b in pairwise(steps))


def test_an_events_own_trace_goes_on(http: Http) -> None:
    """Its span is its producer's child, linked with the batch's both ways, and its prediction
    carries it on beside the headers that predictions have."""
    traces = exported(http)
    batch = records({1: [("other", b"x"), (TRACEPARENT, SAMPLED)]})
    with traces.batch([batch]):
        made = traces.continued(None, OWN, batch, np.array([0, 1, 2]))
    traces.close()
    found = spans(http)
    (whole,), (event,) = named(found, "scorer batch"), named(found, "scorer loans.events")
    assert (event.trace, event.parent) == (TRACE, PARENT)
    assert event.links == ((whole.trace, whole.id),)
    assert whole.links == ((TRACE, PARENT),)
    assert event.attributes["messaging.destination.partition.id"] == "2"
    assert event.attributes["messaging.kafka.offset"] == 11
    assert made is not None
    assert [list(each) for each in made] == [
        OWN,
        [*OWN, (TRACEPARENT, f"00-{TRACE}-{event.id}-01".encode())],
        OWN,
    ]


def test_a_refused_event_gives_its_prediction_to_nobody_else(http: Http) -> None:
    """Headers go by the rows that were answered, and to the headers that these have."""
    traces = exported(http)
    batch = records({0: [(TRACEPARENT, SAMPLED)], 2: [(TRACEPARENT, UNSAMPLED)]})
    given: list[Headers] = [[("a", b"1")], [("b", b"2")]]
    with traces.batch([batch]):
        made = traces.continued(given, OWN, batch, np.array([1, 2]))
    traces.close()
    assert made == [[("a", b"1")], [("b", b"2"), (TRACEPARENT, UNSAMPLED)]]
    assert given == [[("a", b"1")], [("b", b"2")]]


def test_what_is_not_sampled_or_too_much_is_carried_on_unchanged(http: Http) -> None:
    """And has no span of ours."""
    traces = exported(http, events_max=1)
    batch = records(
        {0: [(TRACEPARENT, UNSAMPLED)], 1: [(TRACEPARENT, SAMPLED)], 2: [(TRACEPARENT, SAMPLED)]}
    )
    with traces.batch([batch]):
        made = traces.continued(None, OWN, batch, np.array([0, 1, 2]))
    traces.close()
    (event,) = named(spans(http), "scorer loans.events")
    assert event.attributes["messaging.kafka.offset"] == 11
    assert made is not None
    carried = [dict(each)[TRACEPARENT] for each in made]
    assert carried == [UNSAMPLED, f"00-{TRACE}-{event.id}-01".encode(), SAMPLED]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        None,
        b"nonsense",
        SAMPLED[:-1],
        SAMPLED.upper(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        SAMPLED + b"\xff\xfe",
    ],
)
def test_a_header_that_is_none_is_left_alone(http: Http, value: bytes | None) -> None:
    """Whatever a producer writes there, the batch goes on."""
    traces = exported(http)
    batch = records({0: [(TRACEPARENT, value)]})
    with traces.batch([batch]):
        assert traces.continued(None, OWN, batch, np.array([0, 1, 2])) is None
    traces.close()
    assert [span.name for span in spans(http)] == ["scorer batch"]


def test_a_later_version_of_the_header_is_read(http: Http) -> None:
    """W3C: more fields may follow."""
    traces = exported(http)
    batch = records({0: [(TRACEPARENT, b"cc" + SAMPLED[2:] + b"-more")]})
    with traces.batch([batch]):
        pass
    traces.close()
    (event,) = named(spans(http), "scorer loans.events")
    assert event.trace == TRACE


def test_a_batch_that_fails_says_so(http: Http) -> None:
    """On its span and on its events'; the exception passes."""
    traces = exported(http)
    batch = records({0: [(TRACEPARENT, SAMPLED)]})
    with pytest.raises(KeyError), traces.batch([batch]):
        traces.call("commit", 0.0005, failed=True)
        raise KeyError("x")
    traces.close()
    errors = {span.name: span.error for span in spans(http)}
    assert errors["scorer batch"].startswith("KeyError: ")
    assert errors["scorer loans.events"].startswith("KeyError: ")
    assert errors["scorer commit"] == "commit failed"


def test_an_insert_has_a_span_of_its_own(http: Http) -> None:
    """From whatever thread; one whose rows are not there is an error."""
    traces = exported(http, program="sink")
    thread = threading.Thread(target=lambda: traces.block("events", 500, 0.25, landed=True))
    thread.start()
    thread.join()
    traces.block("events", 500, 0.25, landed=False)
    traces.close()
    first, second = named(spans(http), "sink insert")
    assert first.attributes["millstream.rows"] == 500
    assert first.end - first.start == 250_000_000
    assert not first.error
    assert second.error


def test_so_many_batches_have_spans(http: Http) -> None:
    """As the ratio says; events' own traces are not asked about it."""
    traces = exported(http, ratio=0.0)
    batch = records({0: [(TRACEPARENT, SAMPLED)]})
    for _ in range(20):
        with traces.batch([batch]):
            traces.call("commit", 0.0005, failed=False)
    traces.close()
    assert {span.name for span in spans(http)} == {"scorer loans.events"}


def test_calls_outside_of_a_batch_are_nobodys(http: Http) -> None:
    """A note between two batches, the opening of a producer."""
    traces = exported(http)
    traces.call("init", 0.5, failed=False)
    traces.close()
    assert spans(http) == []


def test_no_traces_change_nothing() -> None:
    """The program without a collector."""
    batch = records({0: [(TRACEPARENT, SAMPLED)]})
    with NO_TRACES.batch([batch]):
        assert NO_TRACES.continued(None, OWN, batch, np.array([0])) is None
    NO_TRACES.close()
