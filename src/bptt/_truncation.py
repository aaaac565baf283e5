"""Where backward ends: at fixed distances (TBPTT) or at drawn ones (ARTBP)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import _core
from ._checks import index, number, threshold
from ._init import generator

Available = Callable[[int], int]
"""n -> how many of the first n steps there are, so that truncation need not know T"""


class Bounds(NamedTuple):
    """One window: which losses enter, and how far backward goes."""

    start: int
    """first step whose loss enters"""
    stop: int
    """one past the last"""
    back: int
    """the step that backward goes to"""
    carry: np.ndarray | None
    """(stop-back,): factors of the gradient that flows from step to step; None for 1"""


@dataclass(frozen=True)
class TBPTT:
    """Truncation at fixed distances: every k1 steps run backward over at most k2 steps.

    Only the losses of the last k1 steps enter (Williams & Peng 1990; Sutskever 2013, 2.8.6).

    Parameters
    ----------
    k1 : int
        Steps from one window to the next, at least 1.
    k2 : int, optional
        Most steps that backward goes over, at least k1; by default k1, the common case of separate windows.
    """

    k1: int
    """steps from one window to the next"""
    k2: int | None = None
    """most steps that backward goes over"""

    def __post_init__(self):
        k1 = index(self.k1, "k1")
        k2 = k1 if self.k2 is None else index(self.k2, "k2")
        if k2 < k1:
            raise ValueError(f"k2 must be at least k1 = {k1}, got {k2}")
        object.__setattr__(self, "k1", k1)
        object.__setattr__(self, "k2", k2)

    def bounds(self, available):
        """Yield the Bounds of every window; available is of type Available."""
        for window in itertools.count():
            steps = available((window + 1) * self.k1)
            if steps <= window * self.k1:
                return
            yield Bounds(*_core.window_at(steps, self.k1, self.k2, window), None)

    def tape_size(self):
        """(most steps that backward goes over, steps of the tape). A tape of twice as many steps as an overlap needs is
        moved to its front so seldom that each step moves about once."""
        return self.k2, self.k2 if self.k2 == self.k1 else 2 * self.k2


class ARTBP:
    """Randomised truncation whose gradient is unbiased (Tallec & Ollivier 2017, arXiv 1705.08209).

    Parameters
    ----------
    mean_length : float
        L0 >= 1, the mean number of steps from cut to cut.
    a : float
        Above 1. c_i = a / ((a-1) L0 + i), so that the factors of a long window grow like a power of its length; the
        variance of the lengths is finite for a > 2. math.inf is the constant probability 1/L0, whose factors grow
        exponentially.
    seed : int, numpy.random.Generator or None
        At least 0. Of a Generator one number is drawn, now.

    Notes
    -----
    After a step of age i = 1, 2, .. since the last cut, backward is cut with probability c_i; otherwise the gradient
    that flows back there is scaled by 1/(1-c_i). The windows end at the cuts, and each runs backward over exactly its
    own steps. With reduction="sum" the sum of their gradients has the gradient of full BPTT as its mean. Rows of a
    batch share cuts.

    Each pass (a call of rnn.windows, a minibatch of fit) has cuts of its own: the same cuts in every epoch would be a
    fixed truncation, and biased. So make the object once, before the loop over the epochs. One made anew from the
    same seed has the same passes again, whatever the chunks that the steps come in and however early a pass was left.
    """

    def __init__(self, mean_length: float, a: float = 3, seed: int | np.random.Generator | None = 0) -> None:
        self._mean_length = number(mean_length, "mean_length", 1)
        self._a = threshold(a, "a", 1)
        self._key = int(generator(seed).integers(2**63))
        self._passes = 0
        self._survival = self._survive(64)

    @property
    def mean_length(self) -> float:
        """float: L0."""
        return self._mean_length

    @property
    def a(self) -> float:
        """float: as given."""
        return self._a

    @property
    def state(self) -> tuple[int, int]:
        """pair of int: (key, passes), what the cuts are drawn from and how many passes were taken. Assign it to go on
        with the same passes as another object, to resume a training."""
        return self._key, self._passes

    @state.setter
    def state(self, value):
        try:
            key, passes = value
        except (TypeError, ValueError):
            raise TypeError(f"state must be the pair (key, passes), got {value!r}") from None
        self._key, self._passes = index(key, "state[0]", 0), index(passes, "state[1]", 0)

    def __repr__(self) -> str:
        return f"ARTBP({self.mean_length!r}, a={self.a!r})"

    def probability(self, age) -> np.ndarray:
        """Probability c_i of a cut after a step of that age.

        Parameters
        ----------
        age : int or array_like of int
            i, steps since the last cut, from 1.

        Returns
        -------
        numpy.ndarray of age's shape
        """
        # numerator and denominator divided by a, so that inf is no special case; the maximum is against rounding
        return 1 / np.maximum(1.0, self.mean_length + (np.asarray(age, float) - self.mean_length) / self.a)

    def schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Show the next pass over that many steps, without taking it.

        Parameters
        ----------
        steps : int
            At least 1. The schedule of fewer steps is the beginning of that of more.

        Returns
        -------
        cuts : numpy.ndarray of int
            The steps after which the gradient is cut, ascending.
        factors : numpy.ndarray, (steps,)
            What `carry` of RNN.backward takes: 0 at the cuts, elsewhere 1/(1-c).
        """
        steps = index(steps, "steps")
        factors = np.concatenate([bounds.carry for bounds in self._draw(self._passes, lambda n: min(n, steps))])
        return np.flatnonzero(factors == 0), factors

    def bounds(self, available):
        """As of TBPTT; takes a pass."""
        self._passes += 1
        return self._draw(self._passes - 1, available)

    def tape_size(self):
        """As of TBPTT, to begin with: a longer window makes the tape anew."""
        steps = math.ceil(min(self.mean_length, 1000))
        return steps, steps

    def _draw(self, number, available):
        """The bounds of the pass of that number."""
        rng = np.random.default_rng((self._key, number))
        start = 0
        while available(start + 1) > start:
            length = self._length(rng.random(), start, available)
            stop = available(start + length)
            carry = np.zeros(stop - start)
            survived = min(stop - start, length - 1)  # steps without a cut after them
            carry[:survived] = 1 / (1 - self.probability(np.arange(1, survived + 1)))
            yield Bounds(start, stop, start, carry)
            start = stop

    def _length(self, u, start, available) -> int:
        """The length of the window at `start`: the first age i with P(no cut after ages 1..i) <= u. If the steps end
        before, any length beyond them."""
        while self._survival[-1] > u:
            known = self._survival.size
            if available(start + known + 1) <= start + known:
                return known + 1
            self._survival = self._survive(2 * known)
        return int(np.count_nonzero(self._survival > u)) + 1

    def _survive(self, ages):
        """(ages,): element i-1 is the probability that there is no cut after the ages 1..i."""
        return np.cumprod(1 - self.probability(np.arange(1, ages + 1)))


Truncation = TBPTT | ARTBP


def truncation_or_none(value) -> Truncation | None:
    if value is not None and not isinstance(value, Truncation):
        raise TypeError(
            f"truncation must be a bptt.TBPTT, a bptt.ARTBP or None, got {value!r} of type {type(value).__name__}"
        )
    return value
