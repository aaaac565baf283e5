"""Truncated BPTT: windows over a long sequence (Williams & Peng 1990; Sutskever 2013, 2.8.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import _core

Loss = Callable[..., tuple[float, np.ndarray]]

LOSSES: dict[str, Loss] = {
    "mse": _core.mse,
    "cross_entropy": _core.cross_entropy,
    "binary_cross_entropy": _core.binary_cross_entropy,
}


@dataclass(frozen=True)
class TBPTT:
    """Every k1 steps run backward over at most k2 steps; only the losses of the last k1 steps enter.

    k2 >= k1 >= 1. k2 defaults to k1, the common case of separate windows.
    """

    k1: int
    k2: int | None = None

    def __post_init__(self):
        k1 = _core.index(self.k1, "k1")
        k2 = k1 if self.k2 is None else _core.index(self.k2, "k2")
        if k2 < k1:
            raise ValueError(f"k2 must be at least k1 = {k1}, got {k2}")
        object.__setattr__(self, "k1", k1)
        object.__setattr__(self, "k2", k2)


@dataclass
class Window:
    """One window: its gradient stands in rnn.grads until the next one is asked for."""

    start: int
    """first step whose loss counts here"""
    stop: int
    """one past the last"""
    loss: float
    y: np.ndarray
    """outputs of steps start..stop-1"""
    state: np.ndarray
    """(1,B,H), the state after step stop-1"""
    grad_norms: np.ndarray
    """||dL/dh_t|| of the steps that backward went over, the last is step stop-1. Every step's own loss enters, so with
    k1 = k2 this is nearly flat: TBPTT(1, k) shows how one step's gradient fares over k steps"""


def named_loss(loss: str | Loss) -> Loss:
    if callable(loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(
            f"loss must be one of {', '.join(LOSSES)} or a function (y, target) -> (loss, dy), got {loss!r}"
        )
    return LOSSES[loss]


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


class Sequence:
    """An array with a time axis, read piece by piece: an np.memmap is never read whole."""

    def __init__(self, array, name, *, time_axis, unbatched):
        self.array = array if isinstance(array, np.ndarray) else np.asarray(array)
        self.name, self.time_axis, self.unbatched = name, time_axis, unbatched

    def user(self, start, stop):
        """Steps start..stop-1 as the user laid them out."""
        return np.asarray(self.array[:, start:stop] if self.time_axis else self.array[start:stop])

    def core(self, start, stop, dtype):
        """Steps start..stop-1 as (T,B,...), C-contiguous and of that dtype; a view where nothing must change."""
        piece = self.user(start, stop)
        if self.unbatched:
            piece = piece[:, None]
        elif self.time_axis:
            piece = piece.swapaxes(0, 1)
        return np.require(piece, dtype, "CA")

    def expect(self, *shape):
        if self.array.shape[: len(shape)] != shape:
            raise ValueError(f"{self.name} must have the shape {shape} of x in its first axes, got {self.array.shape}")
        return self


def iterate(rnn, x, target, loss, *, truncation, state, reset, mask, reduction, step_clip_norm, step_clip_value):
    """Checks everything now, then returns the generator of windows."""
    x = real_array(x, "x")
    target = real_array(target, "target")
    width = rnn.input_size
    if x.ndim not in (2, 3) or x.shape[-1] != width or x.size == 0:
        order = "B,T" if rnn.batch_first else "T,B"
        raise ValueError(f"x must have shape ({order},I) or (T,I) with I = {width} and no empty axis, got {x.shape}")
    layout = {"time_axis": int(rnn.batch_first and x.ndim == 3), "unbatched": x.ndim == 2}
    steps = x.shape[layout["time_axis"]]
    batch = 1 if layout["unbatched"] else x.shape[1 - layout["time_axis"]]
    if truncation is None:
        truncation = TBPTT(steps)
    if not isinstance(truncation, TBPTT):
        raise TypeError(f"truncation must be a bptt.TBPTT or None, got {type(truncation).__name__}")
    loss = named_loss(loss)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    axes = x.shape[:-1]
    plan = Plan(
        rnn=rnn,
        x=Sequence(x, "x", **layout),
        target=Sequence(target, "target", **layout).expect(*axes),
        reset=None if reset is None else Sequence(_flags(reset, "reset"), "reset", **layout).expect(*axes),
        mask=None if mask is None else Sequence(_flags(mask, "mask"), "mask", **layout).expect(*axes),
        loss=loss,
        reduction={} if reduction == "mean" else {"reduction": reduction},
        steps=steps,
        k1=min(truncation.k1, steps),
        k2=min(truncation.k2, steps),
        clip=(
            None if step_clip_norm is None else _core.threshold(step_clip_norm, "step_clip_norm"),
            None if step_clip_value is None else _core.threshold(step_clip_value, "step_clip_value"),
        ),
    )
    if state is not None:
        state = _core.state_array(state, (1, batch, rnn.hidden_size), rnn.dtype)
        state = state.copy()
    return plan.run(_core.WindowTape(rnn, batch, plan.k1, plan.k2, steps, state))


def real_array(array, name):
    """array as an ndarray of real numbers, a memmap as it is."""
    if not isinstance(array, np.ndarray):
        try:
            array = np.asarray(array)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} must be an array of real numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {array.dtype}")
    return array


def _flags(array, name):
    array = np.asarray(array)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} must be an array of booleans, got {array.dtype}")
    return array


@dataclass
class Plan:
    """The checked arguments of RNN.windows."""

    rnn: _core.Network
    x: Sequence
    target: Sequence
    reset: Sequence | None
    mask: Sequence | None
    loss: Loss
    reduction: dict
    steps: int
    k1: int
    k2: int
    clip: tuple

    def run(self, tape) -> Iterator[Window]:
        try:
            for index in range(_core.window_count(self.steps, self.k1, self.k2)):
                yield self.step(tape, *_core.window_at(self.steps, self.k1, self.k2, index))
        finally:
            tape.close()

    def step(self, tape, start, stop, back) -> Window:
        rnn = self.rnn
        x = self.x.core(back, stop, rnn.dtype)
        reset = None if self.reset is None else self.reset.core(back, stop, np.bool_)
        y, last = tape.forward(x, reset, start - back, start - back)
        y = self.outward(y)
        loss, dy = self.measure(y, start, stop)
        rnn.zero_grad()
        norms = tape.backward(x, self.inward(dy), reset, start - back, *self.clip)
        return Window(start, stop, loss, y, last, norms)

    def measure(self, y, start, stop):
        options = {} if self.mask is None else {"mask": self.mask.user(start, stop)}
        return measured(self.loss, y, self.target.user(start, stop), **options, **self.reduction)

    def outward(self, y):
        if self.x.unbatched:
            return y[:, 0]
        return y.swapaxes(0, 1) if self.x.time_axis else y

    def inward(self, dy):
        return Sequence(dy, "dy", time_axis=self.x.time_axis, unbatched=self.x.unbatched).core(
            0, dy.shape[self.x.time_axis], self.rnn.dtype
        )
