"""The reference profile: what each feature looked like when the model was made, as counts.

It is made from training rows, or learned from a stream's first events, and lies as `profile.json`
beside `bundle.toml`. Everything the input watch measures is a comparison of counts with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from millstream.errors import BundleInvalid

PROFILE_FILE = "profile.json"
PROFILE_BYTES_MAX = 16 << 20
BINS = 16
"""Of a number with many values: one for each sixteenth of the reference rows."""
DISCRETE_MAX = 24
"""Up to so many distinct values each has a bin of its own."""
CATEGORIES_MAX = 200
"""The most frequent have a cell each; the others share the cell of the unseen ones."""
MAGNITUDES = 64
"""Powers of two from 2^-32 to 2^31; what is outside is in the first or the last."""
ROWS_MIN = 100

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Feature(_Part):
    """What numbers and categories have in common.

    nulls: rows without a value, NaN among them. repeat_rate: share of rows that equal the row
    before. longest_run: rows of the longest stretch of one value.
    """

    name: Annotated[str, Field(min_length=1)]
    rows: Annotated[int, Field(ge=1)]
    nulls: Count
    repeat_rate: Share
    longest_run: Count
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.counts) + self.nulls != self.rows:
            raise ValueError(f"counts and nulls of {self.name} are not its rows")
        return self

    @property
    def constant(self) -> bool:
        """Whether it had one value, or none: the model cannot have learned anything from it."""
        return sum(count > 0 for count in self.counts) + (self.nulls > 0) <= 1


class NumberFeature(_Feature):
    """A number. counts: rows below edges[0], between edges (upper one included), and above.

    discrete: each value has a bin. magnitudes: rows by power of two, zeros left out. log2_mean:
    mean of log2 |x| of those rows (linear between powers of two).
    """

    type: Literal["number"] = "number"
    edges: tuple[FiniteFloat, ...]
    discrete: bool
    minimum: FiniteFloat | None
    maximum: FiniteFloat | None
    magnitudes: Annotated[tuple[Count, ...], Field(min_length=MAGNITUDES, max_length=MAGNITUDES)]
    log2_mean: FiniteFloat

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"edges of {self.name} do not ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{self.name} has {len(self.counts)} counts for its edges")
        return self

    @property
    def constant(self) -> bool:
        """Whether it had one value, or none."""
        return self.minimum == self.maximum


class CategoryFeature(_Feature):
    """A category. counts: a cell for each of `categories`, and one for all others."""

    type: Literal["category"] = "category"
    categories: Annotated[tuple[str, ...], Field(max_length=CATEGORIES_MAX)]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"{self.name} names a category twice")
        if len(self.counts) != len(self.categories) + 1:
            raise ValueError(f"{self.name} has {len(self.counts)} counts for its categories")
        return self


AnyFeature = Annotated[NumberFeature | CategoryFeature, Field(discriminator="type")]


class Profile(_Part):
    """Every feature of one stream, in model order; `format` is the version of the file."""

    format: Literal[1] = 1
    stream: str
    made_from: Literal["training", "first_events"]
    rows: Annotated[int, Field(ge=ROWS_MIN)]
    features: Annotated[tuple[AnyFeature, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError("a feature is described twice")
        if any(feature.rows != self.rows for feature in self.features):
            raise ValueError("the features do not have the same number of rows")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in model order."""
        return tuple(feature.name for feature in self.features)

    def matrix(self, columns: pa.RecordBatch | Mapping[str, Any]) -> Floats:
        """[features, rows] of what the watch counts: numbers, codes of categories, NaN for null.

        A feature that the columns lack is all null: a field that is gone is seen as that.
        """
        rows = _rows(columns)
        made = np.empty((len(self.features), rows))
        for place, feature in enumerate(self.features):
            column = _column(columns, feature.name)
            if column is None:
                made[place] = np.nan
            elif isinstance(feature, NumberFeature):
                made[place] = _numbers(column)
            else:
                made[place] = _codes(_texts(column), feature.categories)
        return made

    @classmethod
    def load(cls, path: Path) -> Profile:
        """The profile in the file `path`, or in the bundle folder `path`.

        Raises BundleInvalid, naming the file and what to do.
        """
        file = path / PROFILE_FILE if path.is_dir() else path
        try:
            if file.stat().st_size > PROFILE_BYTES_MAX:
                raise BundleInvalid(f"{file} is above {PROFILE_BYTES_MAX} bytes", _REMEDY)
            return cls.model_validate_json(file.read_bytes(), strict=False)
        except FileNotFoundError:
            raise BundleInvalid(f"{file} does not exist", _REMEDY) from None
        except OSError as why:
            raise BundleInvalid(f"{file} cannot be read: {why}", _REMEDY) from None
        except ValidationError as why:
            first = why.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            said = first["msg"].removeprefix("Value error, ")
            raise BundleInvalid(f"{file}: {where}: {said}", _REMEDY) from None

    def save(self, path: Path) -> Path:
        """Write it to the file or into the bundle folder `path`; all of it or nothing."""
        file = path / PROFILE_FILE if path.is_dir() else path
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(self.model_dump_json(), "utf-8")
        draft.replace(file)
        return file


_REMEDY = "Make the profile again from the training rows, or take it away to learn a new one"


def make_profile(
    stream: str,
    order: Sequence[str],
    columns: pa.RecordBatch | Mapping[str, Any],
    categories: Sequence[str] = (),
    made_from: Literal["training", "first_events"] = "training",
) -> Profile:
    """The profile of rows, which should be in the order in which they happened.

    order: feature names in model order; categories: those that are text, the others are numbers.
    columns: Arrow batch or table, data frame, or mapping of arrays. Raises BundleInvalid where a
    column is missing or is no number, or there are fewer than ROWS_MIN rows.
    """
    rows = _rows(columns)
    if rows < ROWS_MIN:
        raise BundleInvalid(f"a profile of {rows} rows", f"Give at least {ROWS_MIN} rows")
    features: list[NumberFeature | CategoryFeature] = []
    for name in order:
        column = _column(columns, name)
        if column is None:
            raise BundleInvalid(f"the rows have no column {name}", "Give all of the features")
        if name in categories:
            features.append(_category_feature(name, _texts(column)))
        else:
            try:
                features.append(_number_feature(name, _numbers(column)))
            except (pa.ArrowException, ValueError, TypeError) as why:
                said = " ".join(str(why).split())[:200]
                raise BundleInvalid(
                    f"column {name} holds no numbers: {said}", "Name it among the categories"
                ) from None
    return Profile(stream=stream, made_from=made_from, rows=rows, features=tuple(features))


class ProfileLearner:
    """Collects a stream's first events until a profile can be made of them.

    It keeps whole columns and has no state to save: after a restart the first events are read
    again, from the offset at which learning began.
    """

    def __init__(
        self, stream: str, order: Sequence[str], rows: int, categories: Sequence[str] = ()
    ) -> None:
        self._stream, self._order, self._categories = stream, tuple(order), tuple(categories)
        self._rows = max(rows, ROWS_MIN)
        self._parts: list[pa.RecordBatch] = []
        self._seen = 0

    def add(self, batch: pa.RecordBatch) -> Profile | None:
        """The profile as soon as there are rows enough; the rows beyond them are not in it."""
        part = batch.select([name for name in self._order if name in batch.schema.names])
        part = part.slice(0, self._rows - self._seen)
        self._parts.append(part)
        self._seen += part.num_rows
        if self._seen < self._rows:
            return None
        whole = pa.Table.from_batches(self._parts).combine_chunks()
        return make_profile(
            self._stream, self._order, whole, self._categories, made_from="first_events"
        )


def magnitude_bits(values: Floats) -> tuple[Ints, Ints]:
    """(bin of the power of two, log2 in units of 2^-20) of finite numbers that are not zero.

    The upper 31 bits of a double are its exponent and the first 20 bits of its mantissa, so as an
    integer they are log2 |x|, linear between powers of two (at most 0.086 off).
    """
    logs = ((np.ascontiguousarray(values).view(np.int64) >> 32) & 0x7FFF_FFFF) - (1023 << 20)
    return np.clip((logs >> 20) + 32, 0, MAGNITUDES - 1), logs


def _number_feature(name: str, values: Floats) -> NumberFeature:
    present = values[~np.isnan(values)]
    finite = present[np.isfinite(present)]
    edges, discrete = _edges(finite)
    places = np.searchsorted(edges, present, side="left")
    bins, logs = magnitude_bits(finite[finite != 0])
    return NumberFeature(
        name=name,
        rows=len(values),
        nulls=len(values) - len(present),
        repeat_rate=_repeat_rate(values),
        longest_run=_longest_run(values),
        counts=tuple(np.bincount(places, minlength=len(edges) + 1).tolist()),
        edges=tuple(edges.tolist()),
        discrete=discrete,
        minimum=float(finite.min()) if len(finite) else None,
        maximum=float(finite.max()) if len(finite) else None,
        magnitudes=tuple(np.bincount(bins, minlength=MAGNITUDES).tolist()),
        log2_mean=float(logs.mean() / (1 << 20)) if len(logs) else 0.0,
    )


def _edges(finite: Floats) -> tuple[Floats, bool]:
    """Ascending edges, the first below and the last above all reference values."""
    if not len(finite):
        return np.empty(0), False
    values = np.unique(finite)
    low, high = values[0], values[-1]
    # float32 on the wire is not the training rows' float64: leave room for the rounding
    slack = 1e-6 * max(high - low, abs(low), abs(high), 1e-300)
    discrete = len(values) <= DISCRETE_MAX
    if discrete:
        inner = values[:-1] + np.diff(values) / 2
    else:
        inner = np.quantile(finite, np.arange(1, BINS) / BINS, method="inverted_cdf")
    inner = inner[(inner > low - slack) & (inner < high)]
    return np.unique(np.concatenate(([low - slack], inner, [high + slack]))), discrete


def _category_feature(name: str, texts: pa.Array) -> CategoryFeature:
    counted = pc.value_counts(texts.drop_null())
    pairs = zip(
        counted.field("counts").to_pylist(), counted.field("values").to_pylist(), strict=True
    )
    ranked = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:CATEGORIES_MAX]
    categories = tuple(text for _, text in ranked)
    codes = _codes(texts, categories)
    present = codes[~np.isnan(codes)].astype(np.int64)
    return CategoryFeature(
        name=name,
        rows=len(codes),
        nulls=len(codes) - len(present),
        repeat_rate=_repeat_rate(codes),
        longest_run=_longest_run(codes),
        counts=tuple(np.bincount(present, minlength=len(categories) + 1).tolist()),
        categories=categories,
    )


def _repeat_rate(values: Floats) -> float:
    return float((values[1:] == values[:-1]).mean()) if len(values) > 1 else 0.0


def _longest_run(values: Floats) -> int:
    breaks = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff(np.concatenate(([0], breaks, [len(values)])))
    return int(runs.max()) if not np.isnan(values).all() else 0


def _rows(columns: Any) -> int:
    if isinstance(columns, pa.RecordBatch | pa.Table):
        return int(columns.num_rows)
    return max((len(columns[name]) for name in columns), default=0)


def _column(columns: Any, name: str) -> pa.Array | None:
    names = columns.schema.names if isinstance(columns, pa.RecordBatch | pa.Table) else columns
    if name not in names:
        return None
    column = columns[name]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not isinstance(column, pa.Array):
        column = pa.array(column, from_pandas=True)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _numbers(column: pa.Array) -> Floats:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    if column.null_count or not pa.types.is_float64(column.type):
        column = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan)
    values: Floats = column.to_numpy(zero_copy_only=False)
    return values


def _texts(column: pa.Array) -> pa.Array:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _codes(texts: pa.Array, categories: tuple[str, ...]) -> Floats:
    """Place among the categories, their number for any other text, NaN for null."""
    found = pc.index_in(texts, value_set=pa.array(categories, pa.string()))
    codes = pc.fill_null(found, len(categories)).to_numpy(zero_copy_only=False)
    made: Floats = codes.astype(np.float64)
    if texts.null_count:
        made[pc.is_null(texts).to_numpy(zero_copy_only=False)] = np.nan
    return made
