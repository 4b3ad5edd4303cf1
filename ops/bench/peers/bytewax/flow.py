"""Bytewax: a dataflow over its Kafka operators, scored in the batches that its source makes.

Started as `python -m bytewax.run ops.bench.peers.bytewax.flow:flow`, with a recovery store: that is
what makes it at least once. It has no exactly once into Kafka. The job's path is in BENCH_JOB.
"""

from __future__ import annotations

import os
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSinkMessage  # type: ignore[import-not-found]
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]

from ops.bench.job import Job
from ops.bench.peers.model import Model

BATCH = 1_000


def make(job: Job) -> Any:
    """The dataflow of one job."""
    model = Model(job)

    def score(records: list[Any]) -> list[Any]:
        answers = model.answers([record.value for record in records])
        return [
            KafkaSinkMessage(record.key, answer)
            for record, answer in zip(records, answers, strict=True)
        ]

    flow = Dataflow("bench")
    source = kop.input(
        "events",
        flow,
        brokers=[job.bootstrap],
        topics=[job.events],
        batch_size=BATCH,
        add_config={"fetch.queue.backoff.ms": "5"},
    )
    scored = op.flat_map_batch("score", source.oks, score)
    kop.output(
        "answers",
        scored,
        brokers=[job.bootstrap],
        topic=job.output,
        add_config={"linger.ms": "5", "compression.type": "lz4"},
    )
    return flow


flow = make(Job.read(os.environ["BENCH_JOB"]))
