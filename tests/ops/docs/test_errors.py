"""The pages of the errors."""

from __future__ import annotations

import re

from millstream.contract.refusals import OTHERS, REASONS
from ops.docs.errors import NEXT, ROOT, Site, error_pages, kinds, sites

PAGES = error_pages()


def declared() -> set[str]:
    """Names of the classes, anywhere in the programs, that are one of the two in the end."""
    pairs = [
        (found[1], set(re.findall(r"\w+", found[2])))
        for folder in ("millstream", "consumers", "streams", "ops/warehouse", "ops/registry")
        for path in (ROOT / folder).rglob("*.py")
        for found in re.finditer(r"^class (\w+)\(([^)]*)\):", path.read_text("utf-8"), re.M)
    ]
    names, size = {"OperatorNeeded", "DependencyUnavailable"}, 0
    while len(names) > size:
        size = len(names)
        names |= {name for name, bases in pairs if bases & names}
    return names


def test_every_error_has_a_page_with_its_exit_code() -> None:
    """Every class that is raised at a person, in whatever file it is declared."""
    assert {"CannotTrain", "StreamInvalid", "ClientLost"} < declared()
    assert {each.__name__ for each in kinds()} == declared()
    for kind in kinds():
        page = PAGES[f"errors/{kind.__name__}.md"]
        assert f"Exit code {kind.exit_code}." in page
        assert NEXT[kind.exit_code] in page
        assert f"({kind.__name__}.md)" in PAGES["errors/index.md"]


def test_what_a_page_says_is_what_the_code_says() -> None:
    """Problem and remedy of each place, with names for what varies."""
    found = sites()
    silent = [kind.__name__ for kind in kinds() if not found[kind.__name__]]
    assert silent == ["TransactionAborted"], "it repeats what the client said"
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
    for reason in (*REASONS, *OTHERS):
        page = PAGES[f"errors/refused/{reason.name}.md"]
        assert reason.mend in page
        assert f"(refused/{reason.name}.md)" in PAGES["errors/index.md"]
