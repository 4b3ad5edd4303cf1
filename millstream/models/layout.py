"""Where the nodes of an ensemble lie in memory, for kernel_trees.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.models import kernel_trees as k
from millstream.models.ensemble import Ensemble, NotCompiled

Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEAVES_OF_BITS: int = 64
FEATURES_MAX: int = 1 << k.FEATURE_BITS


@dataclass(frozen=True, slots=True)
class Layout:
    """The kernel's tables. features: columns that a row needs at least."""

    trees: Longs
    offsets: Longs
    thresholds: Floats
    masks: Longs
    sets: Longs
    members: Floats
    walked: Floats
    words: Longs
    leaves: Longs
    values: Floats
    targets: int
    features: int

    def sums(self, x: Floats, single: bool) -> Floats:
        """[rows, targets]: each row's leaves, added in the order of the trees.

        x: float64 [rows, features], in C order. single: sums are rounded to float32 each time.
        """
        out = np.empty((len(x), self.targets))
        width = x.shape[1] if len(self.offsets) else 0
        block = k.ROWS if len(self.offsets) else k.ROWS_WALKED
        columns, bits = np.empty((width, block)), np.empty(block, np.int64)
        tables = (
            self.trees,
            self.offsets,
            self.thresholds,
            self.masks,
            self.sets,
            self.members,
            self.walked,
            self.words,
            self.leaves,
            self.values,
        )
        k.sums(x, tables, single, columns, bits, out)
        return out


def lay_out(ensemble: Ensemble) -> Layout:
    """Raises NotCompiled where nodes are shared, form a circle or have impossible features."""
    feature = ensemble.feature
    if len(feature) and (feature.min() < 0 or feature.max() >= FEATURES_MAX):
        raise NotCompiled("a node asks for a feature that is not there")
    return _Builder(ensemble).build()


@dataclass(slots=True)
class _Shape:
    """One tree: its nodes level by level, leaves from left to right."""

    levels: int
    nodes: list[int]
    leaves: list[int]
    spans: dict[int, tuple[int, int, int]]  # node -> first leaf, first leaf on its right, last


class _Builder:
    def __init__(self, ensemble: Ensemble) -> None:
        self._of = ensemble
        self._left, self._right = ensemble.left.tolist(), ensemble.right.tolist()
        self._visited = 0
        self._targets = ensemble.values.shape[1]
        self._used = ensemble.values != 0
        self._sets: dict[int, int] = {node: i for i, node in enumerate(ensemble.members)}
        self._trees: list[list[int]] = []
        self._asked: list[int] = []  # nodes of trees of bits
        self._masks: list[int] = []
        self._walked: list[Floats] = []
        self._words: list[Longs] = []
        self._leaves: list[Longs] = []
        self._values: list[Floats] = []
        self._walked_count = 0
        self._value_count = 0

    def build(self) -> Layout:
        for root in self._of.roots.tolist():
            shape = self._shape(root)
            place = self._add_values(shape.leaves)
            if len(shape.leaves) <= LEAVES_OF_BITS:
                self._add_bits(shape, *place)
            else:
                self._add_walked(root, shape, *place)
        asked = np.array(self._asked, np.int64)
        thresholds = self._of.threshold[asked] if len(asked) else np.empty(0)
        for at, node in enumerate(self._asked):
            if node in self._sets:
                thresholds[at] = self._sets[node]
        members = list(self._of.members.values())
        ends = np.cumsum([len(found) for found in members], dtype=np.int64)
        nan_right = [int(self._of.nan_right[node]) for node in self._of.members]
        starts = ends - np.array([len(found) for found in members], np.int64)
        sets = np.column_stack([starts, ends, np.array(nan_right, np.int64)])
        return Layout(
            trees=np.array(self._trees, np.int64).reshape(-1, k.TREE_FIELDS),
            offsets=self._of.feature[asked] * (8 * k.ROWS),
            thresholds=thresholds,
            masks=np.array(self._masks, np.uint64).view(np.int64),
            sets=np.ascontiguousarray(sets.reshape(-1, 3), np.int64),
            members=_joined(members, np.float64),
            walked=_joined(self._walked, np.float64),
            words=_joined(self._words, np.int64),
            leaves=_joined(self._leaves, np.int64),
            values=_joined(self._values, np.float64),
            targets=self._targets,
            features=int(self._of.feature.max()) + 1 if len(self._of.feature) else 0,
        )

    def _shape(self, root: int) -> _Shape:
        """Walks a tree without recursion, which a deep one would end."""
        leaves: list[int] = []
        nodes: list[int] = []
        spans: dict[int, tuple[int, int, int]] = {}
        levels, stack = 0, [(root, 0, 0)]  # child, its level, times it was seen
        middle: dict[int, tuple[int, int]] = {}
        while stack:
            child, level, seen = stack.pop()
            if child < 0:
                leaves.append(-1 - child)
                levels = max(levels, level)
            elif seen == 0:
                self._visited += 1
                if child in middle or self._visited > len(self._left):
                    raise NotCompiled("nodes are shared or form a circle")
                nodes.append(child)
                middle[child] = (len(leaves), -1)
                stack += [(child, level, 1), (self._left[child], level + 1, 0)]
            elif seen == 1:
                middle[child] = (middle[child][0], len(leaves))
                stack += [(child, level, 2), (self._right[child], level + 1, 0)]
            else:
                first, right = middle[child]
                spans[child] = (first, right, len(leaves))
        return _Shape(levels, nodes, leaves, spans)

    def _add_values(self, leaves: list[int]) -> tuple[int, int]:
        """Where this tree's values begin, and their target (-1: one value for each)."""
        start = self._value_count
        used = np.flatnonzero(self._used[leaves].any(axis=0))
        target = int(used[0]) if len(used) else 0
        found = self._of.values[leaves]
        if len(used) > 1:
            target, found = -1, found.reshape(-1)
        else:
            found = found[:, target]
        self._values.append(found)
        self._value_count += len(found)
        return start, target

    def _add_bits(self, shape: _Shape, values: int, target: int) -> None:
        kinds: tuple[list[int], ...] = ([], [], [])
        for node in shape.nodes:
            kinds[2 if node in self._sets else int(self._of.nan_right[node])].append(node)
        begin = len(self._asked)
        bounds = begin + np.cumsum([0, *map(len, kinds)])
        self._trees.append([1, *bounds.tolist(), values, target, 0])
        for node in (*kinds[0], *kinds[1], *kinds[2]):
            first, right, _ = shape.spans[node]
            struck = (1 << right) - (1 << first)
            self._asked.append(node)
            self._masks.append(~struck & (1 << 64) - 1)

    def _add_walked(self, root: int, shape: _Shape, values: int, target: int) -> None:
        """Level by level, so that the nodes that most rows meet lie together."""
        base = self._walked_count
        width = self._targets if target < 0 else 1
        number = {leaf: at for at, leaf in enumerate(shape.leaves)}
        count = len(shape.nodes) + len(shape.leaves)
        threshold, word = np.full(count, np.inf), np.arange(base, base + count)
        leaf = np.zeros(count, np.int64)
        queue, free, some_set = [root], 1, False
        of = self._of
        for at, child in enumerate(queue):
            if child < 0:
                leaf[at] = values + width * number[-1 - child]
                continue
            is_set = child in self._sets
            some_set |= is_set
            threshold[at] = self._sets[child] if is_set else of.threshold[child]
            word[at] = (
                (base + free)
                | int(of.feature[child]) << k.FEATURE_SHIFT
                | k.NAN_RIGHT * int(of.nan_right[child])
                | k.IS_SET * int(is_set)
            )
            queue += [self._left[child], self._right[child]]
            free += 2
        depth = -1 if some_set else shape.levels
        self._trees.append([0, base, 0, 0, 0, values, target, depth])
        self._walked.append(threshold)
        self._words.append(word)
        self._leaves.append(leaf)
        self._walked_count += count


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    return np.ascontiguousarray(np.concatenate(parts) if parts else np.empty(0), kind)
