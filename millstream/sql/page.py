"""The cookbook as a part of docs/SQL.md: `python -m millstream.sql.page docs/SQL.md` renews it."""

from __future__ import annotations

import sys
from pathlib import Path

from millstream.sql.cookbook import Recipe, cookbook

BEGIN, END = "<!-- cookbook -->", "<!-- end of the cookbook -->"


def cookbook_page() -> str:
    """Every recipe as Markdown: question, how it is called, its SQL."""
    return "\n\n".join(_section(each) for each in cookbook().values())


def renewed(text: str) -> str:
    """The page with the cookbook of today between its two marks. Raises ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{begin}\n\n{cookbook_page()}\n\n{end}{after}"


def _section(recipe: Recipe) -> str:
    words = "".join(
        f" {each.name}={'...' if each.default is None else each.default or repr('')}"
        if " " not in (each.default or "")
        else f" '{each.name}={each.default}'"
        for each in recipe.parameters
    )
    about = "".join(f"\n- `{each.name}` ({each.kind}): {each.about}" for each in recipe.parameters)
    return (
        f"### {recipe.title}\n\n{recipe.question}\n\n"
        f"`millstream sql STREAM.TOML {recipe.name}{words}`\n{about}\n\n"
        f"```sql\n{recipe.sql}\n```"
    ).replace("\n\n\n", "\n\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(renewed(path.read_text("utf-8")), "utf-8")
