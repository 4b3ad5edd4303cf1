"""Contenders on the ground: topics, processes, and what came of the events."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from millstream.columnar import Decoder, make_decoder
from millstream.contracts import contract
from millstream.models.bundle import Bundle
from millstream.models.session import Session
from ops.bench.contenders import CONTENDERS, Contender, job_for, millstream_start
from ops.bench.data import CHUNK, SUBJECTS, Floats, chunk, write_stream
from ops.bench.ground import Ground
from ops.bench.peers.model import ANSWER
from ops.bench.plan import Trial
from ops.process import Child

STOP_S = 15.0
SAMPLE_EVERY = 997
TOLERANCE = 1e-6
FRAME_BYTES = 5


@dataclass(frozen=True, slots=True)
class Course:
    """One stream on the broker: where its files are, and the names of its topics."""

    folder: Path
    stream: str
    letter: str

    @property
    def events(self) -> str:
        """Topic of the events."""
        return f"{self.stream}.events"

    @property
    def predictions(self) -> str:
        """Topic of Millstream's answers."""
        return f"{self.stream}.predictions"

    @property
    def topics(self) -> list[str]:
        """All of the stream's, as `millstream topics` would make them."""
        names = ("events", "predictions", "dead-letters", "outcomes", "redrives")
        return [f"{self.stream}.{name}" for name in names]


class Arena:
    """Starts contenders and looks at their answers. folder: for their logs and state."""

    def __init__(self, ground: Ground, folder: Path, streams: Path) -> None:
        self.ground = ground
        self._folder = folder
        self._streams = streams
        self._serial = 0
        self._expected: dict[str, Floats] = {}

    def course(self, letter: str, live: bool = False) -> Course:
        """A subject's stream, on disk and on the broker, its topics empty.

        live: another one of the same kind, for events that come while we look.
        """
        subject = SUBJECTS[letter]
        name = f"{subject.stream}_live" if live else subject.stream
        folder = self._streams / name
        write_stream(subject, folder, name, self.ground.partitions)
        course = Course(folder, name, letter)
        self.ground.create(*course.topics)
        return course

    def scratch(self) -> Path:
        """A new folder."""
        self._serial += 1
        folder = self._folder / f"{self._serial:03}"
        folder.mkdir(parents=True)
        return folder

    @contextlib.contextmanager
    def running(self, course: Course, trial: Trial) -> Iterator[tuple[list[Child], str]]:
        """The contender's processes, and the topic of its answers, empty at first.

        Afterwards they have ended; the topic stays until `ground.delete`.
        """
        contender = CONTENDERS[trial.contender]
        self._serial += 1
        name = f"{self._serial:03}-{trial.contender}-{trial.subject}-{trial.guarantee}"
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        children: list[Child] = []
        try:
            if contender.is_millstream:
                self.ground.forget_group(f"{course.stream}-scorer")
                self.ground.create(course.predictions)
                for slot in range(contender.processes):
                    argv = millstream_start(course.folder, trial.guarantee, slot, folder / "ready")
                    env = self.ground.environment() | contender.environment
                    children.append(Child(name, argv, log=folder / f"{slot}.log", env=env))
                yield children, course.predictions
            else:
                output = f"bench.answers.{self._serial}"
                self.ground.create(output)
                children.append(self._peer(contender, course, trial, folder, output))
                yield children, output
        finally:
            for child in children:
                if contender.is_millstream:
                    child.stop(timeout_s=STOP_S)
                else:
                    child.kill()

    def _peer(
        self, contender: Contender, course: Course, trial: Trial, folder: Path, output: str
    ) -> Child:
        assert contender.command is not None
        subject = SUBJECTS[trial.subject]
        job = dataclasses.replace(
            job_for(contender, subject, course.folder, self.ground.bootstrap, folder),
            events=course.events,
            output=output,
            group=f"bench-{self._serial}",
            guarantee=trial.guarantee,
        )
        argv, env = contender.command(job.write(folder / "job.json"), job)
        return Child(contender.title, argv, log=folder / "0.log", env=env)

    def count(self, course: Course, trial: Trial, topic: str) -> tuple[int, str | None]:
        """(committed answers, what is wrong with them). Scores of a sample are compared."""
        contender = CONTENDERS[trial.contender]
        decoder = _decoder_of(contender)
        total, checked, wrong = 0, 0, 0
        for records in self.ground.read(topic):
            if contender.scores:
                places = range(-total % SAMPLE_EVERY, len(records), SAMPLE_EVERY)
                sample = [records[place].value() for place in places]
                good, bad = self._compare(course, decoder, contender, sample)
                checked, wrong = checked + good + bad, wrong + bad
            total += len(records)
        if wrong:
            return total, f"{wrong} of {checked} scores differ by more than {TOLERANCE:g}"
        if contender.scores and total >= 2 * SAMPLE_EVERY and not checked:
            return total, "no score could be compared"
        return total, None

    def _compare(
        self, course: Course, decoder: Decoder, contender: Contender, values: Sequence[Any]
    ) -> tuple[int, int]:
        """(right, wrong) scores among those of the first events of the stream."""
        columns = decoder.decode(values, skip=FRAME_BYTES).columns
        expected = self._scores(course)
        names = columns.column("event_id" if contender.is_millstream else "id").to_pylist()
        scores = columns.column("score").to_pylist()
        right = wrong = 0
        for name, score in zip(names, scores, strict=True):
            place = int(name[1:])
            if place < len(expected):
                near = abs(expected[place] - score) <= TOLERANCE
                right, wrong = right + near, wrong + (not near)
        return right, wrong + (len(values) - len(names))

    def _scores(self, course: Course) -> Floats:
        """Of the first CHUNK events, by the model itself."""
        known = self._expected.get(course.letter)
        if known is None:
            session = Session(Bundle.load(course.folder / "bundle"))
            batch = chunk(SUBJECTS[course.letter].shape, 0, CHUNK)
            known = np.asarray(session.score(batch).score)
            session.close()
            self._expected[course.letter] = known
        return known


def _decoder_of(contender: Contender) -> Decoder:
    text = contract("prediction").text if contender.is_millstream else json.dumps(ANSWER)
    return make_decoder(text)
