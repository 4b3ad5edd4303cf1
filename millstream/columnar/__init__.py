"""Avro bytes to Arrow columns and back.

`split_frames` groups a batch of Kafka values by schema id; a `Decoder` turns the values of one
writer's schema into columns of the reader's; an `Encoder` turns columns into Kafka values. Rows
that cannot be read are refused one by one and never cost their neighbours.
"""

from millstream.columnar.decoded import Decoded, Decoder
from millstream.columnar.decoder import make_decoder
from millstream.columnar.encoder import Encoder
from millstream.columnar.frame import FRAME_BYTES, MAGIC, Framed, frame, split_frames
from millstream.columnar.schema import arrow_schema
from millstream.columnar.writers import ByWriter

__all__ = [
    "FRAME_BYTES",
    "MAGIC",
    "ByWriter",
    "Decoded",
    "Decoder",
    "Encoder",
    "Framed",
    "arrow_schema",
    "frame",
    "make_decoder",
    "split_frames",
]
