"""Two models on the same labelled events, as ClickHouse knows them; and decisions, to their topic.

An event's two answers are in `predictions` (who answered) and `shadows` (who did not), whichever
way round: a canary changes it from key to key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from consumers.alert_log import Alarms
from consumers.performance import EVENT, PLACE, field_parts, version_answers
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse, require_tables
from millstream.alerts.wire import Writer
from millstream.contracts import contract
from millstream.errors import ContractMismatch, OperatorNeeded
from millstream.judging.evidence import Decision, Role
from millstream.judging.gates import Terms
from millstream.judging.judge import judge
from millstream.judging.pairs import Pairs
from millstream.judging.records import DecisionRecord
from millstream.models.card import Card
from millstream.models.reference import ModelReference
from millstream.performance.answers import Answers
from millstream.performance.metrics import Classes
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns


@dataclass(frozen=True, slots=True)
class Contest:
    """Two models that score the same events. first_offsets: partition -> the first event that both
    score; only partitions that are named count."""

    champion: ModelReference
    challenger: ModelReference
    role: Role
    first_offsets: Mapping[int, int]


def contests(stream: Stream, warehouse: Warehouse) -> list[Contest]:
    """Those of the newest release: the champion with its challenger, and with each shadow.

    They began with the first release of an unbroken row that had the same champion and the second
    model. A shadow that answered before the champion did is its predecessor. Raises OperatorNeeded
    where a migration is missing, and DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    switches = [_Switch(*row) for row in warehouse.query(_SWITCHES.format(name=stream.name))]
    if not switches:
        return []
    newest = switches[-1]
    found = []
    for other in newest.others:
        mine = _unbroken(switches, newest.champion, other)
        former = {each.before_digest for each in mine if each.number == mine[0].number}
        role = Role.PREDECESSOR if other.digest in former else Role.CHALLENGER
        firsts: dict[int, int] = {}
        for each in mine:
            firsts.setdefault(each.partition, each.first_offset)
        found.append(Contest(newest.champion, other, role, firsts))
    return found


def read_pairs(
    stream: Stream, warehouse: Warehouse, cards: Sequence[Card], contest: Contest
) -> tuple[Pairs, tuple[str, ...]]:
    """Both models' answers to the events whose label is known, the oldest label first, at most
    [judge] rows_max of them; and notes, a sentence each.

    cards: of the two bundles, or one of the same labels. An event that either model refused is not
    among them; those that only the second one refused are counted. Labels count as they are now: a
    correction changes its row. Raises OperatorNeeded where a migration is missing, ContractMismatch
    where the models answer in other labels, and DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    kept = event_columns(stream)
    wanted = dict.fromkeys((*stream.watch.slices, *stream.fairness.groups))
    fields = [name for name in wanted if name in kept]
    notes = [f"{name} is not kept in ClickHouse: no slices" for name in wanted if name not in kept]
    bounds = {"one": contest.champion.digest, "two": contest.challenger.digest}
    table = warehouse.table(_pairs(stream, contest, fields), **bounds)
    ((refused,),) = warehouse.query(_refused(stream, contest), two=contest.challenger.digest)
    parts = field_parts(stream, table, fields)
    if not table.num_rows:
        return Pairs(_none(cards[0]), _none(cards[0]), int(refused)), tuple(notes)
    sides: list[Answers] = []
    for number, model in enumerate((contest.champion, contest.challenger)):
        made, said = version_answers(stream, _side(table, number, model), cards, parts)
        if made is None:
            raise ContractMismatch(
                f"{model.label} answers in other labels than the bundle that was given",
                "Name its bundle with --bundle",
            )
        sides.append(made)
        notes += [note for note in said if note not in notes]
    return Pairs(sides[0], sides[1], int(refused)), tuple(notes)


def decide(
    stream: Stream, warehouse: Warehouse, cards: Sequence[Card], contest: Contest
) -> Decision:
    """Read the pairs and judge them by the stream's terms. Raises as `read_pairs`."""
    pairs, notes = read_pairs(stream, warehouse, cards, contest)
    return judge(
        stream.name,
        contest.role,
        contest.champion,
        contest.challenger,
        pairs,
        Terms.of(stream),
        notes,
    )


def publish(
    stream: Stream, kafka: KafkaSettings, registry: Registry, records: Sequence[DecisionRecord]
) -> None:
    """Write decisions to NAME.decisions; returns when the broker has them all.

    A repeat has the same id. Raises ClientLost where the broker may not have them.
    """
    topic = stream.topic("decisions")
    schema_id = registry.register(subject_of(topic), contract("decision").text)
    Alarms(kafka, topic, Writer("decision", schema_id)).write(records)


def require_contest(stream: Stream, found: Sequence[Contest], wanted: str | None) -> list[Contest]:
    """Those that are wanted: the second model's NAME@VERSION, None for all. Raises OperatorNeeded
    where there is none."""
    if not found:
        raise OperatorNeeded(
            f"stream {stream.name} has no challenger and no shadow",
            "Release one beside the champion: millstream release --shadow or --canary",
        )
    ours = [one for one in found if wanted in (None, one.challenger.label)]
    if not ours:
        there = ", ".join(one.challenger.label for one in found)
        raise OperatorNeeded(f"{wanted} is not compared now", f"Name one of: {there}")
    return ours


@dataclass(frozen=True, slots=True)
class _Switch:
    """One row of _SWITCHES."""

    number: int
    partition: int
    first_offset: int
    before_digest: str
    champion_of: tuple[str, ...]
    challenger_of: tuple[str, ...]
    shadows_of: Sequence[tuple[str, ...]]

    @property
    def champion(self) -> ModelReference:
        return ModelReference(*self.champion_of)

    @property
    def others(self) -> list[ModelReference]:
        """The challenger, if there is one, and the shadows."""
        return [ModelReference(*one) for one in (self.challenger_of, *self.shadows_of) if one[0]]


_SWITCHES: Final = (
    "SELECT number, source_partition, first_offset, before_digest, "
    "(champion_name, champion_version, champion_digest, champion_location), "
    "(challenger_name, challenger_version, challenger_digest, challenger_location), "
    "arrayZip(shadow_names, shadow_versions, shadow_digests, shadow_locations) "
    "FROM {name}.releases WHERE record = 'switch' AND kafka_unreadable = '' "
    "ORDER BY number, source_partition, kafka_offset DESC LIMIT 1 BY number, source_partition"
)


def _unbroken(
    switches: Sequence[_Switch], champion: ModelReference, other: ModelReference
) -> list[_Switch]:
    """The switches of the newest releases that have both, the oldest first."""
    numbers = sorted({each.number for each in switches}, reverse=True)
    kept: set[int] = set()
    for number in numbers:
        one = next(each for each in switches if each.number == number)
        digests = {each.digest for each in one.others}
        if one.champion.digest != champion.digest or other.digest not in digests:
            break
        kept.add(number)
    return [each for each in switches if each.number in kept]


def _within(contest: Contest, partition: str, offset: str) -> str:
    """A condition: the event is one that both score."""
    parts = [
        f"({partition} = {int(p)} AND {offset} >= {int(first)})"
        for p, first in sorted(contest.first_offsets.items())
    ]
    return f"({' OR '.join(parts) or 'false'})"


def _pairs(stream: Stream, contest: Contest, fields: Sequence[str]) -> str:
    """One row for each labelled event that both models answered."""
    name = stream.name
    where = _within(contest, "source_partition", "source_offset")
    said = (
        f"{PLACE}, toString(model_digest) AS digest, score, scores, CAST(label, "
        "'Nullable(String)') AS guess, toUnixTimestamp64Micro(scored_at) AS scored"
    )
    shown = "".join(f", e.field_{i} AS field_{i}" for i in range(len(fields)))
    columns = "".join(f", `{field}` AS field_{i}" for i, field in enumerate(fields))
    events = (
        f"LEFT JOIN (SELECT {EVENT}{columns} FROM {name}.events WHERE (kafka_topic, "
        f"kafka_partition, kafka_offset) IN (SELECT {PLACE} FROM labels)) AS e USING ({PLACE})"
    )
    sides = "".join(
        f", {side}.score AS said_{n}, {side}.scores AS chances_{n}, {side}.guess AS guess_{n}, "
        f"{side}.scored AS scored_{n}"
        for n, side in enumerate(("a", "b"))
    )
    joins = "".join(
        f"INNER JOIN (SELECT * FROM answers WHERE digest = {{{digest}:String}} "
        f"LIMIT 1 BY {PLACE}) AS {side} USING ({PLACE}) "
        for side, digest in (("a", "one"), ("b", "two"))
    )
    return (
        f"WITH answers AS (SELECT {said} FROM {name}.predictions WHERE kafka_unreadable = '' "
        f"AND answered_by != 'abstained' AND {where} UNION ALL SELECT {said} FROM {name}.shadows "
        f"WHERE kafka_unreadable = '' AND refused = '' AND {where}), "
        f"labels AS (SELECT {PLACE}, argMax((toString(status), CAST(label, 'Nullable(String)'), "
        "value), version) AS newest, min(kafka_time) AS joined, "
        "ifNull(toUnixTimestamp64Micro(min(known_at)), 0) AS known, "
        "any(toUnixTimestamp64Micro(event_time)) AS happened, "
        "any(toUnixTimestamp64Micro(published_at)) AS published "
        f"FROM {name}.labelled WHERE kafka_unreadable = '' AND {where} GROUP BY {PLACE} "
        "HAVING newest.1 != 'never_labelled') "
        "SELECT l.newest.1 AS status, l.newest.2 AS label, l.newest.3 AS value, l.known AS known, "
        f"l.happened AS happened, l.published AS published{sides}{shown} FROM labels AS l "
        f"{joins}{events if fields else ''} "
        f"ORDER BY l.joined, l.source_partition, l.source_offset LIMIT {stream.judge.rows_max}"
    )


def _refused(stream: Stream, contest: Contest) -> str:
    """How many events only the second model refused."""
    where = _within(contest, "source_partition", "source_offset")
    return (
        f"SELECT count(DISTINCT {PLACE}) FROM {stream.name}.shadows WHERE kafka_unreadable = '' "
        f"AND refused != '' AND model_digest = {{two:String}} AND {where} AND ({PLACE}) IN "
        f"(SELECT {PLACE} FROM {stream.name}.predictions WHERE kafka_unreadable = '' AND {where})"
    )


def _none(card: Card) -> Answers:
    """No answers of a model."""
    classes = None
    if card.labels:
        positive = card.labels.index(card.positive) if card.positive else None
        classes = Classes(tuple(card.labels), positive)
    whole, real = np.zeros(0, np.int64), np.zeros(0)
    return Answers(
        "", classes, whole, whole, whole, whole, whole, whole, whole,
        np.zeros((0, len(card.labels))), real, real,
    )  # fmt: skip


def _side(table: pa.Table, number: int, model: ModelReference) -> pa.Table:
    """One model's answers, in the columns of the performance report."""
    shared = ("status", "label", "value", "known", "happened", "published")
    columns: dict[str, Any] = {name: table.column(name) for name in shared}
    for name in ("said", "chances", "guess", "scored"):
        columns[name] = table.column(f"{name}_{number}")
    for name, text in (("version", model.label), ("digest", model.digest)):
        columns[name] = pa.array(np.full(table.num_rows, text, object), pa.string())
    return pa.table(columns)
