"""Predictions meet their outcomes: a pure engine, the same under Kafka's loop and under Faust."""

from millstream.matching.matcher import Joined, Matcher
from millstream.matching.state import Counts, PartitionState

__all__ = ["Counts", "Joined", "Matcher", "PartitionState"]
