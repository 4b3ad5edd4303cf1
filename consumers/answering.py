"""What a program scores by, as stream.toml and the bundle's curve declare it."""

from __future__ import annotations

import logging
import time

from millstream.fit import require_fit
from millstream.ladder import Ladder
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.overload import LadderSession
from millstream.models.session import Session
from millstream.models.tuning import choice_for
from millstream.settings import ScorerSettings
from millstream.stream import Stream

_log = logging.getLogger(__name__)


def answering(
    stream: Stream, bundle: Bundle, settings: ScorerSettings
) -> Session | CachedSession | LadderSession:
    """The model, behind the cache and the overload ladder where stream.toml declares them.

    Raises OperatorNeeded where a bundle is invalid or does not fit the stream.
    """
    cache, overload = stream.serving.cache, stream.serving.overload
    session = open_session(stream, bundle, settings)
    full = CachedSession(session, cache.bytes_max, time.perf_counter) if cache else session
    if overload is None:
        return full
    cheaper: Session | None = None
    if overload.cheaper is not None:
        other = Bundle.load(stream.beside(overload.cheaper))
        require_fit(stream, other)
        cheaper = open_session(stream, other, settings)
    ladder = Ladder(
        overload.steps,
        stream.serving.latency_budget_ms * 1_000,
        overload.after_ms * 1_000,
        overload.calm_ms * 1_000,
    )
    return LadderSession(full, cheaper, ladder)


def open_session(stream: Stream, bundle: Bundle, settings: ScorerSettings) -> Session:
    """Warm, and as fast as the bundle's curve says that it can be within the latency budget.

    Raises BundleInvalid where the model cannot be built or run.
    """
    threads = settings.threads if "threads" in settings.model_fields_set else None
    choice = choice_for(bundle, stream.serving.latency_budget_ms, threads)
    session = Session(
        bundle,
        choice.threads,
        settings.provider,
        engine=choice.engine,
        batch_rows_max=choice.rows,
    )
    for note in (session.provider_note, session.engine_note):
        if note:
            _log.warning("%s", note)
    session.warm_up()
    _log.info(
        "%s %s runs by %s, %d threads, %d rows at a time",
        *(bundle.name, bundle.version, session.engine, choice.threads, choice.rows),
    )
    return session
