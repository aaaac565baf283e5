"""The updates of bptt.fit: gradients of windows added up, clipped, and the optimiser's step at its rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import numpy as np

from . import _optim
from ._checks import brief, choice, number, threshold
from ._history import History

LR = 1e-3  # of an optimiser that a name makes
OPTIMIZERS = {"sgd": _optim.SGD, "rmsprop": _optim.RMSprop, "adagrad": _optim.Adagrad, "adam": _optim.Adam}
OnUpdate = Callable[[int, History], object]


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


class Rate:
    """The learning rate: that of the optimiser, or a function of the number of updates done."""

    def __init__(self, lr):
        if isinstance(lr, type):
            raise TypeError(
                f"lr must be a number or a function of the number of updates done, got {lr!r}: call it first"
            )
        self.function = lr if callable(lr) else None

    def set(self, optimizer, updates) -> None:
        """Give the optimiser the rate of the update before which so many were done."""
        if self.function is not None:
            optimizer.lr = number(self.function(updates), f"what lr returns for {updates}", 0)


def make_optimizer(rnn, optimizer, lr):
    """The optimiser of a name, or the object that was given, which must be for this network."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        name = choice(optimizer, "optimizer", OPTIMIZERS, "an object with step()")
        return OPTIMIZERS[name](rnn.params, rnn.grads, LR if lr is None or callable(lr) else lr)
    _optim.check_made_for(optimizer, rnn)
    kind = type(optimizer).__name__
    if lr is not None and not callable(lr):
        raise ValueError(
            f"lr goes with the name of an optimizer, got lr={lr!r} and an object of type {kind}, which has its own; "
            "a function of the number of updates done goes with both"
        )
    if lr is not None and not isinstance(getattr(optimizer, "lr", None), Real):
        raise ValueError(f"lr as a function goes with an optimizer that has a number lr, got {brief(lr)} and {kind}")
    return optimizer


class Updates:
    """Makes an update of every so many windows, and records it."""

    def __init__(
        self, rnn, optimizer, rate: Rate, clip: Clip, accumulate: int, constraints, history: History, on_update
    ):
        self.rnn, self.optimizer, self.rate, self.clip, self.constraints = rnn, optimizer, rate, clip, constraints
        self.accumulate, self.history, self.on_update = accumulate, history, on_update
        self.sum = np.zeros_like(rnn.grads) if accumulate > 1 else np.empty(0)
        self.norm = math.nan  # of the last update's gradient
        self._clear()

    def _clear(self):
        self.waiting = self.weight = 0
        self.loss_sum, self.divisor = 0.0, 1

    def begin(self) -> None:
        """Project the initial parameters onto the constraints. Those of later updates are left as they are: scaling a
        row again may change its last bits."""
        if not self.history.update_loss:
            self._constrain()

    def _constrain(self):
        if self.constraints is not None:
            self.constraints.apply(self.optimizer if isinstance(self.optimizer, _optim._Optimizer) else None)

    def add(self, loss, weight, share=None) -> None:
        """Take the gradient of a window's mean loss from rnn.grads; `weight` is what the sum was divided by.

        An update's gradient is the mean over all that its windows' losses are means of. With `share` (of ARTBP) it is
        the sum of the windows' gradients, each multiplied by its share, by `accumulate`.
        """
        if self.accumulate == 1:
            if share is not None:
                self.rnn.grads *= share
            self._update(loss)
            return
        self.sum += self.rnn.grads * (weight if share is None else share)
        self.waiting += 1
        self.weight += weight
        self.loss_sum += loss * weight
        self.divisor = (self.weight or 1) if share is None else self.accumulate
        if self.waiting == self.accumulate:
            self.flush()

    def flush(self) -> None:
        """Make an update of the gradients that wait, if any do."""
        if self.waiting:
            self.rnn.grads[:] = self.sum / self.divisor
            loss = self.loss_sum / (self.weight or 1)
            self.sum[:] = 0
            self._clear()
            self._update(loss)

    def _update(self, loss):
        history = self.history
        done = len(history.update_loss)
        if self.constraints is not None:
            self.constraints.mask_grads()
        self.norm = self.clip(self.rnn)
        if not math.isfinite(self.norm):
            raise FloatingPointError(
                f"the gradient norm of update {done + 1} is {self.norm}: x or target holds NaN or "
                "Inf, or the gradient explodes (lower lr or clip_norm); the parameters are those before this update"
            )
        self.rate.set(self.optimizer, done)
        self.optimizer.step()
        self._constrain()
        history.grad_norm.append(self.norm)
        history.update_loss.append(loss)
        lr = getattr(self.optimizer, "lr", None)
        if isinstance(lr, Real):
            history.lr.append(float(lr))
        if self.on_update is not None and self.on_update(done, history):
            history.stopped = "on_update"
