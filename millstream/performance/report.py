"""The performance report: every version, window and slice, realised beside estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from millstream.performance import estimate, metrics
from millstream.performance.answers import LABELLED, NEVER, WAITING, Answers, Asked
from millstream.performance.estimate import NEVER_US, Rows, Walk
from millstream.performance.fairness import Gap, fairness, favourable
from millstream.performance.maturity import Maturity, learn, share_in
from millstream.performance.metrics import Bools, Floats, Ints, Measures
from millstream.performance.windows import latency_ms, starts_of, width_for

OWN_LABELS_MIN: Final = 30
NOT_OFFERED: Final = "no estimate is offered for regression: a value has no confidence"


@dataclass(frozen=True, slots=True)
class Cell:
    """One set of answers: of a version, and of a window or slice or both where they are named.

    realised: on the labels that are in, where the set is mature. estimated: on the same answers
    where it is mature, else on all. gap: realised less estimated accuracy; bound: as large as that
    by chance. doubts: why the estimate is not to be trusted; none: it is. latency_ms: p50 and p99,
    published to scored. refused: dead letters (not told by slice); error_rate: their share.
    """

    version: str
    window_us: tuple[int, int] | None
    slice: tuple[str, str] | None
    answers: int
    labels: int
    never: int
    share_in: float | None
    mature: bool
    realised: Measures | None
    estimated: Measures | None
    gap: float | None
    bound: float | None
    doubts: tuple[str, ...]
    latency_ms: tuple[float, float] | None
    refused: int | None = None
    error_rate: float | None = None

    @property
    def trusted(self) -> bool:
        """Whether there is an estimate, and no doubt about it."""
        return self.estimated is not None and not self.doubts

    def as_json(self) -> dict[str, Any]:
        """Its fields; measures that are not defined are left out."""
        found = asdict(self) | {"trusted": self.trusted}
        for name in ("realised", "estimated"):
            measures: Measures | None = getattr(self, name)
            found[name] = measures.as_json() if measures is not None else None
        return found


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should look at. kind: fairness or estimate."""

    kind: str
    version: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """versions: one cell each, over its mature windows. newest: one each, over what is not mature.
    windows, slices (over the mature windows), slice_windows. gaps: of the version that answered
    last. mature_age_us: the age at which enough labels are in; None: not learned yet."""

    width_us: int
    mature_age_us: int | None
    ever: float
    settled: bool
    versions: list[Cell]
    newest: list[Cell]
    windows: list[Cell]
    slices: list[Cell]
    slice_windows: list[Cell]
    gaps: list[Gap]
    alarms: list[Alarm]

    def as_json(self) -> dict[str, Any]:
        """Everything, for JSON."""
        names = ("versions", "newest", "windows", "slices", "slice_windows", "gaps")
        plain = {name: [one.as_json() for one in getattr(self, name)] for name in names}
        head = ("width_us", "mature_age_us", "ever", "settled")
        said = {name: getattr(self, name) for name in head}
        return said | plain | {"alarms": [asdict(alarm) for alarm in self.alarms]}


def report(answers: Sequence[Answers], refused: Mapping[str, Ints], asked: Asked) -> Report:
    """The report of these versions. refused: version -> event times of its dead letters, in µs."""
    times = [a.event_us for a in answers] + list(refused.values())
    everything = np.concatenate(times) if times else np.zeros(0, np.int64)
    width = asked.width_us or width_for(everything)
    curve = _curve(answers, asked)
    age = curve.age_of(asked.mature_share)
    parts = [_Version(one, curve, asked, width) for one in answers]
    ordered = sorted(parts, key=lambda p: int(p.answers.scored_us[-1]) if len(p.answers) else 0)
    gaps = ordered[-1].fairness() if ordered else []
    windows = [cell for part in parts for cell in part.windows(refused)]
    strays = [
        cell
        for version, when in refused.items()
        for cell in _strays(version, when, width, {(c.version, c.window_us) for c in windows})
    ]
    return Report(
        width_us=width,
        mature_age_us=age,
        ever=curve.ever,
        settled=curve.settled,
        versions=[part.whole(refused) for part in parts],
        newest=[part.newest() for part in parts],
        windows=sorted([*windows, *strays], key=lambda c: (c.window_us or (0, 0), c.version)),
        slices=[cell for part in parts for cell in part.slices()],
        slice_windows=[cell for part in parts for cell in part.slice_windows()],
        gaps=gaps,
        alarms=ordered[-1].alarms(gaps) if ordered else [],
    )


class _Version:
    """One version's answers with what is computed of them once."""

    def __init__(self, answers: Answers, curve: Maturity, asked: Asked, width: int) -> None:
        self.answers, self._curve, self._asked, self._width = answers, curve, asked, width
        self._labelled = answers.status == LABELLED
        self._starts = starts_of(answers.event_us, width)
        self._mature = np.zeros(len(answers), bool)
        for start in np.unique(self._starts):
            ours = self._starts == start
            self._mature[ours] = self._share(ours)[1]
        self._costs: Floats | None = None
        self._walked: Walk | None = None
        classes = answers.classes
        if classes is None:
            return
        self._costs = metrics.cost_table(
            classes, asked.false_positive, asked.false_negative, asked.matrix
        )
        self._rows = Rows(
            answers.raw, answers.predicted, answers.truth, answers.scored_us, self._ready_us()
        )
        self._walked = estimate.walk(self._rows, classes, asked.options)

    def whole(self, refused: Mapping[str, Ints]) -> Cell:
        """Over the mature windows; latency and errors over all."""
        count = len(refused.get(self.answers.version, ()))
        return self._cell(
            self._mature, refused=count, forced=True, scope=np.ones_like(self._mature)
        )

    def newest(self) -> Cell:
        """Over what is not mature."""
        return self._cell(~self._mature)

    def windows(self, refused: Mapping[str, Ints]) -> list[Cell]:
        """Each window that has answers."""
        bad = starts_of(refused.get(self.answers.version, np.zeros(0, np.int64)), self._width)
        return [
            self._cell(self._starts == start, start=int(start), refused=int((bad == start).sum()))
            for start in np.unique(self._starts)
        ]

    def slices(self) -> list[Cell]:
        """Each slice over the mature windows."""
        return [
            self._cell(ours & self._mature, part=part, forced=True) for part, ours in self._sliced()
        ]

    def slice_windows(self) -> list[Cell]:
        """Each slice of each window."""
        return [
            self._cell(ours & (self._starts == start), start=int(start), part=part)
            for part, ours in self._sliced()
            for start in np.unique(self._starts[ours])
        ]

    def fairness(self) -> list[Gap]:
        """The gaps between the groups, over everything that was predicted."""
        classes, table = self.answers.classes, self._asked.fairness
        if classes is None or not self.answers.groups:
            return []
        good = favourable(classes, table)
        if good is None:
            return []
        return fairness(
            self.answers.groups,
            self.answers.predicted == good,
            self.answers.truth == good,
            self._labelled & self._mature,
            table,
        )

    def alarms(self, gaps: Sequence[Gap]) -> list[Alarm]:
        """What holds now: unfair gaps, and labels that come out worse than was estimated."""
        version = self.answers.version
        found = [Alarm("fairness", version, _said(gap)) for gap in gaps if gap.alarm]
        if self._walked is not None:
            worse = [
                _doubt(count, gap)
                for count, gap, _ in estimate.gaps(
                    self._rows, self._walked, len(self._rows), self._asked.options
                )
                if gap < 0
            ]
            found += [Alarm("estimate", version, text) for text in worse[:1]]
        return found

    def _sliced(self) -> list[tuple[tuple[str, str], Bools]]:
        return [
            ((name, value), values == value)
            for name, values in self.answers.slices.items()
            for value in sorted(set(values.tolist()))
        ]

    def _ready_us(self) -> Ints:
        """When each label may be used: it is known, and answers as old have their labels."""
        age = self._curve.age_of(self._asked.mature_share)
        if age is None:
            return np.full(len(self.answers), NEVER_US, np.int64)
        ready = np.maximum(self.answers.known_us, self.answers.scored_us + age)
        usable = self._labelled & (ready <= self._asked.now_us)
        return np.where(usable, ready, NEVER_US)

    def _share(self, ours: Bools) -> tuple[float | None, bool]:
        """How much of these answers' labels is in, and whether that is enough."""
        waiting = ours & (self.answers.status == WAITING)
        ages = np.maximum(self._asked.now_us - self.answers.scored_us[waiting], 0)
        share = share_in(int((ours & self._labelled).sum()), ages, self._curve)
        return share, share is None or share >= self._asked.mature_share

    def _cell(
        self,
        ours: Bools,
        *,
        start: int | None = None,
        part: tuple[str, str] | None = None,
        refused: int | None = None,
        forced: bool = False,
        scope: Bools | None = None,
    ) -> Cell:
        """ours: [n] which answers. forced: they are mature windows' and count as mature. scope: of
        which answers latency and errors are told, where not of ours."""
        answers = self.answers
        share, mature = self._share(ours)
        mature = mature or forced
        labelled = ours & self._labelled
        shown = np.flatnonzero(labelled if mature else ours)
        bound, doubts = self._trust(ours, shown, whole=start is None and part is None)
        realised, estimated = self._realised(labelled) if mature else None, self._estimated(shown)
        told = ours if scope is None else scope
        count = int(told.sum())
        rate = None if refused is None or not count + refused else refused / (count + refused)
        return Cell(
            version=answers.version,
            window_us=None if start is None else (start, start + self._width),
            slice=part,
            answers=count,
            labels=int(labelled.sum()),
            never=int((ours & (answers.status == NEVER)).sum()),
            share_in=share,
            mature=mature,
            realised=realised,
            estimated=estimated,
            gap=_difference(realised, estimated),
            bound=bound if mature else None,
            doubts=doubts,
            latency_ms=latency_ms(answers.published_us[told], answers.scored_us[told]),
            refused=refused,
            error_rate=rate,
        )

    def _realised(self, which: Bools) -> Measures:
        answers, classes = self.answers, self.answers.classes
        if classes is None:
            return metrics.regression(answers.true_value[which], answers.value[which])
        return metrics.classification(
            answers.truth[which], answers.predicted[which], answers.raw[which], classes, self._costs
        )

    def _estimated(self, which: Ints) -> Measures | None:
        answers, classes = self.answers, self.answers.classes
        if classes is None or self._walked is None:
            return None
        return estimate.expected(
            answers.raw[which],
            answers.predicted[which],
            self._walked.chances[which],
            classes,
            self._costs,
        )

    def _trust(
        self, ours: Bools, shown: Ints, *, whole: bool
    ) -> tuple[float | None, tuple[str, ...]]:
        """What chance explains of the gap, and the doubts, of an estimate on what is shown."""
        walked, options = self._walked, self._asked.options
        if walked is None:
            return None, (NOT_OFFERED,)
        if not len(shown):
            return None, ()
        doubts = []
        thin = float((walked.labels[shown] == 0).mean())
        if thin > options.outside_max:
            doubts.append(
                f"{thin:.0%} of the answers had fewer than {options.labels_min} matured labels of "
                "this version to calibrate on"
            )
        outside = float((~walked.covered[shown]).mean())
        if outside > options.outside_max:
            doubts.append(f"{outside:.0%} of the answers are of a confidence no label was seen of")
        before = int(np.flatnonzero(ours)[0])
        until = len(self._rows) if whole else before
        for count, gap, _ in estimate.gaps(self._rows, walked, until, options)[:1]:
            doubts.append(_doubt(count, gap))
        own = np.flatnonzero(ours & self._rows.ready & (walked.labels > 0))
        judged = (
            estimate.judge(self._rows, walked, own, options) if len(own) >= OWN_LABELS_MIN else None
        )
        if judged is None:
            return None, tuple(doubts)
        if abs(judged[0]) > judged[1]:
            doubts.append(f"its own labels came out {judged[0]:+.1%} from the estimate")
        return judged[1], tuple(doubts)


def _curve(answers: Sequence[Answers], asked: Asked) -> Maturity:
    """One for all versions: how late labels come is no matter of the model."""
    none = [np.zeros(0, np.int64)]
    delays = [(a.known_us - a.scored_us)[a.status == LABELLED] for a in answers]
    ages = [
        np.where(a.status == NEVER, asked.wait_us, asked.now_us - a.scored_us)[a.status != LABELLED]
        for a in answers
    ]
    return learn(np.concatenate(delays or none), np.concatenate(ages or none), asked.wait_us)


def _difference(realised: Measures | None, estimated: Measures | None) -> float | None:
    if realised is None or estimated is None:
        return None
    if realised.accuracy is None or estimated.accuracy is None:
        return None
    return realised.accuracy - estimated.accuracy


def _strays(version: str, when: Ints, width: int, there: set[Any]) -> list[Cell]:
    """Windows in which a version only refused."""
    starts, counts = np.unique(starts_of(when, width), return_counts=True)
    return [
        Cell(
            version, (start, start + width), None, 0, 0, 0, None, False, None, None, None, None,
            (), None, count, 1.0,
        )
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
        if (version, (start, start + width)) not in there
    ]  # fmt: skip


def _doubt(count: int, gap: float) -> str:
    return f"the newest {count:,} matured labels came out {gap:+.1%} from the estimate"


def _said(gap: Gap) -> str:
    return (
        f"{gap.kind.replace('_', ' ')} of {gap.field} = {gap.group} against {gap.against}: "
        f"{gap.value:.3f}, interval {gap.low:.3f} to {gap.high:.3f}, limit {gap.limit:g}"
    )
