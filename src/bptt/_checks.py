"""Checks of scalar arguments: the value in the type that is meant, or an error that names argument and value."""

import math
from operator import index as as_integer

import numpy as np

LONGEST = 80  # characters of a value in an error


def integer(value, name) -> int:
    """An int; True and False are none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return as_integer(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {brief(value)}") from None


def index(value, name, least=1) -> int:
    """An int of at least `least` that fits into an int64."""
    number = integer(value, name)
    if number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if number >= 2**63:
        raise ValueError(f"{name} must be an integer below 2**63, got {value!r}")
    return number


def uint64(value, name) -> int:
    """An int that fits into an uint64."""
    number = integer(value, name)
    if not 0 <= number < 2**64:
        raise ValueError(f"{name} must be an integer in [0, 2**64), got {value!r}")
    return number


def flag(value, name) -> bool:
    """True or False, of Python or of NumPy."""
    if value is not True and value is not False and not isinstance(value, np.bool_):
        raise TypeError(f"{name} must be True or False, got {brief(value)}")
    return bool(value)


def real(value, name) -> float:
    """A float of any value, NaN and Inf too."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {brief(value)}") from None
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of a float") from None


def number(value, name, low=None, high=None) -> float:
    """A finite float in [low, high]; None for no bound."""
    x = real(value, name)
    if not math.isfinite(x) or (low is not None and x < low) or (high is not None and x > high):
        bounds = f" in [{low}, {'...' if high is None else high}]" if low is not None else ""
        raise ValueError(f"{name} must be a finite number{bounds}, got {value!r}")
    return x


def threshold(value, name, least=0.0) -> float:
    """A float above `least`, not NaN. Inf is one: a clipping threshold of Inf clips nothing."""
    x = real(value, name)
    if not x > least:
        raise ValueError(f"{name} must be above {least:g}, got {value!r}")
    return x


def rate(value, name) -> float:
    """A share that dropout drops, in [0, 1)."""
    x = real(value, name)
    if not 0 <= x < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return x


def choice(value, name, choices, other=None) -> str:
    """One of several names, written in any case; `other` says what else the argument may be."""
    word = value.lower() if isinstance(value, str) else ""
    if word not in choices:
        also = f" or {other}" if other else ""
        raise ValueError(f"{name} must be one of {', '.join(choices)}{also}, got {brief(value)}")
    return word


def input_hint(x, width) -> str:
    """What to do with an input that lacks its last axis, of `width` numbers, behind an error; empty if it may not."""
    x = np.asarray(x)
    if x.ndim > 2 or x.size == 0 or x.dtype.kind not in "fiub":
        return ""
    if width == 1:
        return "; a single number per step goes in as x[..., None]"
    if x.dtype.kind in "iu" and x.min() >= 0 and x.max() < width:
        return f"; integers that stand for classes are the input of bptt.RNN({width}, ..., one_hot=True)"
    return ""


def token_shape(batch_first, vocabulary) -> str:
    """What the input of a network of integers must be, in words."""
    return f"({'B,T' if batch_first else 'T,B'}) or (T,), integers in 0..{vocabulary - 1} and no empty axis"


def token_hint(x, vocabulary) -> str:
    """What to do with an input that should hold integers below `vocabulary`, behind an error; empty if unknown."""
    method, x = ("x.{}({})" if hasattr(x, "astype") else "np.{}(x, {})"), np.asarray(x)
    if x.dtype.kind not in "fb" or x.size == 0:
        return ""
    if x.ndim > 1 and x.shape[-1] == vocabulary:
        return f"; the integers of one-hot rows are {method.format('argmax', -1)}"
    cast = method.format("astype" if method[0] == "x" else "asarray", "int")
    return f"; whole numbers become integers by {cast}" if x.dtype.kind == "f" else ""


def token_error(x, name, vocabulary, inside=None, time_axis=0, first_step=0, first_row=0) -> ValueError:
    """The error that names the first integer of x that is not in 0..vocabulary-1, and where it is.

    Parameters
    ----------
    x : array_like of int
        Inputs in the user's layout, at least one of them out of range.
    inside : numpy.ndarray of bool and of x's shape, optional
        The places that count.
    time_axis, first_step, first_row : int
        The axis of x that is time, and the numbers of x's first step and first row in the whole sequence and batch.
    """
    x = np.asarray(x)
    outside = (x < 0) | (x >= vocabulary)
    if inside is not None:
        outside &= inside
    place = [int(i) for i in np.unravel_index(np.argmax(outside), x.shape)]
    value = int(x[tuple(place)])
    if place:
        place[time_axis] += first_step
    if len(place) > 1:
        place[1 - time_axis] += first_row
    at = f" at {place}" if place else ""
    return ValueError(f"{name} must hold integers in 0..{vocabulary - 1}, got {value}{at}")


def target_hint(target, shape) -> str:
    """The same for a target of a loss by elements, whose outputs have that shape."""
    target = np.asarray(target)
    if target.shape != shape[:-1]:
        return ""
    if shape[-1] == 1:
        return "; a single number per step is target[..., None]"
    return "; integer labels go with cross_entropy (loss='cross_entropy')" if target.dtype.kind in "iu" else ""


def labels_hint(labels, shape) -> str:
    """The same for labels, whose logits have that shape."""
    came = getattr(labels, "shape", None)
    if came == (*shape[:-1], 1):
        return "; without an axis of one label they are labels[..., 0]"
    return "; the labels of one-hot rows are labels.argmax(-1)" if came == shape else ""


def optional(check, value, name):
    """None, or what the check makes of the value."""
    return None if value is None else check(value, name)


def brief(value) -> str:
    """The value as an error shows it: on one line, the beginning of what is long, such as an array."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... of type {type(value).__name__}"
