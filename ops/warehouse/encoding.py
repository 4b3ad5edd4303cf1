"""Compressed request bodies, and which compression an answer gets. Pure: bytes in, bytes out.

A body may be several frames one after another (clickhouse-connect writes one LZ4 frame per block),
so every decoder goes on after the end of a frame, and the end of the body inside a frame is an
error: a part of the rows must never pass for all of them.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame
import zstandard

from ops.warehouse.errors import Code, QueryFailed, failure

PIECE_BYTES_MAX = 1 << 20
"""How much a decoder gives out at once (zstd: up to 16 MiB)."""

_ZSTD_FEED_BYTES = 512  # its decompressor has no output limit: 512 bytes are 16 MiB at worst

RESPONSE_ENCODINGS = ("lz4", "zstd", "gzip", "br", "deflate")
"""What the engine can write, cheapest first: on loopback the processor is the bottleneck."""


class Decoder(Protocol):
    """Decodes one body that arrives in pieces."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of what `data` completes. Raises QueryFailed on damaged bytes."""

    def finish(self) -> None:
        """Say that the body has ended. Raises QueryFailed inside a frame."""


class _Frame(Protocol):
    """What the three libraries' decompressor objects have in common here."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class Plain:
    """No compression."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes as they are."""
        if data:
            yield data

    def finish(self) -> None:
        """Nothing can be missing."""


class _Frames(ABC):
    """Frames one after another; subclasses decode one piece of one frame."""

    code: Code
    word: str

    def __init__(self) -> None:
        self._frame = self.new_frame()
        self._inside = False

    @abstractmethod
    def new_frame(self) -> _Frame:
        """A decompressor at the beginning of a frame."""

    @abstractmethod
    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of what `data` completes of this frame."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of what `data` completes. Raises QueryFailed on damaged bytes."""
        while data:
            self._inside = True
            yield from self.pieces(data)
            if not self._frame.eof:
                return
            data = self._frame.unused_data
            self._frame = self.new_frame()
            self._inside = False

    def finish(self) -> None:
        """Say that the body has ended. Raises QueryFailed inside a frame."""
        if self._inside:
            raise failure(self.code, f"The {self.word} body ends inside a frame: it was cut short")

    def damaged(self, error: Exception) -> QueryFailed:
        return failure(self.code, f"The body is not valid {self.word}: {error}")


class _Zlib(_Frames):
    code = Code.ZLIB_INFLATE_FAILED

    def __init__(self, word: str, window_bits: int) -> None:
        self.word = word
        self._window_bits = window_bits
        super().__init__()

    def new_frame(self) -> _Frame:
        return zlib.decompressobj(self._window_bits)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        frame = self._frame
        assert isinstance(frame, type(zlib.decompressobj()))
        try:
            while True:
                piece = frame.decompress(data, PIECE_BYTES_MAX)
                if piece:
                    yield piece
                data = frame.unconsumed_tail
                if frame.eof or (not data and len(piece) < PIECE_BYTES_MAX):
                    return
        except zlib.error as error:
            raise self.damaged(error) from error


class _Lz4(_Frames):
    code = Code.LZ4_DECODER_FAILED
    word = "lz4"

    def new_frame(self) -> _Frame:
        frame: _Frame = lz4.frame.LZ4FrameDecompressor()
        return frame

    def pieces(self, data: bytes) -> Iterator[bytes]:
        frame = self._frame
        assert isinstance(frame, lz4.frame.LZ4FrameDecompressor)
        try:
            while True:
                piece = frame.decompress(data, max_length=PIECE_BYTES_MAX)
                if piece:
                    yield piece
                data = b""
                if frame.eof or frame.needs_input:
                    return
        except (RuntimeError, ValueError) as error:
            raise self.damaged(error) from error


class _Zstd(_Frames):
    code = Code.ZSTD_DECODER_FAILED
    word = "zstd"

    def new_frame(self) -> _Frame:
        frame: _Frame = zstandard.ZstdDecompressor().decompressobj()
        return frame

    def pieces(self, data: bytes) -> Iterator[bytes]:
        frame = self._frame
        rest = memoryview(data)
        try:
            while rest and not frame.eof:
                piece = frame.decompress(bytes(rest[:_ZSTD_FEED_BYTES]))  # type: ignore[attr-defined]
                rest = rest[_ZSTD_FEED_BYTES:]
                if piece:
                    yield piece
        except zstandard.ZstdError as error:
            raise self.damaged(error) from error
        if rest:  # the frame ended before the data did: give the rest to the next frame
            self._frame = _Ended(frame.unused_data + bytes(rest))


class _Ended:
    """A finished frame with bytes behind it."""

    eof = True

    def __init__(self, unused_data: bytes) -> None:
        self.unused_data = unused_data


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "": Plain,
    "identity": Plain,
    "gzip": lambda: _Zlib("gzip", 16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib("gzip", 16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib("deflate", zlib.MAX_WBITS),
    "lz4": _Lz4,
    "zstd": _Zstd,
}


def request_decoder(content_encoding: str) -> Decoder:
    """The decoder for a Content-Encoding. Raises QueryFailed if there is none."""
    word = content_encoding.strip().lower()
    decoder = _DECODERS.get(word)
    if decoder is None:
        known = ", ".join(sorted(name for name in _DECODERS if name))
        reason = f"Unknown Content-Encoding '{word}' of the request; this server reads: {known}"
        raise failure(Code.UNKNOWN_COMPRESSION_METHOD, reason)
    return decoder()


def response_encoding(accept_encoding: str) -> str:
    """The engine's best answer to an Accept-Encoding, or "" for none."""
    offered = set()
    for item in accept_encoding.lower().split(","):
        word, _, options = item.partition(";")
        if options.replace(" ", "") not in {"q=0", "q=0.0"}:
            offered.add(word.strip())
    return next((word for word in RESPONSE_ENCODINGS if word in offered), "")
