"""ops/warehouse/encoding.py"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ops.warehouse.encoding import PIECE_BYTES_MAX, request_decoder, response_encoding
from ops.warehouse.errors import QueryFailed, http_status

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def decode(encoding: str, pieces: list[bytes]) -> bytes:
    """All of a body that arrives in these pieces."""
    decoder = request_decoder(encoding)
    decoded = b"".join(out for piece in pieces for out in decoder.feed(piece))
    decoder.finish()
    return decoded


@pytest.mark.parametrize("encoding", COMPRESS)
@given(
    blocks=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    cut=st.integers(min_value=1, max_value=700),
)
def test_every_frame_of_a_body_is_decoded(encoding: str, blocks: list[bytes], cut: int) -> None:
    """A body of several frames, arriving in pieces of any size, is the joined blocks."""
    body = b"".join(COMPRESS[encoding](block) for block in blocks)
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    assert decode(encoding, pieces) == b"".join(blocks)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_body_cut_inside_a_frame_is_refused(encoding: str) -> None:
    """The end of the body inside of any but the first byte of a frame is an error."""
    body = COMPRESS[encoding](b"first") + COMPRESS[encoding](bytes(range(256)) * 40)
    with pytest.raises(QueryFailed) as refused:
        decode(encoding, [body[:-3]])
    assert refused.value.status == 400


@pytest.mark.parametrize("encoding", COMPRESS)
def test_bytes_that_are_not_of_the_encoding_are_refused(encoding: str) -> None:
    """Foreign bytes, also behind a good frame, are an error of the client's."""
    for body in (b"INSERT INTO t VALUES (1)", COMPRESS[encoding](b"x") + b"garbage behind it"):
        with pytest.raises(QueryFailed) as refused:
            decode(encoding, [body])
        assert refused.value.status == 400


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_bomb_is_given_out_in_pieces(encoding: str) -> None:
    """64 MiB of zeros never stand in memory at once, whatever the few bytes that hold them."""
    body = COMPRESS[encoding](bytes(64 << 20))
    sizes = [len(piece) for piece in request_decoder(encoding).feed(body)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= (PIECE_BYTES_MAX if encoding != "zstd" else 17 << 20)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    """The answer names what would have worked."""
    with pytest.raises(QueryFailed, match="gzip, identity, lz4") as refused:
        request_decoder("snappy")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("gzip, deflate, br", "gzip"),
        ("lz4,zstd", "lz4"),
        ("lz4;q=0, zstd;q=0.5", "zstd"),
        ("", ""),
        ("identity", ""),
    ],
)
def test_the_cheapest_accepted_encoding_is_chosen(accept: str, chosen: str) -> None:
    """The server chooses, among what the client accepts."""
    assert response_encoding(accept) == chosen


def test_errors_have_the_servers_http_statuses() -> None:
    """Spot checks against ClickHouse's own table of codes and statuses."""
    codes = {60: 404, 62: 400, 516: 403, 194: 401, 48: 501, 229: 413, 164: 500, 159: 408}
    assert {code: http_status(code) for code in codes} == codes
