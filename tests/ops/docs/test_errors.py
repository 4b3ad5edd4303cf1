"""The pages of the errors."""

from __future__ import annotations

from millstream import errors
from millstream.contract.refusals import REASONS
from millstream.errors import DependencyUnavailable, OperatorNeeded
from ops.docs.errors import NEXT, Site, error_pages, kinds, sites

PAGES = error_pages()


def test_every_error_has_a_page_with_its_exit_code() -> None:
    """Every class of millstream/errors.py that is raised at a person."""
    named = {each.__name__ for each in kinds()}
    assert named == {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, OperatorNeeded | DependencyUnavailable)
    }
    for kind in kinds():
        page = PAGES[f"errors/{kind.__name__}.md"]
        assert f"Exit code {kind.exit_code}." in page
        assert NEXT[kind.exit_code] in page


def test_what_a_page_says_is_what_the_code_says() -> None:
    """Problem and remedy of each place, with names for what varies."""
    found = sites()
    assert all(len(found[kind.__name__]) for kind in kinds()), {k: len(v) for k, v in found.items()}
    assert (
        Site("event schema {path} does not exist", "Set event.schema to an .avsc file",
             "millstream/contracts.py")
        in found["StreamInvalid"]
    )  # fmt: skip
    assert sum(map(len, found.values())) > 200
    page = PAGES["errors/StreamInvalid.md"]
    assert "| event schema {path} does not exist | Set event.schema to an .avsc file |" in page


def test_every_refusal_has_a_page_with_what_to_do() -> None:
    """And the index leads to it."""
    for reason in REASONS:
        page = PAGES[f"errors/refused/{reason.name}.md"]
        assert reason.mend in page
        assert f"(refused/{reason.name}.md)" in PAGES["errors/index.md"]
