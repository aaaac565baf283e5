"""The sequences that bptt.fit trains and validates on, in minibatches along the batch axis."""

from __future__ import annotations

from . import _core
from ._checks import index
from ._loss import counted_pairs, counted_weight, measured
from ._metrics import Means, metric_sums
from ._sequences import check_tokens, flag_array, is_stream, layout_of, outside_grads, real_array
from ._truncation import ARTBP
from ._windows import WindowOptions, check_burn_in


class Data:
    """Sequences, and which of their steps count."""

    def __init__(self, rnn, x, target, mask, reset, batch_size, prefix=""):
        given = {"x": x, "target": target, "mask": mask, "reset": reset}
        for name, array in given.items():
            if is_stream(array):
                kind = type(array).__name__
                hint = "an iterable of chunks goes to rnn.windows"
                raise TypeError(f"{prefix}{name} must be an array of real numbers, got {kind}: {hint}")
        arrays = {name: real_array(given[name], prefix + name) for name in ("x", "target")}
        marks = {name: given[name] for name in ("mask", "reset") if given[name] is not None}
        arrays |= {name: flag_array(array, prefix + name) for name, array in marks.items()}
        self.arrays = {name: outside_grads(rnn, array) for name, array in arrays.items()}
        x = self.arrays["x"]
        self.layout = layout_of(rnn, x, prefix + "x", least_steps=1)
        self.rows, self.steps = self.layout.batch, x.shape[self.layout.time_axis]
        for name, array in self.arrays.items():
            self.layout.check(array, prefix + name, self.steps)
        self.axes = len(self.layout.axes(0))  # those of steps and rows, which come first
        for name in marks:
            if arrays[name].ndim > self.axes:
                shape = self.layout.axes(self.steps)
                raise ValueError(f"{prefix}{name} must have shape {shape}, got {arrays[name].shape}")
        self.target_axes = self.arrays["target"].shape[self.axes :]
        self.lengths = None
        self.batch_size = self.rows if batch_size is None else min(index(batch_size, prefix + "batch_size"), self.rows)

    def check_tokens(self, rnn, name, group=None) -> None:
        """An error for the first integer of x that is out of range; each rank of a group looks at rows of its own."""
        rows = None if group is None else group.rows(self.rows)
        check_tokens(rnn, self.arrays["x"], name, self.layout, self.lengths, rows)

    def windows_per_sequence(self, truncation, burn_in) -> int | None:
        """The number of windows of a minibatch; None where their ends are drawn."""
        if isinstance(truncation, ARTBP):
            return None
        return 1 if truncation is None else _core.window_count(self.steps - burn_in, truncation.k1, truncation.k2)

    def batches(self) -> int:
        """How many minibatches there are."""
        return -(-self.rows // self.batch_size)

    def minibatches(self, order=None, done=0):
        """The rows of each minibatch but the first `done`, in the given order: their numbers, or a slice where that is
        None or the minibatch has all rows, which then stay in their order."""
        for first in range(done * self.batch_size, self.rows, self.batch_size):
            last = min(first + self.batch_size, self.rows)
            whole = last - first == self.rows
            yield slice(first, last) if order is None or whole else order[first:last]

    def part(self, chosen):
        """{x, target, and mask, reset and lengths where given} of some rows; views where these are a slice."""
        part = {name: self.layout.rows_of(array, chosen) for name, array in self.arrays.items()}
        if self.lengths is not None:
            part["lengths"] = self.lengths[chosen]
        return part

    def counts(self, part, start, stop, ignored):
        """Which (step, row) pairs of a minibatch mask, lengths and the ignored label leave between two steps."""
        target = self.layout.steps_of(part["target"], start, stop)
        mask = self.layout.steps_of(part["mask"], start, stop) if "mask" in part else None
        inside = self.layout.within(part["lengths"], start, stop) if "lengths" in part else None
        return counted_pairs(target.shape[: self.axes], target, ignored, mask, inside)

    def shapes(self) -> dict[str, list]:
        """{name: [dtype, *shape]} of the arrays."""
        given = self.arrays | ({} if self.lengths is None else {"lengths": self.lengths})
        return {name: [array.dtype.name, *array.shape] for name, array in given.items()}


class HeldOut:
    """The validation sequences. Their loss is that of the steps after the burn-in, from a forward without a tape."""

    def __init__(self, rnn, validation, options, batch_size, training):
        names = "(x, target), (x, target, mask) or (x, target, mask, lengths)"
        if not isinstance(validation, (tuple, list)) or not 2 <= len(validation) <= 4:
            count = f" of {len(validation)}" if isinstance(validation, (tuple, list)) else ""
            raise TypeError(f"validation must be {names}, got a {type(validation).__name__}{count}")
        x, target, mask, lengths = [*validation, None, None][:4]
        self.data = Data(rnn, x, target, mask, None, batch_size, "validation ")
        check_burn_in(options.burn_in, self.data.steps, "validation x")
        if self.data.target_axes != training.target_axes:
            expected, got = training.target_axes, self.data.target_axes
            raise ValueError(f"validation target must have the last axes {expected} of target, got {got}")
        self.first = options.burn_in
        if lengths is not None:
            WindowOptions(burn_in=options.burn_in, lengths=lengths)  # whether the two go together
            self.data.lengths = _core.checked_lengths(lengths, self.data.steps, self.data.rows, "validation lengths")
        if mask is not None or lengths is not None:
            options.loss.check_takes_mask()

    def measure(self, rnn, loss, metrics, group=None) -> tuple[float, dict[str, float]]:
        """The loss and {name: metric}: means over what counts, batch by batch, of a group of ranks shard by shard."""
        means = Means(metrics)
        try:
            entries = list(self._of_batches(rnn, loss, metrics, group))
        except Exception as error:
            error.add_note("This came up in the validation.")
            raise
        for value, weight, of_metrics in entries if group is None else group.in_order(entries):
            means.add(value, weight)
            means.add_metric_sums(*of_metrics)
        return entries[0][0] if group is None and self.data.batches() == 1 else means.loss, means.metric_means()

    def _of_batches(self, rnn, loss, metrics, group):
        """(loss, weight, metric_sums) of each batch, or, with their place before, of the rank's shards of each."""
        for i, chosen in enumerate(self.data.minibatches()):
            if group is None:
                yield self._of_part(rnn, loss, metrics, self.data.part(chosen))
            else:
                for shard, rows in group.parts(chosen.stop - chosen.start):
                    part = self.data.part(slice(chosen.start + rows.start, chosen.start + rows.stop))
                    yield (i, shard), self._of_part(rnn, loss, metrics, part, skip=True)

    def _of_part(self, rnn, loss, metrics, part, skip=False):
        """The loss, what it weighs, and metric_sums; with `skip` the loss is not asked where nothing counts."""
        after, stop = self.data.layout.steps_of, self.data.steps
        counts = self.data.counts(part, self.first, stop, loss.ignored)
        if skip and not counts.any():
            return 0.0, 0, (0, {})
        y, _ = rnn.forward(part["x"], lengths=part.get("lengths"), tape=False)
        y, target = after(y, self.first, None), after(part["target"], self.first, None)
        options = {"mask": self._mask(part)} if "mask" in part or "lengths" in part else {}
        value, _ = measured(loss, y, target, start=self.first, **options)
        return value, counted_weight(loss, target, counts), metric_sums(metrics, y, target, counts)

    def _mask(self, part):
        """The steps after the burn-in that the mask and the lengths leave."""
        layout, mask = self.data.layout, True
        if "mask" in part:
            mask = layout.steps_of(part["mask"], self.first, None)
        if "lengths" not in part:
            return mask
        return layout.within(part["lengths"], self.first, self.data.steps) & (mask != 0)
