"""From a fitted model to a bundle: the library's own scores, or no bundle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

lgb = pytest.importorskip("lightgbm", reason="install the extra train")
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

from millstream.errors import BundleInvalid  # noqa: E402
from millstream.models.bundle import Bundle  # noqa: E402
from millstream.models.card import Feature, Window  # noqa: E402
from millstream.models.forests import forest_of  # noqa: E402
from millstream.models.package import About, Form, make_bundle, parity  # noqa: E402
from millstream.models.session import Session  # noqa: E402
from tests.millstream.models.graphs import CREATED  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS, NAMES = 600, ["a", "b", "c", "d"]
NAN = [Feature(name=name, missing="nan") for name in NAMES]
STRICT = [Feature(name=name) for name in NAMES]
ABOUT = About("loans", "1", CREATED)

Matrix = npt.NDArray[np.float64]


def _data() -> tuple[Matrix, Matrix, dict[str, Any]]:
    rng = np.random.default_rng(7)
    whole = rng.normal(size=(ROWS, 4)) * [1.0, 100.0, 1e5, 1e-3]
    whole[:, 3] = rng.integers(0, 9, ROWS)
    holes = whole.copy()
    holes[:, :3][rng.random((ROWS, 3)) < 0.1] = np.nan
    signal = whole[:, 0] + whole[:, 1] / 100 * (whole[:, 3] % 3) + rng.normal(size=ROWS) / 3
    targets = {
        "binary": (signal > 0).astype(int),
        "multiclass": np.digitize(signal, [-1.0, 1.0]),
        "regression": signal * 1000,
    }
    return whole, holes, targets


WHOLE, HOLES, TARGETS = _data()
GBM = {"n_estimators": 12, "verbose": -1, "n_jobs": 1}

TREES: list[tuple[str, str, Callable[[], Any]]] = [
    ("lightgbm", "binary", lambda: lgb.LGBMClassifier(**GBM)),
    ("lightgbm", "multiclass", lambda: lgb.LGBMClassifier(**GBM)),
    ("lightgbm", "regression", lambda: lgb.LGBMRegressor(**GBM)),
    ("hist", "binary", lambda: HistGradientBoostingClassifier(max_iter=8)),
    ("hist", "multiclass", lambda: HistGradientBoostingClassifier(max_iter=8)),
    ("hist", "regression", lambda: HistGradientBoostingRegressor(max_iter=8)),
    ("forest", "binary", lambda: RandomForestClassifier(10, random_state=0)),
    ("forest", "multiclass", lambda: ExtraTreesClassifier(10, random_state=0)),
    ("forest", "regression", lambda: RandomForestRegressor(10, random_state=0)),
]
TREE_IDS = [f"{family}-{kind}" for family, kind, _ in TREES]


def made(folder: Path, model: Any, features: list[Feature], sample: Any, **form: Any) -> Bundle:
    """The bundle of a fitted model, loaded from disk."""
    make_bundle(folder / "m", model, features, sample, ABOUT, Form(**form))
    return Bundle.load(folder / "m")


def hostile(model: Any, step: Any) -> Matrix:
    """Rows made of the model's own thresholds, their neighbours and extremes, NaN among them.

    step: a floating type; neighbours are one of its steps away from the threshold.
    """
    forest = forest_of(model)
    assert forest is not None
    rng = np.random.default_rng(11)
    columns = []
    for feature in range(len(NAMES)):
        at = [
            tree.threshold[node]
            for tree in forest.trees
            for node in np.flatnonzero(~tree.leaf & (tree.feature == feature))
        ]
        with np.errstate(over="ignore"):
            near = np.array(at or [0.0]).astype(step)
        near = near[np.isfinite(near)]
        pool = np.concatenate(
            [near, np.nextafter(near, step(-np.inf)), np.nextafter(near, step(np.inf))]
        )
        large = [0.0, -0.0, 1e-35, -1e-35, 1e-45, 3e38, -3e38, np.nan]
        pool = np.concatenate([pool.astype(np.float64), np.array(large, step).astype(np.float64)])
        columns.append(rng.choice(pool, 2000))
    return np.column_stack(columns)


@pytest.mark.parametrize(("family", "kind", "make"), TREES, ids=TREE_IDS)
@pytest.mark.parametrize("input_type", ["float64", "float32"])
def test_trees_agree_at_their_own_thresholds(
    tmp_path: Path, family: str, kind: str, make: Callable[[], Any], input_type: Any
) -> None:
    """On each threshold and its two neighbours, on extremes and NaN."""
    model = make().fit(HOLES, TARGETS[kind])
    step = np.float64 if input_type == "float64" else np.float32
    sample = HOLES.astype(step).astype(np.float64)
    bundle = made(tmp_path, model, NAN, sample, input_type=input_type)
    assert bundle.card.kind == kind
    limit = 1e-7 if (family, kind) == ("forest", "multiclass") else 1e-13
    assert parity(bundle, model, hostile(model, step)) <= limit
    assert bundle.card.parity_max_diff is not None
    assert bundle.card.parity_max_diff <= limit


def test_a_tree_for_doubles_is_refused_with_a_float32_input(tmp_path: Path) -> None:
    """HistGradientBoosting puts thresholds on training values: rounding moves rows across."""
    model = HistGradientBoostingRegressor(max_iter=8).fit(HOLES, TARGETS["regression"])
    with pytest.raises(BundleInvalid, match="differ") as caught:
        made(tmp_path, model, NAN, HOLES, input_type="float32")
    assert "float64" in caught.value.remedy


@pytest.mark.parametrize(("family", "kind", "make"), TREES, ids=TREE_IDS)
def test_a_row_scores_the_same_alone_and_in_company(
    tmp_path: Path, family: str, kind: str, make: Callable[[], Any]
) -> None:
    """Bit for bit, whatever the size of the batch."""
    model = make().fit(HOLES, TARGETS[kind])
    _same_in_every_batch(Session(made(tmp_path, model, NAN, HOLES)))


def _same_in_every_batch(session: Session) -> None:
    rows = pa.RecordBatch.from_pandas(pd.DataFrame(HOLES, columns=NAMES).fillna(0.5))
    whole = session.score(rows).scores
    assert len(whole) == ROWS
    for size in (1, 2, 7, 64, 500):
        count = min(ROWS, size * 40)
        parts = [session.score(rows.slice(at, size)).scores for at in range(0, count, size)]
        joined = np.concatenate(parts)
        assert joined.tobytes() == whole[: len(joined)].tobytes()


OTHERS: list[tuple[str, Callable[[], Any]]] = [
    ("binary", lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    ("multiclass", lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    ("regression", lambda: make_pipeline(StandardScaler(), Ridge())),
    ("binary", lambda: make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=10))),
    ("multiclass", lambda: make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=10))),
    (
        "regression",
        lambda: make_pipeline(
            StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=10)
        ),
    ),
    ("binary", GaussianNB),
    ("binary", lambda: GradientBoostingClassifier(n_estimators=10)),
    ("binary", lambda: GradientBoostingClassifier(n_estimators=10, loss="exponential")),
    ("multiclass", lambda: GradientBoostingClassifier(n_estimators=10)),
    ("regression", lambda: GradientBoostingRegressor(n_estimators=10)),
    ("binary", lambda: make_pipeline(StandardScaler(), lgb.LGBMClassifier(**GBM))),
]


@pytest.mark.parametrize(("kind", "make"), OTHERS)
def test_other_families_agree_and_do_not_depend_on_the_batch(
    tmp_path: Path, kind: str, make: Callable[[], Any]
) -> None:
    """Pipelines, linear models, networks: 1e-12 on the sample and on extremes of it."""
    model = make().fit(WHOLE, TARGETS[kind])
    bundle = made(tmp_path, model, STRICT, WHOLE)
    assert bundle.card.parity_max_diff is not None
    assert bundle.card.parity_max_diff <= 1e-12
    assert parity(bundle, model, WHOLE * 1e6) <= 1e-9
    _same_in_every_batch(Session(bundle))


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        lambda: make_pipeline(
            SimpleImputer(strategy="median"), HistGradientBoostingClassifier(max_iter=8)
        ),
    ],
)
def test_imputers_keep_doubles(tmp_path: Path, make: Callable[[], Any]) -> None:
    """ONNX Runtime's own Imputer is float32 only; behind it a tree would differ by 0.7."""
    model = make().fit(HOLES, TARGETS["binary"])
    bundle = made(tmp_path, model, NAN, HOLES)
    assert bundle.card.parity_max_diff is not None
    assert bundle.card.parity_max_diff <= 1e-13


def test_an_unusual_imputer_falls_back_to_float32(tmp_path: Path) -> None:
    """-1 as the mark of a missing value has no double form; the input becomes float32."""
    model = make_pipeline(
        SimpleImputer(missing_values=-1.0), StandardScaler(), LogisticRegression()
    )
    model.fit(WHOLE, TARGETS["binary"])
    bundle = made(tmp_path, model, STRICT, WHOLE)
    assert bundle.card.parity_max_diff is not None
    assert 1e-12 < bundle.card.parity_max_diff <= 1e-6


def _frame() -> pd.DataFrame:
    frame = pd.DataFrame(HOLES, columns=NAMES)
    frame["s"] = np.random.default_rng(5).choice(["u", "v", "é"], ROWS)
    return frame


COLUMNS = [*NAN, Feature(name="s", type="category", missing_value="none")]


@pytest.mark.parametrize("final", [lambda: HistGradientBoostingClassifier(max_iter=8), None])
@pytest.mark.parametrize(
    "encoder",
    [
        lambda: OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
)
def test_columns_of_strings_agree_on_unseen_and_missing_categories(
    tmp_path: Path, encoder: Callable[[], Any], final: Callable[[], Any] | None
) -> None:
    """One input per feature; a category that training never saw scores as the library says."""
    frame, numbers = _frame(), make_pipeline(SimpleImputer(), StandardScaler())
    before = ColumnTransformer(
        [("s", encoder(), ["s"]), ("n", "passthrough" if final else numbers, NAMES)]
    )
    model = make_pipeline(before, final() if final else LogisticRegression())
    model.fit(frame, TARGETS["binary"])
    hard = frame.copy()
    hard.loc[:50, "s"] = "never seen"
    hard.loc[51:60, "s"] = None
    bundle = made(tmp_path, model, COLUMNS, hard)
    assert bundle.card.input.layout == "columns"
    assert bundle.card.parity_max_diff is not None
    assert bundle.card.parity_max_diff <= 1e-12


def test_lightgbm_categories_agree_on_codes_never_seen(tmp_path: Path) -> None:
    """Category codes as numbers: unseen, negative, fractional and missing ones too."""
    model = lgb.LGBMClassifier(**GBM).fit(HOLES, TARGETS["binary"], categorical_feature=[3])
    sample = HOLES[:200].copy()
    sample[:, 3] = np.resize([0, 8, 9, 63, 64, 1e6, -1, -0.5, 3.5, np.nan], 200)
    bundle = made(tmp_path, model, NAN, sample)
    assert bundle.card.parity_max_diff is not None
    assert bundle.card.parity_max_diff <= 1e-13


@pytest.mark.parametrize(
    "options",
    [
        {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1},
        {"boosting_type": "dart"},
        {"sigmoid": 2.5},
        {"n_estimators": 1, "min_child_samples": 2 * ROWS},
    ],
)
def test_lightgbm_variants_agree(tmp_path: Path, options: dict[str, Any]) -> None:
    """Averaged trees, dropped trees, another sigmoid, and a tree that is one leaf."""
    model = lgb.LGBMClassifier(**{**GBM, **options}).fit(HOLES, TARGETS["binary"])
    assert made(tmp_path, model, NAN, HOLES).card.parity_max_diff is not None


@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie", "quantile", "huber"])
def test_lightgbm_objectives_agree(tmp_path: Path, objective: str) -> None:
    """Each has its own way from a sum of leaves to a value."""
    model = lgb.LGBMRegressor(objective=objective, **GBM)
    model.fit(HOLES, np.abs(TARGETS["regression"]) / 100 + 1)
    assert made(tmp_path, model, NAN, HOLES).card.kind == "regression"


def test_a_booster_gets_its_labels_from_about(tmp_path: Path) -> None:
    """A Booster does not know what its classes are called."""
    booster = lgb.LGBMClassifier(**GBM).fit(HOLES, TARGETS["binary"]).booster_
    with pytest.raises(BundleInvalid, match="does not know its labels"):
        make_bundle(tmp_path / "m", booster, NAN, HOLES, ABOUT)
    about = About("loans", "1", CREATED, labels=["paid", "lost"], threshold=0.2)
    card = make_bundle(tmp_path / "m", booster, NAN, HOLES, about).card
    assert (card.labels, card.positive, card.threshold) == (("paid", "lost"), "lost", 0.2)


def test_the_card_says_how_the_model_was_made(tmp_path: Path) -> None:
    """Library and version, window, metrics, opset, and the measured difference."""
    model = lgb.LGBMClassifier(**GBM).fit(HOLES, TARGETS["binary"])
    window = Window(start=CREATED, end=CREATED + timedelta(hours=1), rows=ROWS)
    about = About("loans", "7", CREATED, window=window, metrics={"auc": 0.9}, positive="0")
    make_bundle(tmp_path / "m", model, NAN, HOLES, about)
    card = Bundle.load(tmp_path / "m").card
    assert (card.trained_by.library, card.trained_by.version) == ("lightgbm", lgb.__version__)
    assert (card.window, card.metrics, card.version) == (window, {"auc": 0.9}, "7")
    assert (card.labels, card.positive) == (("0", "1"), "0")
    assert card.opset == {"ai.onnx": 18, "ai.onnx.ml": 5}


def test_a_model_that_differs_too_much_becomes_no_bundle(tmp_path: Path) -> None:
    """A float32 network for values of a thousand is 1e-5 off: refused, nothing written."""
    model = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, random_state=0)
    )
    model.fit(WHOLE, TARGETS["regression"] * 1e3)
    with pytest.raises(BundleInvalid, match="scores differ from scikit-learn's by"):
        made(tmp_path, model, STRICT, WHOLE, input_type="float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "model", "features", "form", "says"),
    [
        ("binary", SVC(), STRICT, {}, "SVC gives no probabilities"),
        ("binary", LogisticRegression(), NAN, {}, "missing|not score"),
        ("binary", lgb.LGBMClassifier(**GBM), NAN[:3], {}, "trained on 4 columns, 3 features"),
        ("binary", lgb.LGBMClassifier(zero_as_missing=True, **GBM), NAN, {}, "zero_as_missing"),
        ("regression", lgb.LGBMRegressor(linear_tree=True, **GBM), STRICT, {}, "linear trees"),
        ("binary", lgb.LGBMClassifier(**GBM), NAN, {"layout": "columns"}, "takes a tensor"),
        (
            "binary",
            HistGradientBoostingClassifier(max_iter=8),
            NAN,
            {"layout": "columns"},
            "takes a tensor",
        ),
        (
            "binary",
            HistGradientBoostingClassifier(max_iter=8, categorical_features=[3]),
            NAN,
            {},
            "categorical features has no ONNX form",
        ),
    ],
)
def test_what_has_no_exact_form_is_refused(
    tmp_path: Path, kind: str, model: Any, features: list[Feature], form: Any, says: str
) -> None:
    """One line that names what it is, and nothing written."""
    model.fit(WHOLE, TARGETS[kind])
    with pytest.raises(BundleInvalid, match=says):
        made(tmp_path, model, features, WHOLE, **form)
    assert list(tmp_path.iterdir()) == []


def test_columns_by_name_need_the_columns_layout(tmp_path: Path) -> None:
    """A tensor has no names; the remedy says which layout has."""
    frame = pd.DataFrame(WHOLE, columns=NAMES)
    model = make_pipeline(ColumnTransformer([("n", StandardScaler(), NAMES)]), LogisticRegression())
    model.fit(frame, TARGETS["binary"])
    with pytest.raises(BundleInvalid, match="layout='columns'"):
        made(tmp_path, model, STRICT, frame)
    assert made(tmp_path, model, STRICT, frame, layout="columns").card.input.layout == "columns"


def test_an_empty_sample_proves_nothing(tmp_path: Path) -> None:
    """No rows, no parity, no bundle."""
    model = lgb.LGBMClassifier(**GBM).fit(HOLES, TARGETS["binary"])
    with pytest.raises(BundleInvalid, match="it has no rows"):
        made(tmp_path, model, STRICT, WHOLE[:0])


def test_a_feature_called_scores_is_no_trouble(tmp_path: Path) -> None:
    """The output takes another name."""
    frame = pd.DataFrame(WHOLE, columns=["a", "b", "c", "scores"])
    names = list(frame.columns)
    model = make_pipeline(ColumnTransformer([("n", StandardScaler(), names)]), LogisticRegression())
    model.fit(frame, TARGETS["binary"])
    features = [Feature(name=name) for name in names]
    bundle = made(tmp_path, model, features, frame, layout="columns")
    assert bundle.card.output.scores == "scores_"
