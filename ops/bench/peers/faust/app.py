"""Faust: one agent, event by event or in its own batches (`take`).

At least once: Faust's exactly_once duplicates under kills, so it is not measured as if it held.
"""

from __future__ import annotations

import sys
from typing import Any

import faust  # type: ignore[import-untyped, unused-ignore]
from faust import Worker

from ops.bench.job import Job
from ops.bench.peers.model import Model

BATCH, WITHIN_S = 1_000, 0.05


def make(job: Job) -> Any:
    """The app of one job."""
    model = Model(job)
    app = faust.App(
        job.group,
        broker=f"kafka://{job.bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.005,  # seconds; its default sends one request a record
        stream_wait_empty=False,
        datadir=f"{job.folder}/faust",
    )
    events = app.topic(job.events, key_type=bytes, value_type=bytes, value_serializer="raw")
    answers = app.topic(job.output, key_type=bytes, value_type=bytes, value_serializer="raw")

    async def by_event(stream: Any) -> None:
        async for event in stream.events():
            await answers.send(key=event.key, value=model.answer_one(event.value))

    async def by_batch(stream: Any) -> None:
        async for group in stream.take_events(BATCH, within=WITHIN_S):
            made = model.answers([event.value for event in group])
            for event, answer in zip(group, made, strict=True):
                await answers.send(key=event.key, value=answer)

    app.agent(events)(by_batch if job.batch else by_event)
    return app


if __name__ == "__main__":
    Worker(make(Job.read(sys.argv[1])), loglevel="WARN").execute_from_commandline()
