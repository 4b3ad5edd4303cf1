"""[alerts] of stream.toml: what raises an alarm, how soon, how sure, and when it is over."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from millstream.alerts.alarm import Severity

Seconds = Annotated[float, Field(ge=0, le=31_536_000)]
SERIES_MAX = 500
"""Alarms of one rule at a time, one for each set of labels that its query returns."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Rule(_Table):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    """Small letters, digits and _; verify's alarms are called verify_..."""
    severity: Severity = Severity.TICKET
    summary: Annotated[str, Field(max_length=300)] = ""
    """What people are told first; what was measured follows."""
    every_s: Annotated[float, Field(ge=1, le=86_400)] = 30.0
    """Too low keeps ClickHouse or Kafka busy; too high notices late."""
    for_s: Seconds = 60.0
    """How long it must be so before it fires. Too low cries wolf at a hiccup; too high is late."""
    resolve_s: Seconds = 300.0
    """How long it must be over before it is resolved. Too low flaps; too high lingers."""
    cool_down_s: Seconds = 600.0
    """After it was resolved it does not fire again for so long. Too low flaps; too high is deaf."""

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name.startswith("verify_"):
            raise ValueError("verify_ starts the names of the audit's own alarms")
        return name


def _select(sql: str) -> str:
    """A rule reads: what is no SELECT is refused before ClickHouse sees it."""
    first = re.match(r"\s*(?:--[^\n]*\n\s*)*([A-Za-z]+)", sql)
    if first is None or first[1].upper() not in {"SELECT", "WITH"}:
        raise ValueError("sql is no SELECT")
    return sql


Sql: TypeAlias = Annotated[str, Field(min_length=8, max_length=10_000), AfterValidator(_select)]


class ThresholdRule(_Rule):
    """A number that a query returns is above or below a bound."""

    kind: Literal["threshold"]
    sql: Sql
    """One row for each subject: `value` is the number, other columns are labels; {database} is the
    stream's. NULL and NaN say nothing."""
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    """Where it counts as over: at most `above`, or at least `below`; the bound itself unless
    said."""

    @model_validator(mode="after")
    def _consistent(self) -> ThresholdRule:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        if self.clear is not None:
            if self.above is not None and self.clear > self.above:
                raise ValueError("clear is above `above`: it would be over while it fires")
            if self.below is not None and self.clear < self.below:
                raise ValueError("clear is below `below`: it would be over while it fires")
        return self


class LagRule(_Rule):
    """A program has more records before it than it should."""

    kind: Literal["lag"]
    program: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] = "scorer"
    """Its consumer group is NAME-PROGRAM unless `group` says otherwise."""
    group: Annotated[str, Field(min_length=1, max_length=249)] | None = None
    topics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Which of the stream's topics it reads, as schemas/topics.toml calls them; the scorer's is
    events, the sink's are events, predictions and dead_letters."""
    above_records: Annotated[int, Field(ge=0)]
    """Summed over its topics' partitions. Too low alarms at each restart; too high is late."""

    @model_validator(mode="after")
    def _consistent(self) -> LagRule:
        if self.topics is None and self.program not in PROGRAM_TOPICS:
            raise ValueError(f"topics is missing: what {self.program} reads is not known")
        return self

    def group_of(self, stream: str) -> str:
        return self.group or f"{stream}-{self.program}"

    @property
    def read_topics(self) -> tuple[str, ...]:
        """Kinds of schemas/topics.toml."""
        return self.topics or PROGRAM_TOPICS[self.program]


PROGRAM_TOPICS: dict[str, tuple[str, ...]] = {
    "scorer": ("events",),
    "sink": ("events", "predictions", "dead_letters"),
    "join": ("predictions", "outcomes"),
}


class MissingLabelsRule(_Rule):
    """Too many predictions have no outcome although they are old enough to have one."""

    kind: Literal["missing_labels"]
    after_s: Annotated[float, Field(gt=0, le=31_536_000)]
    """Age at which a prediction should have its outcome. Too low counts what only is late."""
    window_s: Annotated[float, Field(gt=0, le=31_536_000)] = 86_400.0
    """Predictions between after_s and after_s + window_s old are counted."""
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share without an outcome. Too low alarms though some labels never come by nature."""
    predictions_min: Annotated[int, Field(ge=1)] = 100
    """Too low judges a few; too high never judges a thin stream."""
    every_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0


class BurnWindow(_Table):
    """One pair: the long window says that it matters, the short one that it still goes on."""

    long_s: Annotated[float, Field(gt=0, le=7_776_000)]
    short_s: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(gt=0)]
    """How many times faster than allowed the error budget is spent."""
    severity: Severity

    @model_validator(mode="after")
    def _consistent(self) -> BurnWindow:
        if self.short_s >= self.long_s:
            raise ValueError("short_s is not below long_s")
        return self


WORKBOOK = (
    BurnWindow(long_s=3_600, short_s=300, factor=14.4, severity=Severity.PAGE),
    BurnWindow(long_s=21_600, short_s=1_800, factor=6.0, severity=Severity.PAGE),
    BurnWindow(long_s=259_200, short_s=21_600, factor=1.0, severity=Severity.TICKET),
)
"""Google SRE workbook, "Alerting on SLOs", multiwindow multi-burn-rate alerts: 2 % of a 30-day
budget in one hour, 5 % in six hours, 10 % in three days; a short window is a twelfth of its long
one."""


class BurnRateRule(_Rule):
    """An objective's error budget is spent too fast. `severity` is not used: each window has its
    own."""

    kind: Literal["burn_rate"]
    objective: Annotated[float, Field(gt=0, lt=1)]
    """Share of good events that was promised, such as 0.999."""
    indicator: Literal["latency", "refused"] | None = None
    """latency: predictions over their budget. refused: events that became dead letters."""
    sql: Sql | None = None
    """Instead of an indicator: one row with `total` and `bad` of the last {seconds} seconds."""
    windows: Annotated[tuple[BurnWindow, ...], Field(min_length=1, max_length=8)] = WORKBOOK
    events_min: Annotated[int, Field(ge=1)] = 1
    """Events that a short window must have. Too low lets one bad event of a quiet night page."""
    for_s: Seconds = 0.0
    resolve_s: Seconds = 300.0

    @model_validator(mode="after")
    def _consistent(self) -> BurnRateRule:
        if (self.indicator is None) == (self.sql is None):
            raise ValueError("give one of indicator and sql")
        for window in self.windows:
            if window.factor * (1 - self.objective) > 1:
                raise ValueError(
                    f"factor {window.factor:g} can never be reached: with objective "
                    f"{self.objective:g} the rate is at most {1 / (1 - self.objective):.3g}"
                )
        return self


class DetectorRule(_Rule):
    """An incident of the drift watch. It has hysteresis of its own: for_s and resolve_s are not
    used."""

    kind: Literal["detector"]
    verdicts: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "broken_pipe",
        "harmful_shift",
        "concept_change",
    )
    """Which incidents; of several rules the first that names an incident's verdict tells of it."""


Rule: TypeAlias = ThresholdRule | LagRule | MissingLabelsRule | BurnRateRule | DetectorRule


class AlertsTable(_Table):
    """[alerts]: rules, and how people are told. Where is said in MILLSTREAM_ALERTS_*."""

    group_wait_s: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    """Alarms of one rule that come within so long are told together. Too high is late."""
    rules: Annotated[
        tuple[Annotated[Rule, Field(discriminator="kind")], ...], Field(max_length=200)
    ] = ()

    @model_validator(mode="after")
    def _consistent(self) -> AlertsTable:
        names = [rule.name for rule in self.rules]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"rules names {', '.join(doubled)} twice")
        return self

    def scheduled(self) -> tuple[Rule, ...]:
        """Those that are looked at every so often; incidents come by themselves."""
        return tuple(rule for rule in self.rules if not isinstance(rule, DetectorRule))
