"""Quix Streams: a streaming dataframe that applies one function an event.

Its own Avro deserializer asks a registry and takes longer than fastavro: it gets the bytes.
"""

from __future__ import annotations

import sys

from quixstreams import Application  # type: ignore[import-not-found]

from ops.bench.job import Job
from ops.bench.peers.model import Model


def main(job: Job) -> None:
    """Run until killed."""
    model = Model(job)
    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if job.exactly_once else "at-least-once",
        # the default, 5 s, is how long a transaction's answers would stay unseen
        commit_interval=job.commit_ms / 1000 if job.exactly_once else 5.0,
        state_dir=f"{job.folder}/state",
        auto_create_topics=False,
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4"},
        loglevel="WARNING",
    )
    events = app.topic(job.events, key_deserializer="bytes", value_deserializer="bytes")
    answers = app.topic(job.output, key_serializer="bytes", value_serializer="bytes")
    frame = app.dataframe(events)
    frame = frame.apply(model.answer_one)
    frame.to_topic(answers)
    app.run()


if __name__ == "__main__":
    main(Job.read(sys.argv[1]))
