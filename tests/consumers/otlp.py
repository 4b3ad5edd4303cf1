"""A collector's double: spans as OTLP over HTTP brought them, decoded from their protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.consumers.receivers import Http

PATH = "/v1/traces"


@dataclass(frozen=True)
class Span:
    """One span. ids: hexadecimal; parent "": it is a root. links: (trace, span) of each."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    error: str


def spans(http: Http) -> list[Span]:
    """All that were sent, in the order of their beginnings."""
    found = []
    for path, headers, body in list(http.got):
        assert path == PATH
        assert headers["content-type"] == "application/x-protobuf"
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                found += [_span(each, str(resource["service.name"])) for each in of_scope.spans]
    return sorted(found, key=lambda span: (span.start, span.end))


def _span(raw: Any, service: str) -> Span:
    links = tuple((link.trace_id.hex(), link.span_id.hex()) for link in raw.links)
    return Span(
        raw.name,
        service,
        raw.trace_id.hex(),
        raw.span_id.hex(),
        raw.parent_span_id.hex(),
        raw.start_time_unix_nano,
        raw.end_time_unix_nano,
        _values(raw.attributes),
        links,
        raw.status.message if raw.status.code == 2 else "",
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
