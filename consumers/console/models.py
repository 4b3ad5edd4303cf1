"""The models page: who answered, what is registered, what was released, decided and retrained."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consumers.console.reach import Reach, trouble_of
from consumers.models.registry import open_registry
from millstream.console import queries
from millstream.console.plain import plain_object, without_secrets
from millstream.errors import BundleInvalid, MillstreamError
from millstream.models.bundle import Bundle
from millstream.models.model_card import MARKDOWN_FILE, markdown
from millstream.models.passport import Passport, read_passport
from millstream.models.registry import resolve
from millstream.stream import Stream

CARD_CHARS_MAX = 100_000
CARDS_MAX = 50
REGISTERED_MAX = 200


class Models:
    """One stream's models. Cards are read from the registry once each; close it."""

    def __init__(self, stream: Stream, reach: Reach) -> None:
        self._stream = stream
        self._db = stream.name
        self._reach = reach
        self._folder = tempfile.TemporaryDirectory(prefix="millstream-console-")
        self._lock = threading.Lock()
        self._cards: dict[tuple[str, str], dict[str, Any]] = {}

    def overview(self) -> dict[str, Any]:
        """Everything of the page but the cards. Raises as Reach.rows."""
        made: dict[str, Any] = {
            "versions": self._named(
                ("model", "version", "digest", "answers", "first", "last", "in_budget", "p99_ms"),
                queries.versions_sql(self._db),
            ),
            "releases": self._releases(),
            "failures": self._named(
                ("number", "scorer", "error", "at"), queries.failures_sql(self._db)
            ),
            "decisions": self._named(
                (
                    "verdict", "role", "champion", "challenger", "rows", "difference", "low",
                    "high", "failed_gates", "reason", "at",
                ),
                queries.decisions_sql(self._db),
            ),
            "retraining": self._named(
                ("number", "stage", "status", "trigger", "reason", "outcome", "tries", "at"),
                queries.retraining_sql(self._db),
            ),
            "registry": self._registered(),
            "bundle": self._stream.model.bundle,
        }  # fmt: skip
        for failure in made["failures"]:
            failure["error"] = without_secrets(str(failure["error"]))
        made["answers"] = self._answers(made["versions"])
        return plain_object(made)

    def card(self, name: str, version: str) -> dict[str, Any]:
        """One version's card: the facts of bundle.toml, its passport, its text for people.

        Raises BundleInvalid where neither the stream's bundle nor the registry has it.
        """
        with self._lock:
            if (name, version) not in self._cards:
                if len(self._cards) >= CARDS_MAX:
                    self._cards.clear()
                self._cards[name, version] = _card(self._bundle(name, version))
            return self._cards[name, version]

    def close(self) -> None:
        """Remove what was fetched."""
        self._folder.cleanup()

    def _bundle(self, name: str, version: str) -> Bundle:
        try:
            own = Bundle.load(self._stream.bundle_path)
        except BundleInvalid:
            own = None
        if own is not None and (own.name, own.version) == (name, version):
            return own
        registry = open_registry(self._stream)
        reference = resolve(registry, f"{name}@{version}")
        return Bundle.load(registry.fetch(reference, Path(self._folder.name)))

    def _releases(self) -> list[dict[str, Any]]:
        names = (
            "number", "kind", "champion", "version", "digest", "challenger", "challenger_version",
            "canary_share", "shadows", "shadow_versions", "effective", "reason", "by", "at",
        )  # fmt: skip
        releases = self._named(names, queries.releases_sql(self._db))
        by_number = {one["number"]: one for one in releases}
        for one in releases:
            one["switches"] = []
        switch = ("partition", "offset", "at", "late")
        for number, *rest in self._reach.rows(queries.switches_sql(self._db)):
            if number in by_number:
                by_number[number]["switches"].append(dict(zip(switch, rest, strict=True)))
        return releases

    def _answers(self, versions: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Predictions of each version over time."""
        if not versions:
            return {"first": 0, "step": 1, "cells": []}
        first = min(int(one["first"]) for one in versions)
        last = max(int(one["last"]) for one in versions)
        step = max(1_000, (last - first) // queries.BUCKETS + 1)
        cells = self._reach.rows(queries.answers_sql(self._db), first=first, step=step)
        return {"first": first, "step": step, "cells": sorted(cells)}

    def _registered(self) -> dict[str, Any]:
        """What the registry has; a registry that does not answer takes nothing else down."""
        try:
            registry = open_registry(self._stream)
            found: list[dict[str, Any]] = []
            for name in registry.names():
                aliases = registry.aliases(name)
                for entry in registry.versions(name):
                    reference = entry.reference
                    meant = sorted(a for a, v in aliases.items() if v == reference.version)
                    found.append(
                        {
                            "name": name,
                            "version": reference.version,
                            "digest": reference.digest,
                            "at": round(entry.created_at.timestamp() * 1_000),
                            "aliases": meant,
                            "tags": dict(entry.tags),
                        }
                    )
        except MillstreamError as why:
            return {"versions": [], "error": trouble_of(why, "model registry").as_json()}
        newest = sorted(found, key=lambda one: one["at"], reverse=True)
        return {"versions": newest[:REGISTERED_MAX], "error": None}

    def _named(self, names: Sequence[str], sql: str) -> list[dict[str, Any]]:
        return [dict(zip(names, row, strict=True)) for row in self._reach.rows(sql)]


def _card(bundle: Bundle) -> dict[str, Any]:
    """What is said of a bundle; a passport that is damaged is told, not trusted."""
    passport: Passport | None = None
    trouble = ""
    try:
        passport = read_passport(bundle)
    except BundleInvalid as why:
        trouble = without_secrets(why.problem)
    file = bundle.folder / MARKDOWN_FILE
    try:
        text = file.read_text("utf-8", "replace")[:CARD_CHARS_MAX] if file.is_file() else ""
    except OSError:
        text = ""
    return plain_object(
        {
            "facts": bundle.card.model_dump(mode="json", exclude_none=True),
            "passport": None if passport is None else _passport(passport),
            "passport_error": trouble,
            "lines": (text or markdown(bundle, passport)).splitlines(),
        }
    )


def _passport(passport: Passport) -> dict[str, Any]:
    return {
        "passed": passport.passed,
        "checks": [check.model_dump(mode="json") for check in passport.checks],
    }
