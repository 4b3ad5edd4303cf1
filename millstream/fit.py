"""Whether a stream and its model fit each other."""

from __future__ import annotations

from millstream.errors import ContractMismatch
from millstream.models.bundle import Bundle
from millstream.models.contract import findings
from millstream.models.signing import verify_signature
from millstream.stream import Stream


def require_fit(stream: Stream, bundle: Bundle) -> None:
    """Raise ContractMismatch with the first way in which stream.toml and the bundle differ.

    Raises BundleInvalid where the stream asks for a signature ([release] signed_by) and the bundle
    has not that one.
    """
    require_signature(stream, bundle)
    for problem, remedy in misfits(stream, bundle):
        raise ContractMismatch(problem, remedy)


def require_signature(stream: Stream, bundle: Bundle) -> None:
    """Raise BundleInvalid where [release] signed_by asks for a signature that is not there."""
    if stream.signed_by is not None:
        verify_signature(bundle, stream.signed_by)


def misfits(stream: Stream, bundle: Bundle) -> list[tuple[str, str]]:
    """Every (problem, remedy) between the stream's features and label and its bundle's."""
    card = bundle.card
    found = [
        (finding.problem, finding.remedy)
        for finding in findings(card, stream.schema_of_event.text)
        if finding.fatal
    ]
    names = [feature.name for feature in card.features]
    if list(stream.features.order) != names:
        found.append(
            (
                f"features.order of {stream.path} is {', '.join(stream.features.order)}, "
                f"bundle {card.name} was trained on {', '.join(names)}",
                "Write features.order as the bundle has it, or use another bundle",
            )
        )
    categories = {feature.name for feature in card.features if feature.type == "category"}
    if set(stream.features.categories) != categories:
        found.append(
            (
                f"features.categories of {stream.path} is "
                f"{', '.join(stream.features.categories) or 'empty'}, bundle {card.name} has "
                f"{', '.join(sorted(categories)) or 'none'}",
                "Write features.categories as the bundle has it, or use another bundle",
            )
        )
    if stream.label.kind != card.kind:
        found.append(
            (
                f"label.kind of {stream.path} is {stream.label.kind}, bundle {card.name} is "
                f"{card.kind}",
                "Change label.kind or use another bundle",
            )
        )
    return found
