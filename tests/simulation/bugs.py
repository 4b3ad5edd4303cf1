"""One planted bug for each rule of the protocol: the simulation must find every one of them.

Each is applied to the production classes while its context lasts, never in production code. The
name says the bug, the docstring the rule that it breaks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaException

from consumers import publishers
from consumers.loop import Loop
from consumers.publishers import ExactlyOnce, Output
from consumers.releases.log import ReleaseLog
from consumers.releases.rota import Rota, Shift
from consumers.scorer import Scorer
from consumers.sink import Sink
from millstream.doubles.consumer import MemoryConsumer
from millstream.errors import ClientLost, DependencyUnavailable
from millstream.offsets import Positions
from millstream.records import Records
from millstream.releases.release import Entry
from millstream.warehouse.blocks import BLOCK_TIME, TIME, Block, Finding, Look, Pending
from tests.simulation.clients import FaultyTables

Patch = pytest.MonkeyPatch
BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
RULES: dict[str, str] = {}


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Register a bug under its function's name."""

    @contextmanager
    def planted() -> Iterator[None]:
        with Patch.context() as patch:
            plant(patch)
            yield

    BUGS[plant.__name__] = planted
    RULES[plant.__name__] = (plant.__doc__ or "").strip()
    return plant


# -- the scorer


@bug
def offsets_before_predictions(patch: Patch) -> None:
    """Predictions and offsets are one transaction: no offset is durable before its predictions."""
    publish = ExactlyOnce.publish

    def twice(self: ExactlyOnce, output: Output, consumer: Any) -> None:
        publish(self, replace(_nothing(output), offsets=output.offsets), consumer)
        publish(self, replace(output, offsets={}), consumer)

    patch.setattr(ExactlyOnce, "publish", twice)


@bug
def predictions_before_offsets(patch: Patch) -> None:
    """Predictions and offsets are one transaction: no prediction is durable before its offset."""
    publish = ExactlyOnce.publish

    def twice(self: ExactlyOnce, output: Output, consumer: Any) -> None:
        publish(self, replace(output, offsets={}), consumer)
        publish(self, replace(_nothing(output), offsets=output.offsets), consumer)

    patch.setattr(ExactlyOnce, "publish", twice)


@bug
def offsets_from_position(patch: Patch) -> None:
    """Offsets come from the records that were processed, never from position()."""
    publish = ExactlyOnce.publish

    def positioned(self: ExactlyOnce, output: Output, consumer: MemoryConsumer) -> None:
        there = consumer.position(consumer.assignment())
        offsets = {p.partition: p.offset for p in there if p.offset >= 0}
        publish(self, replace(output, offsets=offsets), consumer)  # type: ignore[arg-type]

    patch.setattr(ExactlyOnce, "publish", positioned)


@bug
def no_rewind_after_an_abort(patch: Patch) -> None:
    """After an abort every owned partition is read again from its committed offset."""
    patch.setattr(Scorer, "rewind", lambda self: None)


@bug
def no_fence_on_revoke(patch: Patch) -> None:
    """Records of a revoked partition are not processed."""
    patch.setattr(Positions, "fence", lambda self, partition: None)
    _deafen(patch)


@bug
def records_before_a_rebalance_are_kept(patch: Patch) -> None:
    """What was gathered before a partition was lost and came back is not processed."""
    _deafen(patch)


@bug
def transactional_id_of_each_life(patch: Patch) -> None:
    """The transactional id is stable, so that a restart aborts what its predecessor left open."""
    begin, lives = ExactlyOnce.__init__, count()

    def named(self: Any, *given: Any) -> None:
        begin(self, *given)
        self._config["transactional.id"] += f"-{next(lives)}"

    patch.setattr(ExactlyOnce, "__init__", named)


@bug
def retry_while_retriable(patch: Patch) -> None:
    """A transaction call is never repeated because its error says retriable."""
    publish = ExactlyOnce.publish

    def stubborn(self: Any, output: Output, consumer: Any) -> None:
        try:
            publish(self, output, consumer)
        except ClientLost:
            while True:
                try:
                    self._producer.abort_transaction(1)
                except KafkaException as why:
                    if not why.args[0].retriable():  # type: ignore[union-attr]
                        raise ClientLost("Kafka", "abort failed") from why

    patch.setattr(ExactlyOnce, "publish", stubborn)


@bug
def producer_kept_after_a_slow_commit(patch: Patch) -> None:
    """After a slow commit the producer is replaced: a late EndTxn must not end the next one."""
    patch.setattr(publishers, "SLOW_COMMIT_S", math.inf)


@bug
def refused_produce_is_ignored(patch: Patch) -> None:
    """A record that the client does not take aborts the batch: the rest commits without it."""
    send = publishers.send

    def careless(*given: Any) -> None:
        try:
            send(*given)
        except DependencyUnavailable:
            return

    patch.setattr(publishers, "send", careless)


@bug
def holes_are_believed(patch: Patch) -> None:
    """A hole in the events is read again before it is believed."""
    patch.setattr(Loop, "_is_doubtful", lambda self, partition, offsets: False)


# -- the loop under both


@bug
def place_is_not_asked_again(patch: Patch) -> None:
    """A partition that could not be placed when it was assigned is placed later."""
    patch.setattr(Loop, "_place_rest", lambda self: None)


# -- releases


@bug
def a_switch_after_its_batch(patch: Patch) -> None:
    """A switch is in the transaction of the first batch that it concerns."""
    publish = ExactlyOnce.publish

    def later(self: ExactlyOnce, output: Output, consumer: Any) -> None:
        publish(self, replace(output, before=()), consumer)
        if output.before:
            self.note(output.before)

    patch.setattr(ExactlyOnce, "publish", later)


@bug
def a_switch_is_believed_before_it_is_durable(patch: Patch) -> None:
    """What an aborted transaction switched has not switched."""
    assign = Rota.assign

    def hasty(self: Rota, records: Records) -> Shift:
        shift = assign(self, records)
        self.settle(shift.switches)
        return shift

    patch.setattr(Rota, "assign", hasty)


@bug
def the_former_owners_switches_are_not_read(patch: Patch) -> None:
    """Who takes a partition over reads every switch of its former owner first."""
    catch_up, calls = ReleaseLog.catch_up, set[int]()

    def once(self: ReleaseLog) -> list[Entry]:
        if id(self) in calls:
            return []
        calls.add(id(self))
        return catch_up(self)

    patch.setattr(ReleaseLog, "catch_up", once)


# -- the sink


@bug
def token_without_mark(patch: Patch) -> None:
    """The token names the mark: two blocks of one sink never share one."""
    _token(patch, lambda block, attempt: f"{block.source}/{attempt}")


@bug
def token_of_the_whole_block(patch: Patch) -> None:
    """The token names nothing but the mark and the attempt: contenders at one mark share it
    whatever the length of their blocks."""
    _token(patch, lambda block, attempt: f"{block.source}/{block.mark}-{block.last}/{attempt}")


@bug
def token_without_attempt(patch: Patch) -> None:
    """The token names the attempt: one that was logged by a dead server is never free again."""
    _token(patch, lambda block, attempt: f"{block.source}/{block.mark}")


@bug
def no_token(patch: Patch) -> None:
    """Every insert has a token that its contenders share."""
    numbers = count()
    _token(patch, lambda block, attempt: f"{next(numbers)}")


@bug
def check_then_insert(patch: Patch) -> None:
    """Insert is the compare-and-swap: reading the mark before it protects from nobody."""
    numbers, insert = count(), Sink._try_insert
    _token(patch, lambda block, attempt: f"{next(numbers)}")

    def checked(self: Any, block: Block, attempt: int) -> bool:
        mark = self._tables.look(block).mark
        return (mark is None or mark < block.first) and insert(self, block, attempt)

    patch.setattr(Sink, "_try_insert", checked)


@bug
def no_count_back(patch: Patch) -> None:
    """An acknowledged insert is counted back: the server may have dropped it by its token."""
    look, insert = Sink._look, Sink._try_insert

    def remembered(self: Any, block: Block, attempt: int) -> bool:
        self.acknowledged = insert(self, block, attempt)
        return bool(self.acknowledged)

    def trusting(self: Any, block: Block) -> Finding | None:
        return Finding.LANDED if self.acknowledged else look(self, block)

    patch.setattr(Sink, "_try_insert", remembered)
    patch.setattr(Sink, "_look", trusting)


@bug
def new_token_after_an_error(patch: Patch) -> None:
    """After an error the same token goes out again: the first insert may still land."""
    insert = Sink._try_insert

    def hasty(self: Sink, block: Block, attempt: int) -> bool:
        insert(self, block, attempt)
        return True

    patch.setattr(Sink, "_try_insert", hasty)


@bug
def errors_mean_absent(patch: Patch) -> None:
    """After an error the range is counted back too: the insert may have landed."""
    look, insert = Sink._look, Sink._try_insert

    def remembered(self: Any, block: Block, attempt: int) -> bool:
        self.acknowledged = insert(self, block, attempt)
        return bool(self.acknowledged)

    def gloomy(self: Any, block: Block) -> Finding | None:
        return look(self, block) if self.acknowledged else Finding.ABSENT

    numbers = count()
    _token(patch, lambda block, attempt: f"{block.source}/{block.first}/{next(numbers)}")
    patch.setattr(Sink, "_try_insert", remembered)
    patch.setattr(Sink, "_look", gloomy)


@bug
def overtaken_counts_as_landed(patch: Patch) -> None:
    """Where another sink's rows are found, the block is cut again from the mark."""
    finish = Sink._finish

    def content(self: Sink, pending: Pending, block: Block, finding: Finding) -> None:
        finish(self, pending, block, Finding.LANDED)

    patch.setattr(Sink, "_finish", content)


@bug
def committed_offsets_are_trusted(patch: Patch) -> None:
    """The sink begins at its mark in ClickHouse; Kafka's committed offset only shows lag."""
    place = Sink.place
    patch.setattr(Sink, "place", lambda self, parts: dict.fromkeys(place(self, parts)))
    patch.setattr(Sink, "rewind", lambda self: self._assignment.rewind_to_committed())


@bug
def no_rewind_of_the_sink(patch: Patch) -> None:
    """After an error the sink reads again from its marks."""
    patch.setattr(Sink, "rewind", lambda self: None)


@bug
def rows_in_their_own_month(patch: Patch) -> None:
    """A block lies in one table partition, so that it lands whole or not at all."""
    _cut(patch, lambda table: table.column(TIME))


@bug
def block_in_the_month_of_its_last_row(patch: Patch) -> None:
    """The table partition follows from the block's first record: contenders share that one only."""
    _cut(patch, lambda table: pa.repeat(table.column(TIME)[-1], table.num_rows))


@bug
def look_in_two_queries(patch: Patch) -> None:
    """Mark and count come from one snapshot."""
    look = FaultyTables.look

    def twice(self: FaultyTables, block: Block) -> Look:
        return Look(look(self, block).mark, look(self, block).count)

    patch.setattr(FaultyTables, "look", twice)


def _nothing(output: Output) -> Output:
    return replace(output, partitions=[], keys=[], predictions=[], letters=[], offsets={})


def _deafen(patch: Patch) -> None:
    """The loop does not hear that partitions moved while it gathered."""

    class Deaf(set[Any]):
        def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
            return self

    begin = Loop.__init__

    def deaf(self: Any, *given: Any) -> None:
        begin(self, *given)
        self._moved = Deaf()

    patch.setattr(Loop, "__init__", deaf)


def _token(patch: Patch, make: Callable[[Block, int], str]) -> None:
    patch.setattr(Block, "token", make)


def _cut(patch: Patch, stamp: Callable[[pa.Table], Any]) -> None:
    cut = Pending.cut

    @functools.wraps(cut)
    def stamped(self: Pending, rows_max: int) -> Block:
        block = cut(self, rows_max)
        place = block.rows.schema.get_field_index(BLOCK_TIME)
        rows = block.rows.set_column(place, BLOCK_TIME, stamp(block.rows))
        return Block(block.source, rows, block.mark)

    patch.setattr(Pending, "cut", stamped)
