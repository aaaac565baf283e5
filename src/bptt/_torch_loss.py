"""bptt.torch.loss: a loss that is written in torch as one of bptt.RNN.windows and bptt.fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import torch

from . import _core
from ._checks import brief, flag
from ._loss import Loss, keywords_of, mask_error


def loss(fn: Callable[..., torch.Tensor], *, rows: bool | None = None) -> Loss:
    """Make a loss for bptt.RNN.windows and bptt.fit of one that torch computes; autograd makes its gradient.

    Parameters
    ----------
    fn : function or torch.nn.Module (y, target) -> tensor of one number
        Such as torch.nn.functional.cross_entropy or torch.nn.HuberLoss(). y has the dtype of the network. A target of
        integers or bools keeps its type, integers become int64; floats become y's dtype. If fn names a keyword `start`
        it is given a window's first step, and `mask` a bool tensor of shape (T,B), where lengths or a mask are given.
    rows : bool, optional
        Whether fn gets rows, y (N,C) and target (N,) or (N,C), as torch's losses of labels expect them: those of all
        steps and sequences, without those that lengths or a mask leave out. Otherwise it gets a window as it is, laid
        out as the network's sequences are: y (T,B,C), with batch_first (B,T,C), of an unbatched sequence (T,C). None:
        rows if target is labels, integers with one axis fewer than y.

    Returns
    -------
    function (y, target, ...) -> (loss, dy)
        loss is a float, dy a numpy.ndarray of y's shape and dtype. 0 if no row counts.

    Raises
    ------
    TypeError
        If fn is no function; when the loss is called, if a mask is given and fn gets no rows and takes no mask.
    ValueError
        When the loss is called: if fn does not return one number that depends on y.

    Notes
    -----
    fn's own parameters get no gradients. Where no label counts, torch's mean is NaN; that of bptt.cross_entropy is 0.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> own = bptt.torch.loss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    >>> history = bptt.fit(rnn, x, labels, loss=own)
    """
    if not callable(fn) or (isinstance(fn, type) and issubclass(fn, torch.nn.Module)):
        hint = f": write {fn.__name__}()" if isinstance(fn, type) else ""
        raise TypeError(f"fn must be a function (y, target) of tensors or a module, got {fn!r}{hint}")
    return _Loss(fn, rows if rows is None else flag(rows, "rows"))


class _Loss:
    """A loss of torch as a function (y, target, ...) -> (loss, dy). Its signature says which keywords it takes."""

    def __init__(self, fn, rows):
        self.fn, self.rows = fn, rows
        named, others = keywords_of(fn.forward if isinstance(fn, torch.nn.Module) else fn)
        self.takes_mask = others or "mask" in named
        keywords = [word for word in ("reduction", "start") if word in named]
        if self.takes_mask or rows is not False:
            keywords.append("mask")
        kind = inspect.Parameter
        self.__signature__ = inspect.Signature(
            [kind(name, kind.POSITIONAL_OR_KEYWORD) for name in ("y", "target")]
            + [kind(name, kind.KEYWORD_ONLY, default=None) for name in keywords]
        )

    def __repr__(self):
        return f"bptt.torch.loss({self.fn!r})"

    def __call__(self, y, target, *, mask=None, **options):
        y, target = _loss_arrays(y, target)
        if mask is not None:
            mask = torch.from_numpy(_mask_array(mask, y))
        labels = target.ndim == y.ndim - 1 and target.dtype == np.int64
        with torch.inference_mode(False), torch.enable_grad():
            leaf, target = torch.from_numpy(y).requires_grad_(), torch.from_numpy(target)
            if labels if self.rows is None else self.rows:
                return self._of_rows(leaf, target, mask, options)
            if mask is not None:
                if not self.takes_mask:
                    raise _with_hint(mask_error(self.fn))
                options["mask"] = mask
            return _with_gradient(self.fn(leaf, target, **options), leaf)

    def _of_rows(self, leaf, target, mask, options):
        axes = leaf.dim() - 1
        if target.shape[:axes] != leaf.shape[:-1]:
            raise ValueError(
                f"target must have the shape {tuple(leaf.shape[:-1])} of y in its first axes, got {tuple(target.shape)}"
            )
        y, target = leaf.flatten(0, axes - 1), target.flatten(0, axes - 1)
        if mask is not None:
            counts = mask.flatten()
            if not counts.any():
                return 0.0, np.zeros(leaf.shape, leaf.detach().numpy().dtype)
            y, target = y[counts], target[counts]
        return _with_gradient(self.fn(y, target, **options), leaf)


def _with_hint(error):
    return TypeError(f"{error}; bptt.torch.loss(fn, rows=True) gives it the rows that count, without a mask")


def _loss_arrays(y, target):
    """Copies of their own memory, in types that torch has."""
    y = _core.checked_array(y, "y", "fiub", "real numbers")
    target = _core.checked_array(target, "target", "fiub", "real numbers")
    if y.ndim < 2:
        raise ValueError(f"y must have shape (..., C) with at least 2 axes, got {y.shape}")
    dtype = np.float32 if y.dtype == np.float32 else np.float64
    of_target = {"f": dtype, "b": np.bool_}.get(target.dtype.kind, np.int64)
    return np.array(y, dtype, order="C"), np.array(target, of_target, order="C")


def _mask_array(mask, y):
    mask = _core.checked_array(mask, "mask", "biu", "booleans")
    if mask.shape != y.shape[:-1]:
        raise ValueError(f"mask must have shape y.shape[:-1] = {y.shape[:-1]}, got {mask.shape}")
    return np.array(mask, np.bool_, order="C")


def _with_gradient(value, leaf):
    """(loss, dy) of what fn returned."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"fn must return a tensor, got {brief(value)}")
    if value.numel() != 1:
        raise ValueError(f"fn must return one number, the mean or the sum, got a tensor of shape {tuple(value.shape)}")
    dy = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
    if dy is None:
        raise ValueError("fn must compute its loss from y by functions of torch, got one that does not depend on y")
    return value.item(), dy.contiguous().numpy()
