"""Sums over the small patterns in which a graph's edges can meet.

The r-th moment of a statistic of neighbours under permutation runs over all r-tuples of edges. What
an r-tuple contributes depends on the graph by the product of its weights alone, and on the
feature by the pattern alone in which the edges meet: one edge twice, a path, a triangle, … There
are 1, 3, 8 and 23 patterns ("motifs") of one to four edges. This module finds for each motif the
sum of the products of weights over all places where it occurs, so that `moments` has only to
multiply.

A motif is a tuple of connected components, a component a tuple of edges between its vertices
0, 1, …, in a canonical numbering.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
from scipy import sparse

Edge: TypeAlias = tuple[int, int]
Component: TypeAlias = tuple[Edge, ...]
Motif: TypeAlias = tuple[Component, ...]


@cache
def motifs(edges: int) -> dict[Motif, float]:
    """The motifs of so many edges.

    The value says how often a motif's sum (as `MotifSums` gives it, over all ways to place its
    vertices on different places) counts in the sum over ordered tuples of edges.
    """
    # an edge has two ways to be placed
    grown: dict[Component, float] = {((0, 1),): 0.5}
    for _ in range(edges - 1):
        larger: dict[Component, float] = defaultdict(float)
        for drawn, ways in grown.items():
            size = _size(drawn)
            for pair in itertools.combinations(range(size), 2):
                larger[(*drawn, pair)] += ways
            for vertex in range(size):
                larger[(*drawn, (vertex, size))] += ways
            larger[(*drawn, (size, size + 1))] += ways / 2
        grown = larger
    found: dict[Motif, float] = defaultdict(float)
    for drawn, ways in grown.items():
        found[_motif(drawn)] += ways
    return dict(found)


def edges_of(motif: Motif) -> Component:
    """All edges of a motif, its vertices numbered through."""
    drawn: list[Edge] = []
    size = 0
    for part in motif:
        drawn += [(a + size, b + size) for a, b in part]
        size += _size(part)
    return tuple(drawn)


class MotifSums:
    """Sums of products of weights over all occurrences of a motif in a graph.

    Parameters
    ----------
    both : csr_array, shape (n, n)
        Symmetric, its diagonal zero.
    """

    def __init__(self, both: sparse.csr_array) -> None:
        self._powers = {
            power: sparse.csr_array((both.data**power, both.indices, both.indptr), both.shape)
            for power in (1, 2, 3, 4)
        }
        self._anywhere: dict[Component, float] = {}
        self._apart: dict[Motif, float] = {}

    def __call__(self, motif: Motif) -> float:
        """Sum over all ways to place the motif's vertices on places that all differ."""
        if motif not in self._apart:
            first, *others = motif
            drawn = edges_of(motif)
            if not others:
                total = self._meeting(first)
                merged = _merged_within(first)
            else:
                rest = tuple(others)
                total = self((first,)) * self(rest)
                merged = _merged_between(drawn, _size(first))
            # take away where two vertices fall on one place, which is a smaller motif
            self._apart[motif] = total - sum(self(smaller) for smaller in merged)
        return self._apart[motif]

    def _meeting(self, part: Component) -> float:
        """The same for one component, but vertices may fall on the same place."""
        if part not in self._anywhere:
            weights = {pair: self._powers[count] for pair, count in Counter(part).items()}
            hangs = {v: np.ones(self._powers[1].shape[0]) for v in range(_size(part))}
            # leaves are folded into what they hang on until a place or a ring is left
            while leaves := [v for v in hangs if sum(v in edge for edge in weights) == 1]:
                self._fold(leaves[0], weights, hangs)
            self._anywhere[part] = float(_ring(weights, hangs))
        return self._anywhere[part]

    @staticmethod
    def _fold(
        leaf: int, weights: dict[Edge, sparse.csr_array], hangs: dict[int, np.ndarray]
    ) -> None:
        edge = next(e for e in weights if leaf in e)
        stem = edge[0] if edge[1] == leaf else edge[1]
        hangs[stem] = hangs[stem] * (weights.pop(edge) @ hangs.pop(leaf))


def _ring(weights: dict[Edge, sparse.csr_array], hangs: dict[int, np.ndarray]) -> float:
    """Sum over a single vertex, a triangle or a ring of four."""
    if len(weights) == 0:
        (values,) = hangs.values()
        return float(values.sum())
    if len(weights) == 3:
        a, b, c = sorted(hangs)
        over = sparse.diags_array(hangs[a]) @ weights[a, b] @ sparse.diags_array(hangs[b])
        back = weights[a, c] @ sparse.diags_array(hangs[c])
        return float(((over @ weights[b, c]).multiply(back)).sum())
    around = next(iter(weights.values()))
    return float(((around @ around).data ** 2).sum())


def _merged_within(part: Component) -> Iterator[Motif]:
    """What a component becomes where some of its vertices fall together."""
    size = _size(part)
    for blocks in _partitions(list(range(size))):
        if len(blocks) < size:
            to = {vertex: i for i, block in enumerate(blocks) for vertex in block}
            yield from _without_loops(part, to)


def _merged_between(drawn: Component, first: int) -> Iterator[Motif]:
    """What is drawn becomes where vertices below `first` fall together with others above."""
    size = _size(drawn)
    for many in range(1, first + 1):
        for here in itertools.combinations(range(first), many):
            for there in itertools.permutations(range(first, size), many):
                yield from _without_loops(drawn, dict(zip(there, here, strict=True)))


def _without_loops(drawn: Component, to: dict[int, int]) -> Iterator[Motif]:
    moved = tuple((to.get(a, a), to.get(b, b)) for a, b in drawn)
    if all(a != b for a, b in moved):  # no place is its own neighbour
        yield _motif(moved)


def _partitions(items: list[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for blocks in _partitions(rest):
        yield [[first], *blocks]
        for i, block in enumerate(blocks):
            yield [*blocks[:i], [first, *block], *blocks[i + 1 :]]


def _motif(drawn: Component) -> Motif:
    left, parts = list(drawn), []
    while left:
        part = [left.pop()]
        reached = set(part[0])
        while near := [edge for edge in left if reached & set(edge)]:
            for edge in near:
                left.remove(edge)
                reached |= set(edge)
                part.append(edge)
        parts.append(_canonical(tuple(sorted(part))))
    return tuple(sorted(parts))


@cache
def _canonical(part: Component) -> Component:
    vertices = sorted({vertex for edge in part for vertex in edge})
    numberings = itertools.permutations(range(len(vertices)))
    return min(_numbered(part, dict(zip(vertices, n, strict=True))) for n in numberings)


def _numbered(part: Component, number: dict[int, int]) -> Component:
    moved = [sorted((number[a], number[b])) for a, b in part]
    return tuple(sorted((a, b) for a, b in moved))


def _size(drawn: Component) -> int:
    return 1 + max(max(edge) for edge in drawn)
