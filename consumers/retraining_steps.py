"""What the stages of a retraining do: ClickHouse's rows, a registry's models, releases, judges."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from consumers import judge, releasing, training_rows
from consumers.alert_log import Follower, value_of
from consumers.model_registry import fetch_model
from consumers.registry import Registry
from consumers.releases import read_timeline
from consumers.retrainer import Done, Ended, Result, Waits
from consumers.warehouse import Warehouse
from millstream.alerts import wire
from millstream.drift.verdict import Verdict as Cause
from millstream.errors import BundleInvalid, OperatorNeeded, RecordRefused
from millstream.judging.evidence import Decision, Verdict
from millstream.models.bundle import Bundle
from millstream.models.lineage import OffsetRange, Query
from millstream.models.reference import ModelReference
from millstream.models.registry import ModelRegistry
from millstream.models.session import Session
from millstream.releases.decide import Wanted
from millstream.retraining.challenge import Candidate
from millstream.retraining.policy import Policy
from millstream.retraining.stages import Attempt, Log, Outcome, Stage, Trigger
from millstream.retraining.triggers import Opened, Readings
from millstream.retraining.workshop import Workshop
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from millstream.training.repeat import Source, lineage_of
from millstream.training.rows import Rows
from millstream.training.train import Recipe

HARMFUL: Final = {Cause.HARMFUL_SHIFT.value, Cause.CONCEPT_CHANGE.value}
CHAMPION: Final = "champion"


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


class StreamSteps:
    """consumers/retrainer.py's Steps on the real parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stream = parts.stream
        self._rows: dict[str, Rows] = {}  # attempt -> its rows
        self._sessions: dict[str, Session] = {}  # digest -> session
        self._reader = wire.Reader(parts.registry.schema)
        topic, group = parts.stream.topic("incidents"), f"{parts.stream.name}-retrain-incidents"
        self._follower = Follower(parts.kafka, topic, group)
        self._run: dict[Stage, Callable[[Attempt], Result]] = {
            Stage.COLLECT: self._collect,
            Stage.TRAIN: self._train,
            Stage.PASSPORT: self._passport,
            Stage.REGISTER: self._register,
            Stage.SHADOW: self._shadow,
            Stage.JUDGE: self._judge,
            Stage.CANARY: self._canary,
            Stage.PROMOTE: self._promote,
        }

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """One stage; see the protocol."""
        return self._run[stage](attempt)

    def readings(self) -> Readings:
        """From ClickHouse, one query for each that is asked for."""
        name, table, warehouse = self._stream.name, self._stream.retrain, self._parts.warehouse
        first = f"FROM {name}.labelled WHERE kafka_unreadable = '' AND status = 'labelled'"
        ((labels,),) = warehouse.query(f"SELECT count() {first}")
        accuracy = business = None
        if table.accuracy_min is not None and labels >= table.accuracy_labels:
            ((accuracy,),) = warehouse.query(
                f"SELECT avg(ifNull(predicted = label, 0)) FROM (SELECT predicted, label {first} "
                f"ORDER BY kafka_time DESC, kafka_offset DESC LIMIT {table.accuracy_labels})"
            )
        if table.query is not None:
            found = warehouse.query(table.query.replace("{database}", name))
            if len(found) != 1 or len(found[0]) != 1:
                raise OperatorNeeded(
                    f"[retrain] query of {name} gives {len(found)} rows", "It must give one number"
                )
            business = None if found[0][0] is None else float(found[0][0])
        return Readings(self._parts.now_us(), int(labels), accuracy, business, self._trained())

    def incidents(self) -> list[Opened]:
        """The topic from its beginning: which ones were told is in the log."""
        found = []
        for record in self._follower.take(0.0):
            try:
                incident = self._reader.incident(value_of(record))
            except RecordRefused:
                continue  # the alert program tells of it
            if incident.verdict in HARMFUL and not incident.resolved:
                opened = Opened(incident.id, incident.verdict, incident.started_us or 0)
                found.append(opened)
        return found

    def close(self) -> None:
        self._follower.close()
        for session in self._sessions.values():
            session.close()

    def _trained(self) -> int:
        for attempt in reversed(self._parts.log.attempts):
            if attempt.over is not None and attempt.over.outcome is Outcome.PROMOTED:
                return int(attempt.over.facts.get("labels", 0))
        return 0

    def _collect(self, attempt: Attempt) -> Result:
        wanted = training_rows.Wanted(rows_max=self._stream.retrain.rows_max, mature_share=None)
        loaded = training_rows.read(
            self._stream, self._parts.warehouse, wanted, self._answering()[1].card
        )
        self._rows[attempt.id] = loaded.rows
        return Done(
            {
                "rows": len(loaded.rows),
                "query": loaded.query.model_dump(mode="json"),
                "offsets": [each.model_dump(mode="json") for each in loaded.offsets],
                "notes": list(loaded.notes),
            }
        )

    def _rows_of(self, attempt: Attempt) -> Rows:
        """By the query that its facts hold, where this process has not asked it itself."""
        if attempt.id not in self._rows:
            text = attempt.facts(Stage.COLLECT)["query"]["text"]
            card = self._answering()[1].card
            rows, _ = training_rows.ask(self._stream, self._parts.warehouse, text, card)
            self._rows = {attempt.id: rows}
        return self._rows[attempt.id]

    def _train(self, attempt: Attempt) -> Result:
        rows = self._rows_of(attempt)
        policy, models = self._policy(rows)
        shop = self._workshop(rows, models)
        if attempt.trigger is Trigger.INCIDENT and attempt.cause.get("since_us"):
            policy.take([], cut=int(attempt.cause["since_us"]))
        before = policy.wanted
        answered, lag = self._answered(int(rows.times_us[-1]))
        decisions = policy.look(shop.losses, answered, lag, "asked")
        facts = {
            "decisions": [each.as_json() for each in decisions],
            "policy": policy.state(),
            "models": models,
            "lag": lag,
        }
        wanted = policy.wanted
        if wanted.ranges == before.ranges:
            return Ended(Outcome.KEPT, decisions[0].reason, facts)
        facts["winner"] = wanted.as_json()
        if wanted.name in models:
            return Done({**facts, "reference": models[wanted.name]})
        return Done({**facts, "version": f"retrained-{attempt.number}"})

    def _passport(self, attempt: Attempt) -> Result:
        trained = attempt.facts(Stage.TRAIN)
        if "reference" in trained:
            return Done({"skipped": "a former champion has its passport"})
        bundle, passed = self._written(attempt)
        if passed:
            return Ended(Outcome.FAILED, f"its passport fails: {passed}")
        return Done({"digest": bundle.digest})

    def _written(self, attempt: Attempt) -> tuple[Bundle, str]:
        """Its bundle in the work folder, made again wherever it is not; and what fails, if any."""
        trained, collected = attempt.facts(Stage.TRAIN), attempt.facts(Stage.COLLECT)
        rows = self._rows_of(attempt)
        table = self._stream.retrain
        shop = self._workshop(rows, trained["models"])
        source = Source(
            Query.model_validate(collected["query"]),
            [OffsetRange.model_validate(each) for each in collected["offsets"]],
        )
        recipe = Recipe(table.family, table.parameters)
        bundle, passport = shop.write(
            Candidate.of(trained["winner"]),
            self._parts.work / attempt.id,
            (self._stream.name, trained["version"]),
            datetime.fromtimestamp(attempt.asked_us / 1e6, UTC),
            lineage_of(rows, recipe, source, self._stream.path.parent),
        )
        return bundle, "" if passport.passed else str(passport.first_failure)

    def _register(self, attempt: Attempt) -> Result:
        trained = attempt.facts(Stage.TRAIN)
        if "reference" in trained:
            return Done({"skipped": "it is registered", "reference": trained["reference"]})
        folder = self._parts.work / attempt.id
        digest = attempt.facts(Stage.PASSPORT)["digest"]
        try:
            if Bundle.load(folder).digest != digest:
                self._written(attempt)
        except BundleInvalid:
            self._written(attempt)
        tags = {"retraining": attempt.id, "trigger": attempt.trigger.value}
        return Done({"reference": self._parts.models.add(folder, tags).as_dict()})

    def _shadow(self, attempt: Attempt) -> Result:
        if not self._stream.retrain.shadow:
            return Done({"skipped": "[retrain] shadow is off"})
        return Done(self._release(attempt, "shadow", 0.0, attempt.reason))

    def _judge(self, attempt: Attempt) -> Result:
        if not self._stream.retrain.shadow:
            return Done({"skipped": "the comparison on held-back labels decides"})
        return self._judged(attempt, Stage.SHADOW, 0)

    def _canary(self, attempt: Attempt) -> Result:
        table = self._stream.retrain
        if not table.shadow or not table.canary_share:
            return Done({"skipped": "[retrain] asks for no canary"})
        release = self._release(attempt, "canary", table.canary_share, attempt.reason)
        rows = int(attempt.facts(Stage.JUDGE)["rows"]) + table.canary_labels
        result = self._judged(attempt, Stage.JUDGE, rows)
        if isinstance(result, Done):
            return Done({**release, **result.facts})
        return result

    def _judged(self, attempt: Attempt, since: Stage, rows_min: int) -> Result:
        """What the judges say; too few rows, and it waits."""
        ours = _reference(attempt)
        decision = self._decision(ours)
        began = int(attempt.facts(since).get("at_us", self._parts.now_us()))
        late = self._parts.now_us() - began > self._stream.retrain.patience_s * 1e6
        if decision is None:
            if late:
                return self._rejected(attempt, "nobody scored it in time", {})
            return Waits("no partition has switched to it yet")
        rows = decision.evidence.finding.rows
        if decision.verdict is Verdict.REJECT:
            return self._rejected(attempt, decision.reason, decision.as_json())
        if decision.verdict is Verdict.PROMOTE and rows >= rows_min:
            return Done(
                {"rows": rows, "at_us": self._parts.now_us(), "evidence": decision.as_json()}
            )
        if late:
            return self._rejected(attempt, f"not decided in time: {decision.reason}", {})
        return Waits(decision.reason)

    def _decision(self, ours: ModelReference) -> Decision | None:
        stream, warehouse = self._stream, self._parts.warehouse
        cards = [self._answering()[1].card, self._bundle(ours).card]
        for contest in judge.contests(stream, warehouse):
            if (contest.challenger.label, contest.challenger.digest) == (ours.label, ours.digest):
                return judge.decide(stream, warehouse, cards, contest)
        return None

    def _rejected(self, attempt: Attempt, reason: str, evidence: Mapping[str, Any]) -> Result:
        """The champion answers alone again."""
        parts = self._parts
        wanted = self._wanted(attempt, "reject", None, reason)
        releasing.release(parts.stream, parts.kafka, parts.registry, parts.models, wanted)
        return Ended(Outcome.KEPT, reason, {"evidence": dict(evidence)})

    def _promote(self, attempt: Attempt) -> Result:
        ours = _reference(attempt)
        facts = self._release(attempt, "promote", None, attempt.reason)
        self._parts.models.set_alias(ours.name, CHAMPION, ours.version)
        return Ended(
            Outcome.PROMOTED, f"{ours.label} answers from release {facts['number']} on", facts
        )

    def _release(
        self, attempt: Attempt, what: str, share: float | None, reason: str
    ) -> dict[str, Any]:
        parts = self._parts
        wanted = self._wanted(attempt, what, _reference(attempt), reason, share)
        made = releasing.release(parts.stream, parts.kafka, parts.registry, parts.models, wanted)
        return {"release": made.id, "number": made.number, "at_us": made.decided_us}

    def _wanted(
        self,
        attempt: Attempt,
        what: str,
        model: ModelReference | None,
        reason: str,
        share: float | None = None,
    ) -> Wanted:
        return Wanted(
            f"{attempt.id}-{what}",
            model,
            share,
            reason=reason,
            evidence={"retraining": attempt.id, "number": attempt.number},
            decided_by="retrainer",
            decided_us=self._parts.now_us(),
        )

    def _answering(self) -> tuple[ModelReference, Bundle]:
        """The champion now: the newest release's, else stream.toml's."""
        parts = self._parts
        newest = read_timeline(parts.stream, parts.kafka, parts.registry.schema).newest
        if newest is not None:
            return newest.champion, self._bundle(newest.champion)
        own = releasing.own_reference(parts.stream, parts.models)
        if own is None:
            raise OperatorNeeded(
                f"{parts.stream.name} has no champion to compare with",
                "Give stream.toml a bundle, or release a model",
            )
        return own, self._bundle(own)

    def _bundle(self, reference: ModelReference) -> Bundle:
        return Bundle.load(fetch_model(self._stream, reference, self._parts.work / "models"))

    def _policy(self, rows: Rows) -> tuple[Policy, dict[str, Any]]:
        """As the last attempt left it, and names -> references; begun anew where someone else has
        released another champion since."""
        champion, bundle = self._answering()
        times = rows.times_us.tolist()
        for attempt in reversed(self._parts.log.attempts):
            kept = attempt.done.get(Stage.TRAIN) or (attempt.over and attempt.over.facts) or {}
            if "policy" not in kept:
                continue
            policy = Policy.from_state(kept["policy"], times)
            models: dict[str, Any] = dict(kept["models"])
            registered = attempt.done.get(Stage.REGISTER)
            if attempt.over is not None and attempt.over.outcome is not Outcome.PROMOTED:
                if "winner" in kept:
                    policy.refuse(int(rows.times_us[-1]) + 1)
            elif registered is not None:
                models[kept["winner"]["name"]] = registered["reference"]
            if models.get(policy.wanted.name, {}).get("digest") == champion.digest:
                return policy, models
            break
        window = bundle.card.window
        ranges = (_us(window.start), _us(window.end) + 1) if window else (0, 0)
        policy = Policy(Candidate(champion.label, "champion", (ranges,)))
        policy.take(times)
        return policy, {champion.label: champion.as_dict()}

    def _workshop(self, rows: Rows, models: Mapping[str, Any]) -> Workshop:
        def opened(name: str) -> Session | None:
            if name not in models:
                return None
            reference = ModelReference(**models[name])
            if reference.digest not in self._sessions:
                self._sessions[reference.digest] = Session(self._bundle(reference))
            return self._sessions[reference.digest]

        table = self._stream.retrain
        return Workshop(rows, table.family, table.parameters, opened)

    def _answered(self, labelled_us: int) -> tuple[int, int]:
        """Place behind the newest answered event, and how many were answered behind the newest
        labelled one."""
        name = self._stream.name
        ((newest, lag),) = self._parts.warehouse.query(
            "SELECT max(toUnixTimestamp64Micro(event_time)), "
            f"countIf(toUnixTimestamp64Micro(event_time) > {labelled_us}) "
            f"FROM {name}.predictions WHERE kafka_unreadable = ''"
        )
        return max(int(newest), labelled_us) + 1, int(lag)


def _reference(attempt: Attempt) -> ModelReference:
    return ModelReference(**attempt.facts(Stage.REGISTER)["reference"])


def _us(time_: datetime) -> int:
    return int(time_.timestamp() * 1e6)
