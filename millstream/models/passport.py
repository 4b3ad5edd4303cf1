"""passport.json: what was measured of a bundle before it may answer. No passport, no release.

Made by `prove` (proof.py), which needs the training library or its scores; repeated by
`millstream bundle check` from the golden rows beside it (golden.py), which needs neither.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle, read_file
from millstream.models.card import Digest, FeatureType, Word
from millstream.models.evaluation import Evaluation
from millstream.models.lineage import Lineage
from millstream.models.signing import verify_signature
from millstream.models.tuning import Tuning

PASSPORT_FILE = "passport.json"
PASSPORT_BYTES_MAX = 8 << 20

Requirement = Literal["required", "none"]
CheckName = Literal[
    "parity_ordinary",
    "parity_hostile",
    "flips",
    "batch_independence",
    "schema_map",
    "opset",
    "size",
]
LIMITS_MAX: Final[dict[str, float]] = {
    "parity_ordinary": 0.1,
    "parity_hostile": 1.0,
    "batch_independence": 0.0,
    "schema_map": 0.0,
    "opset": 0.0,
}
"""No passport may be laxer: one whose own limits let everything pass proves nothing."""
MAKE_AGAIN = "Make it again: millstream bundle make, or issue_passport where the model is trained"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Part):
    """One thing that was measured. It passes where `found` is at most `limit`.

    parity_ordinary, parity_hostile: largest difference from the training library's scores, absolute
    for probabilities and relative above 1 for regression. flips: rows with another label.
    batch_independence, schema_map: rows whose score depends on the batch's other rows or on the
    order of its columns. opset: operator sets out of range. size: bytes. rows: how many were tried.
    """

    name: CheckName
    found: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    limit: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    passed: bool
    rows: Annotated[int, Field(ge=0)] = 0
    note: str = ""

    @model_validator(mode="after")
    def _passes_as_it_says(self) -> Self:
        if self.passed != (self.found <= self.limit):
            raise ValueError(f"{self.name} found {self.found:g} with limit {self.limit:g}")
        return self

    @classmethod
    def of(cls, name: CheckName, found: float, limit: float, rows: int = 0, note: str = "") -> Self:
        """The check with its verdict; what is infinite or undefined fails."""
        sound = found if math.isfinite(found) else float.fromhex("0x1.fffffffffffffp+1023")
        return cls(name=name, found=sound, limit=limit, passed=sound <= limit, rows=rows, note=note)

    def __str__(self) -> str:
        said = f"{self.name}: found {self.found:.3g}, limit {self.limit:.3g}"
        return f"{said} ({self.note})" if self.note else said


class Place(_Part):
    """Where an event's field goes: `column` of the ONNX input `tensor`, as `element`."""

    feature: str
    type: FeatureType
    missing: str
    tensor: str
    column: Annotated[int, Field(ge=0)]
    element: str


class Passport(_Part):
    """Everything in passport.json.

    card_digest, golden_digest: of bundle.toml and golden.json as they were. reference: whose scores
    the bundle's were compared with. tuning: the batch curve of the machine that it names.
    """

    format: Literal[1] = 1
    name: Word
    version: Word
    digest: Digest
    card_digest: Digest
    golden_digest: Digest
    issued: AwareDatetime
    millstream: str
    onnxruntime: str
    reference: str
    opset: dict[str, int]
    ir_version: int
    size_bytes: Annotated[int, Field(ge=1)]
    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    tuning: Tuning | None = None
    lineage: Lineage | None = None
    evaluation: Evaluation | None = None

    @model_validator(mode="after")
    def _has_every_check_once(self) -> Self:
        names = [check.name for check in self.checks]
        missing = [name for name in get_args(CheckName) if name not in names]
        if missing or len(set(names)) != len(names):
            raise ValueError(f"it has no check {', '.join(missing) or 'or one twice'}")
        return self

    @property
    def passed(self) -> bool:
        """Whether every check passed, within limits that are none of its own making."""
        return self.first_failure is None

    @property
    def first_failure(self) -> Check | None:
        """The first check that failed, or whose limit is laxer than any passport's may be."""
        for check in self.checks:
            if not check.passed or check.limit > LIMITS_MAX.get(check.name, math.inf):
                return check
        return None

    def check(self, name: CheckName) -> Check:
        """The check of this name."""
        return next(check for check in self.checks if check.name == name)


def read_passport(bundle: Bundle) -> Passport | None:
    """The bundle's passport, or None if it has none.

    Raises BundleInvalid where the file is damaged, or was issued for another model or card.
    """
    file = bundle.folder / PASSPORT_FILE
    if not file.exists():
        return None
    try:
        found = Passport.model_validate_json(read_file(file, PASSPORT_BYTES_MAX))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise BundleInvalid(f"{file}: {where + ': ' if where else ''}{said}", MAKE_AGAIN) from None
    for what, theirs, ours in (
        ("model.onnx", found.digest, bundle.digest),
        ("bundle.toml", found.card_digest, bundle.card_digest),
    ):
        if theirs != ours:
            raise BundleInvalid(
                f"{file} was issued for another {what} ({theirs}, here it is {ours})", MAKE_AGAIN
            )
    return found


def require_passport(
    bundle: Bundle, policy: Requirement = "required", signed_by: Path | None = None
) -> Passport | None:
    """The passport of a bundle that may be released; None where the policy needs none.

    signed_by: a PEM file with an Ed25519 public key: then every file of the bundle must be signed
    by it, whatever the policy. Reads files of the bundle's folder, runs nothing (`repeat` in
    proof.py does). Raises BundleInvalid, naming what fails and what to do.
    """
    if signed_by is not None:
        verify_signature(bundle, signed_by)
    if policy == "none":
        return None
    found = read_passport(bundle)
    if found is None:
        raise BundleInvalid(
            f"{bundle.folder} has no {PASSPORT_FILE}, so nothing shows that {bundle.name} "
            f"{bundle.version} answers as it was trained",
            f"{MAKE_AGAIN}; or set passport = 'none' under [release]",
        )
    failure = found.first_failure
    if failure is not None:
        what = "failed" if not failure.passed else "has too lax a limit"
        raise BundleInvalid(
            f"{bundle.folder / PASSPORT_FILE}: the check {what}: {failure}", REMEDIES[failure.name]
        )
    return found


REMEDIES: Final[dict[str, str]] = {
    "parity_ordinary": "Export in doubles, or with another model family",
    "parity_hostile": "Export in doubles, and let features refuse what the library refuses",
    "flips": "Export in doubles, or take a threshold that lies on no score",
    "batch_independence": "Quantise statically, never dynamically; normalise by fixed statistics",
    "schema_map": "List the features in the order in which the model was trained",
    "opset": "Export for an operator set in range",
    "size": "Use a smaller model, or raise Limits.size_bytes",
}
