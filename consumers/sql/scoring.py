"""Answers ClickHouse's `millstream_score`: rows of features in, what the stream's model says out.

The same session, by the same settings, that scores the stream; a row that the event schema or the
model's card refuses there is refused here.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from consumers.answering import open_session
from consumers.models.registry import fetch_model, open_registry
from millstream.errors import SettingsInvalid
from millstream.fit import require_fit
from millstream.functions.answers import Encode
from millstream.functions.features import FeatureRows
from millstream.functions.wire import chunks
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import resolve
from millstream.models.session import Session
from millstream.settings import ScorerSettings
from millstream.stream import Stream
from millstream.toml import nearest

MODELS_MAX: Final = 8
"""Held at once; the one that was longest not asked for goes."""
LOOK_S: Final = 5.0
"""An alias of the registry, and a stream's champion, are looked up again after as long."""
Champions = Mapping[str, Callable[[], ModelReference | None]]
"""What answers a stream now, by its name; None: the bundle of its stream.toml."""


@dataclass(slots=True)
class _Open:
    """A model that answers. looked_at: when its name was looked up, by a monotonic clock."""

    session: Session
    rows: FeatureRows
    digest: str
    label: str
    looked_at: float


class SqlScoring:
    """streams: by name. cache: a folder for models that are fetched from registries.

    A model is named as `STREAM`, the champion that answers it now (the bundle of its stream.toml,
    for a stream that `champions` has not), or as `STREAM@VERSION` or `STREAM@ALIAS` of the stream's
    registry. Raises OperatorNeeded where there is none such, DependencyUnavailable where what it
    needs does not answer.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        settings: ScorerSettings,
        cache: Path,
        clock: Callable[[], float] = time.monotonic,
        champions: Champions | None = None,
    ) -> None:
        self._streams = streams
        self._settings = settings
        self._cache = cache
        self._clock = clock
        self._champions = champions or {}
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def serve(self, requests: BinaryIO, answers: BinaryIO, encode: Encode) -> None:
        """Answer chunk after chunk until the requests end."""
        for rows in chunks(requests, 2):
            answers.write(b"".join(self.answer([(row[0], row[1]) for row in rows], encode)))
            answers.flush()

    def answer(self, rows: Sequence[tuple[bytes, bytes]], encode: Encode) -> list[bytes]:
        """The results' bytes of rows of (model, features), in their order."""
        names = {model for model, _ in rows}
        if len(names) == 1:
            return self._answered(next(iter(names)), [text for _, text in rows], encode)
        found = [b""] * len(rows)
        for name in names:
            places = [place for place, (model, _) in enumerate(rows) if model == name]
            made = self._answered(name, [rows[place][1] for place in places], encode)
            for place, entry in zip(places, made, strict=True):
                found[place] = entry
        return found

    def close(self) -> None:
        """End the sessions' threads."""
        while self._open:
            self._open.popitem()[1].session.close()

    def _answered(self, name: bytes, texts: Sequence[bytes], encode: Encode) -> list[bytes]:
        model = self._model(name.decode("utf-8", "replace"))
        read = model.rows.read(texts)
        scored = model.session.score(read.columns)
        refused = {r.row: f"{r.stage}: {r.name}: {r.reason}" for r in read.refusals}
        for refusal in scored.refusals:
            row = int(read.rows[refusal.row])
            refused[row] = f"{refusal.stage}: {refusal.name}: {refusal.reason}"
        placed = replace(scored, rows=read.rows[scored.rows])
        return encode(placed, refused, len(texts), model.label)

    def _model(self, name: str) -> _Open:
        known = self._open.get(name)
        moves = "@" in name or name in self._champions
        if known is not None and not (moves and self._clock() - known.looked_at >= LOOK_S):
            self._open.move_to_end(name)
            return known
        stream = self._stream(name)
        bundle = self._bundle(stream, name)
        if known is not None and known.digest == bundle.card_digest:
            known.looked_at = self._clock()
            self._open.move_to_end(name)
            return known
        require_fit(stream, bundle)
        session = open_session(stream, bundle, self._settings)
        if known is not None:
            known.session.close()
        label = f"{bundle.name}@{bundle.version}"
        made = _Open(session, FeatureRows(stream), bundle.card_digest, label, self._clock())
        self._open[name] = made
        self._open.move_to_end(name)
        if len(self._open) > MODELS_MAX:
            self._open.popitem(last=False)[1].session.close()
        return made

    def _stream(self, name: str) -> Stream:
        asked = name.partition("@")[0]
        found = self._streams.get(asked)
        if found is None:
            raise SettingsInvalid(
                f"there is no stream {asked[:100]!r} here{nearest(asked, list(self._streams))}",
                f"There are: {', '.join(sorted(self._streams))} "
                "(millstream sql-functions adds one)",
            )
        return found

    def _bundle(self, stream: Stream, name: str) -> Bundle:
        if "@" not in name:
            champion = self._champions[name]() if name in self._champions else None
            if champion is None:
                return Bundle.load(stream.bundle_path)
            return Bundle.load(fetch_model(stream, champion, self._cache))
        registry = open_registry(stream)
        return Bundle.load(registry.fetch(resolve(registry, name), self._cache))
