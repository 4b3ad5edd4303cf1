"""Just enough of ClickHouse's SQL: where FORMAT is, where an INSERT's data begins, what is refused.

The engine parses every statement itself. Here it is only cut into tokens, so that strings, quoted
names and comments cannot be taken for words. The engine's own
spaces and quotes outside of ASCII count too. Everything is bytes: a statement need not be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ops.warehouse.errors import Code, failure

_TOKEN = re.compile(
    rb"""
    (?P<space>   (?: [\s\x00] | \xc2[\x85\xa0] | \xe1\x9a\x80 | \xe1\xa0\x8e
                   | \xe2\x80[\x80-\x8f\xa8-\xaf] | \xe2\x81[\x9f\xa0]
                   | \xe3\x80\x80 | \xef\xbb\xbf )++ )
  | (?P<comment> --[^\n]*+ | \#[\ !][^\n]*+ | /\*.*?(?:\*/|\Z) )
  | (?P<string>  '(?:[^'\\]++|\\.|'')*+' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
                   | \xe2\x80\x98.*?\xe2\x80\x99 )
  | (?P<quoted>  `(?:[^`\\]++|\\.|``)*+` | "(?:[^"\\]++|\\.|"")*+"
                   | \xe2\x80\x9c.*?\xe2\x80\x9d )
  | (?P<word>    [A-Za-z_][A-Za-z0-9_]*+ )
  | (?P<number>  [0-9][A-Za-z0-9_.]*+ )
  | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)

# What the engine's grants do not cover; access.py keeps everything else inside.
_OUTSIDE = frozenset({b"disk", b"eval", b"executable", b"executablepool", b"file", b"python"})
_QUOTES = b'`"' + "“”".encode()


@dataclass(frozen=True, slots=True)
class Token:
    """kind: a group's name in the pattern. text: its bytes. start, end: where it stands."""

    kind: str
    text: bytes
    start: int
    end: int

    @property
    def upper(self) -> bytes:
        """The word in capitals; nothing for any other kind."""
        return self.text.upper() if self.kind == "word" else b""


def tokens(statement: bytes) -> Iterator[Token]:
    """The tokens that mean something: no spaces, no comments."""
    for found in _TOKEN.finditer(statement):
        kind = found.lastgroup if found.lastgroup != "tag" else "string"
        assert kind is not None
        if kind not in {"space", "comment"}:
            yield Token(kind, found.group(), found.start(), found.end())


def first_word(statement: bytes) -> str:
    """The statement's first word in capitals, "(" before a bracket, "" where there is neither."""
    token = next(tokens(statement), None)
    if token is None:
        return ""
    return "(" if token.text == b"(" else token.upper.decode()


@dataclass(frozen=True, slots=True)
class InsertHead:
    """An INSERT that brings its data along.

    statement: up to FORMAT or VALUES, exclusive. format: the data's format, "Values" for VALUES.
    data_offset: where in the bytes the data begins. settings_offset: where in the statement its
    SETTINGS begin; the statement's length if it has none.
    """

    statement: bytes
    format: str
    data_offset: int
    settings_offset: int


def insert_head(text: bytes) -> InsertHead | None:
    """Cut an INSERT from its data; None if it has none (INSERT ... SELECT).

    `text` may end anywhere in the data. Raises QueryFailed for FROM INFILE, for an INSERT that
    names neither a format nor VALUES nor a query, and for data in a query that reads input().
    """
    depth = 0
    name_ends = False
    previous = b""
    settings = len(text)
    stream = tokens(text)
    for token in stream:
        if token.text in {b"(", b"[", b"{"}:
            depth += 1
        elif token.text in {b")", b"]", b"}"}:
            depth -= 1
        word = token.upper if depth == 0 and name_ends and previous != b"." else b""
        if word == b"INFILE":
            raise failure(Code.ACCESS_DENIED, "FROM INFILE is not allowed over HTTP: send the data")
        if word in {b"FORMAT", b"VALUES"}:
            form, data = ("Values", token.end) if word == b"VALUES" else _formatted(text, stream)
            statement = text[: token.start]
            return InsertHead(statement, form, data, min(settings, len(statement)))
        if word == b"SETTINGS":
            settings = min(settings, token.start)
        if word in {b"SELECT", b"WITH"} or (token.text == b"(" and _is_query(text, token.end)):
            return None
        # INSERT INTO [TABLE | FUNCTION] and the dot of db.table come before a name, which may be
        # spelt like a keyword.
        previous = token.upper or token.text
        name_ends = name_ends or previous not in {b"INSERT", b"INTO", b"TABLE", b"FUNCTION"}
    raise failure(Code.SYNTAX_ERROR, "An INSERT needs FORMAT name, VALUES or a query")


def _is_query(text: bytes, start: int) -> bool:
    return first_word(text[start : start + 4096]) in {"SELECT", "WITH", "("}


def _formatted(text: bytes, rest: Iterator[Token]) -> tuple[str, int]:
    """The format's name, and where the data begins."""
    name = next(rest, None)
    if name is None or name.kind != "word":
        raise failure(Code.SYNTAX_ERROR, "FORMAT needs the name of a format")
    end = name.end
    # As the server does: blanks up to the first line feed belong to the statement, no byte more.
    skipped = re.compile(rb"[ \t\f]*\r?\n?").match(text, end)
    assert skipped is not None
    if text[skipped.end() : skipped.end() + 1] == b";":
        raise failure(Code.SYNTAX_ERROR, "There is a ';' between the format's name and the data")
    if re.compile(rb"SETTINGS\s", re.IGNORECASE).match(text, skipped.end()):
        raise failure(Code.SYNTAX_ERROR, "Write the SETTINGS of an INSERT before its FORMAT")
    return name.text.decode(), skipped.end()


@dataclass(frozen=True, slots=True)
class Query:
    """A statement cut at its end: `text` [FORMAT `format`] [`settings`].

    format: "" where the statement names none. settings: the SETTINGS behind FORMAT.
    """

    text: bytes
    format: str
    settings: bytes


def split_format(statement: bytes) -> Query:
    """Find the FORMAT clause at the end, and drop a last semicolon and comments."""
    depth = 0
    found = list(tokens(statement))
    while found and found[-1].text == b";":
        found.pop()
    if not found:
        return Query(b"", "", b"")
    end = found[-1].end
    cut: int | None = None
    for position, token in enumerate(found):
        if token.text in {b"(", b"[", b"{"}:
            depth += 1
        elif token.text in {b")", b"]", b"}"}:
            depth -= 1
        elif depth == 0 and token.upper == b"FORMAT":
            cut = position
    if cut is None or cut + 1 >= len(found) or found[cut + 1].kind != "word":
        return Query(statement[:end], "", b"")
    behind = found[cut + 2 :]
    if behind and behind[0].upper != b"SETTINGS":
        return Query(statement[:end], "", b"")
    settings = statement[behind[0].start : end] if behind else b""
    return Query(statement[: found[cut].start], found[cut + 1].text.decode(), settings)


def refuse_outside(statement: bytes) -> None:
    """Refuse what reaches outside of the database past the engine's grants.

    That is INTO OUTFILE, FROM INFILE, the function file(), any folder as a disk(), the engine's
    door into this process, python(), and eval(), behind which the others could hide. Raises
    QueryFailed (ACCESS_DENIED). A table of such a name directly before a bracket is refused too.
    """
    previous: Token | None = None
    for token in tokens(statement):
        if token.text == b"(" and previous is not None and previous.kind in {"word", "quoted"}:
            name = previous.text.strip(_QUOTES).lower()
            # A quoted name may spell any letter with an escape; nobody needs that for a function.
            if name in _OUTSIDE or (previous.kind == "quoted" and b"\\" in name):
                shown = name.decode(errors="replace")
                reason = f"'{shown}' reaches outside of the database, which is not allowed"
                raise failure(Code.ACCESS_DENIED, reason)
        before = previous.upper if previous is not None else b""
        if (before, token.upper) in {(b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")}:
            reason = f"{before.decode()} {token.upper.decode()} is not allowed over HTTP"
            raise failure(Code.ACCESS_DENIED, reason)
        previous = token


def kill_by_client_id(statement: bytes) -> bytes:
    """Make KILL QUERY ... query_id = 'x' mean the client's own id.

    The embedded engine chooses its query ids itself; ours travel in the setting log_comment.
    """
    parts = []
    end = 0
    for token in tokens(statement):
        if token.upper == b"QUERY_ID" or token.text in {b"`query_id`", b'"query_id"'}:
            parts += [statement[end : token.start], b"Settings['log_comment']"]
            end = token.end
    return b"".join([*parts, statement[end:]])
