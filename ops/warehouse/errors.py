"""ClickHouse's errors: numbers, names, and the HTTP status that its server answers with.

Numbers come from the engine's own ``errorCodeToName``; the statuses from the server's
``exceptionCodeToHTTPStatus``.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Code(IntEnum):
    """The errors that this server raises by itself. The engine raises many more."""

    BAD_ARGUMENTS = 36
    NOT_IMPLEMENTED = 48
    SYNTAX_ERROR = 62
    UNKNOWN_COMPRESSION_METHOD = 89
    REQUIRED_PASSWORD = 194
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
    QUERY_IS_TOO_LARGE = 229
    INCORRECT_DATA = 117
    ZLIB_INFLATE_FAILED = 354
    SESSION_NOT_FOUND = 372
    QUERY_WAS_CANCELLED = 394
    ACCESS_DENIED = 497
    AUTHENTICATION_FAILED = 516
    ZSTD_DECODER_FAILED = 561
    LZ4_DECODER_FAILED = 618
    STD_EXCEPTION = 1001


_BAD_REQUEST = frozenset(
    {6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376}
    | {427, 441, 675, 676}
    # A server answers 500 to a damaged body; it is the client's fault, and a client that retries
    # on 500 would send the same bytes for ever.
    | {Code.ZLIB_INFLATE_FAILED, Code.ZSTD_DECODER_FAILED, Code.LZ4_DECODER_FAILED}
    | {Code.UNKNOWN_COMPRESSION_METHOD}
)
_NOT_FOUND = frozenset({46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511})
_FORBIDDEN = frozenset({192, 193, 497, 512, 516})
_OTHER = {
    Code.REQUIRED_PASSWORD: 401,
    159: 408,  # TIMEOUT_EXCEEDED
    381: 411,  # HTTP_LENGTH_REQUIRED
    Code.QUERY_IS_TOO_LARGE: 413,
    779: 415,  # UNSUPPORTED_MEDIA_TYPE
    Code.NOT_IMPLEMENTED: 501,
    76: 503,  # CANNOT_OPEN_FILE
    209: 503,  # SOCKET_TIMEOUT
    439: 503,  # CANNOT_SCHEDULE_TASK
}

_CODE = re.compile(r"Code: (\d+)\. ")


def http_status(code: int) -> int:
    """The HTTP status that ClickHouse's server sends with an error code."""
    if code in _BAD_REQUEST:
        return 400
    if code in _NOT_FOUND:
        return 404
    if code in _FORBIDDEN:
        return 403
    return _OTHER.get(code, 500)


class QueryFailed(Exception):
    """A request that is answered with an error.

    code: ClickHouse's number. text: the whole line, ``Code: N. DB::Exception: ... (NAME)``.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return http_status(self.code)


def failure(code: Code, reason: str) -> QueryFailed:
    """An error of our own, in ClickHouse's words."""
    return QueryFailed(int(code), f"Code: {int(code)}. DB::Exception: {reason} ({code.name})")


def from_engine(error: Exception) -> QueryFailed:
    """What chDB raised, with its code. Text without a code becomes STD_EXCEPTION."""
    text = str(error).strip()
    found = _CODE.search(text)
    if found is None:
        return failure(Code.STD_EXCEPTION, text or type(error).__name__)
    return QueryFailed(int(found.group(1)), text[found.start() :])
