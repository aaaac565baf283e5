"""Training on several processes: the batch in shards, whose gradients are added up in a fixed tree.

A shard is some rows of the batch. Which rows, and in which order gradients are added, depends on the number of shards
alone; the ranks (processes) share the shards out. So the result is the same to the bit for any number of ranks. (The
core splits the batch of a call among its threads by itself; that is another thing and not seen here.)
"""

from __future__ import annotations

import itertools
import os
import pickle
import platform
import signal
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any
from weakref import WeakSet

import numpy as np

from . import _core
from ._checks import brief, index, token_error
from ._loss import Loss, counted_weight
from ._metrics import metric_sums
from ._optim import _Optimizer
from ._rnn import RNN
from ._sequences import Chunks
from ._signature import check_keywords, takes_fields
from ._truncation import ARTBP, TBPTT
from ._windows import Window, WindowOptions, Windows

SLICED_BYTES = 1 << 16
"""of a gradient; from here on each rank adds up a slice of it, below one rank adds up all of it"""
WHOLE_CHECKSUM, SAMPLE, SAMPLES = 1 << 24, 1 << 14, 256
"""bytes of an array that are all in its checksum; of a larger one the bytes of a sample, and how many samples"""


class Shards:
    """Training shared out among MPI's processes, the ranks, with the same bits for any number of them.

    The batch is split into `shards` parts, fixed by its number of rows; each rank runs windows over its own parts, and
    the gradients of all parts are added up in one fixed tree. See the how-to page on MPI.

    Parameters
    ----------
    comm : communicator, optional
        Such as ``mpi4py.MPI.COMM_WORLD``, or an object with these methods of it: Get_rank, Get_size, allgather, bcast,
        Allgather, Send, Recv, Bcast, Alltoallv and Allgatherv. bptt never imports mpi4py. None: this process alone,
        which gets the same bits as any number of ranks.
    shards : int
        Parts of the batch, at most 65536, the same on all ranks. The result depends on it, in the last bits. It bounds
        the number of ranks that have work. A batch of fewer rows has as many parts as rows.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.
    shards : int
        As given.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or shards is not the same on all ranks.

    Notes
    -----
    All ranks must make the same calls in the same order; no other messages may be under way in `comm` meanwhile. What
    one rank raises in these calls, or in the body of a loop over windows, makes all ranks raise: that rank its own
    error, the others a RuntimeError that names it (KeyboardInterrupt for Ctrl-C, SystemExit for SystemExit; what a
    loop's body raises is named by its place only). Elsewhere nobody is told: start the script by
    ``python -m mpi4py``, which then ends all ranks.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = np.random.default_rng(0).normal(size=(30, 64, 1))
    >>> target = np.cumsum(x, axis=0) / 10
    >>> rnn = bptt.RNN(1, 16, 1, seed=0)
    >>> adam = bptt.Adam(rnn.params, rnn.grads, lr=1e-2)
    >>> group = bptt.Shards(None)  # with mpi4py: bptt.Shards(MPI.COMM_WORLD)
    >>> group.start(rnn, adam, data=(x, target))
    >>> for epoch in range(40):
    ...     for w in group.windows(rnn, x, target):
    ...         norm = rnn.clip_grad_norm(1.0)
    ...         adam.step()
    >>> w.loss < 0.1
    True
    """

    def __init__(self, comm=None, shards: int = 8) -> None:
        self.ranks = Ranks(comm)
        given = [] if comm is None else comm.allgather(repr(shards))
        if len(set(given)) > 1:
            raise ValueError(f"shards must be the same on all ranks, got {', '.join(given)}")
        self.shards = index(shards, "shards")
        if self.shards > 1 << 16:
            raise ValueError(f"shards must be at most 65536, got {shards}")
        self.ranks.entries = -(-self.shards // self.size)
        self._started: WeakSet[RNN] = WeakSet()
        self._sums: dict[tuple, Sums] = {}

    @property
    def rank(self) -> int:
        """int: the number of this process."""
        return self.ranks.rank

    @property
    def size(self) -> int:
        """int: how many processes there are."""
        return self.ranks.size

    def __repr__(self) -> str:
        return f"Shards(shards={self.shards}): rank {self.rank} of {self.size}"

    def rows(self, batch: int) -> slice:
        """Tell which rows of a batch this rank runs.

        Parameters
        ----------
        batch : int
            B, at least 1.

        Returns
        -------
        slice
            Those that Window.y and Window.state have here; it may be empty.
        """
        batch = index(batch, "batch")
        count = min(self.shards, batch)
        own = self.tree(count).own
        return slice(batch * own.start // count, batch * own.stop // count)

    def start(self, rnn: RNN, optimizer=None, data=()) -> None:
        """Begin a training: compare what must be the same on all ranks, and give all the state of rank 0.

        Parameters
        ----------
        rnn : bptt.RNN
            All ranks get the parameters and the dropout state of rank 0. Where its `threads` is None it becomes this
            rank's share of the processors of its machine.
        optimizer : optimiser, optional
            With state_dict() and load_state_dict(), as those of bptt: all ranks get the state of rank 0.
        data : array_like or tuple of them, optional
            What will be trained on: compared by dtype, shape and a checksum, of an array above 16 MiB that of 256
            samples. Parts may be None.

        Raises
        ------
        ValueError
            On all ranks, if they differ in the version of bptt, the kernel set (the environment variable BPTT_ISA), the
            network, the optimiser's kind and hyperparameters, or the data; it says in what.
        TypeError
            If an argument is of a type that does not fit.
        """
        self.ranks.begin()
        with self.ranks.telling():
            self.agree(rnn, optimizer, data)
            self.ranks.leave()

    @takes_fields(WindowOptions)
    def windows(self, rnn: RNN, x, target, loss: str | Loss = "mse", **options: Any) -> Iterator[Window]:
        """Go over a sequence window by window, all ranks in lockstep, as RNN.windows does on one process.

        After each window `rnn.grads` holds, on every rank, the gradient of the mean loss of the whole batch: what
        counts by masks, lengths and ignored labels is counted over all ranks. Then clip and step, as ever.

        Parameters
        ----------
        rnn : bptt.RNN
            That `start` was called with.
        x : array_like or iterable of chunks
            As RNN.windows takes it: the whole batch. A rank reads no other rows than its own of an np.memmap, or of
            chunks that are memmaps. So with the other arguments, but `state` may be Window.state of an earlier call,
            which has the rank's own rows.
        target : array_like or iterable of chunks
            What the loss takes, with the same time and batch axes as x.
        {fields}

        Yields
        ------
        bptt.Window
            `loss` is that of the whole batch; `y`, `state` and `grad_norms` are those of the rank's own rows.

        Raises
        ------
        ValueError, TypeError
            As RNN.windows, and if the ranks' arguments differ.
        RuntimeError
            If another rank raised, if its rnn.params are others, or if `start` was not called.

        Notes
        -----
        The loss is called for each shard on its own; a function of yours must return a mean over the (step, row) pairs
        that count (or, with reduction="sum", the sum). It is not called for a shard in which nothing counts. The
        step clips limit what flows back in one shard, by norms of its rows. A memory_budget is shared out among the
        shards. Shard s of pass n (from 0) has the dropout masks of draw n*shards + s + 1 of
        `rnn.dropout_state`, so masks are functions of the row of the batch. Gradients take memory for about log2 of the
        rank's shards.
        """
        self.ranks.begin()
        with self.ranks.telling():
            check_keywords(options, WindowOptions, Shards.windows)
            check_network(rnn)
            if rnn not in self._started:
                raise RuntimeError("call start(rnn) before windows: all ranks must begin with the same parameters")
            source = Source(rnn, x, target, WindowOptions(loss, **options), self)
            source.read_only(self.rows(source.x.layout.batch))
            sharded = Pass(self, source)
        return self._told(sharded)

    def _told(self, sharded):
        """The windows of a pass; what comes up meanwhile, in the body of the user's loop too, is told to all ranks."""
        with self.ranks.telling():
            for taken in sharded.run():
                yield sharded.joined(taken)
            self.ranks.leave()

    # ---- for bptt.fit ------------------------------------------------------------------------------------

    def agree(self, rnn, optimizer, data) -> None:
        """`start`, within a call that all ranks make."""
        from ._training_file import apply, captured, optimizers_of

        check_network(rnn)
        optimizers = optimizers_of(optimizer)
        for one in optimizers:
            if isinstance(one, _Optimizer) and not one.works_on(rnn.params, rnn.grads):
                raise ValueError("optimizer must be made with this network's params and grads")
        self.ranks.check_same(facts_of(rnn, optimizers, data), "what is trained")
        state = self.ranks.first(lambda: captured([rnn], optimizers))
        if self.rank:
            apply(state, [rnn], optimizers)
        processors = self.ranks.processors()
        if rnn.threads is None and self.size > 1:
            rnn.threads = processors
        self._started.add(rnn)

    def parts(self, batch) -> Iterator[tuple[int, slice]]:
        """The number and the rows of each shard of the rank."""
        count = min(self.shards, batch)
        for i in self.tree(count).own:
            yield i, slice(batch * i // count, batch * (i + 1) // count)

    def in_order(self, entries) -> list:
        """The values of (key, value) that all ranks have, in the order of the keys."""
        return [value for _, value in sorted(itertools.chain(*self.ranks.objects(entries)), key=itemgetter(0))]

    def tree(self, count) -> Tree:
        """The Tree of so many shards."""
        return tree_of(count, self.size, self.rank)

    def sums(self, tree, grads) -> Sums:
        """The Sums of such gradients, kept from pass to pass: fresh memory costs page faults."""
        key = tree.count, grads.size, grads.dtype
        if key not in self._sums:
            if len(self._sums) >= 4:
                self._sums.clear()
            self._sums[key] = Sums(self.ranks, tree, grads)
        return self._sums[key]


def check_network(rnn) -> None:
    if not isinstance(rnn, RNN):
        raise TypeError(f"rnn must be a bptt.RNN, got {type(rnn).__name__}")


# ---- what must be the same on all ranks --------------------------------------------------------------------


def facts_of(rnn, optimizers, data) -> dict[str, object]:
    """What results depend on, but for the values of parameters and states."""
    from ._training_file import kind_of

    arrays = data if isinstance(data, (tuple, list)) else (data,)
    facts = {"version": _core.version(), "kernel set": _core.isa()} | rnn.description()
    facts["optimizer"] = [kind_of(optimizer) for optimizer in optimizers]
    for i, array in enumerate(arrays):
        facts[f"data[{i}]"] = None if array is None else checksum(np.asanyarray(array))
    return facts


def checksum(array) -> str:
    """dtype, shape, and a CRC of all bytes, or of samples at even distances."""
    described = f"{array.dtype}{list(array.shape)}"
    if array.dtype.kind not in "fiub":
        raise TypeError(f"data must be arrays of numbers, got dtype {array.dtype}")
    if array.nbytes <= WHOLE_CHECKSUM:
        return f"{described} {zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data):08x}"
    crc, flat = 0, array.reshape(-1) if array.flags.c_contiguous else array.flat
    count = SAMPLE // array.itemsize or 1
    for i in range(SAMPLES):
        start = (array.size - count) * i // (SAMPLES - 1)
        sample = np.ascontiguousarray(flat[start : start + count])
        crc = zlib.crc32(sample.view(np.uint8).data, crc)
    return f"{described} {crc:08x} of samples"


# ---- messages ---------------------------------------------------------------------------------------------

WINDOW, RESULT, END, OBJECTS, FAILED = range(1, 6)
"""What a message is: before a window, after it, at the end of a call, before objects, or that a rank raised."""
PLACES = {WINDOW: "before a window", RESULT: "after a window", END: "at the end", OBJECTS: "elsewhere"}
METHODS = (
    "Get_rank", "Get_size", "allgather", "bcast", "Allgather", "Send", "Recv", "Bcast", "Alltoallv", "Allgatherv",
)  # fmt: skip
HEADER = 4  # numbers before the entries of the rank's shards: what it is, two for what it is about, a checksum


class Ranks:
    """The processes, and their messages. Every message begins with a table of one size: so a rank that raised, or went
    another way, is found out by all, wherever it is."""

    def __init__(self, comm) -> None:
        lacking = [name for name in METHODS if not callable(getattr(comm, name, None))] if comm is not None else []
        if lacking or isinstance(comm, type):
            raise TypeError(
                f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, or None, got {brief(comm)}, which has "
                f"no {', '.join(lacking) or 'rank'}"
            )
        self.comm = comm
        self.rank = 0 if comm is None else comm.Get_rank()
        self.size = 1 if comm is None else comm.Get_size()
        self.entries = 1  # shards of a rank, at most
        self.quiet = Uninterrupted()
        self.begin()

    def begin(self) -> None:
        """The beginning of a call that all ranks make."""
        self.told = False  # whether nobody is to be told of an error: all know of one, or have left the call
        self.stopped = False  # whether all ranks stop by KeyboardInterrupt or SystemExit

    def leave(self) -> None:
        """The last message of the call."""
        with self.quiet:
            self.table(END)
            self.told = True

    def table(self, kind, about=(), values=()) -> np.ndarray:
        """(size, ...): the numbers of every rank. An error on all ranks unless all are at this message."""
        mine = np.zeros(HEADER + self.entries)
        mine[0], mine[1 : 1 + len(about)] = kind, about
        mine[HEADER : HEADER + len(values)] = values
        if self.size == 1:
            return mine[None]
        table = np.empty((self.size, mine.size))
        with self.quiet:
            self.comm.Allgather(mine, table)
            if (table[:, 0] != kind).any():
                self._raise(table[:, 0])
        return table

    def objects(self, value) -> list:
        """The objects of all ranks."""
        if self.size == 1:
            return [value]
        packed = pickle.dumps(value)  # what cannot be sent is an error here, while the others can be told
        with self.quiet:
            self.table(OBJECTS)
            return list(map(pickle.loads, self.comm.allgather(packed)))

    def first(self, function):
        """What the function returns on rank 0; what it raises there is raised on all."""
        with self.telling():
            value = None if self.rank else function()
            if self.size == 1:
                return value
            packed = None if self.rank else pickle.dumps(value)
            with self.quiet:
                self.table(OBJECTS)
                packed = self.comm.bcast(packed, root=0)
            return pickle.loads(packed) if self.rank else value

    def check_same(self, facts, what) -> None:
        """A ValueError on all ranks that says in which entries the first rank that differs from rank 0 does."""
        all_facts = self.objects(facts)
        for rank, theirs in enumerate(all_facts):
            names = [name for name in {**all_facts[0], **theirs} if theirs.get(name) != all_facts[0].get(name)]
            if names:
                self.told = True
                there, here = (", ".join(f"{name}={one.get(name)}" for name in names) for one in (theirs, all_facts[0]))
                raise ValueError(f"{what} must be the same on all ranks: rank {rank} has {there}; rank 0 has {here}")

    @contextmanager
    def telling(self):
        """Around what may raise: all ranks get to know."""
        try:
            yield
        except BaseException as error:
            self.tell(error)
            raise

    def tell(self, error) -> None:
        """Tell all ranks that this one raises, unless they know."""
        if self.told or self.size == 1:
            return
        self.told = True
        mine, table = np.zeros(HEADER + self.entries), np.empty((self.size, HEADER + self.entries))
        mine[0] = FAILED
        with self.quiet:
            self.comm.Allgather(mine, table)
            self._errors(error_elsewhere(error, self.rank))

    def _errors(self, mine):
        """What the other ranks are to raise, by each rank that raised; None by the others."""
        errors = self.comm.allgather(mine)
        self.stopped = not any(isinstance(error, Exception) for error in errors)
        return errors

    def _raise(self, kinds):
        """The error of a rank that did not raise by itself."""
        self.told = True
        for error in self._errors(None):
            if error is not None:
                raise error
        self.stopped = False
        places = ", ".join(f"rank {rank} is {PLACES[int(kind)]}" for rank, kind in enumerate(kinds))
        raise RuntimeError(f"the ranks must make the same calls over as many steps, but {places}")

    @contextmanager
    def together(self):
        """Around a call: where all ranks stop, none leaves it before the others are ready to; rank 0 may still write a
        file, and the end of a process may end all."""
        try:
            yield
        finally:
            if self.stopped:
                with self.quiet:
                    self.comm.allgather(None)

    def processors(self) -> int:
        """This rank's share of the processors that it may run on, which other ranks of its machine may use too."""
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        there = [cores for host, cores in self.objects((platform.node(), own)) if host == platform.node()]
        return max(1, int(sum(1 / sum(core in cores for cores in there) for core in own) + 1e-6))


def error_elsewhere(error, rank) -> BaseException:
    """What the other ranks raise when an error came up on this one."""
    if isinstance(error, GeneratorExit):
        return RuntimeError(f"rank {rank} left the loop over its windows")
    text = f"rank {rank} raised {type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        return SystemExit(error.code if isinstance(error.code, (int, type(None))) else text)
    return KeyboardInterrupt(text) if isinstance(error, KeyboardInterrupt) else RuntimeError(text)


class Uninterrupted:
    """Around messages: Ctrl-C comes at the end, so that no rank is left alone in the middle of one."""

    def __init__(self) -> None:
        self.depth, self.handler, self.pending = 0, None, None

    def __enter__(self):
        self.depth += 1
        if self.depth == 1 and threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                signal.signal(signal.SIGINT, self._note)
                self.handler = handler

    def _note(self, number, frame):
        self.pending = number, frame

    def __exit__(self, *_):
        self.depth -= 1
        if self.depth or self.handler is None:
            return
        handler, pending, self.handler, self.pending = self.handler, self.pending, None, None
        signal.signal(signal.SIGINT, handler)
        if pending:
            handler(*pending)


# ---- the tree ---------------------------------------------------------------------------------------------


def middle(begin, end) -> int:
    """Where the shards begin..end-1 are split: the left part has the largest power of two below their number."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


@dataclass
class Tree:
    """The tree in which the shards' gradients are added, and who has which part of it.

    A node is a pair (begin, end) of shards; it is the sum of its left and its right part. A rank's shards are
    consecutive.
    """

    count: int
    size: int
    rank: int
    nodes: list[list[tuple[int, int]]] = field(default_factory=list)
    """for each rank the largest nodes whose shards are all its own"""
    joined: list[tuple[int, int]] = field(default_factory=list)
    """(begin, middle) of the other nodes, parts before wholes"""
    own_joins: set[tuple[int, int, int]] = field(default_factory=set)
    """(begin, middle, end) of this rank's nodes"""

    def __post_init__(self):
        self.begins = [-(-rank * self.count // self.size) for rank in range(self.size + 1)]
        self.own = range(self.begins[self.rank], self.begins[self.rank + 1])
        self.nodes = [[] for _ in range(self.size)]
        self._visit(0, self.count)

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


# ---- windows ----------------------------------------------------------------------------------------------


class Source(Windows):
    """What a pass reads: the whole batch, checked. The tapes are those of its shards."""

    def __init__(self, rnn, x, target, options, group) -> None:
        self._open(rnn, x, target, options)
        batch = self.x.layout.batch
        self.options = replace(options, state=whole_state(rnn, options.state, group.rows(batch), batch))
        self._check(batch)
        self.shards: list[ShardWindows] = []

    def read_only(self, rows) -> None:
        """Keep no other rows of chunks."""
        for sequence in (self.x, *self.along_x):
            if isinstance(sequence, Chunks):
                sequence.held = [self.x.layout.rows_of(chunk, rows) for chunk in sequence.held]
                sequence.rows = rows

    def facts(self) -> dict[str, object]:
        """What must be the same on all ranks."""
        from ._resume import described

        options, truncation = self.options, self.truncation
        return {
            "x": (self.x.steps, self.x.layout.batch),
            "loss": described(options.loss.function),
            "truncation": (repr(truncation), truncation.state if isinstance(truncation, ARTBP) else None),
            "burn_in": options.burn_in,
            "given": [name for name in ("state", "lengths", "reset", "mask") if getattr(options, name) is not None],
            "reduction": options.reduction,
            "step clips": (options.step_clip_norm, options.step_clip_value),
            "checkpoints": (options.checkpoint, options.memory_budget),
        }

    def burn_in(self, shards) -> None:
        self.shards = shards
        self._burn_in()

    def _skip(self, start, stop):
        for shard in self.shards:
            shard._skip(start, stop)


def whole_state(rnn, state, rows, batch):
    """A state of the rank's rows alone, as Window.state is, among zeros for the other rows; any other as it is."""
    count = rows.stop - rows.start
    shapes = [np.shape(part) for part in (state if rnn.states == 2 and isinstance(state, tuple) else (state,))]
    if count == batch or any(shape != (rnn.units, count, rnn.hidden_size) for shape in shapes):
        return state
    parts = [np.zeros((rnn.units, batch, rnn.hidden_size), rnn.dtype) for _ in shapes]
    for part, given in zip(parts, state if len(parts) == 2 else (state,), strict=True):
        part[:, rows] = given
    return tuple(parts) if len(parts) == 2 else parts[0]


class Rows:
    """Some rows of a sequence, which is read piece by piece with the other shards'."""

    def __init__(self, sequence, rows, count) -> None:
        self.sequence, self.name, self.steps = sequence, sequence.name, sequence.steps
        self.layout = replace(sequence.layout, batch=count)
        self.rows = rows
        if isinstance(sequence, Chunks):  # which have the rank's rows alone
            self.rows = slice(rows.start - sequence.rows.start, rows.stop - sequence.rows.start)
        self.last: tuple | None = None  # ((start, stop), piece): a target is read to be counted, then for the loss

    def available(self, stop) -> int:
        return self.sequence.available(stop)

    def piece(self, start, stop) -> np.ndarray:
        if self.last is None or self.last[0] != (start, stop):
            self.last = (start, stop), self.layout.rows_of(self.sequence.piece(start, stop), self.rows)
        return self.last[1]


class ShardWindows(Windows):
    """The windows of one shard. Its part of the gradient is that of the mean over the whole batch."""

    def __init__(self, source, rows, count, of, masks) -> None:
        self.rnn, self.rows, self.source_batch = source.rnn, rows, source.x.layout.batch
        self.options, self.masks = source.options, masks
        self.tape = None
        if self.options.loss.class_weight is not None:  # labels of weight 0 have a loss too, by label_smoothing
            self.options = replace(self.options, reduction="sum")
        if self.options.memory_budget is not None:
            self.options = replace(self.options, memory_budget=max(1, self.options.memory_budget // of))
        self.x = Rows(source.x, rows, count)
        self.target, self.reset, self.mask = (
            None if sequence is None else Rows(sequence, rows, count)
            for sequence in (source.target, source.reset, source.mask)
        )
        self.along_x = [other for other in (self.target, self.reset, self.mask) if other is not None]
        self.start_before = 0
        self.lengths = None if source.lengths is None else source.lengths[rows]
        self.state = None if source.state is None else np.ascontiguousarray(source.state[:, :, rows])
        self.truncation = source.truncation
        self.weight, self.total = 1.0, 1.0  # what the mean of this shard and that of the whole batch is divided by
        self.counts = np.empty(0, bool)  # which (step, row) pairs of a window do

    def open(self) -> None:
        """Make the tape, with the dropout masks of the shard."""
        with self.rnn.lock:
            after = self.rnn.dropout_state
            try:
                self.rnn.dropout_state = self.masks
                self._make_tape(self.x.layout.batch)
            finally:
                self.rnn.dropout_state = after

    def close(self) -> None:
        if self.tape is not None:
            self.tape.close()
            self.tape = None

    def weigh(self, start, stop) -> float:
        """Find which pairs mask, lengths and the ignored label leave; what the mean over these is divided by."""
        layout, loss = self.x.layout, self.options.loss
        target = self._along(self.target, start, stop)
        self.counts = counts = np.ones(layout.axes(stop - start), bool)
        if self.mask is not None:
            counts &= self._along(self.mask, start, stop) != 0
        if self.lengths is not None:
            counts &= layout.within(self.lengths, start, stop)
        if target.ndim == counts.ndim:  # class labels
            counts &= target != loss.ignored
        try:
            self.weight = counted_weight(loss, target, counts)
        except IndexError:  # no label, or one out of range: the loss names it
            self.weight = 1.0
        return self.weight

    def _measure(self, y, start, stop):
        """What the shard adds to the loss of the whole batch, and the gradient of that."""
        if not self.counts.any():
            return 0.0, np.zeros(y.shape, self.rnn.dtype)
        loss, dy = super()._measure(y, start, stop)
        share = (self.weight if self.options.reduction == "mean" else 1) / self.total
        return loss * share, dy if share == 1 else dy * share

    def _token_error(self, start, stop):
        """With the numbers of the rows in the whole batch."""
        layout, piece = self.x.layout, self.x.piece(start, stop)
        if layout.unbatched:
            return super()._token_error(start, stop)
        whole = replace(layout, batch=self.source_batch)
        x, inside = np.zeros(whole.axes(stop - start), piece.dtype), np.zeros(whole.axes(stop - start), bool)
        place = (self.rows, slice(None)) if layout.batch_first else (slice(None), self.rows)
        x[place], inside[place] = piece, True if self.lengths is None else layout.within(self.lengths, start, stop)
        return token_error(x, "x", self.rnn.spec.vocabulary, inside, layout.time_axis, start)


@dataclass
class Taken:
    """A window of the whole batch."""

    start: int
    stop: int
    loss: float
    weight: float
    """what the mean was divided by, apart from the columns"""
    windows: list[Window]
    """of the rank's shards"""
    metrics: list[tuple[int, dict[str, float]]]
    """of each shard (pairs that count, {name: metric times these})"""


class Pass:
    """One pass of windows over a source, or over the rows of these numbers, in lockstep with the other ranks."""

    def __init__(self, group, source, rows=None, metrics=None) -> None:
        self.group, self.ranks, self.source, self.metrics = group, group.ranks, source, metrics or {}
        rnn, layout = source.rnn, source.x.layout
        self.batch = layout.batch if rows is None else len(rows)
        self.tree = group.tree(min(group.shards, self.batch))
        self.sums = group.sums(self.tree, rnn.grads)
        self.sums.begin()
        # a pass of one window has one tape, for one shard after another
        self.single = isinstance(source.truncation, TBPTT) and source._most() <= source.truncation.k1
        self.single = self.single and not source.options.burn_in
        with rnn.lock:
            seed, draws = rnn.dropout_state
            rnn.dropout_state = seed, (draws + group.shards) % 2**64
        self.shards = {
            i: ShardWindows(source, part if rows is None else rows[part], part.stop - part.start, self.tree.count,
                            (seed, (draws + i) % 2**64))
            for i, part in group.parts(self.batch)
        }  # fmt: skip
        self.facts = self.source.facts() | {"metrics": list(self.metrics)} if self.ranks.size > 1 else {}
        self.checksum = zlib.crc32(repr(self.facts).encode())

    def run(self) -> Iterator[Taken]:
        try:
            if not self.single:
                for shard in self.shards.values():
                    shard.open()
            if self.source.options.burn_in:
                self.source.burn_in(list(self.shards.values()))
            for bounds in self.source.truncation.bounds(self.source.available):
                yield self._window(bounds)
        finally:
            for shard in self.shards.values():
                shard.close()

    def _window(self, bounds) -> Taken:
        start, stop = (step + self.source.options.burn_in for step in bounds[:2])
        weight, metrics = self._weigh(start, stop), []
        windows = []
        for i, shard in self.shards.items():
            shard.total = 1.0 if self.source.options.reduction == "sum" else weight or 1.0
            if self.single:
                shard.open()
            w = shard._window(*bounds)
            windows.append(w)
            metrics.append(metric_sums(self.metrics, w.y, shard.target.piece(start, stop), shard.counts))
            self.sums.add(i, self.source.rnn.grads)
            if self.single:
                shard.close()
        with self.ranks.quiet:
            losses = self._entries(self.ranks.table(RESULT, values=[w.loss for w in windows]))
            self.sums.finish(self.source.rnn.grads)
        if self.metrics:
            metrics = [entry for of_rank in self.ranks.objects(metrics) for entry in of_rank]
        return Taken(start, stop, float(losses.sum()), weight, windows, metrics)

    def _weigh(self, start, stop) -> float:
        """What the mean over the whole batch is divided by; an error unless all ranks are at the same window."""
        own = [shard.weigh(start, stop) for shard in self.shards.values()]
        params = self.source.rnn.params
        sample = zlib.crc32(params[:: -(-params.size // SAMPLES)].tobytes()) if self.ranks.size > 1 else 0
        table = self.ranks.table(WINDOW, (start, stop, self.checksum ^ sample), own)
        if (table[:, 1:HEADER] != table[0, 1:HEADER]).any():
            facts = self.facts | {"window": (start, stop), "the checksum of rnn.params": f"{sample:08x}"}
            self.ranks.check_same(facts, "windows")
        return float(self._entries(table).sum())

    def _entries(self, table):
        """(count,): the entries of all shards, of a table of all ranks."""
        begins = self.tree.begins
        return np.concatenate([table[r, HEADER : HEADER + begins[r + 1] - begins[r]] for r in range(self.ranks.size)])

    def joined(self, taken) -> Window:
        """The window of the rank's rows, with the loss of the whole batch."""
        rnn, layout, windows = self.source.rnn, self.source.x.layout, taken.windows
        if not windows:
            y, state, norms = self._empty(taken.stop - taken.start)
        elif len(windows) == 1:
            y, state, norms = windows[0].y, windows[0].state, windows[0].grad_norms
        else:
            y = np.concatenate([w.y for w in windows], 1 - layout.time_axis)
            if rnn.states == 1:
                state = np.concatenate([w.state for w in windows], 1)
            else:
                state = tuple(np.concatenate([w.state[k] for w in windows], 1) for k in range(2))
            norms = np.sqrt(sum(np.square(w.grad_norms, dtype=np.float64) for w in windows)).astype(rnn.dtype)
        return Window(taken.start, taken.stop, taken.loss, y, state, norms)

    def _empty(self, steps):
        """y, state and grad_norms of a rank without rows."""
        rnn, layout = self.source.rnn, self.source.x.layout
        width = rnn.output_size or rnn.hidden_size * (2 if rnn.bidirectional else 1)
        y = np.empty((*replace(layout, batch=0, unbatched=False).axes(steps), width), rnn.dtype)
        state = np.empty((rnn.units, 0, rnn.hidden_size), rnn.dtype)
        norms = np.zeros((steps,) if rnn.units == 1 else (rnn.units, steps), rnn.dtype)
        return y, state if rnn.states == 1 else (state, state.copy()), norms
