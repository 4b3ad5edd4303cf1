"""[retrain] of stream.toml: when a stream is retrained, and what a candidate must go through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RetrainTable(BaseModel):
    """When to retrain, on what, and how a candidate comes to answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    incident: bool = True
    """Whether an incident in which the loss rose asks for a retraining."""
    schedule_labels: Annotated[int, Field(ge=0)] = 500
    """Labels between two challenges that no change brings forward; 0: not by labels. Too low fits
    for nothing, and asks more of a winner; too high is late."""
    schedule_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds between two; 0: not by time."""
    volume_labels: Annotated[int, Field(ge=0)] = 0
    """Labels that came since the champion was trained; once there are so many. 0: never."""
    accuracy_min: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Below it, over the newest `accuracy_labels`, a retraining is asked for."""
    accuracy_labels: Annotated[int, Field(ge=30)] = 500
    """Too low asks by chance; too high is late."""
    accuracy_band: Annotated[float, Field(ge=0, lt=0.5)] = 0.02
    """So far above `accuracy_min` it must have been before it asks again."""
    query: str | None = None
    """A business metric: SQL for ClickHouse that gives one number; {database} is the stream's."""
    query_min: float | None = None
    """Below it the metric asks for a retraining."""
    query_max: float | None = None
    """Above it too."""
    query_band: Annotated[float, Field(ge=0)] = 0.0
    """So far within the bounds it must have been before it asks again."""
    cooldown_labels: Annotated[int, Field(ge=0)] = 0
    """Labels behind a retraining in which none is begun but by hand."""
    cooldown_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds, likewise. Too low retrains for one cause again and again; too high is late."""
    rows_max: Annotated[int, Field(ge=1_000, le=1_000_000)] = 50_000
    """Labelled rows that are collected. Too low forgets concepts; too high is slow."""
    family: Literal["lightgbm", "hist_gradient_boosting", "logistic_regression", "mlp"] = "lightgbm"
    """What candidates are."""
    parameters: dict[str, Any] = {}
    """Its library's own, over Millstream's defaults."""
    shadow: bool = True
    """Whether a winner first scores beside the champion, until [judge] has decided. Without it, the
    comparison on held-back labels is all."""
    canary_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the keys that it answers before it is the champion; 0: none. Needs `shadow`."""
    canary_labels: Annotated[int, Field(ge=1)] = 500
    """Labels behind the canary's beginning before it may be the champion."""
    patience_s: Annotated[float, Field(gt=0)] = 604_800.0
    """A candidate that is not decided on for so long is given up. Too low gives up what has few
    labels; too high keeps a stream from its next retraining."""

    @model_validator(mode="after")
    def _has_bounds(self) -> RetrainTable:
        if self.query is not None and self.query_min is None and self.query_max is None:
            raise ValueError("query needs query_min or query_max")
        return self
