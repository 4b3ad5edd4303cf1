"""The models of a retraining: rows out of ClickHouse, candidates fitted on them, its bundle.

Which rows, which candidates and who wins is the policy's (millstream/retraining/policy.py); it goes
on from where the last attempt left it, and counts the labels since that attempt's end. All of it is
done again from the attempt's facts where the process that did it is dead, and comes to the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumers import training_rows
from consumers.models.registry import fetch_model
from consumers.registry import Registry
from consumers.retrainer import Done, Ended, Result
from consumers.retraining.readings import answered_behind, count_labels
from consumers.retraining.releases import Releases
from consumers.warehouse import Warehouse
from millstream.models.bundle import Bundle
from millstream.models.lineage import Query
from millstream.models.passport import Passport
from millstream.models.reference import ModelReference
from millstream.models.registry import ModelRegistry
from millstream.models.session import Session
from millstream.retraining.challenge import Candidate, Why
from millstream.retraining.policy import Policy
from millstream.retraining.stages import Attempt, Log, Outcome, Stage, Step
from millstream.retraining.track import PolicySettings
from millstream.retraining.triggers import Counted
from millstream.retraining.workshop import Workshop
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from millstream.training.repeat import Source, lineage_of
from millstream.training.rows import Rows
from millstream.training.train import Recipe

THRESHOLD = 0.5
"""Where the champion has none."""
FOLDERS_KEPT = 20
"""Bundles of attempts that are over, for whoever looks. Too many fill the disk."""
NOT_DUE = "the policy's next challenge is not due yet, by the labels behind the last one"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a retrainer works with. work: a folder of its own. log: what earlier attempts found."""

    stream: Stream
    kafka: KafkaSettings
    registry: Registry
    warehouse: Warehouse
    models: ModelRegistry
    work: Path
    log: Log
    now_us: Callable[[], int] = lambda: time.time_ns() // 1_000


class Models:
    """Of one stream's attempts. Used by one thread."""

    def __init__(self, parts: Parts, releases: Releases) -> None:
        self._parts = parts
        self._stream = parts.stream
        self._releases = releases
        self._rows: dict[str, Rows] = {}  # attempt -> its rows
        self._sessions: dict[str, Session] = {}  # digest -> session

    def collect(self, attempt: Attempt) -> Result:
        """The newest labelled rows, by a query that is kept."""
        self._sweep()
        wanted = training_rows.Wanted(rows_max=self._stream.retrain.rows_max, mature_share=None)
        champion = self.bundle(self._releases.champion())
        loaded = training_rows.read(self._stream, self._parts.warehouse, wanted, champion.card)
        self._rows = {attempt.id: loaded.rows}
        return Done(
            {
                "rows": len(loaded.rows),
                "labels": count_labels(
                    self._stream,
                    self._parts.warehouse,
                    Counted.last(self._parts.log.attempts),
                    loaded.bounds,
                ),
                "query": loaded.query.model_dump(mode="json"),
                "offsets": [each.model_dump(mode="json") for each in loaded.offsets],
                "notes": list(loaded.notes),
            }
        )

    def train(self, attempt: Attempt) -> Result:
        """Ask the policy who shall answer."""
        rows = self._rows_of(attempt)
        reference = self._releases.champion()
        labels = int(attempt.facts(Stage.COLLECT).get("labels", 0))
        policy, models = self.policy(rows, reference, labels)
        if attempt.cause.get("since_us"):
            policy.take([], cut=int(attempt.cause["since_us"]))
        before = policy.wanted
        threshold = self.threshold(reference)
        shop = self.workshop(rows, models, before, threshold)
        labelled_us = int(rows.times_us[-1])
        newest_us, lag = answered_behind(self._stream, self._parts.warehouse, labelled_us)
        why: Why | None = None if attempt.cause.get("due") else "asked"
        decisions = policy.look(shop.losses, max(newest_us, labelled_us) + 1, lag, why)
        known = {each.name for each in policy.known}
        models = {name: each for name, each in models.items() if name in known}
        self._forget(models)
        facts = {
            "decisions": [each.as_json() for each in decisions],
            "policy": policy.state(),
            "due_in": policy.due_in(lag),
            "models": models,
            "lag": lag,
            "champion": before.as_json(),
            "against": reference.digest,
            "threshold": threshold,
        }
        wanted = policy.wanted
        if wanted.ranges == before.ranges:
            return Ended(Outcome.KEPT, decisions[0].reason if decisions else NOT_DUE, facts)
        facts["winner"] = wanted.as_json()
        if wanted.name in models:
            return Done({**facts, "reference": models[wanted.name]})
        return Done({**facts, "version": f"retrained-{attempt.number}"})

    def write(self, attempt: Attempt) -> tuple[Bundle, Passport]:
        """The winner's bundle in the attempt's folder, with passport and lineage."""
        trained, collected = attempt.facts(Stage.TRAIN), attempt.facts(Stage.COLLECT)
        rows, winner = self._rows_of(attempt), Candidate.of(trained["winner"])
        shop = self.workshop(
            rows, trained["models"], Candidate.of(trained["champion"]), trained["threshold"]
        )
        query = Query.model_validate(collected["query"])
        offsets = training_rows.offsets_within(self._parts.warehouse, query.text, winner.ranges)
        lineage = lineage_of(
            rows, shop.recipe(winner), Source(query, offsets), self._stream.path.parent
        )
        return shop.write(
            winner,
            self.folder(attempt),
            (self._stream.name, trained["version"]),
            datetime.fromtimestamp(attempt.asked_us / 1e6, UTC),
            lineage,
        )

    def _forget(self, models: Mapping[str, Any]) -> None:
        """Close the sessions of others."""
        kept = {ModelReference(**each).digest for each in models.values()}
        for digest in self._sessions.keys() - kept:
            self._sessions.pop(digest).close()

    def folder(self, attempt: Attempt) -> Path:
        """Where the winner's bundle is written."""
        return self._parts.work / attempt.id

    def _sweep(self) -> None:
        """Remove the folders of attempts long over: what was registered is in the registry."""
        over = [one for one in self._parts.log.attempts if one.over is not None]
        for one in over[:-FOLDERS_KEPT]:
            if self.folder(one).exists():
                shutil.rmtree(self.folder(one), ignore_errors=True)

    def bundle(self, reference: ModelReference) -> Bundle:
        """A registered model's."""
        return Bundle.load(fetch_model(self._stream, reference, self._parts.work / "models"))

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def _rows_of(self, attempt: Attempt) -> Rows:
        """By the query that its facts hold, where this process has not asked it itself."""
        if attempt.id not in self._rows:
            text = attempt.facts(Stage.COLLECT)["query"]["text"]
            card = self.bundle(self._releases.champion()).card
            rows, _ = training_rows.ask(self._stream, self._parts.warehouse, text, card)
            self._rows = {attempt.id: rows}
        return self._rows[attempt.id]

    def policy(
        self, rows: Rows, champion: ModelReference, labels: int
    ) -> tuple[Policy, dict[str, Any]]:
        """As the last attempt left it, and names -> references; begun anew where it does not know
        the champion. labels: so far, those of the rows among them.

        A former champion that answers again was rolled back to: the policy goes on from it.
        """
        ended = [one.over for one in self._parts.log.attempts if one.over is not None]
        for attempt in reversed(self._parts.log.attempts):
            if "policy" not in attempt.trained:
                continue
            found = self._gone_on(attempt, rows, champion)
            if found is not None:
                assert attempt.over is not None, "asked while another attempt is open"
                found[0].passed(labels - _labels(attempt.over))
                return found
            break
        window = self.bundle(champion).card.window
        ranges = (_us(window.start), _us(window.end) + 1) if window else (0, 0)
        every = self._stream.retrain.schedule_labels
        settings = PolicySettings(every_labels=every) if every else PolicySettings()
        policy = Policy(Candidate(champion.label, "champion", (ranges,)), settings)
        policy.take(rows.times_us)
        policy.passed(labels - (_labels(ended[-1]) if ended else 0))
        return policy, {champion.label: champion.as_dict()}

    def _gone_on(
        self, attempt: Attempt, rows: Rows, champion: ModelReference
    ) -> tuple[Policy, dict[str, Any]] | None:
        kept, place = attempt.trained, int(rows.times_us[-1]) + 1
        every = self._stream.retrain.schedule_labels or None
        policy = Policy.from_state(kept["policy"], rows.times_us.tolist(), every)
        models: dict[str, Any] = dict(kept["models"])
        registered = attempt.done.get(Stage.REGISTER)
        if attempt.over is not None and attempt.over.outcome is not Outcome.PROMOTED:
            if "winner" in kept:
                policy.refuse(place)
        elif registered is not None:
            models[kept["winner"]["name"]] = registered["reference"]

        def answers(name: str) -> bool:
            return bool(models.get(name, {}).get("digest") == champion.digest)

        if not answers(policy.wanted.name):
            back = [one.name for one in policy.formers if answers(one.name)]
            if not back:
                return None
            policy.refuse(place, back[-1])
        return (policy, models) if answers(policy.wanted.name) else None

    def threshold(self, champion: ModelReference) -> float:
        """By which everyone decides."""
        threshold = self.bundle(champion).card.threshold
        return THRESHOLD if threshold is None else threshold

    def workshop(
        self,
        rows: Rows,
        models: Mapping[str, Any],
        champion: Candidate,
        threshold: float,
        scale: float | None = None,
    ) -> Workshop:
        """What models lose on these rows. models: names -> references, of those that are
        registered."""

        def opened(name: str) -> Session | None:
            if name not in models:
                return None
            reference = ModelReference(**models[name])
            if reference.digest not in self._sessions:
                self._sessions[reference.digest] = Session(self.bundle(reference))
            return self._sessions[reference.digest]

        table = self._stream.retrain
        recipe = Recipe(table.family, table.parameters)
        return Workshop(rows, recipe, opened, champion, threshold, scale)


def _labels(over: Step) -> int:
    return int(over.facts.get("labels", 0))


def _us(time_: datetime) -> int:
    return round(time_.timestamp() * 1e6)
