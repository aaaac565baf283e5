"""bptt.fit: the training loop that most scripts need."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np

from . import _core, _optim
from ._checks import choice, flag, index, threshold
from ._init import generator
from ._rnn import RNN
from ._sequences import check_tokens, is_stream, layout_of, outside_grads, real_array
from ._truncation import ARTBP, Truncation
from ._windows import Loss, WindowOptions, Windows, check_burn_in, measured

IGNORED = -100  # the label that cross_entropy leaves out
LR = 1e-3  # of an optimiser that a name makes
BAR = "{desc} |{bar}| {elapsed}<{remaining}{postfix}"  # whole in 80 columns, unlike tqdm's own
WITHOUT_TOTAL = "{desc}, {n_fmt} windows{postfix}"
OPTIMIZERS = {"sgd": _optim.SGD, "rmsprop": _optim.RMSprop, "adagrad": _optim.Adagrad, "adam": _optim.Adam}


@dataclass
class History:
    """What fit recorded: numbers of each epoch, and of each update."""

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
    clip_norm: float | None = None
    """norm to which fit clipped the gradient; None: it did not"""


def fit(
    rnn,
    x,
    target,
    *,
    loss: str | Loss = "mse",
    optimizer="adam",
    lr: float | None = None,
    epochs: int = 10,
    batch_size: int | None = None,
    truncation: Truncation | None = None,
    burn_in: int = 0,
    clip_norm: float | None = 1.0,
    clip_value: float | None = None,
    lengths=None,
    mask=None,
    reset=None,
    validation: tuple | None = None,
    shuffle: bool = True,
    seed: int | np.random.Generator | None = None,
    progress: bool = True,
    callback: Callable[[int, History], object] | None = None,
) -> History:
    """Train a network.

    Parameters
    ----------
    rnn : bptt.RNN
        Changed in place.
    x, target, mask, reset : array_like
        As RNN.windows takes them; the batch axis holds the separate sequences. Minibatches of fewer rows than all are
        copied whole: pass a long memmap with batch_size=None.
    loss : str or function
        See RNN.windows.
    optimizer : {"adam", "rmsprop", "adagrad", "sgd"} or object with step()
        A name makes one with `lr`.
    lr : float, optional
        The learning rate of an optimiser that a name makes, 1e-3 by default. An object has its own: both are an error.
    epochs : int
        How often all sequences are gone over.
    batch_size : int, optional
        Sequences per update; None: all of them.
    truncation : bptt.TBPTT or bptt.ARTBP, optional
        An update after each window, the state carried on to the end of the sequence. None: full BPTT, an update per
        minibatch. With ARTBP each minibatch has cuts of its own, and a window's mean gradient is multiplied by its
        steps / mean_length: weighed alike, short windows would bias it.
    burn_in : int
        The first steps of each sequence, which only move the state on, see RNN.windows; in the validation too.
    clip_norm, clip_value : float, optional
        Clip the gradient before each update, by norm and then by value; None: not.
    lengths : array_like of int, (B,), optional
        The steps that each padded sequence has, see RNN.forward: what lies beyond counts nothing and costs next to
        nothing. Goes with truncation=None.
    validation : tuple, optional
        (x, target), (x, target, mask) or (x, target, mask, lengths), mask may be None: measured without truncation
        after each epoch.
    shuffle : bool
        Draw the sequences of the minibatches anew in each epoch.
    seed : int or numpy.random.Generator, optional
        For the shuffling.
    progress : bool
        Show a progress bar: the mean loss of the epoch so far, the validation loss of the epoch before, the norm of the
        last gradient before clipping, and the learning rate if the optimiser has a number `lr`.
    callback : function (epoch, history), optional
        Called after each epoch, numbered from 0. The training ends if it returns something true: True, NumPy's True, 1,
        a text. None and False let it go on.

    Returns
    -------
    bptt.History

    Raises
    ------
    FloatingPointError
        If the norm of a gradient is NaN or Inf.

    Notes
    -----
    After Ctrl-C (KeyboardInterrupt) and FloatingPointError rnn.params are as the last whole update made them.
    """
    if not isinstance(rnn, RNN):
        raise TypeError(f"rnn must be a bptt.RNN, got {type(rnn).__name__}")
    epochs = index(epochs, "epochs")
    options = WindowOptions(loss=loss, truncation=truncation, burn_in=burn_in, lengths=lengths)
    clip = Clip(clip_norm, clip_value)
    optimizer = make_optimizer(rnn, optimizer, lr)
    data = Data(rnn, x, target, mask, reset, batch_size)
    check_burn_in(options.burn_in, data.steps)
    if lengths is not None:
        data.lengths = _core.checked_lengths(lengths, data.steps, data.rows)
    check_tokens(rnn, data.arrays["x"], "x", data.layout, data.lengths)
    held_out = None if validation is None else HeldOut(rnn, validation, options.burn_in, data)
    rng = generator(seed) if flag(shuffle, "shuffle") else None
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function (epoch, history), got {callback!r}")
    history = History(clip_norm=None if clip.norm == math.inf else clip.norm)
    bar = Bar(epochs, data.windows_per_epoch(truncation, options.burn_in), optimizer, progress)
    try:
        for epoch in range(epochs):
            began = time.perf_counter()
            history.loss.append(train_epoch(rnn, data, options, clip, optimizer, rng, history, bar))
            history.seconds.append(time.perf_counter() - began)
            if held_out is not None:
                history.val_loss.append(held_out.loss(rnn, options.loss))
            bar.end_of_epoch(epoch, history)
            if callback is not None and callback(epoch, history):
                break
    finally:
        bar.close()
    return history


def train_epoch(rnn, data, options, clip, optimizer, rng, history, bar) -> float:
    """One pass over all minibatches, an update after each window; returns the mean loss over steps and rows."""
    truncation = options.truncation
    total = weight = 0.0
    for part in data.minibatches(rng):
        along_x = {name: array for name, array in part.items() if name not in ("x", "target")}
        own = replace(options, **along_x) if along_x else options
        for w in Windows(rnn, part["x"], part["target"], own).run():
            counted = data.counted(part, w.start, w.stop)
            if isinstance(truncation, ARTBP):
                rnn.grads *= counted / (truncation.mean_length * data.rows_of(part))
            norm = clip(rnn)
            if not math.isfinite(norm):
                raise FloatingPointError(
                    f"the gradient norm of update {len(history.grad_norm) + 1} is {norm}: x or target holds NaN or "
                    "Inf, or the gradient explodes (lower lr or clip_norm); the parameters are those before this update"
                )
            optimizer.step()
            history.grad_norm.append(norm)
            history.update_loss.append(w.loss)
            total += w.loss * counted
            weight += counted
            bar.advance(total / max(weight, 1), norm)
    return total / max(weight, 1)


class Clip:
    """Clips a network's gradient by norm, then by value, where these are not None; returns the norm before."""

    def __init__(self, norm, value):
        self.norm = math.inf if norm is None else threshold(norm, "clip_norm")
        self.value = None if value is None else threshold(value, "clip_value")

    def __call__(self, rnn) -> float:
        norm = rnn.clip_grad_norm(self.norm)
        if self.value is not None:
            rnn.clip_grad_value(self.value)
        return norm


def make_optimizer(rnn, optimizer, lr):
    """The optimiser of a name, or the object that was given, which must be for this network."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        name = choice(optimizer, "optimizer", OPTIMIZERS, "an object with step()")
        return OPTIMIZERS[name](rnn.params, rnn.grads, LR if lr is None else lr)
    if isinstance(optimizer, _optim._Optimizer) and not optimizer.works_on(rnn.params, rnn.grads):
        raise ValueError("optimizer must be made with this network's params and grads")
    if lr is not None:
        kind = type(optimizer).__name__
        raise ValueError(f"lr goes with the name of an optimizer, got lr={lr!r} and a {kind} object, which has its own")
    return optimizer


class Data:
    """The training sequences, cut into minibatches along the batch axis."""

    def __init__(self, rnn, x, target, mask, reset, batch_size, prefix=""):
        given = {"x": x, "target": target, "mask": mask, "reset": reset}
        for name, array in given.items():
            if is_stream(array):
                kind = type(array).__name__
                hint = "an iterable of chunks goes to rnn.windows"
                raise TypeError(f"{prefix}{name} must be an array of real numbers, got {kind}: {hint}")
        arrays = {name: real_array(array, prefix + name) for name, array in given.items() if array is not None}
        self.arrays = {name: outside_grads(rnn, array) for name, array in arrays.items()}
        x = self.arrays["x"]
        self.layout = layout_of(rnn, x, prefix + "x", least_steps=1)
        self.rows, self.steps = self.layout.batch, x.shape[self.layout.time_axis]
        for name, array in self.arrays.items():
            self.layout.check(array, prefix + name, self.steps)
        self.axes = len(self.layout.axes(0))  # those of steps and rows, which come first
        self.target_axes = self.arrays["target"].shape[self.axes :]
        self.labels = not self.target_axes  # class labels, as cross-entropy takes them
        self.lengths = None
        self.batch_size = self.rows if batch_size is None else min(index(batch_size, "batch_size"), self.rows)

    def windows_per_epoch(self, truncation, burn_in) -> int | None:
        """The number of windows; None where their ends are drawn."""
        if isinstance(truncation, ARTBP):
            return None
        steps = self.steps - burn_in
        per_sequence = 1 if truncation is None else _core.window_count(steps, truncation.k1, truncation.k2)
        return per_sequence * -(-self.rows // self.batch_size)

    def minibatches(self, rng):
        """{x, target, and mask, reset and lengths where given} of each minibatch, without a copy if it has all rows."""
        order = np.arange(self.rows) if rng is None else rng.permutation(self.rows)
        for first in range(0, self.rows, self.batch_size):
            chosen = order[first : first + self.batch_size]
            part = {name: self._rows(array, chosen) for name, array in self.arrays.items()}
            whole = len(chosen) == self.rows  # then the rows stay in their order
            if self.lengths is not None:
                part["lengths"] = self.lengths if whole else self.lengths[chosen]
            yield part

    def rows_of(self, part) -> int:
        """How many rows a minibatch has."""
        return 1 if self.layout.unbatched else part["x"].shape[1 - self.layout.time_axis]

    def counts(self, part, start, stop):
        """Which (step, row) pairs of a minibatch the mask and the ignored labels leave between two steps."""
        steps = self.layout.steps_of
        counts = np.ones(steps(part["x"], start, stop).shape[: self.axes], bool)
        if "mask" in part:
            counts &= steps(part["mask"], start, stop) != 0
        if "lengths" in part:
            counts &= self.layout.within(part["lengths"], start, stop)
        if self.labels:
            counts &= steps(part["target"], start, stop) != IGNORED
        return counts

    def counted(self, part, start, stop) -> int:
        """The number of these pairs."""
        return int(self.counts(part, start, stop).sum())

    def _rows(self, array, chosen):
        if len(chosen) == self.rows:
            return array
        return array[chosen] if self.layout.batch_first else array[:, chosen]


class HeldOut:
    """The validation sequences. Their loss is that of the steps after the burn-in, from a forward without a tape."""

    def __init__(self, rnn, validation, burn_in, training):
        names = "(x, target), (x, target, mask) or (x, target, mask, lengths)"
        if not isinstance(validation, (tuple, list)) or not 2 <= len(validation) <= 4:
            count = f" of {len(validation)}" if isinstance(validation, (tuple, list)) else ""
            raise TypeError(f"validation must be {names}, got a {type(validation).__name__}{count}")
        x, target, mask, lengths = [*validation, None, None][:4]
        data = Data(rnn, x, target, mask, None, None, "validation ")
        check_burn_in(burn_in, data.steps, "validation x")
        if data.target_axes != training.target_axes:
            expected, got = training.target_axes, data.target_axes
            raise ValueError(f"validation target must have the last axes {expected} of target, got {got}")
        self.first = burn_in
        self.layout = data.layout
        self.x = data.arrays["x"]
        self.target = self._counting(data.arrays["target"])
        self.lengths, self.mask = None, {} if mask is None else {"mask": self._counting(data.arrays["mask"])}
        if lengths is not None:
            WindowOptions(burn_in=burn_in, lengths=lengths)  # whether the two go together
            self.lengths = _core.checked_lengths(lengths, data.steps, data.rows, "validation lengths")
            inside = self.layout.within(self.lengths, 0, data.steps)
            self.mask = {"mask": inside & (self.mask.get("mask", True) != 0)}
        check_tokens(rnn, self.x, "validation x", self.layout, self.lengths)

    def loss(self, rnn, loss):
        try:
            y, _ = rnn.forward(self.x, lengths=self.lengths, tape=False)
            return measured(loss, self._counting(y), self.target, **self.mask)[0]
        except Exception as error:
            error.add_note("This came up in the validation.")
            raise

    def _counting(self, array):
        return self.layout.steps_of(array, self.first, None)


class Bar:
    """The progress bar, or nothing."""

    def __init__(self, epochs, windows, optimizer, shown):
        self.bar = None
        self.epochs = epochs
        self.optimizer = optimizer
        self.loss = self.norm = math.nan
        self.val_loss = ""
        if shown:
            from tqdm.auto import tqdm

            total = None if windows is None else epochs * windows
            self.bar = tqdm(desc=f"epoch 1/{epochs}", total=total, bar_format=BAR if total else WITHOUT_TOTAL)

    def advance(self, loss, norm):
        if self.bar is not None:
            self.loss, self.norm = loss, norm
            self._tell()
            self.bar.update()

    def end_of_epoch(self, epoch, history):
        if self.bar is not None:
            if history.val_loss:
                self.val_loss = f", val {history.val_loss[-1]:.3g}"
            self._tell()
            self.bar.set_description_str(f"epoch {min(epoch + 2, self.epochs)}/{self.epochs}")

    def _tell(self):
        """Sets the numbers behind the bar, which tqdm shows when it next draws."""
        lr = getattr(self.optimizer, "lr", None)
        rate = f", lr {lr:.3g}" if isinstance(lr, Real) else ""
        self.bar.set_postfix_str(f"loss {self.loss:.3g}{self.val_loss}, norm {self.norm:.3g}{rate}", refresh=False)

    def close(self):
        if self.bar is not None:
            self.bar.close()
