"""Losses as windows and fit take them: by name or as functions, and what such a function can be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from . import _core
from ._checks import brief, choice
from ._sequences import real_array

Loss = Callable[..., tuple[float, np.ndarray]]

IGNORED = -100
"""The label that cross_entropy leaves out by default."""

LOSSES: dict[str, Loss] = {
    "mse": _core.mse,
    "huber": _core.huber,
    "cross_entropy": _core.cross_entropy,
    "binary_cross_entropy": _core.binary_cross_entropy,
}


class LossFunction:
    """A loss, and which keywords of windows it takes: mask, reduction and start, read from its signature once."""

    __slots__ = ("class_weight", "function", "ignored", "takes_mask", "takes_reduction", "takes_start")

    def __init__(self, function: Loss) -> None:
        if str(getattr(function, "__module__", "")).partition(".")[0] == "torch":
            raise TypeError(
                f"loss must return (loss, dy): pass bptt.torch.loss(...) of a loss of torch, got {brief(function)}"
            )
        named, others = keywords_of(function)
        self.function = function
        self.takes_mask = others or "mask" in named
        self.takes_reduction = others or "reduction" in named
        self.takes_start = "start" in named  # other keywords than it names may go on to a loss that has no start
        options = class_options(function)
        self.class_weight = options.get("weight")
        self.ignored = options.get("ignore_index", IGNORED)  # the label that it leaves out

    def check_takes_mask(self) -> None:
        """Raise unless the function can be told which steps count."""
        if not self.takes_mask:
            raise mask_error(self.function)

    def check_takes_reduction(self, reduction) -> None:
        """Raise unless the function can be told to reduce otherwise than by the mean."""
        if not self.takes_reduction:
            raise TypeError(
                f"loss must take reduction= where reduction={reduction!r} is given, got one that cannot take it: "
                f"{brief(self.function)}"
            )


def mask_error(function) -> TypeError:
    return TypeError(
        f"loss must take mask= where lengths or a mask are given, got one that cannot take a mask: {brief(function)}"
    )


def keywords_of(function) -> tuple[set[str], bool]:
    """The keywords that a function names, and whether it takes others."""
    if any(function is own for own in LOSSES.values()):
        return {"mask", "reduction"}, False
    try:
        if function not in _keywords:
            _keywords[function] = _keywords_of(function)
        return _keywords[function]
    except TypeError:  # an object without a hash, or one that cannot be referred to weakly
        return _keywords_of(function)


def _keywords_of(function):
    """One that has no signature takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


_keywords: WeakKeyDictionary[Any, tuple[set[str], bool]] = WeakKeyDictionary()  # a signature takes tens of microseconds


def class_options(function) -> dict[str, Any]:
    """The options of a functools.partial of cross_entropy, which say what a label weighs in its mean."""
    return function.keywords if isinstance(function, partial) and function.func is _core.cross_entropy else {}


def named_loss(loss: str | Loss | LossFunction) -> LossFunction:
    """The loss that an argument `loss` stands for."""
    if isinstance(loss, LossFunction):
        return loss
    if callable(loss):
        return LossFunction(loss)
    return LossFunction(LOSSES[choice(loss, "loss", LOSSES, "a function (y, target) -> (loss, dy)")])


def measured(loss: LossFunction, y, target, *, start=0, **options) -> tuple[float, np.ndarray]:
    """(loss, dy) of the steps from `start` on by a loss function, which may be the user's own: checked.

    options: mask and reduction, where they are given.
    """
    if "mask" in options:
        loss.check_takes_mask()
    if loss.takes_start:
        options["start"] = start
    result = loss.function(y, target, **options)
    try:
        value, dy = result
    except (TypeError, ValueError):
        raise TypeError(f"loss must return (loss, dy), got {brief(result)}") from None
    if not isinstance(value, float):
        value = loss_value(value)
    dy = real_array(dy, "the gradient that loss returns")
    if dy.shape != y.shape:
        raise ValueError(f"loss must return a gradient of y's shape {y.shape}, got {dy.shape}")
    return value, dy


def loss_value(value) -> float:
    """What a loss function returned as the loss, a number of any type, as a float."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "fiub":
        raise TypeError(f"loss must return (loss, dy) with one number as the loss, got {brief(value)}")
    return float(array)


def counted_pairs(shape, target, ignored, mask=None, inside=None) -> np.ndarray:
    """Which (step, row) pairs, of that shape, are left by a mask, by lengths (`inside`) and by the ignored label."""
    counts = np.ones(shape, bool)
    if mask is not None:
        counts &= mask != 0
    if inside is not None:
        counts &= inside
    if target.ndim == counts.ndim:  # class labels
        counts &= target != ignored
    return counts


def counted_weight(loss: LossFunction, target, counts) -> float:
    """What the mean of a loss was divided by, apart from the columns: how many (step, row) pairs count, or of
    cross_entropy with class weights the sum of the weights of their labels.

    Parameters
    ----------
    target : numpy.ndarray
        What the loss got.
    counts : numpy.ndarray of bool
        Which pairs mask, lengths and the ignored label leave.
    """
    if loss.class_weight is None:
        return int(counts.sum())
    return float(np.asarray(loss.class_weight, np.float64)[target[counts]].sum())
