"""The prompt of `millstream sql`: statements that end with a semicolon, and commands with a \\."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from millstream.cli import sql_shown as shown
from millstream.errors import MillstreamError, OperatorNeeded
from millstream.sql.completion import COMMANDS, FORMATS, Words, completions
from millstream.sql.cookbook import cookbook

if TYPE_CHECKING:
    from consumers.sql.analyst import Analyst

HISTORY = Path("~/.millstream_history")


class Prompt:
    """Asks, runs, shows, until it is left. An error is said, and the next statement asked for.

    session: where lines come from; a terminal's unless given.
    """

    def __init__(
        self,
        analyst: Analyst,
        name: str,
        form: str,
        rows: int,
        session: PromptSession[str] | None = None,
    ) -> None:
        self._analyst = analyst
        self._name = name
        self._form = form
        self._rows = rows
        self._session = session or terminal(analyst.words())

    def run(self) -> None:
        """Until \\q or the end of the input; Ctrl-C drops what was typed."""
        typer.echo(
            f"ClickHouse, database {self._name}; \\? lists the commands, \\q leaves", err=True
        )
        while True:
            try:
                # Not the library's handler of what fails beside the prompt, such as a completion:
                # it asks for ENTER on standard input, and where that is no terminal, for ever.
                text = self._session.prompt(f"{self._name}> ", set_exception_handler=False).strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if text in ("\\q", "exit", "quit"):
                return
            try:
                self._take(text)
            except MillstreamError as why:
                shown.say(why)
            except KeyboardInterrupt:
                typer.echo("stopped", err=True)

    def _take(self, text: str) -> None:
        if not text.startswith("\\"):
            for statement in shown.statements(text):
                shown.run(self._analyst, statement, {}, self._form, self._rows)
            return
        command, *words = text.split()
        if command == "\\c" and words:
            shown.run_recipe(self._analyst, words[0], words[1:], self._form, self._rows)
        elif command == "\\d":
            self._describe(words[0] if words else None)
        elif command == "\\f" and words and words[0] in FORMATS:
            self._form = words[0]
        elif command == "\\l":
            for each in cookbook().values():
                typer.echo(f"{each.name:<30}{each.question}")
        elif command == "\\?":
            for name, about in COMMANDS.items():
                typer.echo(f"{name:<6}{about}")
        else:
            raise OperatorNeeded(f"{text} is no command", "\\? lists them")

    def _describe(self, table: str | None) -> None:
        where = "database = currentDatabase()"
        statement = f"SELECT name, comment FROM system.tables WHERE {where} ORDER BY name"
        if table is not None:
            statement = (
                f"SELECT name, type, comment FROM system.columns WHERE {where} "
                "AND table = {name:String} ORDER BY position"
            )
        given = {} if table is None else {"name": table}
        shown.run(self._analyst, statement, given, "table", shown.ROWS_SHOWN_MAX)


class SqlCompleter(Completer):
    """`completions` as the prompt's library wants them."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Of the text before the cursor."""
        for each in completions(document.text_before_cursor, self._words):
            yield Completion(each.text, -each.back, display_meta=each.about[:80])


def is_whole(text: str) -> bool:
    """Whether Enter runs the text: a command, nothing, or a statement with its semicolon."""
    plain = text.strip()
    return not plain or plain.startswith("\\") or plain.endswith(";") or plain in ("exit", "quit")


def terminal(words: Words, **streams: Any) -> PromptSession[str]:
    """A session of this terminal, or of the given `input` and `output`; the history is a file in
    the home folder where it can be written."""
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=ThreadedCompleter(SqlCompleter(words)),
        lexer=PygmentsLexer(SqlLexer),
        complete_while_typing=True,
        prompt_continuation="  ",
        multiline=Condition(lambda: not is_whole(session.default_buffer.text)),
        **streams,
    )
    return session


def _history() -> History:
    path = HISTORY.expanduser()
    try:
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))
