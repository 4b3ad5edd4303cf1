"""The demo's stream: loan applications, and a model trained on earlier ones at the first start."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from examples.loans.generate import START, loans
from millstream.drift.profile import PROFILE_FILE, make_profile
from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.card import Feature, Window
from millstream.models.evaluation import evaluate
from millstream.models.lineage import Lineage, commit_of
from millstream.models.package import About, issue_passport, make_bundle
from millstream.models.passport import require_passport
from millstream.models.proof import Facts
from millstream.stream import Stream

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "loans"
TRAINING_ROWS, HELD_OUT_ROWS = 20_000, 5_000
TRAINING_SEED, STREAM_SEED = 1, 42
RESAMPLES = 100
"""For the intervals in the passport: the first start should not wait for more."""
EVENTS_MAX = 20_000_000
"""More than three hours at the demo's rate."""


def applications(events: int | None) -> Iterator[pa.RecordBatch]:
    """So many loan applications in the event schema; others than the model was trained on."""
    for batch in loans(events or EVENTS_MAX, seed=STREAM_SEED):
        yield batch.events


def write_stream(folder: Path) -> Path:
    """`folder`/stream.toml with its schema, and a bundle beside it: kept if it may be released."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    stream = Stream.load(folder / "stream.toml")
    if not _is_there(stream):
        shutil.rmtree(stream.bundle_path, ignore_errors=True)
        _train(stream)
    return stream.path


def _is_there(stream: Stream) -> bool:
    """Whether its bundle may be released, and is of applications before the stream's: a retraining
    compares nobody on rows that the champion has seen, and goes by their times."""
    try:
        bundle = Bundle.load(stream.bundle_path)
        require_passport(bundle)
    except BundleInvalid:
        return False
    window = bundle.card.window
    return window is not None and window.end < _begins()


def _begins() -> datetime:
    first: datetime = START.astype(datetime)
    return first.replace(tzinfo=UTC)


def write_profile(stream: Stream) -> None:
    """What the inputs looked like in training, beside the bundle, for the watch."""
    if (stream.bundle_path / PROFILE_FILE).exists():
        return
    drawn = [batch.events for batch in loans(TRAINING_ROWS, seed=TRAINING_SEED)]
    rows = pa.Table.from_batches(drawn)
    make_profile(stream.name, stream.features.order, rows).save(stream.bundle_path)


def _train(stream: Stream) -> Bundle:
    """LightGBM on 20,000 applications, judged on the 5,000 after them; with its passport."""
    import lightgbm  # noqa: PLC0415 - only at the first start
    import pandas as pd  # noqa: PLC0415
    from sklearn.metrics import log_loss, roc_auc_score  # noqa: PLC0415

    drawn = list(loans(TRAINING_ROWS + HELD_OUT_ROWS, seed=TRAINING_SEED))
    order = list(stream.features.order)
    frames = [batch.events.select(order).to_pandas() for batch in drawn]
    frame = pd.concat(frames, ignore_index=True)
    labels = np.concatenate([batch.labels for batch in drawn])
    fitted, held_out = frame.iloc[:TRAINING_ROWS], frame.iloc[TRAINING_ROWS:]
    model = lightgbm.LGBMClassifier(n_estimators=100, max_depth=6, random_state=0, verbose=-1)
    model.fit(fitted, labels[:TRAINING_ROWS])
    chance = np.asarray(model.predict_proba(held_out))[:, 1]
    truth = labels[TRAINING_ROWS:]
    times = pa.concat_arrays([batch.events.column(stream.event.time) for batch in drawn])
    now, earlier = datetime.now(UTC), times[-1].as_py() - _begins()
    about = About(
        name=stream.name,
        version="1",
        created=now,
        positive="1",
        window=Window(
            start=times[0].as_py() - earlier,
            end=times[TRAINING_ROWS - 1].as_py() - earlier,
            rows=TRAINING_ROWS,
        ),
        metrics={
            "held_out_rows": HELD_OUT_ROWS,
            "accuracy": float(((chance >= 0.5) == truth).mean()),
            "auc": float(roc_auc_score(truth, chance)),
            "log_loss": float(log_loss(truth, chance)),
        },
    )
    features = [Feature(name=name) for name in order]
    bundle = make_bundle(stream.bundle_path, model, features, held_out, about)
    scores = np.column_stack([1 - chance, chance])
    evaluation = evaluate(bundle.card, truth, scores, resamples=RESAMPLES)
    recipe: dict[str, str | int | float | bool | None] = {
        "generator": "examples/loans/generate.py",
        "seed": TRAINING_SEED,
        "rows": TRAINING_ROWS,
    }
    facts = Facts(now, Lineage(recipe=recipe, git_commit=commit_of(EXAMPLE)), evaluation)
    issue_passport(bundle, model, held_out, facts)
    return bundle
