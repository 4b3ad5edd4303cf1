"""The registry of models in MLflow: a SQLite file, or a server by its URL.

MLflow numbers the versions of a model itself, so ours is a tag of MLflow's version, as are the
digest and the address of its artifact, which lies in a store of ours (artifacts.py).
MLflow has no condition "unless it is there": who adds a version looks again afterwards, and of two
that added it at once the one with the lower number stays.

Imported by commands that release and train, never by a program that scores. Needs the extra
`registry`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from consumers.models.artifacts import ArtifactStore, card_at, fetch_located
from millstream.errors import BundleInvalid, DependencyUnavailable, SettingsInvalid
from millstream.models.bundle import CARD_FILE, MODEL_FILE, Bundle
from millstream.models.fetching import Progress
from millstream.models.reference import ModelReference, asked_for, require_word
from millstream.models.registry import (
    Entry,
    require_same_answers,
    require_same_model,
    require_tag,
    unknown,
)

_OURS: Final = "millstream."
_VERSION, _DIGEST, _LOCATION = (f"{_OURS}{what}" for what in ("version", "digest", "location"))
_PAGE: Final = 1_000
_SETTINGS: Final = {
    # Its client sends usage reports to its makers unless told not to.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # By its own defaults it tries a dead server for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_ABSENT: Final = "RESOURCE_DOES_NOT_EXIST"
_TAKEN: Final = "RESOURCE_ALREADY_EXISTS"
_REFUSED: Final = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})


class _Absent(Exception):
    """MLflow says that there is no such thing."""


class _Taken(Exception):
    """MLflow says that there is such a thing already."""


class MlflowRegistry:
    """A ModelRegistry in MLflow.

    uri: what MLflow calls a tracking URI: ``sqlite:////path/mlflow.db`` or ``http://host:5000``.
    artifacts: where the models are stored, as ArtifactStore takes it. A server takes no folder as a
    model's address: give it a bucket.
    Raises SettingsInvalid where MLflow is not installed or refuses what it is asked,
    DependencyUnavailable where it does not answer.
    """

    def __init__(self, uri: str, artifacts: str) -> None:
        self.uri = uri
        self._artifacts = ArtifactStore(artifacts)
        self._client = _client(uri)

    def add(self, bundle_folder: Path, tags: Mapping[str, str]) -> ModelReference:
        """See ModelRegistry. A tag's key may not begin with ``millstream.``."""
        for key, value in tags.items():
            _require_free(key, value)
        bundle = Bundle.load(bundle_folder)
        there = self._first(bundle.name, bundle.version)
        if there is not None:
            return _same(_reference(there), bundle)
        reference = self._artifacts.put(bundle_folder)
        ours = {
            _VERSION: reference.version,
            _DIGEST: reference.digest,
            _LOCATION: reference.location,
        }
        with self._border():
            try:
                with self._border():
                    self._client.create_registered_model(reference.name)
            except _Taken:
                pass
            made = self._client.create_model_version(
                reference.name, source=reference.location, tags={**tags, **ours}
            )
        first = self._first(reference.name, reference.version)
        if first is None or int(first.version) == int(made.version):
            return reference
        with self._border():
            self._client.delete_model_version(reference.name, made.version)
        return _same(_reference(first), bundle)

    def find(self, name: str, version: str) -> ModelReference:
        """See ModelRegistry."""
        return _reference(self._required(name, version))

    def names(self) -> list[str]:
        """See ModelRegistry. Models of MLflow's that are not Millstream's are left out."""
        return sorted({found.name for found in self._search("") if _VERSION in found.tags})

    def versions(self, name: str) -> list[Entry]:
        """See ModelRegistry."""
        found = self._search(f"name = '{require_word('model', name)}'")
        firsts: dict[str, Any] = {}
        for version in found:
            if _VERSION in version.tags:
                firsts.setdefault(version.tags[_VERSION], version)
        return [_entry(version) for version in firsts.values()]

    def fetch(
        self, reference: ModelReference, into: Path, progress: Progress | None = None
    ) -> Path:
        """See ModelRegistry. Where the reference has a location, that is asked."""
        if not reference.location:
            location = self.find(reference.name, reference.version).location
            reference = ModelReference(
                reference.name, reference.version, reference.digest, location
            )
        return fetch_located(reference, into, progress)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See ModelRegistry. MLflow takes no alias that looks like its versions: v1, latest."""
        require_word("alias", alias)
        number = self._required(name, version).version
        with self._border():
            self._client.set_registered_model_alias(name, alias, number)

    def alias(self, name: str, alias: str) -> ModelReference | None:
        """See ModelRegistry."""
        require_word("alias", alias)
        number = self._numbers(require_word("model", name)).get(alias)
        if number is None:
            return None
        with self._border():
            found = self._client.get_model_version(name, number)
        if _VERSION not in found.tags:
            raise BundleInvalid(
                f"MLflow's {name}@{alias} (version {number}) is not one of Millstream's",
                f"Import it: `millstream models add STREAM.TOML models:/{name}@{alias}`",
            )
        return _reference(found)

    def aliases(self, name: str) -> dict[str, str]:
        """See ModelRegistry. Aliases of versions that are not Millstream's are left out."""
        found = self._search(f"name = '{require_word('model', name)}'")
        ours = {int(v.version): v.tags[_VERSION] for v in found if _VERSION in v.tags}
        numbers = {alias: int(number) for alias, number in self._numbers(name).items()}
        return {alias: ours[number] for alias, number in numbers.items() if number in ours}

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """See ModelRegistry."""
        _require_free(key, value)
        number = self._required(name, version).version
        with self._border():
            self._client.set_model_version_tag(name, number, key, value)

    def imported(self, text: str, into: Path, progress: Progress | None = None) -> Path:
        """The folder below `into` with the bundle of ``models:/NAME@ALIAS`` or ``models:/NAME/N``.

        N: Millstream's version, or else MLflow's number. What others logged is a bundle where
        bundle.toml lies beside model.onnx; else raises BundleInvalid.
        """
        found = self._chosen(*asked_for(text))
        if _VERSION in found.tags:
            return fetch_located(_reference(found), into, progress)
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415

        into.mkdir(parents=True, exist_ok=True)
        with self._border():
            uri = self._client.get_model_version_download_uri(found.name, found.version)
            folder = Path(
                download_artifacts(artifact_uri=uri, dst_path=str(into), tracking_uri=self.uri)
            )
        for card in sorted(folder.rglob(CARD_FILE)):
            if (card.parent / MODEL_FILE).is_file():
                return card.parent
        raise BundleInvalid(
            f"{text} (MLflow's version {found.version}) has no {CARD_FILE} beside a {MODEL_FILE}",
            "Log a bundle's folder to MLflow, or make a bundle and add its folder",
        )

    def _chosen(self, name: str, chosen: str) -> Any:
        number = self._numbers(name).get(chosen)
        if number is None:
            first = self._first(name, chosen)
            if first is not None:
                return first
            number = chosen if chosen.isdecimal() else None
        if number is None:
            raise unknown(name, chosen, [])
        try:
            with self._border():
                return self._client.get_model_version(name, number)
        except _Absent:
            raise unknown(name, chosen, []) from None

    def _numbers(self, name: str) -> dict[str, Any]:
        """MLflow's version by alias."""
        try:
            with self._border():
                return dict(self._client.get_registered_model(name).aliases)
        except _Absent:
            return {}

    def _first(self, name: str, version: str) -> Any:
        """Of MLflow's versions that are this one of ours the lowest; None where there is none."""
        require_word("model", name)
        require_word("version", version)
        found = self._search(f"name = '{name}' AND tag.`{_VERSION}` = '{version}'")
        return found[0] if found else None

    def _required(self, name: str, version: str) -> Any:
        found = self._first(name, version)
        if found is None:
            raise unknown(name, version, [e.reference.version for e in self.versions(name)])
        return found

    def _search(self, condition: str) -> list[Any]:
        """MLflow's versions, by name and number."""
        found: list[Any] = []
        token = None
        with self._border():
            while token != "":
                page = self._client.search_model_versions(
                    condition, max_results=_PAGE, page_token=token
                )
                found += page
                token = page.token or ""
        return sorted(found, key=lambda version: (version.name, int(version.version)))

    @contextmanager
    def _border(self) -> Iterator[None]:
        try:
            yield
        except (_Absent, _Taken):
            raise
        except Exception as error:
            raised = _translated(error, self.uri)
            if raised is None:
                raise
            raise raised from error


def _client(uri: str) -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient  # noqa: PLC0415
    except ImportError as error:
        raise SettingsInvalid(
            "the registry of models is MLflow's, which is not installed",
            "Install millstream[registry], or set [model] registry to a folder",
        ) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:
        raised = _translated(error, uri)
        if raised is None:
            raise
        raise raised from error


def _translated(error: Exception, uri: str) -> Exception | None:
    """What MLflow raised, in our words; None where it is not MLflow's or its database's."""
    root = type(error).__module__.partition(".")[0]
    if root == "mlflow":
        code = getattr(error, "error_code", "")
        if code == _ABSENT:
            return _Absent(str(error))
        if code == _TAKEN:
            return _Taken(str(error))
        if code in _REFUSED or code.startswith("INVALID_"):
            return SettingsInvalid(
                f"MLflow at {uri} refuses: {str(error)[:500]}", "Correct what it names"
            )
    if root in {"mlflow", "sqlalchemy", "requests", "urllib3", "alembic"}:
        return DependencyUnavailable("MLflow", f"{uri}: {str(error)[:500]}")
    return None


def _require_free(key: str, value: str) -> None:
    require_tag(key, value)
    if key.startswith(_OURS):
        raise BundleInvalid(f"the tag {key} is Millstream's own", "Choose another key")


def _reference(found: Any) -> ModelReference:
    tags = found.tags
    return ModelReference(
        found.name, tags[_VERSION], tags.get(_DIGEST, ""), tags.get(_LOCATION, "")
    )


def _entry(found: Any) -> Entry:
    created_at = datetime.fromtimestamp(found.creation_timestamp / 1_000, UTC)
    tags = {key: value for key, value in found.tags.items() if not key.startswith(_OURS)}
    return Entry(_reference(found), created_at, tags)


def _same(there: ModelReference, bundle: Bundle) -> ModelReference:
    offered = ModelReference(bundle.name, bundle.version, bundle.digest)
    require_same_model(there, offered)
    require_same_answers(card_at(there.location), bundle.card)
    return there
