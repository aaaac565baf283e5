"""Windows over a long sequence: forward, the loss and truncated backward, one window after another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._checks import index, threshold, token_error
from ._loss import Loss, LossFunction, measured, named_loss
from ._sequences import flag_array, input_sequence, is_stream, outside_grads, real_array, sequence_along
from ._truncation import ARTBP, TBPTT, Truncation, truncation_or_none

if TYPE_CHECKING:
    from ._rnn import RNN

BURN_IN_ELEMENTS = 1 << 16
"""of x or of the states in one piece of the burn-in, so that its memory is small"""


@dataclass
class Window:
    """One window: its gradient is in rnn.grads until the next window is asked for."""

    start: int
    """first step of x whose loss counts here"""
    stop: int
    """one past the last"""
    loss: float
    """that of these steps"""
    y: np.ndarray
    """outputs of steps start..stop-1"""
    state: np.ndarray | tuple[np.ndarray, np.ndarray]
    """(L*D,B,H), for an LSTM the pair (h, c): the state after step stop-1"""
    grad_norms: np.ndarray
    """(T,), for several layers or directions (L*D,T): ||dL/dh_t|| of the steps that backward went over, the last is
    step stop-1. Every step's own loss enters, so with k1 = k2 this is nearly flat: TBPTT(1, k) shows how one step's
    gradient fares over k steps"""


@dataclass(frozen=True, eq=False)
class WindowOptions:
    """The options of bptt.RNN.windows: what can be checked without the sequence is checked here.

    Parameters
    ----------
    loss : {"mse", "huber", "cross_entropy", "binary_cross_entropy"} or function (y, target) -> (loss, dy)
        y and target are those of the window's own steps, laid out as x is. One of bptt's losses with options:
        functools.partial(bptt.huber, delta=0.5). A function that names a keyword `start` is given the first of these
        steps, counted in x, as Window.start. Where a mask or lengths are given it must take mask=, and reduction= where
        that is not "mean". bptt.torch.loss makes such a function from a loss of torch.
    truncation : bptt.TBPTT or bptt.ARTBP, optional
        None is full BPTT, one window, and needs x as an array.
    burn_in : int
        The first steps, which only move the state on: without a loss, without a gradient and without memory for them.
        The windows begin after them, and no gradient flows back into them.
    state : as bptt.RNN.forward takes it, optional
        The initial state; Window.state of an earlier call to go on from there.
    lengths : array_like of int, (B,), optional
        See bptt.RNN.forward: what lies beyond a row's length counts nothing in the loss either. Goes with
        truncation=None.
    reset : array_like of bool, (T,B), with batch_first (B,T), or iterable of chunks, optional
        See bptt.RNN.forward.
    mask : array_like of bool, (T,B), with batch_first (B,T), or iterable of chunks, optional
        See the losses.
    reduction : {"mean", "sum"}
        The mean is over the elements that count in the window's own steps; with class weights of cross_entropy it is
        divided by the sum of the weights of their labels.
    step_clip_norm, step_clip_value : float, optional
        See bptt.RNN.backward.
    checkpoint : int or "auto", optional
        See bptt.RNN.forward, for each window; for windows that do not overlap. (A shorter last window of TBPTT(k) does:
        the end of the one before is then computed again from its checkpoints.)
    memory_budget : int, optional
        See bptt.RNN.forward, for each window; for windows that do not overlap.
    """

    loss: str | Loss | LossFunction = "mse"
    truncation: Truncation | None = None
    burn_in: int = 0
    state: Any = None
    lengths: Any = None
    reset: Any = None
    mask: Any = None
    reduction: str = "mean"
    step_clip_norm: float | None = None
    step_clip_value: float | None = None
    checkpoint: int | str | None = None
    memory_budget: int | None = None

    def __post_init__(self):
        self._set("loss", named_loss(self.loss))
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {self.reduction!r}")
        if self.mask is not None or self.lengths is not None:
            self.loss.check_takes_mask()
        if self.reduction != "mean":
            self.loss.check_takes_reduction(self.reduction)
        truncation_or_none(self.truncation)
        for name in ("step_clip_norm", "step_clip_value"):
            value = getattr(self, name)
            self._set(name, None if value is None else threshold(value, name))
        self._set("burn_in", index(self.burn_in, "burn_in", 0))
        if self.lengths is not None:
            if self.truncation is not None:
                raise ValueError(
                    f"lengths goes with truncation=None, got {self.truncation!r}: mark the ends by reset and mask "
                    "instead"
                )
            if self.burn_in:
                raise ValueError(f"lengths goes with burn_in=0, got {self.burn_in}")

    def _set(self, name, value):
        object.__setattr__(self, name, value)


def check_burn_in(burn_in, steps, name="x") -> None:
    """An error unless steps are left after the burn-in, of so many (None: not known)."""
    if steps is not None and burn_in >= steps:
        raise ValueError(f"burn_in must be below the {steps} steps of {name}, got {burn_in}")


class Windows:
    """One pass of windows over a sequence. What can be checked before its first step is, when this is made.

    Bounds of windows count from the end of the burn-in.
    """

    def __init__(self, rnn: RNN, x, target, options: WindowOptions) -> None:
        self._open(rnn, x, target, options)
        self._check(self.x.layout.batch)
        self._make_tape(self.x.layout.batch)

    def _open(self, rnn, x, target, options):
        """The sequences."""
        if options.truncation is None and is_stream(x):
            raise ValueError(
                "truncation must be a bptt.TBPTT or a bptt.ARTBP where x is an iterable of chunks, got None"
            )
        self.rnn, self.options = rnn, options
        self.x = input_sequence(rnn, outside_grads(rnn, x))
        check_burn_in(options.burn_in, self.x.steps)
        self.target = sequence_along(self.x, outside_grads(rnn, target), "target", real_array)
        self.reset, self.mask = (
            None if value is None else sequence_along(self.x, value, name, flag_array)
            for name, value in (("reset", options.reset), ("mask", options.mask))
        )
        self.along_x = [other for other in (self.target, self.reset, self.mask) if other is not None]
        self.start_before = 0  # first step of the window before, its overlap included

    def _check(self, batch):
        """The lengths, the initial state and the truncation."""
        rnn, options = self.rnn, self.options
        self.lengths = options.lengths
        if self.lengths is not None:
            self.lengths = _core.checked_lengths(self.lengths, self.x.steps, batch)
        self.state = None if options.state is None else _core.checked_state(rnn, options.state, batch)
        self._check_directions(self._most())
        self.truncation = options.truncation or TBPTT(self._most())

    def _most(self):
        """Steps that there are at most."""
        return sys.maxsize if self.x.steps is None else self.x.steps - self.options.burn_in

    def _make_tape(self, batch):
        options, most = self.options, self._most()
        backward, tape = (min(steps, most) for steps in self.truncation.tape_size())
        if tape > backward and not (options.checkpoint is None and options.memory_budget is None):
            name = "memory_budget" if options.checkpoint is None else "checkpoint"
            raise ValueError(f"{name} goes with windows that do not overlap (k2 = k1), got {self.truncation}")
        limits = options.checkpoint, options.memory_budget
        self.tape = _core.RollingTape(self.rnn, batch, backward, tape, self.state, self.lengths, *limits)

    def _check_directions(self, most):
        """Two directions need a single window over all steps."""
        truncation, burn_in = self.options.truncation, self.options.burn_in
        if not self.rnn.bidirectional:
            return
        if burn_in or isinstance(truncation, ARTBP) or (truncation and truncation.k1 < most):
            which = "truncation" if truncation else "burn_in"
            raise ValueError(
                f"{which} goes with bidirectional=False, got {truncation or burn_in} and bidirectional=True: the "
                "reverse direction begins at the last step"
            )

    def run(self) -> Iterator[Window]:
        try:
            self._burn_in()
            for bounds in self.truncation.bounds(self.available):
                yield self._window(*bounds)
        finally:
            self.tape.close()

    def available(self, stop) -> int:
        """How many of the first `stop` steps after the burn-in there are. Where x ends, so must all."""
        stop += self.options.burn_in
        end = self.x.available(stop)
        if end < stop:
            for other in self.along_x:
                if other.available(end + 1) > end:
                    raise ValueError(f"{other.name} must have as many steps as x, which ended after {end}; it goes on")
        return end - self.options.burn_in

    def _burn_in(self):
        burn_in = self.options.burn_in
        width = self.rnn.hidden_size if self.rnn.one_hot else max(self.rnn.input_size, self.rnn.hidden_size)
        most = max(1, BURN_IN_ELEMENTS // (self.x.layout.batch * width))
        start = 0
        while start < burn_in:
            stop = self.x.available(min(start + most, burn_in))
            if stop == start:
                break
            self._skip(start, stop)
            start = stop
        if self.x.available(burn_in + 1) <= burn_in:
            raise ValueError(f"x must have more than burn_in = {burn_in} steps, it ended after {start}")

    def _skip(self, start, stop):
        """Steps of the burn-in."""
        try:
            self.tape.skip(self._inputs(start, stop), self._resets(start, stop))
        except _core.TokenError:
            raise self._token_error(start, stop) from None
        for other in self.along_x:
            self._along(other, start, stop)

    def _window(self, start, stop, back, carry) -> Window:
        overlap, options = start - back, self.options
        start, stop, back = start + options.burn_in, stop + options.burn_in, back + options.burn_in
        first = self.start_before if overlap and self.tape.checkpointed else back
        self.start_before = back
        try:
            y, state = self.tape.forward(self._inputs(first, stop), self._resets(first, stop), start - first, overlap)
        except _core.TokenError:
            raise self._token_error(first, stop) from None
        y = self.x.layout.from_core(y)
        loss, dy = self._measure(y, start, stop)
        clip = options.step_clip_norm or 0, options.step_clip_value or 0
        norms = self.tape.backward(self.x.layout.to_core(dy, self.rnn.dtype), carry, *clip)
        return Window(start, stop, loss, y, state, norms)

    def _measure(self, y, start, stop):
        """(loss, dy) of the steps of a window."""
        options = {} if self.mask is None else {"mask": self._along(self.mask, start, stop)}
        if self.lengths is not None:
            options["mask"] = self.x.layout.within(self.lengths, start, stop) & (options.get("mask", True) != 0)
        if self.options.reduction != "mean":
            options["reduction"] = self.options.reduction
        return measured(self.options.loss, y, self._along(self.target, start, stop), start=start, **options)

    def _inputs(self, start, stop):
        piece = self.x.piece(start, stop)
        if not self.rnn.spec.vocabulary:
            return self.x.layout.to_core(piece, self.rnn.dtype)
        # Of uint64 what is too large becomes negative. A copy: what the core has checked no other thread may change.
        return self.x.layout.to_core(piece, np.int64).copy()

    def _token_error(self, start, stop):
        """The error for the first integer out of range in these steps, which were read last."""
        layout = self.x.layout
        inside = None if self.lengths is None else layout.within(self.lengths, start, stop)
        x = self.x.piece(start, stop)
        return token_error(x, "x", self.rnn.spec.vocabulary, inside, layout.time_axis, start)

    def _resets(self, start, stop):
        if self.reset is None:
            return None
        return self.x.layout.to_core(self._along(self.reset, start, stop), np.bool_)

    def _along(self, other, start, stop):
        """A piece of what comes along with x, which has these steps."""
        end = other.available(stop)
        if end < stop:
            raise ValueError(f"{other.name} must have as many steps as x, it ended after {end}; x goes on")
        return other.piece(start, stop)
