"""Training on several processes: the batch in shards, whose gradients are added up in a fixed tree.

A shard is some rows of the batch. Which rows, and in which order gradients are added, depends on the number of shards
alone; the ranks (processes) share the shards out. So the result is the same to the bit for any number of ranks. (The
core splits the batch of a call among its threads by itself; that is another thing and not seen here.)
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from operator import itemgetter
from typing import Any
from weakref import WeakSet

import numpy as np

from . import _core
from ._checks import index
from ._loss import Loss
from ._optim import check_made_for
from ._ranks import Ranks
from ._rnn import RNN, check_network
from ._shard_sums import Sums, Tree, tree_of
from ._shard_windows import Pass, Source
from ._signature import check_keywords, takes_fields
from ._windows import Window, WindowOptions

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
            check_made_for(one, rnn)
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
