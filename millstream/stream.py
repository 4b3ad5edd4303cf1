"""stream.toml: everything Millstream must be told about one stream, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from millstream.alerts.rules import AlertsTable
from millstream.contracts import EventSchema, topic_table
from millstream.drift.rivers import RiverTable
from millstream.errors import StreamInvalid
from millstream.retraining.table import RetrainTable
from millstream.toml import nearest, parse, read_toml
from millstream.warehouse.table import WarehouseTable

LabelKind = Literal["binary", "multiclass", "regression"]
Guarantee = Literal["exactly_once", "at_least_once"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EventTable(_Table):
    """[event]: what producers publish."""

    schema_file: Annotated[str, Field(alias="schema")]
    """Avro schema of the event, relative to stream.toml."""
    key: str
    """Field whose text is the Kafka key. Events of one key stay in order."""
    id: str
    """Field that names the event in predictions, outcomes and dead letters."""
    time: str
    """Field with the time at which it happened: timestamp-millis or timestamp-micros."""
    bytes_max: Annotated[int, Field(ge=64, le=8_388_608)] = 1_048_576
    """Too low refuses honest events; too high lets one event hold a whole batch's memory."""


class FeaturesTable(_Table):
    """[features]: what the model sees."""

    order: Annotated[tuple[str, ...], Field(min_length=1)]
    """Event fields in model order."""
    categories: tuple[str, ...] = ()
    """Those of them that are categories (text); the others are numbers."""

    @model_validator(mode="after")
    def _consistent(self) -> FeaturesTable:
        doubled = sorted({name for name in self.order if self.order.count(name) > 1})
        if doubled:
            raise ValueError(f"order names {', '.join(doubled)} twice")
        unknown = [name for name in self.categories if name not in self.order]
        if unknown:
            raise ValueError(f"categories names {', '.join(unknown)}, which order does not")
        return self


class LabelTable(_Table):
    """[label]: what the model predicts, and what outcomes will say."""

    kind: LabelKind
    outcome_wait_s: Annotated[int, Field(gt=0)] = 2_592_000
    """Too low counts late outcomes as never labelled; too high makes the join's state large."""


class ModelTable(_Table):
    """[model]: which bundle answers."""

    bundle: str
    """Folder with model.onnx and bundle.toml, relative to stream.toml."""
    registry: str = "models"
    """Where versions are kept: a folder, relative to stream.toml; s3://BUCKET/PREFIX (gs, abfs); or
    mlflow: and what MLflow calls a tracking URI, such as mlflow:sqlite:///mlflow.db."""
    artifacts: str = "artifacts"
    """Where the models of an MLflow registry are stored: a folder, or s3://BUCKET/PREFIX."""


class ReleaseTable(_Table):
    """[release]: what a bundle must bring before it may answer."""

    passport: Literal["required", "none"] = "required"
    """none releases models of which nobody has shown that they answer as they were trained. The
    bundle that [model] names needs no passport."""
    signed_by: str | None = None
    """PEM file with an Ed25519 public key, relative to stream.toml: every bundle, [model] bundle
    too, must be signed by it."""
    cache: str = ".models"
    """Folder where scorers keep the bundles that they fetched, relative to stream.toml."""


class CacheTable(_Table):
    """[serving.cache]: earlier answers of the same model to the same features are given again."""

    bytes_max: Annotated[int, Field(ge=65_536, le=17_179_869_184)] = 67_108_864
    """Too low forgets rows before they come again; too high is memory of each scorer's. About 500
    bytes an entry of 30 features."""


class OverloadTable(_Table):
    """[serving.overload]: what answers while events wait longer than the latency budget, step by
    step in this order; each prediction says which. Only what is declared happens."""

    cheaper: str | None = None
    """First step: this bundle answers. A folder, relative to stream.toml; same features, labels."""
    cached: bool = False
    """Next: only what [serving.cache] knows is answered; the rest is abstained from."""
    abstain: bool = False
    """Last: nothing is answered. An abstained prediction's score is NaN, its label null."""
    after_ms: Annotated[int, Field(ge=1)] = 500
    """Late for so long before a step is taken. Too low cuts back at a hiccup; too high lets a
    backlog grow."""
    calm_ms: Annotated[int, Field(ge=1)] = 5_000
    """Below half the budget for so long before a step back. Too low swings between two steps; too
    high answers by less than it could."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Marks of the prediction contract, from the full answer down."""
        declared = {"cheaper": self.cheaper, "cached": self.cached, "abstained": self.abstain}
        return ("full", *(mark for mark, is_declared in declared.items() if is_declared))

    @model_validator(mode="after")
    def _has_a_step(self) -> OverloadTable:
        if len(self.steps) == 1:
            raise ValueError("declare a step: cheaper, cached or abstain")
        return self


class ServingTable(_Table):
    """[serving]: how predictions are made."""

    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Too low bounds how many scorers can share the stream; too high costs broker memory."""
    replication: Annotated[int, Field(ge=-1, le=10)] = -1
    """Copies of each topic; -1 is the broker's default."""
    latency_budget_ms: Annotated[int, Field(ge=1)] = 250
    """Published to scored. Predictions above it are marked, never dropped."""
    guarantee: Guarantee = "exactly_once"
    """exactly_once: one Kafka transaction a batch. at_least_once: repeats after a crash."""
    cache: CacheTable | None = None
    """Off unless declared. Turns itself off where looking up costs more than scoring."""
    overload: OverloadTable | None = None
    """Off unless declared: then every event is answered by the full model, however late."""

    @model_validator(mode="after")
    def _a_cached_step_has_a_cache(self) -> ServingTable:
        if self.overload is not None and self.overload.cached and self.cache is None:
            raise ValueError("overload.cached needs [serving.cache]")
        return self


class WatchTable(_Table):
    """[watch]: how drift is watched for, in labels and inputs."""

    false_alarms_per_week: Annotated[float, Field(gt=0)] = 1.0
    """Of the monitor. Too low is late; too high wakes people for nothing."""
    slices: tuple[str, ...] = ()
    """Event fields by whose values the loss is told apart."""
    inputs: bool = True
    """Whether the events' features are watched too."""
    window_events: Annotated[int, Field(ge=100, le=1_000_000)] = 500
    """Of an input window. Too low sees chance; too high is late."""
    window_s: Annotated[float, Field(ge=0, le=86_400)] = 1.0
    """Event time that an input window spans at least. Too low judges a fast stream all the time."""
    profile_events: Annotated[int, Field(ge=100, le=1_000_000)] = 5_000
    """Without a profile.json in the bundle, the first events are the reference: so many."""
    detectors: tuple[RiverTable, ...] = ()
    """River's detectors to run beside the monitor, as [[watch.detectors]]."""

    @model_validator(mode="after")
    def _detectors_have_names(self) -> WatchTable:
        ids = [detector.id for detector in self.detectors]
        doubled = sorted({name for name in ids if ids.count(name) > 1})
        if doubled:
            raise ValueError(f"two detectors are called {doubled[0]}: give one a name")
        return self


class CostsTable(_Table):
    """[costs]: what a wrong decision costs, in any unit of money; the performance report."""

    false_positive: Annotated[float, Field(ge=0)] = 1.0
    false_negative: Annotated[float, Field(ge=0)] = 1.0
    matrix: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """multiclass: true label -> predicted label -> cost; what it leaves out costs nothing."""


class FairnessTable(_Table):
    """[fairness]: groups whose treatment is compared, and how far they may be apart."""

    groups: tuple[str, ...] = ()
    """Event fields whose values are the groups."""
    edges: dict[str, tuple[float, ...]] = {}
    """Number field -> ascending edges that cut it into groups, such as age = [25, 60]."""
    reference: dict[str, str] = {}
    """Field -> the group that the others are compared with; else all others together."""
    favourable: str | None = None
    """The predicted label that is the good one; binary: the positive label unless said."""
    parity_gap_max: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Difference of the shares that get the good label."""
    impact_min: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Ratio of those shares: four fifths is the usual rule."""
    true_positive_gap_max: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Difference of the shares among those whose outcome was the good label."""
    rows_min: Annotated[int, Field(ge=1)] = 30
    """Too low judges groups of a few; too high never sees a small group."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of all comparisons together. Too low cries wolf; too high is silent for long."""

    @model_validator(mode="after")
    def _consistent(self) -> FairnessTable:
        for name in (*self.edges, *self.reference):
            if name not in self.groups:
                raise ValueError(f"edges or reference name {name}, which groups does not")
        for name, edges in self.edges.items():
            if not edges or list(edges) != sorted(set(edges)):
                raise ValueError(f"edges of {name} do not ascend")
        return self


class JudgeTable(_Table):
    """[judge]: when a challenger becomes the champion, and when a new champion is rolled back."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance that a model that is not better is promoted, or one that is not worse rolled back. Too
    low asks for more labels; too high swaps models for nothing."""
    margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Difference of mean loss that counts as none. Too low swaps for what nobody notices; too high
    never finds a model that is worth a swap."""
    rows_min: Annotated[int, Field(ge=8, le=10_000_000)] = 500
    """Labelled rows before anything is decided. Too low takes a burst that favours one model for a
    better model; too high waits, and lets a bad champion answer, where it is plain."""
    rows_max: Annotated[int, Field(ge=8, le=10_000_000)] = 20_000
    """Rows at which a challenger that is not proven better is rejected. Too low rejects small
    gains; too high scores everything twice for long."""
    loss: Literal["error", "log_loss", "squared_error"] = "error"
    """What is compared. error: wrong decisions, of a regression absolute errors. log_loss and
    squared_error (Brier) see better probabilities that change no decision yet."""
    value_scale: Annotated[float, Field(gt=0)] | None = None
    """Regression: an error so large is a whole loss; else four median errors of the first 100 rows.
    Too low sees only how often errors are large; too high drowns the usual ones."""
    calibration_rise_max: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Rise of the calibration error (ECE). Too low stops at chance; too high lets confidences
    lie."""
    cost_rise_max: Annotated[float, Field(ge=0)] = 0.0
    """Rise of the mean cost of a decision, as a share. Too high makes fewer but dearer errors."""
    latency_rise_max: Annotated[float, Field(ge=0)] = 0.1
    """Rise of the 99th percentile of latency, as a share, where it is above the latency budget. Too
    low stops at chance; too high lets a slower model in while events wait."""
    probation: bool = True
    """Whether a retrainer, or `millstream judge --watch`, lets the champion before score beside a
    new one, and takes the new one back where it is proven worse. Off, nobody does."""
    probation_s: Annotated[float, Field(gt=0)] = 604_800.0
    """At most for so long. Too low keeps a bad champion that has few labels; too high scores
    everything twice for long."""

    @model_validator(mode="after")
    def _min_before_max(self) -> JudgeTable:
        if self.rows_min > self.rows_max:
            raise ValueError(f"rows_min {self.rows_min} is above rows_max {self.rows_max}")
        return self


class PrivacyTable(_Table):
    """[privacy]: what must not leave Kafka."""

    private: tuple[str, ...] = ()
    """Event fields that never reach ClickHouse, nor a refused event's bytes with them."""


class Stream(_Table):
    """One stream, read from stream.toml by `Stream.load`; `schema` is its parsed event schema."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    """Prefix of its topics, name of its ClickHouse database: small letters, digits and _."""
    event: EventTable
    features: FeaturesTable
    label: LabelTable
    model: ModelTable
    release: ReleaseTable = ReleaseTable()
    serving: ServingTable = ServingTable()
    watch: WatchTable = WatchTable()
    costs: CostsTable = CostsTable()
    fairness: FairnessTable = FairnessTable()
    judge: JudgeTable = JudgeTable()
    retrain: RetrainTable = RetrainTable()
    privacy: PrivacyTable = PrivacyTable()
    alerts: AlertsTable = AlertsTable()
    warehouse: WarehouseTable = WarehouseTable()
    _path: Path = PrivateAttr()
    _schema: EventSchema = PrivateAttr()

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in {"default", "system", "information_schema"}:
            raise ValueError(f"{name} is a database of ClickHouse's own; choose another name")
        return name

    @classmethod
    def load(cls, path: Path) -> Stream:
        """Read stream.toml and its event schema. Raises StreamInvalid, naming key and remedy."""
        values: dict[str, Any] = read_toml(path)
        stream = parse(cls, values, str(path), StreamInvalid)
        stream._path = path
        stream._schema = EventSchema.load(stream.beside(stream.event.schema_file))
        stream._check_fields()
        return stream

    @property
    def path(self) -> Path:
        return self._path

    @property
    def schema_of_event(self) -> EventSchema:
        return self._schema

    @property
    def bundle_path(self) -> Path:
        return self.beside(self.model.bundle)

    @property
    def signed_by(self) -> Path | None:
        """The public key that every bundle must be signed by, if there is one."""
        return self.beside(self.release.signed_by) if self.release.signed_by else None

    def beside(self, name: str) -> Path:
        """A path that stream.toml gives relative to itself."""
        return self._path.parent / name

    def topic(self, kind: str) -> str:
        """The name of one of its topics: events, dead_letters and so on."""
        return topic_table()[kind].name(self.name)

    def _check_fields(self) -> None:
        """Every field that stream.toml names is one of the schema's, of a type that fits."""
        schema = self._schema
        named = {
            "event.key": (self.event.key,),
            "event.id": (self.event.id,),
            "event.time": (self.event.time,),
            "features.order": self.features.order,
            "watch.slices": self.watch.slices,
            "fairness.groups": self.fairness.groups,
            "privacy.private": self.privacy.private,
        }
        for key, names in named.items():
            for name in names:
                if name not in schema.fields:
                    hint = nearest(name, list(schema.fields))
                    raise StreamInvalid(
                        f"{self._path}: {key} names {name}, which {schema.path} has not{hint}",
                        "Name a field of the schema",
                    )
        for name in self.fairness.groups:
            if name in self.privacy.private:
                raise StreamInvalid(
                    f"{self._path}: fairness.groups names {name}, which privacy.private keeps out "
                    "of ClickHouse",
                    "Take it off one of the two",
                )
        if self.label.kind == "regression" and self.judge.loss == "log_loss":
            raise StreamInvalid(
                f"{self._path}: judge.loss is log_loss, which a regression has not",
                "Set loss = 'error' or 'squared_error'",
            )
        if self.label.kind == "regression" and self.retrain.accuracy_min is not None:
            raise StreamInvalid(
                f"{self._path}: retrain.accuracy_min is set, and a regression has no accuracy",
                "Take it off, or ask for a number of your own with retrain.query",
            )
        for detector in self.watch.detectors:
            if self.label.kind == "regression" and detector.on in ("error", "confidence"):
                raise StreamInvalid(
                    f"{self._path}: watch.detectors: {detector.id} is on {detector.on}, which a "
                    "regression has not",
                    "Set on = 'loss' or 'score'",
                )
        schema.require_text_like(self.event.key, "event.key")
        schema.require_text_like(self.event.id, "event.id")
        schema.require_timestamp(self.event.time, "event.time")
        for name in self.features.order:
            schema.require_feature(name, category=name in self.features.categories)
