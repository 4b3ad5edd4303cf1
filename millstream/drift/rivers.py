"""River's drift detectors by name, as stream.toml's [[watch.detectors]] gives them.

They keep River's own semantics: one value at a time, a reset after each drift. On bursty errors of
an unchanged rate they alarm all the same, so they cannot keep a budget of false alarms: the monitor
does that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from millstream.toml import nearest

if TYPE_CHECKING:
    import numpy.typing as npt

On = Literal["error", "loss", "confidence", "score"]
"""What is watched: 1 for a wrong label; the loss; the confidence; the score of a prediction.

The first two are of labelled predictions, the others of all."""
Probability = Annotated[float, Field(gt=0, lt=1)]
_UNIT: tuple[On, ...] = ("error", "confidence")


class _Detector(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    on: On = "error"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """What its alarms are called; TYPE_ON unless said. Needed where TYPE_ON comes twice."""

    @property
    def id(self) -> str:
        """Its name in drift records and snapshots."""
        return self.name or f"{self.kind}_{self.on}"

    @property
    def kind(self) -> str:
        """The detector's name: its type."""
        return str(self.type)  # type: ignore[attr-defined]

    def parameters(self) -> dict[str, Any]:
        """What River's class is made with."""
        return self.model_dump(exclude={"type", "on", "name"})


class _Binary(_Detector):
    @model_validator(mode="after")
    def _takes_errors(self) -> _Binary:
        if self.on != "error":
            raise ValueError(f"{self.kind} takes errors only (0 or 1): set on = 'error'")
        return self


class _Unit(_Detector):
    @model_validator(mode="after")
    def _takes_unit_values(self) -> _Unit:
        if self.on not in _UNIT:
            raise ValueError(f"{self.kind} takes values from 0 to 1: on = 'error' or 'confidence'")
        return self


class Adwin(_Detector):
    """ADWIN: adaptive windowing (Bifet, Gavalda 2007). Any values."""

    type: Literal["ADWIN"]
    delta: Probability = 0.002
    """Too low is late; too high cries wolf."""
    clock: Annotated[int, Field(ge=1)] = 32
    max_buckets: Annotated[int, Field(ge=1)] = 5
    min_window_length: Annotated[int, Field(ge=1)] = 5
    grace_period: Annotated[int, Field(ge=1)] = 10


class PageHinkley(_Detector):
    """Page-Hinkley (Page 1954). Any values."""

    type: Literal["PageHinkley"]
    min_instances: Annotated[int, Field(ge=1)] = 30
    delta: Annotated[float, Field(ge=0)] = 0.005
    threshold: Annotated[float, Field(gt=0)] = 50.0
    """Too low cries wolf; too high is late."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 1 - 0.0001
    mode: Literal["up", "down", "both"] = "both"


class Kswin(_Detector):
    """KSWIN: Kolmogorov-Smirnov windows (Raab, Heusinger, Schleif 2020). Any values; slow."""

    type: Literal["KSWIN"]
    alpha: Probability = 0.005
    """Too low is late; too high cries wolf."""
    window_size: Annotated[int, Field(ge=2, le=100_000)] = 100
    stat_size: Annotated[int, Field(ge=1)] = 30
    seed: Annotated[int, Field(ge=0)] = 0
    """It draws at random: without a seed a restart would say something else."""

    @model_validator(mode="after")
    def _draws_fit(self) -> Kswin:
        if 2 * self.stat_size > self.window_size:
            raise ValueError("stat_size is more than half of window_size")
        return self


class Ddm(_Binary):
    """DDM (Gama, Medas, Castillo, Rodrigues 2004). Errors."""

    type: Literal["DDM"]
    warm_start: Annotated[int, Field(ge=1)] = 30
    warning_threshold: Annotated[float, Field(gt=0)] = 2.0
    drift_threshold: Annotated[float, Field(gt=0)] = 3.0


class Eddm(_Binary):
    """EDDM (Baena-Garcia et al. 2006). Errors."""

    type: Literal["EDDM"]
    warm_start: Annotated[int, Field(ge=1)] = 30
    alpha: Probability = 0.95
    beta: Probability = 0.9

    @model_validator(mode="after")
    def _ordered(self) -> Eddm:
        if self.alpha < self.beta:
            raise ValueError("alpha is below beta")
        return self


class HddmA(_Unit):
    """HDDM_A (Frias-Blanco et al. 2015). Values from 0 to 1."""

    type: Literal["HDDM_A"]
    drift_confidence: Probability = 0.001
    warning_confidence: Probability = 0.005
    two_sided_test: bool = False


class HddmW(_Unit):
    """HDDM_W (Frias-Blanco et al. 2015). Values from 0 to 1."""

    type: Literal["HDDM_W"]
    drift_confidence: Probability = 0.001
    warning_confidence: Probability = 0.005
    lambda_val: Probability = 0.05
    two_sided_test: bool = False


_TABLES: dict[str, type[_Detector]] = {
    "ADWIN": Adwin,
    "PageHinkley": PageHinkley,
    "KSWIN": Kswin,
    "DDM": Ddm,
    "EDDM": Eddm,
    "HDDM_A": HddmA,
    "HDDM_W": HddmW,
}
NAMES = tuple(_TABLES)
"""Of the detectors that stream.toml may name."""


def _known(value: Any) -> Any:
    """Refuse what no table is: pydantic would list all that there are, without the nearest."""
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    if name not in _TABLES:
        said = "type is missing" if name is None else f"no detector {name}"
        raise ValueError(f"{said}{nearest(str(name), list(NAMES))}; known: {', '.join(NAMES)}")
    keys = list(_TABLES[name].model_fields)
    for key in value:
        if key not in keys:
            raise ValueError(f"{name} has no parameter {key}{nearest(str(key), keys)}")
    return value


RiverTable = Annotated[
    Annotated[
        Adwin | PageHinkley | Kswin | Ddm | Eddm | HddmA | HddmW, Field(discriminator="type")
    ],
    BeforeValidator(_known),
]
"""One [[watch.detectors]] table."""


@dataclass(frozen=True, slots=True)
class Raised:
    """Rows of a batch, counted from 0, after which the detector said drift, or warning."""

    drifts: tuple[int, ...]
    warnings: tuple[int, ...]


class RiverDetector:
    """One of River's detectors, fed with batches value by value.

    river: River's own object. seen: values so far; skipped: those that were no finite number.
    """

    def __init__(self, table: RiverTable) -> None:
        self.table = table
        self.river: Any = _river_class(table.kind)(**table.parameters())
        self.seen = 0
        self.skipped = 0

    def update(self, values: npt.NDArray[Any] | Sequence[float]) -> Raised:
        """Take values in order, [n]. A value that is no finite number is counted and left out."""
        drifts, warnings = [], []
        for row, value in enumerate(values):
            number = float(value)
            self.seen += 1
            if not math.isfinite(number):
                self.skipped += 1
                continue
            self.river.update(number)
            if self.river.drift_detected:
                drifts.append(row)
            elif getattr(self.river, "warning_detected", False):
                warnings.append(row)
        return Raised(tuple(drifts), tuple(warnings))


def _river_class(kind: str) -> Any:
    from river import drift  # noqa: PLC0415 - not everybody watches, and it takes a second
    from river.drift import binary  # noqa: PLC0415

    classes: dict[str, Any] = {
        "ADWIN": drift.ADWIN,
        "PageHinkley": drift.PageHinkley,
        "KSWIN": drift.KSWIN,
        "DDM": binary.DDM,
        "EDDM": binary.EDDM,
        "HDDM_A": binary.HDDMA,
        "HDDM_W": binary.HDDMW,
    }
    return classes[kind]
