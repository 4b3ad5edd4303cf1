"""Two models on the same labelled events, as ClickHouse knows them; and decisions, to their topic.

An event's two answers are in `predictions` (who answered) and `shadows` (who did not), whichever
way round: a canary changes it from key to key. Who judges again and again counts first (`Judge`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from consumers.alerts.log import Alarms
from consumers.performance import EVENT, PLACE, field_parts, happened_column, version_answers
from consumers.registry import Registry, subject_of
from consumers.warehouse import Warehouse, require_tables
from millstream.alerts.wire import Writer
from millstream.contracts import contract
from millstream.errors import ContractMismatch, OperatorNeeded
from millstream.judging.evidence import Decision, Role
from millstream.judging.gates import Terms
from millstream.judging.judge import judge
from millstream.judging.paired import BLOCK
from millstream.judging.pairs import Pairs, rows_needed
from millstream.judging.records import DecisionRecord
from millstream.models.card import Card
from millstream.models.reference import ModelReference
from millstream.performance.answers import Answers
from millstream.performance.metrics import Classes
from millstream.releases.release import Kind
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns

GROWTH: Final = 50
"""Pairs are read again when there are a fiftieth more. Too low reads everything for every label;
too high sees later what is proven."""
STALE_S: Final = 60.0
"""Or when anything has changed for so long."""


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
    model. A shadow that the champion took the place of is its predecessor, unless the champion came
    back by a rollback. Raises OperatorNeeded where a migration is missing, DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    switches = [_Switch(*row) for row in warehouse.query(_SWITCHES.format(name=stream.name))]
    if not switches:
        return []
    newest, former = switches[-1], _before(switches)
    found = []
    for other in newest.others:
        mine = _unbroken(switches, newest.champion, other)
        beside = other in newest.shadows
        role = Role.PREDECESSOR if beside and other.digest in former else Role.CHALLENGER
        firsts: dict[int, int] = {}
        for each in mine:
            firsts.setdefault(each.partition, each.first_offset)
        found.append(Contest(newest.champion, other, role, firsts))
    return found


def read_pairs(
    stream: Stream, warehouse: Warehouse, cards: Sequence[Card], contest: Contest
) -> tuple[Pairs, tuple[str, ...]]:
    """Both models' answers to the events whose label is known, the oldest label first, no more than
    [judge] rows_max asks for; and notes, a sentence each.

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
    table = warehouse.table(_pairs(stream, contest, fields, _rows_max(stream)), **bounds)
    found = warehouse.query(_alone(stream, contest), two=contest.challenger.digest)
    refused, scored = (int(each) for each in found[0])
    parts = field_parts(stream, table, fields)
    if not table.num_rows:
        return Pairs(_none(cards[0]), _none(cards[0]), refused, scored), tuple(notes)
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
    return Pairs(sides[0], sides[1], refused, scored), tuple(notes)


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to judge by, uncut by rows_max. pairs: labelled events that both have answered.
    records: labelled records of any event, so that a correction is seen too."""

    pairs: int
    records: int


def count(stream: Stream, warehouse: Warehouse, contest: Contest) -> Known:
    """Without reading an answer. Raises DependencyUnavailable."""
    where = _within(contest, "source_partition", "source_offset")
    ((pairs, records),) = warehouse.query(
        f"WITH labels AS ({_labels(stream, where)}), answers AS ("
        f"{_answers(stream, where, f'{PLACE}, toString(model_digest) AS digest')}) "
        f"SELECT (SELECT count() FROM (SELECT {PLACE} FROM answers WHERE digest IN "
        f"({{one:String}}, {{two:String}}) AND ({PLACE}) IN (SELECT {PLACE} FROM labels) "
        f"GROUP BY {PLACE} HAVING uniqExact(digest) = 2)), (SELECT count() FROM "
        f"{stream.name}.labelled WHERE kafka_unreadable = '' AND {where})",
        one=contest.champion.digest,
        two=contest.challenger.digest,
    )
    return Known(int(pairs), int(records))


class Judge:
    """Decides contests again and again: reads their pairs only where there are enough new ones.

    clock: seconds. What it decides is `decide`'s, of this look or of an earlier one.
    """

    def __init__(self, stream: Stream, warehouse: Warehouse, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._warehouse = warehouse
        self._clock = clock
        self._last: tuple[Contest, Known, float, Decision] | None = None

    def decide(self, cards: Sequence[Card], contest: Contest) -> Decision:
        """Raises as `read_pairs`."""
        known, now = count(self._stream, self._warehouse, contest), self._clock()
        if self._last is not None:
            before, then, read_at, decision = self._last
            grown = known.pairs - then.pairs >= max(BLOCK, then.pairs // GROWTH)
            is_full = min(known.pairs, then.pairs) >= _rows_max(self._stream)
            stale = known != then and not 0 <= now - read_at < STALE_S  # or the clock was put back
            if before == contest and not (grown and not is_full) and not stale:
                return decision
        decision = decide(self._stream, self._warehouse, cards, contest)
        self._last = (contest, known, now, decision)
        return decision


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
    kind: str
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
        challenger = [ModelReference(*self.challenger_of)] if self.challenger_of[0] else []
        return challenger + self.shadows

    @property
    def shadows(self) -> list[ModelReference]:
        """What answers nothing."""
        return [ModelReference(*one) for one in self.shadows_of]


_SWITCHES: Final = (
    "SELECT number, kind, source_partition, first_offset, before_digest, "
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


def _before(switches: Sequence[_Switch]) -> set[str]:
    """Digests of what the newest champion took the place of; none where it was rolled back to."""
    champion = switches[-1].champion.digest
    others = [each.number for each in switches if each.champion.digest != champion]
    mine = [each for each in switches if each.number > max(others, default=0)]
    if mine[0].kind == Kind.ROLLBACK:
        return set()
    return {each.before_digest for each in mine} - {champion}


def _rows_max(stream: Stream) -> int:
    """So many pairs give the differences that [judge] rows_max asks for."""
    table = stream.judge
    return rows_needed(table.rows_max, stream.label.kind == "regression", table.value_scale)


def _within(contest: Contest, partition: str, offset: str) -> str:
    """A condition: the event is one that both score."""
    parts = [
        f"({partition} = {int(p)} AND {offset} >= {int(first)})"
        for p, first in sorted(contest.first_offsets.items())
    ]
    return f"({' OR '.join(parts) or 'false'})"


def _answers(stream: Stream, where: str, columns: str) -> str:
    """What anybody has answered, whoever's answer it was that counted."""
    return (
        f"SELECT {columns} FROM {stream.name}.predictions WHERE kafka_unreadable = '' "
        f"AND answered_by != 'abstained' AND {where} UNION ALL SELECT {columns} "
        f"FROM {stream.name}.shadows WHERE kafka_unreadable = '' AND refused = '' AND {where}"
    )


def _labels(stream: Stream, where: str) -> str:
    """Events whose label is known, each once, by its newest labelled record."""
    truth = "newest.3" if stream.label.kind == "regression" else "newest.2"
    return (
        f"SELECT {PLACE}, argMax((toString(status), CAST(label, 'Nullable(String)'), value), "
        "version) AS newest, min(kafka_time) AS joined, "
        "ifNull(toUnixTimestamp64Micro(min(known_at)), 0) AS known, "
        f"any(toUnixTimestamp64Micro({happened_column(stream)})) AS happened, "
        "any(toUnixTimestamp64Micro(published_at)) AS published "
        f"FROM {stream.name}.labelled WHERE kafka_unreadable = '' AND {where} GROUP BY {PLACE} "
        f"HAVING newest.1 != 'never_labelled' AND {truth} IS NOT NULL"
    )


def _pairs(stream: Stream, contest: Contest, fields: Sequence[str], rows_max: int) -> str:
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
        f"WITH answers AS ({_answers(stream, where, said)}), labels AS ({_labels(stream, where)}) "
        "SELECT l.newest.1 AS status, l.newest.2 AS label, l.newest.3 AS value, l.known AS known, "
        f"l.happened AS happened, l.published AS published{sides}{shown} FROM labels AS l "
        f"{joins}{events if fields else ''} "
        f"ORDER BY l.joined, l.source_partition, l.source_offset LIMIT {rows_max}"
    )


def _alone(stream: Stream, contest: Contest) -> str:
    """How many events only the second model refused, and how many it scored, labelled or not."""
    where = _within(contest, "source_partition", "source_offset")
    scored = _answers(stream, where, f"{PLACE}, toString(model_digest) AS digest")
    return (
        f"SELECT (SELECT count(DISTINCT {PLACE}) FROM {stream.name}.shadows WHERE "
        f"kafka_unreadable = '' AND refused != '' AND model_digest = {{two:String}} AND {where} "
        f"AND ({PLACE}) IN (SELECT {PLACE} FROM {stream.name}.predictions WHERE "
        f"kafka_unreadable = '' AND {where})), "
        f"(SELECT count(DISTINCT {PLACE}) FROM ({scored}) WHERE digest = {{two:String}})"
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
