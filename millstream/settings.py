"""Settings of the programs, read from the environment. A misspelt variable is refused.

Every variable is MILLSTREAM_<PART>_<NAME>; the parts are the classes of `PARTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from millstream.errors import SettingsInvalid
from millstream.toml import nearest, parse

PREFIX = "MILLSTREAM_"
OTHER_VARIABLES = frozenset({"MILLSTREAM_CACHE", "MILLSTREAM_CRASH_AFTER"})
"""Read elsewhere: where fetched jars are kept, and where a crash test wants the process to die."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KafkaSettings(_Settings):
    """MILLSTREAM_KAFKA_*: how to reach the broker."""

    bootstrap: str = "127.0.0.1:9092"
    """host:port of one or more brokers, separated by commas."""
    embedded: bool = False
    """The broker is librdkafka's mock cluster: no transactions that hold, no topic creation."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: str | None = None
    group_protocol: Literal["classic", "consumer"] = "classic"
    """classic works everywhere; consumer (KIP-848) needs Kafka 4 and rebalances faster."""
    session_timeout_ms: Annotated[int, Field(ge=6_000, le=1_800_000)] = 45_000
    """classic only. Too low takes partitions from a slow program; too high waits for a dead one."""


class RegistrySettings(_Settings):
    """MILLSTREAM_REGISTRY_*: how to reach the schema registry."""

    url: str = "http://127.0.0.1:8081"
    username: str | None = None
    password: SecretStr | None = None


class WarehouseSettings(_Settings):
    """MILLSTREAM_WAREHOUSE_*: how to reach ClickHouse."""

    url: str = "http://127.0.0.1:8123"
    """http(s)://host:port of a server or of `millstream warehouse`, or chdb:PATH in the process."""
    username: str | None = None
    password: SecretStr | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Too low gives up inserts that would have landed; too high notices a dead server late."""


class ScorerSettings(_Settings):
    """MILLSTREAM_SCORER_*: the scorer."""

    slot: Annotated[int, Field(ge=0)] = 0
    """Names this process among its group's: the transactional id is group and slot. Two scorers
    with one slot fence each other."""
    transaction_events_max: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Too low pays a commit too often; too high holds more memory and repeats more on an abort."""
    transaction_timeout_ms: Annotated[int, Field(ge=1_000, le=900_000)] = 30_000
    """Above the slowest batch, or the broker fences the scorer; too high blocks readers longer
    after a crash."""
    call_s_max: Annotated[float, Field(gt=0)] = 60.0
    """The watchdog ends the process when one transaction call lasts longer."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of ONNX Runtime. More slows small models down; measure."""
    provider: Literal["cpu", "cuda"] = "cpu"
    breaker_ratio_max: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the newest events that may be refused before the scorer stops; 1 is off. Too low
    stops for a few bad producers; too high diverts a stream that a bad deploy has broken."""
    breaker_window_events: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    """How many of the newest events that share is of. Too low stops at a burst; too high notices
    late, and has diverted as many."""
    breaker_events_min: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000
    """Events judged before the share counts. Too low stops at the first few bad events; too high
    diverts that many after each start."""
    breaker_run_max: Annotated[int, Field(ge=0, le=100_000_000)] = 1_000
    """Refusals in a row in one partition before the scorer stops; 0 is off. Too low stops for one
    producer's bad minute; too high diverts that many of a partition that is broken as a whole."""

    @model_validator(mode="after")
    def _consistent(self) -> ScorerSettings:
        if self.breaker_events_min > self.breaker_window_events:
            raise ValueError("breaker_events_min is above breaker_window_events: it never judges")
        return self


class SinkSettings(_Settings):
    """MILLSTREAM_SINK_*: the sink."""

    slot: Annotated[int, Field(ge=0)] = 0
    """Names this process among its group's. Two sinks with one slot fence each other."""
    block_rows_max: Annotated[int, Field(ge=1, le=1_000_000)] = 150_000
    """Too low makes many small parts; too high holds more memory per partition."""
    block_bytes_max: Annotated[int, Field(ge=1_024)] = 64_000_000
    """The same bound in bytes of Kafka values."""
    held_bytes_max: Annotated[int, Field(ge=1_024)] = 256_000_000
    """Rows in hand of all partitions together. Too low makes small parts of many partitions."""
    block_age_ms_max: Annotated[int, Field(ge=1)] = 1_000
    """Too low makes ClickHouse merge all day; too high shows rows later."""
    attempts_max: Annotated[int, Field(ge=1)] = 100
    """Inserts of one block before the sink leaves; the wait between grows to 10 s."""


class AlertsSettings(_Settings):
    """MILLSTREAM_ALERTS_*: where people are told. Every address may hold a secret, so none is in
    stream.toml; a channel without its address is off, and the alarms' topic has everything."""

    slot: Annotated[int, Field(ge=0)] = 0
    """Names this process. One alert program a stream is enough; a second of one slot ends the
    first."""
    webhook_url: SecretStr | None = None
    """http(s) address that gets each notice as a POST of JSON."""
    webhook_shape: Literal["json", "slack"] = "json"
    """json: every field, for programs. slack: what Slack-compatible incoming webhooks show."""
    webhook_token: SecretStr | None = None
    """Sent as Authorization: Bearer."""
    alertmanager_url: SecretStr | None = None
    """Such as http://127.0.0.1:9093; /api/v2/alerts is appended."""
    alertmanager_username: str | None = None
    alertmanager_password: SecretStr | None = None
    alertmanager_repeat_s: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """Firing alarms are sent again after so long. Too low is chatter; too high lets Alertmanager
    show what is over for four times as long, should this program die."""
    smtp_host: str | None = None
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """587 goes with starttls, 465 with tls."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """none is for a mail server on this machine: user and password would be readable."""
    smtp_ca: str | None = None
    """File with the certificates to trust instead of the system's."""
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str | None = None
    mail_to: str | None = None
    """One or more addresses, separated by commas."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """For one try, from connecting to the answer. Too low gives up slow receivers; too high holds
    the next notice up."""
    attempts_max: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Tries of one notice. Too low loses it to a restart of its receiver; too high holds the next
    ones up for longer."""
    backoff_s_max: Annotated[float, Field(gt=0, le=600)] = 60.0
    """The wait between tries doubles from 1 s to this."""
    queue_max: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Alarms that a channel has in hand. Too low groups less; more wait in the topic."""

    @model_validator(mode="after")
    def _consistent(self) -> AlertsSettings:
        for name in ("webhook_url", "alertmanager_url"):
            secret = getattr(self, name)
            parts = urlsplit(secret.get_secret_value()) if secret else None
            if parts and (parts.scheme not in {"http", "https"} or not parts.hostname):
                raise ValueError(f"{name} is not http://... or https://...")
        if self.smtp_host and not (self.mail_from and self.mail_to):
            raise ValueError("smtp_host needs mail_from and mail_to")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("smtp_username and smtp_password come together")
        loopback = self.smtp_host in {"localhost", "127.0.0.1", "::1"}
        if self.smtp_username and self.smtp_security == "none" and not loopback:
            raise ValueError("smtp_security none would send smtp_password readable over the net")
        return self


class JoinSettings(_Settings):
    """MILLSTREAM_JOIN_*: the join of predictions and outcomes."""

    slot: Annotated[int, Field(ge=0)] = 0
    """Names this process among its group's. Two joins with one slot fence each other."""
    transaction_records_max: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Too low pays a commit too often; too high holds more memory and repeats more on an abort."""
    transaction_timeout_ms: Annotated[int, Field(ge=1_000, le=900_000)] = 30_000
    """Above the slowest batch, or the broker fences the join; too high blocks readers longer
    after a crash."""
    call_s_max: Annotated[float, Field(gt=0)] = 60.0
    """The watchdog ends the process when one transaction call lasts longer."""
    held_max: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    """Predictions held of one partition, and outcomes that wait. Too low gives predictions up
    before their outcomes come; too high holds more memory: 0.3 kB each, and its own bytes."""


class WatchSettings(_Settings):
    """MILLSTREAM_WATCH_*: the drift watch."""

    key: SecretStr | None = None
    """At least 32 bytes that seal its state; without it the key file holds them."""
    key_file: str | None = None
    """Made at the first start. Else .watch.key beside stream.toml."""
    batch_records_max: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Too low wastes time on small batches; too high holds more memory."""
    commit_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """State and findings are written so often, and at once where there is an incident. Too low
    writes much state; too high shows readings late, and repeats more work after a crash."""
    held_max: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """Records of a partition that wait for the others' before it is paused. Too low reads in small
    pieces; too high holds more memory."""
    transaction_timeout_ms: Annotated[int, Field(ge=1_000, le=900_000)] = 30_000
    """Too low and the broker fences a slow watch; too high blocks readers longer after a crash."""
    call_s_max: Annotated[float, Field(gt=0)] = 60.0
    """The watchdog ends the process when one transaction call lasts longer."""


class MetricsSettings(_Settings):
    """MILLSTREAM_METRICS_*: where each program shows /metrics, /live and /ready. They hold no
    secrets, and whoever reaches them may read them."""

    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """0: a free one, which the log and `targets` name. Without it nothing is shown or counted."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 in a container."""
    targets: str | None = None
    """Folder in which each program leaves a file of where it is, for Prometheus's file_sd."""
    live_s_max: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """How long a loop may stand still and pass for alive. Too low restarts a program that only
    waits for a slow broker; too high leaves one that hangs."""


class TracesSettings(_Settings):
    """MILLSTREAM_TRACES_*: OpenTelemetry, which needs the extra `traces`. Headers, such as a
    collector's token, come from OTEL_EXPORTER_OTLP_HEADERS."""

    url: str | None = None
    """Where spans go, such as http://127.0.0.1:4318/v1/traces. Without it there are none."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the batches that have a span. An event's own trace goes by its own flag."""
    events_max: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Events of a batch whose traces get a span. Too low leaves some out; too high costs time."""
    queue_max: Annotated[int, Field(ge=512, le=1_000_000)] = 10_000
    """Spans that wait for the collector. Too low drops them in a burst; too high takes memory."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """For one try. Too low gives up a slow collector; too high holds the next spans up."""

    @model_validator(mode="after")
    def _consistent(self) -> TracesSettings:
        parts = urlsplit(self.url) if self.url else None
        if parts and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("url is not http://... or https://...")
        return self


class ConsoleSettings(_Settings):
    """MILLSTREAM_CONSOLE_*: the console in the browser."""

    password: SecretStr | None = None
    """Whoever looks must give it. Needed where others than this machine can reach the console."""
    password_hash: SecretStr | None = None
    """In its place, what `millstream console --hash-password` prints of it."""
    session_s: Annotated[int, Field(ge=60, le=2_592_000)] = 43_200
    """How long a login holds. Too low asks all day; too high leaves a forgotten browser open."""
    https: bool = False
    """Whether browsers reach it by https alone: then the session's cookie never goes in plain."""
    poll_s: Annotated[float, Field(ge=0.5, le=60)] = 1.5
    """Between looks at ClickHouse and Kafka, while someone looks at the console. Too low costs the
    stream; too high shows it late."""
    query_s_max: Annotated[int, Field(ge=1, le=600)] = 10
    """A query that takes longer is given up. Too low has no answer on large tables; too high lets
    a careless one hold ClickHouse up."""
    query_rows_max: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Rows that the SQL page shows. Too high makes the browser slow."""
    query_bytes_max: Annotated[int, Field(ge=1_000_000)] = 2_000_000_000
    """Memory that one query may take in ClickHouse. Too low refuses joins; too high starves the
    sink's inserts."""
    performance_rows_max: Annotated[int, Field(ge=1_000, le=10_000_000)] = 200_000
    """The newest predictions that the performance page is made of. Too low is a short view; too
    high takes seconds, and a core, whenever it is made again."""

    @model_validator(mode="after")
    def _consistent(self) -> ConsoleSettings:
        if self.password is not None and self.password_hash is not None:
            raise ValueError("password and password_hash are both set: keep one")
        for secret in (self.password, self.password_hash):
            if secret is not None and not secret.get_secret_value():
                raise ValueError("the password is empty")
        return self


PARTS: dict[str, type[_Settings]] = {
    "KAFKA": KafkaSettings,
    "REGISTRY": RegistrySettings,
    "WAREHOUSE": WarehouseSettings,
    "SCORER": ScorerSettings,
    "SINK": SinkSettings,
    "JOIN": JoinSettings,
    "WATCH": WatchSettings,
    "ALERTS": AlertsSettings,
    "CONSOLE": ConsoleSettings,
    "METRICS": MetricsSettings,
    "TRACES": TracesSettings,
}
S = TypeVar("S", bound=_Settings)


def from_environment(cls: type[S], environ: Mapping[str, str], **given: object) -> S:
    """Settings of one part; `given` (options of the command line) wins where it is not None.

    Raises SettingsInvalid for a value that does not fit, and for any MILLSTREAM_ variable that no
    part knows, with the nearest name.
    """
    refuse_unknown(environ)
    part = next(name for name, known in PARTS.items() if known is cls)
    start = f"{PREFIX}{part}_"
    values: dict[str, object] = {
        name.removeprefix(start).lower(): value
        for name, value in environ.items()
        if name.startswith(start)
    }
    values |= {name: value for name, value in given.items() if value is not None}
    return parse(cls, values, f"settings {start}*", SettingsInvalid)


def known_variables() -> list[str]:
    """Every variable that may be set."""
    ours = [f"{PREFIX}{p}_{n.upper()}" for p, cls in PARTS.items() for n in cls.model_fields]
    return sorted([*ours, *OTHER_VARIABLES])


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise SettingsInvalid for a MILLSTREAM_ variable that nothing reads."""
    known = known_variables()
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            raise SettingsInvalid(
                f"environment variable {name} is unknown{nearest(name, known)}",
                "Unset it or mend its name",
            )
