"""The error tree: its drawing, and what each error carries."""

from __future__ import annotations

import re

import pytest

from millstream import errors


def _drawn() -> set[tuple[str, str]]:
    """(class, base) of every line of the tree in the module's docstring."""
    found: set[tuple[str, str]] = set()
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([│├└─ ]*)([A-Z]\w+)(\s|$)", line)
        if match is None:
            continue
        depth = len(match[1])
        above = [(d, name) for d, name in above if d < depth]
        if above:
            found.add((match[2], above[-1][1]))
        above.append((depth, match[2]))
    return found


def _declared() -> set[tuple[str, str]]:
    """(class, base) of every error class of the module but the root."""
    return {
        (name, kind.__bases__[0].__name__)
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, errors.MillstreamError)
        and kind is not errors.MillstreamError
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Nothing is drawn that is not there, and nothing is there that is not drawn."""
    assert len(_drawn()) >= 9
    assert _drawn() == _declared()


def test_every_error_has_one_parent() -> None:
    """So that the branch of an error, and with it who must act, is never in doubt."""
    for name, _ in _declared():
        assert len(getattr(errors, name).__bases__) == 1, name


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OperatorNeeded("p", "r"), 2),
        (errors.StreamInvalid("p", "r"), 2),
        (errors.InvariantBroken("p", "r"), 4),
        (errors.TooManyRefusals("p", "r"), 4),
        (errors.DependencyUnavailable("Kafka", "r"), 3),
        (errors.ClientLost("Kafka", "r"), 3),
        (errors.RecordRefused(errors.Stage.FRAME, "n", "r"), 1),
    ],
)
def test_the_exit_code_says_who_must_act(error: errors.MillstreamError, code: int) -> None:
    """2: a person, 3: start it again, 4: a person, and do not start it again, 1: a bug."""
    assert error.exit_code == code


def test_an_operators_error_is_problem_then_remedy() -> None:
    """Both are kept apart, and its text is one line."""
    error = errors.SettingsInvalid("X is wrong", "Mend X")
    assert (error.problem, error.remedy, str(error)) == (
        "X is wrong",
        "Mend X",
        "X is wrong. Mend X",
    )


def test_a_refused_record_says_stage_name_and_reason() -> None:
    """In that order, for logs."""
    error = errors.RecordRefused(errors.Stage.DECODE, "truncated", "it ends early")
    assert str(error) == "decode: truncated: it ends early"
