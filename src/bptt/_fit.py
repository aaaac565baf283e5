"""bptt.fit: the training loop that most scripts need."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import _core, _optim
from ._windows import TBPTT, Loss, named_loss, real_array

IGNORED = -100  # the label that cross_entropy leaves out
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

    x, target, mask, reset : as RNN.windows takes them; the batch axis holds the separate sequences. Minibatches of
        fewer rows than all are copied whole: pass a long memmap with batch_size=None
    loss : a name or a function, see RNN.windows
    optimizer : "adam", "rmsprop", "adagrad", "sgd" (made with `lr`), or an object with step()
    batch_size : sequences per update; None: all of them
    truncation : TBPTT(k1, k2): an update after each window, the state carried on to the end of the sequence.
        None: full BPTT, an update per minibatch
    clip_norm, clip_value : clip the gradient before each update, by norm and then by value; None: not
    validation : (x, target) or (x, target, mask), measured without truncation after each epoch
    shuffle : draw the sequences of the minibatches anew in each epoch
    seed : for the shuffling
    progress : show a progress bar
    callback : called as callback(epoch, history) after each epoch; True ends the training

    Ctrl-C (KeyboardInterrupt) leaves rnn.params as the last whole update made them, and so does FloatingPointError,
    raised where the norm of a gradient is NaN or Inf.
    """
    epochs = _core.index(epochs, "epochs")
    if truncation is not None and not isinstance(truncation, TBPTT):
        raise TypeError(f"truncation must be a bptt.TBPTT or None, got {truncation!r}")
    clip = Clip(clip_norm, clip_value)
    loss = named_loss(loss)
    step = make_optimizer(rnn, optimizer, lr).step
    data = Data(rnn, x, target, mask, reset, batch_size)
    held_out = None if validation is None else _validation(rnn, validation)
    rng = np.random.default_rng(seed) if _core.flag(shuffle, "shuffle") else None
    history = History()
    bar = Bar(epochs, data.windows_per_epoch(truncation), progress)
    try:
        for epoch in range(epochs):
            began = time.perf_counter()
            history.loss.append(train_epoch(rnn, data, loss, truncation, clip, step, rng, history, bar))
            history.seconds.append(time.perf_counter() - began)
            if held_out is not None:
                history.val_loss.append(evaluate(rnn, held_out, loss))
            bar.end_of_epoch(epoch, history)
            if callback is not None and callback(epoch, history) is True:
                break
    finally:
        bar.close()
    return history


def train_epoch(rnn, data, loss, truncation, clip, step, rng, history, bar) -> float:
    """One pass over all minibatches, an update after each window; returns the mean loss over steps and rows."""
    total = weight = 0.0
    for part in data.minibatches(rng):
        for w in rnn.windows(**part, loss=loss, truncation=truncation):
            norm = clip(rnn)
            if not math.isfinite(norm):
                raise FloatingPointError(f"the gradient norm of update {len(history.grad_norm) + 1} is {norm}")
            step()
            history.grad_norm.append(norm)
            history.update_loss.append(w.loss)
            counted = data.counted(part, w.start, w.stop)
            total += w.loss * counted
            weight += counted
            bar.advance(total / max(weight, 1))
    return total / max(weight, 1)


def evaluate(rnn, part: dict, loss: Loss) -> float:
    """Loss of a forward pass over {x, target, and mask where there is one}, without a tape."""
    y, _ = rnn.forward(part["x"], tape=False)
    return loss(y, part["target"], **({"mask": part["mask"]} if "mask" in part else {}))[0]


class Clip:
    """Clips a network's gradient by norm, then by value; returns the norm before. None: not."""

    def __init__(self, norm, value):
        self.norm = math.inf if norm is None else _core.threshold(norm, "clip_norm")
        self.value = None if value is None else _core.threshold(value, "clip_value")

    def __call__(self, rnn) -> float:
        norm = rnn.clip_grad_norm(self.norm)
        if self.value is not None:
            rnn.clip_grad_value(self.value)
        return norm


def make_optimizer(rnn, optimizer, lr):
    if isinstance(optimizer, _optim._Optimizer) and not optimizer.works_on(rnn.params, rnn.grads):
        raise ValueError("optimizer must be made with this network's params and grads")
    if hasattr(optimizer, "step") and not isinstance(optimizer, type):
        return optimizer
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)} or have step(), got {optimizer!r}")
    return OPTIMIZERS[optimizer](rnn.params, rnn.grads, lr)


def _validation(rnn, validation) -> dict:
    try:
        x, target, *mask = validation
        (mask,) = mask or (None,)
    except (TypeError, ValueError):
        raise TypeError("validation must be (x, target) or (x, target, mask)") from None
    return Data(rnn, x, target, mask, None, None, "validation ").arrays


class Data:
    """The training sequences, cut into minibatches along the batch axis."""

    def __init__(self, rnn, x, target, mask, reset, batch_size, prefix=""):
        given = {"x": x, "target": target, "mask": mask, "reset": reset}
        self.arrays = {n: real_array(array, prefix + n) for n, array in given.items() if array is not None}
        shape = self.arrays["x"].shape
        if len(shape) not in (2, 3) or shape[-1] != rnn.input_size or 0 in shape:
            raise ValueError(f"{prefix}x must have shape (T,B,I) or (T,I) with I = {rnn.input_size}, got {shape}")
        self.batch_axis = None if len(shape) == 2 else int(not rnn.batch_first)
        self.rows = 1 if self.batch_axis is None else shape[self.batch_axis]
        self.steps = shape[0] if self.batch_axis is None else shape[1 - self.batch_axis]
        for name, array in self.arrays.items():
            if array.shape[: len(shape) - 1] != shape[:-1]:
                raise ValueError(
                    f"{prefix}{name} must have the shape {shape[:-1]} of x in its first axes, got {array.shape}"
                )
        self.labels = self.arrays["target"].ndim == len(shape) - 1  # class labels, as cross-entropy takes them
        self.batch_size = self.rows if batch_size is None else min(_core.index(batch_size, "batch_size"), self.rows)

    def windows_per_epoch(self, truncation):
        per_sequence = 1 if truncation is None else -(-self.steps // truncation.k1)
        return per_sequence * -(-self.rows // self.batch_size)

    def minibatches(self, rng):
        """{x, target, and mask and reset where given} of each minibatch; all rows at once are not copied."""
        order = np.arange(self.rows) if rng is None else rng.permutation(self.rows)
        for first in range(0, self.rows, self.batch_size):
            chosen = order[first : first + self.batch_size]
            yield {name: self._rows(array, chosen) for name, array in self.arrays.items()}

    def index(self, start, stop):
        """What takes the steps start..stop-1 from an array with x's axes."""
        return (slice(None), slice(start, stop)) if self.batch_axis == 0 else slice(start, stop)

    def counts(self, part, start, stop):
        """Which (step, row) pairs of a minibatch the mask and the ignored labels leave between two steps."""
        steps = self.index(start, stop)
        counts = np.ones(part["x"].shape[:-1], bool)[steps]
        if "mask" in part:
            counts = counts & (part["mask"][steps] != 0)
        if self.labels:
            counts = counts & (part["target"][steps] != IGNORED)
        return counts

    def counted(self, part, start, stop) -> int:
        """How many."""
        return int(self.counts(part, start, stop).sum())

    def _rows(self, array, chosen):
        if len(chosen) == self.rows:
            return array
        return array[:, chosen] if self.batch_axis == 1 else array[chosen]


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
