"""Windows over a long sequence: forward, the loss and truncated backward, one window after another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import _core
from ._sequences import Sequence, flag_array, input_sequence, is_stream, real_array, sequence_along
from ._truncation import ARTBP, TBPTT, truncation_or_none

Loss = Callable[..., tuple[float, np.ndarray]]

LOSSES: dict[str, Loss] = {
    "mse": _core.mse,
    "cross_entropy": _core.cross_entropy,
    "binary_cross_entropy": _core.binary_cross_entropy,
}

BURN_IN_ELEMENTS = 1 << 16
"""of x or of the states in one piece of the burn-in, so that its memory is small"""


@dataclass
class Window:
    """One window: its gradient stands in rnn.grads until the next one is asked for."""

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


def named_loss(loss: str | Loss) -> Loss:
    if callable(loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(
            f"loss must be one of {', '.join(LOSSES)} or a function (y, target) -> (loss, dy), got {loss!r}"
        )
    return LOSSES[loss]


def burn_in_steps(burn_in, steps, name="x") -> int:
    """The checked argument, for a sequence of so many steps (None: not known)."""
    burn_in = _core.index(burn_in, "burn_in", 0)
    if steps is not None and burn_in >= steps:
        raise ValueError(f"burn_in must be below the {steps} steps of {name}, got {burn_in}")
    return burn_in


def check_goes_with_lengths(truncation, burn_in) -> None:
    if truncation is not None:
        raise ValueError(
            f"lengths goes with truncation=None, got {truncation!r}: mark the ends by reset and mask instead"
        )
    if burn_in:
        raise ValueError(f"lengths goes with burn_in=0, got {burn_in}")


def measured(loss: Loss, y, target, **options):
    """(loss, dy) of a loss function, which may be the user's own: checked."""
    result = loss(y, target, **options)
    try:
        value, dy = result
    except (TypeError, ValueError):
        raise TypeError(f"loss must return (loss, dy), got {result!r}") from None
    dy = real_array(dy, "the gradient that loss returns")
    if dy.shape != y.shape:
        raise ValueError(f"loss must return a gradient of y's shape {y.shape}, got {dy.shape}")
    return value, dy


def iterate(
    rnn,
    x,
    target,
    loss,
    *,
    truncation,
    burn_in,
    state,
    lengths,
    reset,
    mask,
    reduction,
    step_clip_norm,
    step_clip_value,
    checkpoint,
    memory_budget,
):
    """Checks everything that can be known now, then returns the generator of windows."""
    loss = named_loss(loss)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    truncation = truncation_or_none(truncation)
    clip = (
        None if step_clip_norm is None else _core.threshold(step_clip_norm, "step_clip_norm"),
        None if step_clip_value is None else _core.threshold(step_clip_value, "step_clip_value"),
    )
    if truncation is None and is_stream(x):
        raise ValueError("truncation must be a bptt.TBPTT or a bptt.ARTBP where x is an iterable of chunks, got None")
    x = input_sequence(rnn, x)
    first = burn_in_steps(burn_in, x.steps)
    if lengths is not None:
        check_goes_with_lengths(truncation, first)
        lengths = _core.checked_lengths(lengths, x.steps, x.layout.batch)
    plan = Plan(
        rnn=rnn,
        x=x,
        target=sequence_along(x, target, "target", real_array),
        reset=sequence_along(x, reset, "reset", flag_array),
        mask=sequence_along(x, mask, "mask", flag_array),
        loss=loss,
        reduction={} if reduction == "mean" else {"reduction": reduction},
        first=first,
        lengths=lengths,
        clip=clip,
    )
    if state is not None:
        state = rnn.checked_state(state, x.layout.batch)
    most = sys.maxsize if x.steps is None else x.steps - first
    if rnn.bidirectional and (first or isinstance(truncation, ARTBP) or (truncation and truncation.k1 < most)):
        which = "truncation" if truncation else "burn_in"
        raise ValueError(
            f"{which} goes with bidirectional=False, got {truncation or first} and bidirectional=True: the reverse "
            "direction begins at the last step"
        )
    truncation = truncation or TBPTT(most)
    backward, tape = (min(steps, most) for steps in truncation.room())
    if tape > backward and not (checkpoint is None and memory_budget is None):
        name = "memory_budget" if checkpoint is None else "checkpoint"
        raise ValueError(f"{name} goes with windows that do not overlap (k2 = k1), got {truncation}")
    tape = _core.WindowTape(rnn, x.layout.batch, backward, tape, state, lengths, checkpoint, memory_budget)
    return plan.run(tape, truncation.bounds(plan.reach))


@dataclass
class Plan:
    """The checked arguments of RNN.windows. Bounds of windows count from the end of the burn-in, `first`."""

    rnn: _core.Network
    x: Sequence
    target: Sequence
    reset: Sequence | None
    mask: Sequence | None
    loss: Loss
    reduction: dict
    first: int
    lengths: np.ndarray | None
    clip: tuple
    window_before: int = 0
    """where the one before the current window began"""

    def reach(self, stop) -> int:
        """How many of the first `stop` steps after the burn-in there are. Where x ends, so must all."""
        stop += self.first
        end = self.x.reach(stop)
        if end < stop:
            for other in self.others():
                if other.reach(end + 1) > end:
                    raise ValueError(f"{other.name} must have as many steps as x, which ended after {end}; it goes on")
        return end - self.first

    def run(self, tape, windows) -> Iterator[Window]:
        try:
            self.burn_in(tape)
            for bounds in windows:
                yield self.step(tape, *bounds)
        finally:
            tape.close()

    def burn_in(self, tape):
        layout = self.x.layout
        most = max(1, BURN_IN_ELEMENTS // (layout.batch * max(self.rnn.input_size, self.rnn.hidden_size)))
        start = 0
        while start < self.first:
            stop = self.x.reach(min(start + most, self.first))
            if stop == start:
                break
            tape.skip(self.inputs(start, stop), self.resets(start, stop))
            for other in self.others():
                self.along(other, start, stop)
            start = stop
        if self.x.reach(self.first + 1) <= self.first:
            raise ValueError(f"x must have more than burn_in = {self.first} steps, it ended after {start}")

    def step(self, tape, start, stop, back, carry) -> Window:
        rnn = self.rnn
        before = start - back
        start, stop, back = start + self.first, stop + self.first, back + self.first
        first = self.window_before if before and tape.checkpointed else back
        self.window_before = back
        x = self.inputs(first, stop)
        reset = self.resets(first, stop)
        y, last = tape.forward(x, reset, start - first, before)
        y = self.x.layout.outward(y)
        loss, dy = self.measure(y, start, stop)
        rnn.zero_grad()
        norms = tape.backward(x, self.x.layout.inward(dy, rnn.dtype), reset, carry, before, *self.clip)
        return Window(start, stop, loss, y, last, norms)

    def measure(self, y, start, stop):
        options = {} if self.mask is None else {"mask": self.along(self.mask, start, stop)}
        if self.lengths is not None:
            options["mask"] = self.x.layout.within(self.lengths, start, stop) & (options.get("mask", True) != 0)
        return measured(self.loss, y, self.along(self.target, start, stop), **options, **self.reduction)

    def others(self):
        return [other for other in (self.target, self.reset, self.mask) if other is not None]

    def inputs(self, start, stop):
        return self.x.layout.inward(self.x.piece(start, stop), self.rnn.dtype)

    def resets(self, start, stop):
        if self.reset is None:
            return None
        return self.x.layout.inward(self.along(self.reset, start, stop), np.bool_)

    def along(self, other, start, stop):
        """A piece of what comes along with x, which has these steps."""
        end = other.reach(stop)
        if end < stop:
            raise ValueError(f"{other.name} must have as many steps as x, it ended after {end}; x goes on")
        return other.piece(start, stop)
