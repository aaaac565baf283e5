"""Windows over a batch in shards: each rank runs those of its own, in lockstep with the other ranks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ._checks import token_error
from ._loss import counted_pairs, counted_weight
from ._metrics import metric_sums
from ._ranks import HEADER, RESULT, WINDOW
from ._sequences import Chunks
from ._truncation import ARTBP, TBPTT
from ._windows import Window, Windows

SAMPLES = 256
"""of the parameters, at most: ranks compare their checksum before each window"""


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
        mask = None if self.mask is None else self._along(self.mask, start, stop)
        inside = None if self.lengths is None else layout.within(self.lengths, start, stop)
        self.counts = counted_pairs(layout.axes(stop - start), target, loss.ignored, mask, inside)
        try:
            self.weight = counted_weight(loss, target, self.counts)
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
