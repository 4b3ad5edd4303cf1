"""Models of releases, fetched, verified and warmed while others answer."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from queue import SimpleQueue
from typing import Final, Protocol

from consumers.answering import answering, open_session
from consumers.models.registry import fetch_model
from millstream.errors import DependencyUnavailable, MillstreamError
from millstream.fit import require_fit
from millstream.lineup import Answering, Lineup
from millstream.models.bundle import Bundle
from millstream.models.passport import require_passport
from millstream.models.reference import ModelReference
from millstream.models.session import Session
from millstream.releases.release import Release
from millstream.settings import ScorerSettings
from millstream.stream import Stream

AGAIN_S: Final = (1.0, 5.0, 15.0, 60.0)
"""Between tries while a store of models does not answer; the last again and again."""
SWITCH_S: Final = 0.0005
"""Python's switch interval while a model is loaded. Too low costs both threads; too high adds to
the latency of every batch meanwhile."""
TOLD_AFTER: Final = 2
"""Tries without an answer before people are told."""
Problem = tuple[Release, str]

_log = logging.getLogger(__name__)


class Loader(Protocol):
    """What the scorer asks for models. Nothing here waits but `need`."""

    def want(self, releases: Iterable[Release]) -> None:
        """Load these, and no others, as time allows."""

    def collect(self) -> list[Problem]:
        """Take over what was loaded; what could not be, since the last call."""

    def ready(self) -> Collection[int]:
        """Numbers of the releases that can answer now."""

    def failed(self) -> Collection[int]:
        """Numbers of those that will not load."""

    def need(self, release: Release | None) -> Lineup:
        """The models of a release that is in force, None for stream.toml's, loaded now if need be.

        Without those that do not load and answer nothing. Raises DependencyUnavailable where it may
        succeed later, OperatorNeeded where it will not.
        """

    def keep(self, numbers: Collection[int]) -> None:
        """Give back the others."""

    def base(self) -> tuple[str, str]:
        """Version and digest of stream.toml's bundle."""


class Lineups:
    """A Loader with one thread of its own."""

    def __init__(self, stream: Stream, settings: ScorerSettings) -> None:
        self._models = Models(stream, settings)
        self._loaded: dict[int, Lineup] = {}
        self._failed: set[int] = set()
        self._wanted: dict[int, Release] = {}
        self._asked: set[int] = set()
        self._orders: SimpleQueue[Release | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Release, Lineup | str | None, bool]] = SimpleQueue()
        self._stop = threading.Event()
        self._interval_s = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._work, name="lineups", daemon=True)
        self._thread.start()

    def want(self, releases: Iterable[Release]) -> None:
        """See Loader."""
        self._wanted = {each.number: each for each in releases}
        for number, release in self._wanted.items():
            if number not in self._asked and number not in self._loaded:
                self._asked.add(number)
                self._orders.put(release)

    def collect(self) -> list[Problem]:
        """See Loader."""
        problems = []
        while not self._done.empty():
            release, result, final = self._done.get()
            if isinstance(result, Lineup):
                self._loaded.setdefault(release.number, result)
                _log.info("release %d is loaded: %s", release.number, release.champion.label)
                continue
            if result is None:  # given up as nobody wanted it; by now somebody may again
                self._asked.discard(release.number)
                self.want(list(self._wanted.values()))
                continue
            problems.append((release, result))
            if final:
                self._failed.add(release.number)
        return problems

    def ready(self) -> Collection[int]:
        """See Loader."""
        return self._loaded.keys()

    def failed(self) -> Collection[int]:
        """See Loader."""
        return self._failed

    def need(self, release: Release | None) -> Lineup:
        """See Loader."""
        number = release.number if release else 0
        if number not in self._loaded:
            self._loaded[number] = self._models.lineup(release, in_force=True)
        return self._loaded[number]

    def keep(self, numbers: Collection[int]) -> None:
        """See Loader."""
        for number in [n for n in self._loaded if n not in numbers]:
            del self._loaded[number]
            self._asked.discard(number)
            _log.info("the models of release %d are given back", number)
        if self._asked <= self._loaded.keys() | self._failed:
            self._models.keep(list(self._loaded.values()))

    def base(self) -> tuple[str, str]:
        """See Loader."""
        return self._models.base()

    def close(self) -> None:
        """Load nothing more."""
        self._stop.set()
        self._orders.put(None)

    def _work(self) -> None:
        while not self._stop.is_set():
            release = self._orders.get()
            if release is not None:
                self._load(release)

    def _load(self, release: Release) -> None:
        # a batch that waits for the interpreter meanwhile has it after this, not after 5 ms
        sys.setswitchinterval(SWITCH_S)
        try:
            self._load_once_or_more(release)
        finally:
            sys.setswitchinterval(self._interval_s)

    def _load_once_or_more(self, release: Release) -> None:
        tries = 0
        while release.number in self._wanted and not self._stop.is_set():
            try:
                self._done.put((release, self._models.lineup(release), True))
                return
            except DependencyUnavailable as why:
                _log.warning("release %d is not loaded yet: %s", release.number, why)
                tries += 1
                if tries == TOLD_AFTER:
                    self._done.put((release, f"{type(why).__name__}: {why}", False))
                self._stop.wait(AGAIN_S[min(tries, len(AGAIN_S)) - 1])
            except Exception as why:  # noqa: BLE001 - whatever it is, what answers goes on
                unknown = not isinstance(why, MillstreamError)
                _log.error("release %d does not load: %s", release.number, why, exc_info=unknown)
                self._done.put((release, f"{type(why).__name__}: {why}", True))
                return
        self._done.put((release, None, False))


class Models:
    """Opens sessions, one for each model and role, shared by the releases that have both."""

    def __init__(self, stream: Stream, settings: ScorerSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str, str], Answering] = {}  # label, digest, role

    def lineup(self, release: Release | None, *, in_force: bool = False) -> Lineup:
        """All models of a release, warm. in_force: without those that answer nothing and fail.

        Raises OperatorNeeded or DependencyUnavailable.
        """
        if release is None:
            return Lineup(self._champion(Bundle.load(self._stream.bundle_path)))
        champion = self._champion(releasable(self._stream, release.champion))
        challenger = None
        if release.challenger is not None:
            challenger = self._other(release.challenger, in_force)
        shadows = [self._other(shadow, in_force) for shadow in release.shadows]
        return Lineup(
            champion,
            challenger,
            release.canary_share if challenger else 0.0,
            tuple(shadow for shadow in shadows if shadow is not None),
            release.number,
        )

    def base(self) -> tuple[str, str]:
        """Version and digest of stream.toml's bundle; empty where it cannot be read."""
        try:
            bundle = Bundle.load(self._stream.bundle_path)
        except MillstreamError:
            return "", ""
        return bundle.version, bundle.digest

    def keep(self, lineups: Collection[Lineup]) -> None:
        """Close the sessions that none of these has. Nothing may be loading."""
        used = {id(s) for lineup in lineups for s in (lineup.champion, *lineup.others)}
        with self._lock:
            for key in [k for k, session in self._open.items() if id(session) not in used]:
                self._open.pop(key).close()

    def _champion(self, bundle: Bundle) -> Answering:
        require_fit(self._stream, bundle)
        return self._session(bundle, "champion", lambda: answering(*self._parts(bundle)))

    def _other(self, reference: ModelReference, in_force: bool) -> Session | None:
        try:
            bundle = releasable(self._stream, reference)
            made = self._session(bundle, "other", lambda: open_session(*self._parts(bundle)))
        except MillstreamError as why:
            if not in_force:
                raise
            _log.error("%s is left out, the champion answers: %s", reference.label, why)
            return None
        assert isinstance(made, Session), reference
        return made

    def _parts(self, bundle: Bundle) -> tuple[Stream, Bundle, ScorerSettings]:
        return self._stream, bundle, self._settings

    def _session(self, bundle: Bundle, role: str, make: Callable[[], Answering]) -> Answering:
        key = (f"{bundle.name}@{bundle.version}", bundle.digest, role)
        with self._lock:
            known = self._open.get(key)
        if known is not None:
            return known
        made = make()
        with self._lock:
            return self._open.setdefault(key, made)


def releasable(stream: Stream, reference: ModelReference) -> Bundle:
    """The bundle, fetched and checked, with the passport and signature that the stream asks for.

    Raises OperatorNeeded where it may not answer, DependencyUnavailable where it may be had later.
    """
    own = _own_bundle(stream, reference)
    if own is not None:
        return own
    cache = stream.beside(stream.release.cache)
    bundle = Bundle.load(fetch_model(stream, reference, cache))
    require_passport(bundle, stream.release.passport)
    require_fit(stream, bundle)
    return bundle


def _own_bundle(stream: Stream, reference: ModelReference) -> Bundle | None:
    """The bundle of stream.toml where it is the one that is meant: it answers already."""
    try:
        bundle = Bundle.load(stream.bundle_path)
    except MillstreamError:
        return None
    named = (bundle.name, bundle.version, bundle.digest)
    return bundle if named == (reference.name, reference.version, reference.digest) else None
