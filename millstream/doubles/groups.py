"""A consumer group: who may read what, under which generation, and the offsets it committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from confluent_kafka import KafkaError, KafkaException

from millstream.doubles.log import Transaction
from millstream.offsets import Partition


@dataclass(frozen=True, slots=True)
class Membership:
    """What consumer_group_metadata() returns: it goes stale when the member loses its place."""

    group: str
    member: str
    generation: int


@dataclass(eq=False, slots=True)
class Member:
    """instance: its group.instance.id, kept over restarts.

    owned: what it may read until it gives it up. silent_since: when its heartbeats stopped.
    """

    id: str
    instance: str | None
    topics: tuple[str, ...]
    session_s: float
    generation: int = 0
    owned: set[Partition] = field(default_factory=set)
    silent_since: float | None = None


class Group:
    """Cooperative and sticky: a partition moves only to even out the load, and only after its owner
    gave it up, left, or was silent for its session time-out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.offsets: dict[Partition, int] = {}
        self.members: dict[str, Member] = {}
        self.fenced: set[str] = set()
        self._unsettled: dict[Partition, set[Transaction]] = {}
        self._target: dict[Partition, str] = {}
        self._partitions: list[Partition] = []
        self._numbers = count(1)

    def join(
        self, instance: str | None, topics: tuple[str, ...], every: Iterable[Partition], s: float
    ) -> Member:
        """A new member; one with a known instance id takes its predecessor's place at once and
        fences it. s: its session time-out in seconds. every: the partitions of its topics."""
        member = Member(f"{instance or 'member'}-{next(self._numbers)}", instance, topics, s)
        self._partitions = sorted({*self._partitions, *every})
        for other in list(self.members.values()):
            if instance is not None and other.instance == instance:
                del self.members[other.id]
                self.fenced.add(other.id)
                for partition, owner in self._target.items():
                    if owner == other.id:
                        self._target[partition] = member.id
        self.members[member.id] = member
        self._balance()
        return member

    def leave(self, member_id: str) -> None:
        """The member is gone; what it owned is free."""
        if self.members.pop(member_id, None) is not None:
            self._balance()

    def expire(self, now: float) -> None:
        """Members that were silent too long are gone."""
        for member in list(self.members.values()):
            if member.silent_since is not None and now - member.silent_since > member.session_s:
                self.leave(member.id)

    def to_give_up(self, member: Member) -> set[Partition]:
        """What the member owns and should not."""
        return {p for p in member.owned if self._target.get(p) != member.id}

    def to_take(self, member: Member) -> set[Partition]:
        """What the member should own, and nobody else does any more."""
        mine = {p for p, owner in self._target.items() if owner == member.id} - member.owned
        for other in self.members.values():
            mine -= other.owned
        return mine

    def require(self, held: Membership) -> None:
        """Raises KafkaException where the membership is stale."""
        if held.member in self.fenced:
            raise KafkaException(KafkaError(KafkaError.FENCED_INSTANCE_ID))
        member = self.members.get(held.member)
        if member is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        if member.generation != held.generation:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))

    def propose(self, transaction: Transaction, partition: Partition) -> None:
        """The partition's offset waits for the end of the transaction."""
        self._unsettled.setdefault(partition, set()).add(transaction)

    def settle(self, transaction: Transaction, partition: Partition, offset: int) -> None:
        """The transaction has ended."""
        self._unsettled[partition].discard(transaction)
        if transaction.outcome:
            self.offsets[partition] = offset

    def is_settled(self, partition: Partition) -> bool:
        """Whether no open transaction could still change the partition's offset."""
        return not self._unsettled.get(partition)

    def _balance(self) -> None:
        self.generation += 1
        load: dict[str, list[Partition]] = {member: [] for member in sorted(self.members)}
        free = []
        for partition in self._partitions:
            owner = self._target.get(partition)
            if owner in load and partition[0] in self.members[owner].topics:
                load[owner].append(partition)
            else:
                free.append(partition)
        self._target = {}
        if not load:
            return
        for partition in free:
            able = [m for m in load if partition[0] in self.members[m].topics]
            if able:
                load[min(able, key=lambda m: len(load[m]))].append(partition)
        while True:
            most = max(load, key=lambda m: len(load[m]))
            least = min(load, key=lambda m: len(load[m]))
            if len(load[most]) - len(load[least]) < 2:
                break
            load[least].append(load[most].pop())
        self._target = {p: member for member, mine in load.items() for p in mine}
