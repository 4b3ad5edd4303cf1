"""A bundle: a folder with a model (`model.onnx`) and its card (`bundle.toml`).

The bytes that are hashed are the bytes that ONNX Runtime gets: the file is read once, so nobody
can change the model between the check and its use.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.card import Card, read_card, write_card
from millstream.models.durable import sync_folder, write_whole

MODEL_FILE = "model.onnx"
CARD_FILE = "bundle.toml"
MODEL_BYTES_MAX = 1 << 30
CARD_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that passed every check that needs no data. Session makes it answer.

    card_digest: `sha256:` and the digest of bundle.toml's bytes, as they were read.
    """

    folder: Path
    card: Card
    model_bytes: bytes = field(repr=False)
    card_digest: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.card.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.card.version

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hexadecimal digits, of model.onnx."""
        return self.card.digest

    @classmethod
    def load(cls, path: Path, model_bytes_max: int = MODEL_BYTES_MAX) -> Bundle:
        """Read and check the bundle in the folder `path`.

        Raises BundleInvalid, naming the file and what to do: folder or file missing, too large,
        damaged or incomplete card, digest, external data, foreign operators, unsupported opset,
        inputs or outputs that are not those of the card.
        """
        if not path.is_dir():
            raise BundleInvalid(
                f"there is no bundle folder {path}", "Check the path, or train and export a model"
            )
        text = read_file(path / CARD_FILE, CARD_BYTES_MAX)
        card = read_card(text, path / CARD_FILE)
        model = read_file(path / MODEL_FILE, model_bytes_max)
        return replace(cls.check(path, card, model), card_digest=digest_of(text))

    @classmethod
    def check(cls, path: Path, card: Card, model: bytes) -> Bundle:
        """The bundle of a card and a model that are in memory; `path` is only named in errors.

        Raises BundleInvalid as `load` does.
        """
        file = path / MODEL_FILE
        found = digest_of(model)
        if found != card.digest:
            raise BundleInvalid(
                f"{file} has the digest {found}, {CARD_FILE} says {card.digest}",
                "Copy the whole bundle again; never replace one file of it",
            )
        proto = graph.parse(model, file)
        graph.check_contents(proto, file)
        graph.check_runtime(proto, file)
        graph.check_signature(card, proto, file)
        return cls(path, card, model, digest_of(write_card(card).encode()))


def digest_of(content: bytes) -> str:
    """`sha256:` and the hexadecimal SHA-256 of a file's bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def write_bundle(folder: Path, model: bytes, card: Card) -> Bundle:
    """Write a bundle into the new folder `folder`, all of it or nothing.

    A folder that already holds this very name, version and digest is left as it is and returned.
    Raises BundleInvalid where the card does not fit the model (nothing is written), or where
    the folder holds anything else.
    """
    bundle = Bundle.check(folder, card, model)
    if folder.exists():
        return _same_or_refuse(folder, card)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        draft.chmod(0o755)
        write_whole(draft / MODEL_FILE, model)
        write_whole(draft / CARD_FILE, write_card(card).encode())
        try:
            # Fails where another writer was first: a folder that is not empty is never replaced.
            draft.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            return _same_or_refuse(folder, card)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return bundle


def _same_or_refuse(folder: Path, card: Card) -> Bundle:
    there = Bundle.load(folder)
    if (there.name, there.version, there.digest) != (card.name, card.version, card.digest):
        raise BundleInvalid(
            f"{folder} already holds {there.name} {there.version} ({there.digest})",
            "Write to another folder; a published version never changes",
        )
    return there


def read_file(file: Path, bytes_max: int) -> bytes:
    """The bytes of one of a bundle's files, read once.

    Raises BundleInvalid where it is missing, larger, unreadable, or a pipe or device, which could
    keep a reader waiting for ever.
    """
    try:
        # Without waiting for a pipe's writer; it says nothing about a file.
        with open(file, "rb", opener=_open_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise BundleInvalid(f"{file} is not a plain file", "Copy the whole bundle again")
            content: bytes = stream.read(bytes_max + 1)
    except FileNotFoundError as error:
        raise BundleInvalid(
            f"{file} is missing",
            f"Copy the whole bundle: it needs at least {MODEL_FILE} and {CARD_FILE}",
        ) from error
    except OSError as error:
        raise BundleInvalid(
            f"{file} cannot be read: {error.strerror}", "Make it a readable file"
        ) from error
    if len(content) > bytes_max:
        raise BundleInvalid(
            f"{file} is larger than {bytes_max:,} bytes", "Use a smaller model, or raise the cap"
        )
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
