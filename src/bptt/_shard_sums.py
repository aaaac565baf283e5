"""Gradients of shards added up in a fixed tree, whichever ranks have them: the same bits for any number of ranks."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np

SLICED_BYTES = 1 << 16
"""of a gradient; from here on each rank adds up a slice of it, below one rank adds up all of it"""


def middle(begin, end) -> int:
    """Where the shards begin..end-1 are split: the left part has the largest power of two below their number."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


class Tree:
    """The tree in which the shards' gradients are added, and who has which part of it.

    A node is a pair (begin, end) of shards; it is the sum of its left and its right part. A rank's shards are
    consecutive.
    """

    def __init__(self, count: int, size: int, rank: int) -> None:
        self.count, self.rank = count, rank
        self.begins = [-(-r * count // size) for r in range(size + 1)]  # first shard of each rank, and the end
        self.own = range(self.begins[rank], self.begins[rank + 1])
        # for each rank the largest nodes whose shards are all its own
        self.nodes: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        self.joined: list[tuple[int, int]] = []  # (begin, middle) of the other nodes, parts before wholes
        self.own_joins: set[tuple[int, int, int]] = set()  # (begin, middle, end) of this rank's nodes
        self._visit(0, count)

    def owner(self, shard) -> int:
        return bisect_right(self.begins, shard) - 1

    def _visit(self, begin, end):
        owner = self.owner(begin)
        if owner == self.owner(end - 1):
            self.nodes[owner].append((begin, end))
            if owner == self.rank:
                self._join_own(begin, end)
            return
        split = middle(begin, end)
        self._visit(begin, split)
        self._visit(split, end)
        self.joined.append((begin, split))

    def _join_own(self, begin, end):
        if end - begin > 1:
            split = middle(begin, end)
            self.own_joins.add((begin, split, end))
            self._join_own(begin, split)
            self._join_own(split, end)


tree_of = lru_cache(maxsize=64)(Tree)


class Sums:
    """Adds gradients in the order of a tree. A rank keeps one array for each node whose sibling is still to come."""

    def __init__(self, ranks, tree, like) -> None:
        self.ranks, self.tree = ranks, tree
        self.size, self.dtype, self.nbytes = like.size, like.dtype, like.nbytes
        self.waiting: list[tuple[int, int, np.ndarray]] = []  # (begin, end, sum)
        self.arrays: list[np.ndarray] = []  # all that were made, and those that hold nothing
        self.free: list[np.ndarray] = []
        self.exchanges = list(self._exchanges()) if ranks.size > 1 and self.nbytes >= SLICED_BYTES else []

    def begin(self) -> None:
        """Forget the shards of a window that was not finished."""
        self.waiting.clear()
        self.free = list(self.arrays)

    def add(self, shard, grads) -> None:
        """Take the gradient of the rank's next shard. That of the last one stays where it is until `finish`."""
        begin, end, array = shard, shard + 1, grads
        with np.errstate(all="ignore"):  # NaN and Inf pass through
            while self.waiting and (self.waiting[-1][0], begin, end) in self.tree.own_joins:
                begin, _, left = self.waiting.pop()
                np.add(left, array, out=left)
                if array is not grads:
                    self.free.append(array)
                array = left
        if array is grads and end < self.tree.own.stop:
            if not self.free:
                self.arrays.append(np.empty_like(grads))
                self.free.append(self.arrays[-1])
            array = self.free.pop()
            array[:] = grads
        self.waiting.append((begin, end, array))

    def finish(self, grads) -> None:
        """Write the sum of all shards, of all ranks, into grads."""
        own = {begin: array for begin, _, array in self.waiting}
        with np.errstate(all="ignore"):
            if self.exchanges:
                self._by_slices(own, grads)
            elif self.ranks.size > 1:
                self._by_first(own, grads)
            elif own[0] is not grads:
                grads[:] = own[0]
        self.begin()

    def _by_first(self, own, grads):
        """Few bytes: along the tree to rank 0, then from there to all."""
        comm, rank, received = self.ranks.comm, self.ranks.rank, np.empty_like(grads)
        for begin, split in self.tree.joined:
            left, right = self.tree.owner(begin), self.tree.owner(split)
            if rank == left:
                if right == rank:
                    np.add(own[begin], own[split], out=own[begin])
                else:
                    comm.Recv(received, source=right)
                    np.add(own[begin], received, out=own[begin])
            elif rank == right:
                comm.Send(own[split], dest=left)
        if rank == 0 and own[0] is not grads:
            grads[:] = own[0]
        comm.Bcast(grads, root=0)

    def _by_slices(self, own, grads):
        """Many bytes: each rank adds up a slice of all, then all get all slices."""
        nodes = {}
        for i, sent, received, array, begins in self.exchanges:
            of_rank = self.tree.nodes[self.ranks.rank]
            node = own[of_rank[i][0]] if i < len(of_rank) else grads  # of which nothing is sent
            self.ranks.comm.Alltoallv([node, sent], [array, received])
            nodes |= zip(begins, array, strict=True)
        for begin, split in self.tree.joined:
            np.add(nodes[begin], nodes[split], out=nodes[begin])
        self.ranks.comm.Allgatherv(nodes[0], [grads, self.slices])

    def _exchanges(self):
        """For the first node of each rank that has one, for the second, ...: (counts and starts of what this rank sends
        and receives, the array to receive into, the beginnings of the nodes in it)."""
        ranks, of_ranks = self.ranks.size, self.tree.nodes
        starts = [self.size * rank // ranks for rank in range(ranks + 1)]
        counts = [starts[rank + 1] - starts[rank] for rank in range(ranks)]
        self.slices = counts, starts[:-1]
        mine = counts[self.ranks.rank]
        for i in range(max(map(len, of_ranks))):
            having = [i < len(nodes) for nodes in of_ranks]
            before = [sum(having[:rank]) for rank in range(ranks)]
            sent = [count * having[self.ranks.rank] for count in counts], starts[:-1]
            received = [mine * has for has in having], [mine * rows for rows in before]
            array = np.empty((sum(having), mine), self.dtype)
            yield i, sent, received, array, [nodes[i][0] for nodes in of_ranks if i < len(nodes)]
