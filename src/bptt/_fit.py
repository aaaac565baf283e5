"""bptt.fit: the training loop that most scripts need."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import _core, _optim
from ._windows import TBPTT, Loss, named_loss, threshold

OPTIMIZERS = {"sgd": _optim.SGD, "rmsprop": _optim.RMSprop, "adagrad": _optim.Adagrad, "adam": _optim.Adam}


@dataclass
class History:
    """What fit recorded: one entry per epoch, and one per update."""

    loss: list[float] = field(default_factory=list)
    """mean training loss of each epoch"""
    val_loss: list[float] = field(default_factory=list)
    """validation loss after each epoch, empty without validation"""
    seconds: list[float] = field(default_factory=list)
    """time each epoch took"""
    update_loss: list[float] = field(default_factory=list)
    """loss of each window"""
    grad_norm: list[float] = field(default_factory=list)
    """gradient norm of each window before clipping"""


def fit(
    rnn,
    x,
    target,
    *,
    loss: str | Loss = "mse",
    optimizer="adam",
    lr: float = 1e-3,
    epochs: int = 10,
    batch_size: int | None = None,
    truncation: TBPTT | None = None,
    clip_norm: float | None = 1.0,
    clip_value: float | None = None,
    mask=None,
    reset=None,
    validation: tuple | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    progress: bool = True,
    callback: Callable[[int, History], object] | None = None,
) -> History:
    """Train a network; returns the History.

    x, target, mask, reset : as RNN.windows takes them; the batch axis holds the separate sequences
    loss : a name or a function, see RNN.windows
    optimizer : "adam", "rmsprop", "adagrad", "sgd" (made with `lr`), or an object with step()
    batch_size : sequences per update; None: all of them
    truncation : TBPTT(k1, k2): an update after each window, the state carried on to the end of the sequence.
        None: full BPTT, an update per minibatch
    clip_norm, clip_value : clip the gradient before each update, by norm and then by value; None: not
    validation : (x, target), measured without truncation after each epoch
    shuffle : draw the sequences of the minibatches anew in each epoch
    seed : for the shuffling
    progress : show a progress bar
    callback : called as callback(epoch, history) after each epoch; True ends the training

    Ctrl-C (KeyboardInterrupt) leaves rnn.params as the last whole update made them.
    """
    epochs = _core.index(epochs, "epochs")
    clip = Clip(clip_norm, clip_value)
    loss = named_loss(loss)
    step = make_optimizer(rnn, optimizer, lr).step
    data = Data(rnn, x, target, mask, reset, batch_size)
    held_out = None if validation is None else _pair(validation)
    rng = np.random.default_rng(seed) if shuffle else None
    history = History()
    bar = Bar(epochs, data.windows_per_epoch(truncation), progress)
    try:
        for epoch in range(epochs):
            began = time.perf_counter()
            history.loss.append(train_epoch(rnn, data, loss, truncation, clip, step, rng, history, bar))
            history.seconds.append(time.perf_counter() - began)
            if held_out is not None:
                history.val_loss.append(evaluate(rnn, held_out[0], held_out[1], loss))
            bar.end_of_epoch(epoch, history)
            if callback is not None and callback(epoch, history) is True:
                break
    finally:
        bar.close()
    return history


def train_epoch(rnn, data, loss, truncation, clip, step, rng, history, bar) -> float:
    """One pass over all minibatches, an update after each window; returns the mean loss over steps and rows."""
    total = weight = 0.0
    for x, target, options, rows in data.minibatches(rng):
        for w in rnn.windows(x, target, loss, truncation=truncation, **options):
            history.grad_norm.append(clip(rnn))
            step()
            history.update_loss.append(w.loss)
            total += w.loss * (w.stop - w.start) * rows
            weight += (w.stop - w.start) * rows
            bar.advance(total / weight)
    return total / weight


def evaluate(rnn, x, target, loss: str | Loss) -> float:
    """Loss of a forward pass over x, without a tape."""
    y, _ = rnn.forward(x, tape=False)
    return named_loss(loss)(y, target)[0]


class Clip:
    """Clips a network's gradient by norm, then by value; returns the norm before. None: not."""

    def __init__(self, norm, value):
        self.norm = math.inf if norm is None else threshold(norm, "clip_norm")
        self.value = None if value is None else threshold(value, "clip_value")

    def __call__(self, rnn) -> float:
        norm = rnn.clip_grad_norm(self.norm)
        if self.value is not None:
            rnn.clip_grad_value(self.value)
        return norm


def make_optimizer(rnn, optimizer, lr):
    if hasattr(optimizer, "step"):
        return optimizer
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)} or have step(), got {optimizer!r}")
    return OPTIMIZERS[optimizer](rnn.params, rnn.grads, lr)


def _pair(validation):
    try:
        x, target = validation
    except (TypeError, ValueError):
        raise TypeError("validation must be a pair (x, target)") from None
    return x, target


class Data:
    """The training sequences, cut into minibatches along the batch axis."""

    def __init__(self, rnn, x, target, mask, reset, batch_size):
        self.arrays = {"x": x, "target": target, "mask": mask, "reset": reset}
        self.arrays = {name: _as_array(array) for name, array in self.arrays.items() if array is not None}
        shape = self.arrays["x"].shape
        if len(shape) not in (2, 3):
            raise ValueError(f"x must have shape (T,B,I) or (T,I), got {shape}")
        self.batch_axis = None if len(shape) == 2 else int(not rnn.batch_first)
        self.rows = 1 if self.batch_axis is None else shape[self.batch_axis]
        self.steps = shape[0] if self.batch_axis is None else shape[1 - self.batch_axis]
        for name, array in self.arrays.items():
            if array.shape[: len(shape) - 1] != shape[:-1]:
                raise ValueError(f"{name} must have the shape {shape[:-1]} of x in its first axes, got {array.shape}")
        self.batch_size = self.rows if batch_size is None else min(_core.index(batch_size, "batch_size"), self.rows)

    def windows_per_epoch(self, truncation):
        per_sequence = 1 if truncation is None else -(-self.steps // truncation.k1)
        return per_sequence * -(-self.rows // self.batch_size)

    def minibatches(self, rng):
        """(x, target, {mask, reset where given}, rows) of each minibatch; all rows at once are not copied."""
        order = np.arange(self.rows) if rng is None else rng.permutation(self.rows)
        for first in range(0, self.rows, self.batch_size):
            chosen = order[first : first + self.batch_size]
            parts = {name: self._rows(array, chosen) for name, array in self.arrays.items()}
            yield parts.pop("x"), parts.pop("target"), parts, len(chosen)

    def _rows(self, array, chosen):
        if len(chosen) == self.rows:
            return array
        return array[:, chosen] if self.batch_axis == 1 else array[chosen]


def _as_array(array):
    return array if isinstance(array, np.ndarray) else np.asarray(array)


class Bar:
    """The progress bar, or nothing."""

    def __init__(self, epochs, windows, shown):
        self.bar = None
        self.epochs = epochs
        if shown:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=epochs * windows, unit="window")
            self.bar.set_description(f"epoch 1/{epochs}")

    def advance(self, loss):
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self.bar.update()

    def end_of_epoch(self, epoch, history):
        if self.bar is not None:
            self.bar.set_description(f"epoch {min(epoch + 2, self.epochs)}/{self.epochs}")

    def close(self):
        if self.bar is not None:
            self.bar.close()
