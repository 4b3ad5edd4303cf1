"""A trained candidate as a bundle that may be released: card, profile, passport, model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from millstream.drift.profile import make_profile
from millstream.models.bundle import Bundle
from millstream.models.evaluation import evaluate
from millstream.models.lineage import Lineage
from millstream.models.package import issue_passport
from millstream.models.passport import Passport
from millstream.models.proof import Facts
from millstream.training.train import Trained


@dataclass(frozen=True, slots=True)
class Naming:
    """name, version: of the model. created: with a time zone. threshold: binary; a row is positive
    at or above it."""

    name: str
    version: str
    created: datetime
    threshold: float = 0.5


def write_trained(
    trained: Trained,
    folder: Path,
    naming: Naming,
    lineage: Lineage,
    slices: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Bundle, Passport]:
    """Write the bundle, with what was measured on the test rows.

    slices: field -> [n] values of the test rows. Raises BundleInvalid where the exported model
    gives other scores than its library; a check of the passport that fails is in the passport.
    """
    candidate, test = trained.candidate, trained.parts.test
    measured = trained.measures.as_json()
    metrics = {name: float(value) for name, value in measured.items() if name != "rows"}
    bundle = candidate.bundle(
        folder,
        test,
        name=naming.name,
        version=naming.version,
        created=naming.created,
        metrics={"held_out_rows": float(len(test)), **metrics},
        threshold=naming.threshold,
    )
    task, known = candidate.task, trained.parts.known
    categories = [feature.name for feature in task.features if feature.type == "category"]
    make_profile(naming.name, task.names, known.columns, categories).save(folder)
    facts = Facts(
        issued=naming.created,
        lineage=lineage,
        evaluation=evaluate(bundle.card, test.labels, trained.scores, slices),
    )
    sample = test.columns.select(task.names).to_pandas()
    return bundle, issue_passport(bundle, candidate, sample, facts)
