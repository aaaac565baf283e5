"""Where backward ends: at fixed distances (TBPTT) or at drawn ones (ARTBP)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import _core
from ._init import generator


class Bounds(NamedTuple):
    """The losses of steps start..stop-1 enter; backward goes to step `back`, scaled by carry (stop-back,) if given."""

    start: int
    stop: int
    back: int
    carry: np.ndarray | None


@dataclass(frozen=True)
class TBPTT:
    """Every k1 steps run backward over at most k2 steps; only the losses of the last k1 steps enter.

    k2 >= k1 >= 1. k2 defaults to k1, the common case of separate windows.
    (Williams & Peng 1990; Sutskever 2013, 2.8.6)
    """

    k1: int
    """steps from one window to the next"""
    k2: int | None = None
    """most steps that backward goes over"""

    def __post_init__(self):
        k1 = _core.index(self.k1, "k1")
        k2 = k1 if self.k2 is None else _core.index(self.k2, "k2")
        if k2 < k1:
            raise ValueError(f"k2 must be at least k1 = {k1}, got {k2}")
        object.__setattr__(self, "k1", k1)
        object.__setattr__(self, "k2", k2)

    def bounds(self, reach):
        """The Bounds of every window; reach(n) says how many of the first n steps there are."""
        for index in itertools.count():
            steps = reach((index + 1) * self.k1)
            if steps <= index * self.k1:
                return
            yield Bounds(*_core.window_at(steps, self.k1, self.k2, index), None)

    def room(self):
        """(the most steps that backward goes over, steps of tape that make each step move to its front about once)."""
        return self.k2, self.k2 if self.k2 == self.k1 else 2 * self.k2


class ARTBP:
    """Randomised truncation whose gradient is unbiased (Tallec & Ollivier 2017, arXiv 1705.08209).

    After a step of age i = 1, 2, .. since the last cut, backward is cut with probability c_i; otherwise what flows back
    there is scaled by 1/(1-c_i). The windows end at the cuts, and each runs backward over exactly its own steps. With
    reduction="sum" the sum of their gradients has the gradient of full BPTT as its mean. Rows of a batch share cuts.

    mean_length : L0 >= 1, the mean number of steps from cut to cut
    a : above 1. c_i = a / ((a-1) L0 + i), so that the factors of a long window grow like a power of its length; the
        variance of the lengths is finite for a > 2. math.inf is the constant probability 1/L0, whose factors grow
        exponentially
    seed : an int >= 0, a numpy Generator (one number is drawn from it, now), or None

    Each pass (a call of rnn.windows, a minibatch of fit) has cuts of its own: the same cuts in every epoch would be a
    fixed truncation, and biased. So make the object once, before the loop over the epochs. One made anew from the
    same seed has the same passes again, whatever the chunks that the steps come in and however early a pass was left.
    """

    def __init__(self, mean_length: float, a: float = 3, seed: int | np.random.Generator | None = 0) -> None:
        self._mean_length = _core.number(mean_length, "mean_length", 1)
        self._a = _core.threshold(a, "a", 1)
        self._key = int(generator(seed).integers(2**63))
        self._passes = 0
        self._survival = self._survive(64)

    @property
    def mean_length(self) -> float:
        """L0."""
        return self._mean_length

    @property
    def a(self) -> float:
        """As given."""
        return self._a

    def __repr__(self) -> str:
        return f"ARTBP({self.mean_length!r}, a={self.a!r})"

    def probability(self, age) -> np.ndarray:
        """c_i of an age, or of an array of them: the probability of a cut there."""
        # numerator and denominator divided by a, so that inf is no special case; the maximum is against rounding
        return 1 / np.maximum(1.0, self.mean_length + (np.asarray(age, float) - self.mean_length) / self.a)

    def schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The next pass over that many steps, without taking it: (cuts, factors).

        cuts : the steps after which the gradient is cut, ascending
        factors : (steps,), what `carry` of RNN.backward takes: 0 at the cuts, elsewhere 1/(1-c)

        The schedule of fewer steps is the beginning of that of more.
        """
        steps = _core.index(steps, "steps")
        factors = np.concatenate([bounds.carry for bounds in self._draw(self._passes, lambda n: min(n, steps))])
        return np.flatnonzero(factors == 0), factors

    def bounds(self, reach):
        """As of TBPTT; takes a pass."""
        self._passes += 1
        return self._draw(self._passes - 1, reach)

    def room(self):
        """As of TBPTT, to begin with: a window that is longer takes more."""
        steps = math.ceil(min(self.mean_length, 1000))
        return steps, steps

    def _draw(self, number, reach):
        rng = np.random.default_rng((self._key, number))
        start = 0
        while reach(start + 1) > start:
            length = self._length(rng.random(), start, reach)
            stop = reach(start + length)
            carry = np.zeros(stop - start)
            survived = min(stop - start, length - 1)  # the steps that no cut came after
            carry[:survived] = 1 / (1 - self.probability(np.arange(1, survived + 1)))
            yield Bounds(start, stop, start, carry)
            start = stop

    def _length(self, u, start, reach) -> int:
        """The length of the window at `start`: the first age that is survived with a probability of at most u, or, if
        the steps end before, any length beyond them."""
        while self._survival[-1] > u:
            known = self._survival.size
            if reach(start + known + 1) <= start + known:
                return known + 1
            self._survival = self._survive(2 * known)
        return int(np.count_nonzero(self._survival > u)) + 1

    def _survive(self, ages):
        """[i-1]: the probability that there is no cut after the ages 1..i."""
        return np.cumprod(1 - self.probability(np.arange(1, ages + 1)))


Truncation = TBPTT | ARTBP


def truncation_or_none(value) -> Truncation | None:
    if value is not None and not isinstance(value, Truncation):
        raise TypeError(
            f"truncation must be a bptt.TBPTT, a bptt.ARTBP or None, got {value!r} of type {type(value).__name__}"
        )
    return value
